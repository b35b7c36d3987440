"""Named state: the parameters of a checkpoint and of an optimizer, matched by name."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Groups = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A parameter of a checkpoint: its group, and its state; None if that has another shape."""

    group: int
    state: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Match:
    """For each param group of an optimizer the parameters of a checkpoint that are its own, None where there is none.

    `complaints` tells in words what does not match.
    """

    rows: tuple[tuple[Saved | None, ...], ...]
    complaints: tuple[str, ...] = ()

    def sources(self, saved_groups: Groups) -> list[list[Mapping[str, Any]]]:
        """For each of the optimizer's groups, the checkpoint's groups that it gets parameters from."""
        places = [dict.fromkeys(saved.group for saved in row if saved) for row in self.rows]
        return [[saved_groups[place] for place in each] for each in places]

    def part(self, indices: Iterable[int]) -> tuple[list[int], list[Mapping[str, Any]]]:
        """What of the checkpoint some of the optimizer's groups get.

        Returns:
            The numbers of the checkpoint's groups, first the main one of each; and the states.
        """
        rows = [[saved for saved in self.rows[index] if saved] for index in indices]
        main = [row[0].group for row in rows if row]
        others = dict.fromkeys(saved.group for row in rows for saved in row if saved.group not in main)
        return [*main, *others], [saved.state for row in rows for saved in row if saved.state]


def match(groups: Groups, state_dict: Mapping[str, Any], *, shaped: Sequence[bool]) -> Match | None:
    """Match a checkpoint's parameters with an optimizer's: by name if both have names, else by order.

    Args:
        groups: the optimizer's param groups.
        state_dict: the checkpoint.
        shaped: for each group, whether every state tensor that is not a scalar has its parameter's shape.

    Returns:
        None if there are no names, and the numbers of groups or of their parameters differ.
    """
    saved_groups = state_dict["param_groups"]
    if _named(groups) and _named(saved_groups):
        return _by_name(groups, state_dict, shaped)
    if [len(group["params"]) for group in groups] != [len(group["params"]) for group in saved_groups]:
        return None
    states = state_dict["state"]
    return Match(
        tuple(
            tuple(Saved(index, states.get(key, {})) for key in group["params"])
            for index, group in enumerate(saved_groups)
        )
    )


def arranged(
    matched: Match, groups: Groups, own_state: Mapping[Any, Any], state_dict: Mapping[str, Any], changes: Groups
) -> dict[str, Any]:
    """The checkpoint in the optimizer's order: groups with the optimizer's parameters, and the state of each.

    A parameter that the checkpoint lacks keeps the state that it has, which some optimizers create at once.

    Args:
        matched: whose parameters are whose.
        groups: the optimizer's param groups.
        own_state: the optimizer's state.
        state_dict: the checkpoint.
        changes: for each group, what changes in the checkpoint's entries.
    """
    found: list[dict[str, Any]] = []
    states: dict[Any, Any] = {}
    number = 0
    for group, row, change in zip(groups, matched.rows, changes, strict=True):
        first: Saved | None = next((saved for saved in row if saved), None)
        entries = state_dict["param_groups"][first.group] if first else group
        entries = {**entries, **change, "params": [*range(number, number + len(row))]}
        if "param_names" in group:
            entries["param_names"] = [*group["param_names"]]
        found.append(entries)
        for param, saved in zip(group["params"], row, strict=True):
            state = own_state.get(param) if saved is None or saved.state is None else saved.state
            if state:
                states[number] = state
            number += 1
    of_params = {key for group in state_dict["param_groups"] for key in group["params"]}
    others = {key: value for key, value in state_dict["state"].items() if key not in of_params}
    return {**state_dict, "state": {**states, **others}, "param_groups": found}


def _named(groups: Groups) -> bool:
    """Whether every parameter has a name.

    torch.distributed.checkpoint has matched parameters already: names stand in place of their numbers, and those in
    `param_names` are in another order.
    """
    return all(
        len(group.get("param_names") or ()) == len(group["params"])
        and not any(isinstance(key, str) for key in group["params"])
        for group in groups
    )


def _by_name(groups: Groups, state_dict: Mapping[str, Any], shaped: Sequence[bool]) -> Match:
    saved = {
        name: Saved(index, state_dict["state"].get(key, {}))
        for index, group in enumerate(state_dict["param_groups"])
        for name, key in zip(group["param_names"], group["params"], strict=True)
    }
    params = {
        name: param for group in groups for name, param in zip(group["param_names"], group["params"], strict=True)
    }
    misshapen: list[str] = []
    reshaped: set[str] = set()
    of_shape = {
        name for group, is_shaped in zip(groups, shaped, strict=True) if is_shaped for name in group["param_names"]
    }
    for name in of_shape & saved.keys():
        wrong = {key: shape for key, shape in _shapes(saved[name]) if shape != tuple(params[name].shape)}
        for key, shape in wrong.items():
            misshapen.append(
                f"'{name}' has shape {tuple(params[name].shape)}, but the checkpoint's '{key}' of it {shape}"
            )
            reshaped.add(name)
    rows = tuple(
        tuple(Saved(saved[name].group, None) if name in reshaped else saved.get(name) for name in group["param_names"])
        for group in groups
    )
    missing = [name for name in params if name not in saved]
    extra = [name for name in saved if name not in params]
    return Match(rows, (*_absent(missing, extra, params, saved), *sorted(misshapen)))


def _absent(
    missing: Sequence[str], extra: Sequence[str], params: Mapping[str, Any], saved: Mapping[str, Saved]
) -> Iterator[str]:
    left = list(extra)
    for name in missing:
        shape = tuple(params[name].shape)
        alike = [other for other in left if not (shapes := dict(_shapes(saved[other]))) or shape in shapes.values()]
        likely = _most_similar(name, alike)
        if likely is None:
            yield f"'{name}' is not in the checkpoint"
        else:
            left.remove(likely)
            yield f"'{name}' is not in the checkpoint; it may be what was called '{likely}'"
    for name in left:
        yield f"'{name}' is in the checkpoint, but not among the optimizer's parameters"


def _most_similar(name: str, others: Sequence[str]) -> str | None:
    """The other name that is most similar: one that ends like it, as after wrapping a model, or resembles it."""
    for other in others:
        if name.endswith(f".{other}") or other.endswith(f".{name}"):
            return other
    return next(iter(difflib.get_close_matches(name, others[:1000], n=1, cutoff=0.6)), None)


def _shapes(saved: Saved) -> Iterable[tuple[str, tuple[int, ...]]]:
    """The shapes of state tensors; scalars, such as counts, say nothing of the parameter."""
    return [(key, tuple(value.shape)) for key, value in (saved.state or {}).items() if getattr(value, "ndim", 0)]
