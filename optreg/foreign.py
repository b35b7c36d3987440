"""Foreign checkpoints: whether another algorithm than this optimizer's wrote a checkpoint."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

OPTIONS = frozenset(
    {"maximize", "foreach", "fused", "capturable", "differentiable"}  # torch's
    | {"execution", "stochastic_rounding", "state_dtype", "seed"}  # optreg's
)
"""Keys of param groups that say how an update runs, in one library or another."""

BOOKKEEPING = frozenset(
    {"params", "param_names", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}  # torch's schedulers
)
"""Keys of param groups that belong to no algorithm."""

MARK = "decoupled_weight_decay"
"""The key that tells torch's Adam and AdamW apart, whose other keys are the same."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The keys of an optimizer's groups that are hyperparameters of its algorithm, and those that are options.

    A class that is `lenient` loads other settings that are off, and tells by itself what it cannot load.
    """

    hyperparameters: Set[str]
    options: Set[str]
    lenient: bool


@dataclass(frozen=True, slots=True)
class States:
    """The keys that a parameter's state has after any update, and those that it may have; None if that is unknown."""

    needed: Set[str]
    possible: Set[str] | None


def signs_in_groups(
    kept: Kept, groups: Sequence[Mapping[str, Any]], saved_groups: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What in a checkpoint's groups shows that another algorithm wrote it; nothing if this one may have.

    A checkpoint with the same execution options comes from the same library, and its hyperparameters must be the same.
    Another library's class for the same algorithm may leave out a switch that is off.

    Args:
        kept: what the optimizer keeps.
        groups: the optimizer's param groups.
        saved_groups: the checkpoint's.
    """
    options = kept.options - {"maximize"}
    for index, saved in enumerate(saved_groups):
        own = groups[min(index, len(groups) - 1)]
        same_library = not options or bool(options & saved.keys())
        for key in sorted(kept.hyperparameters - saved.keys()):
            if same_library or own[key] is not False:
                yield f"its group {index} has no '{key}'"
        for key in sorted(saved.keys() - own.keys() - OPTIONS - BOOKKEEPING - kept.options - {MARK}):
            value = saved[key]
            if _is_setting(value) and (value or not kept.lenient):
                yield f"its group {index} has '{key}': {value}"
        if MARK in own and bool(saved.get(MARK, own[MARK])) != own[MARK]:
            yield f"its group {index} has {MARK}={saved[MARK]}"


def signs_in_states(states: States, saved_states: Iterable[Any]) -> Iterator[str]:
    """What in the states of a checkpoint shows that another algorithm wrote it."""
    found = [
        {key for key, value in state.items() if value is not None} for state in saved_states if isinstance(state, dict)
    ]
    found = [keys for keys in found if keys]
    if lacking := sorted(set().union(*(states.needed - keys for keys in found))):
        yield f"its state has no {_quoted(lacking)}"
    if states.possible is not None and (others := sorted(set().union(*found) - states.possible)):
        yield f"its state has {_quoted(others)}"


def _is_setting(value: Any) -> bool:
    """Whether a group's entry may be a hyperparameter; notes of users are often strings."""
    if isinstance(value, tuple | list):
        return all(map(_is_setting, value))
    return isinstance(value, bool | int | float) or getattr(value, "ndim", None) == 0


def _quoted(keys: Sequence[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys)
