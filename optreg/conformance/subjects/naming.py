"""Naming: a class's own names for the reference's hyperparameters, in its signature and in its param groups."""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged

SYNONYMS = (
    ("lr", "learning_rate"),
    ("eps", "epsilon"),
    ("weight_decay", "wd"),
    ("betas[0]", "beta1", "beta_1", "b1"),
    ("betas[1]", "beta2", "beta_2", "b2"),
    ("warmup_steps", "num_warmup_steps"),
    ("total_steps", "num_training_steps", "T_max", "t_max", "total_iters", "max_steps"),
    ("min_lr_ratio", "min_lr_rate"),
)
"""Common names of the same hyperparameter, which need not be given."""

NEUTRAL = {"warmup_steps": 0, "num_warmup_steps": 0}
"""Common arguments with the values at which they have no effect, for references that do not have them."""


class Signature:
    """The arguments of a constructor, without the first ones: the parameters, or the optimizer."""

    def __init__(self, implementation: Any, skipped: int) -> None:
        parameters = arguments_of(implementation)
        fixed = [p for p in parameters if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
        named = [p for p in fixed[skipped:] if p.kind is not p.POSITIONAL_ONLY]
        self.open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.names = [p.name for p in named]
        self.required = [p.name for p in named if p.default is p.empty]

    def accepts(self, name: str) -> bool:
        """Whether it accepts an argument of this name."""
        return self.open or name in self.names


def arguments_of(implementation: Any) -> list[inspect.Parameter]:
    """The arguments of a class or function.

    Raises:
        CannotBeJudged: its signature cannot be read.
    """
    try:
        return list(inspect.signature(implementation).parameters.values())
    except (TypeError, ValueError) as error:
        raise CannotBeJudged(f"the signature of {implementation!r} cannot be read: {error}") from error


def takes_an_optimizer(implementation: Any, known: Sequence[str], given: Mapping[str, str]) -> bool:
    """Whether a schedule's first argument is the optimizer, and not one of its hyperparameters."""
    arguments = arguments_of(implementation)
    return bool(arguments) and arguments[0].name not in {*known, *given}


def takes_a_metric(implementation: Any) -> bool:
    """Whether the steps of a scheduler's class cannot be made without an argument, which is a metric."""
    step = getattr(implementation, "step", None)
    if not isinstance(implementation, type) or step is None:
        return False
    required = [argument for argument in arguments_of(step)[1:] if argument.default is argument.empty]
    return any(argument.kind in {argument.POSITIONAL_ONLY, argument.POSITIONAL_OR_KEYWORD} for argument in required)


def field_of(ours: str) -> str:
    """The reference's field in `betas[0]`: `betas`."""
    return ours.partition("[")[0]


def index_in(ours: str) -> int | None:
    """The element in `betas[0]`: 0; None in `betas`."""
    found = re.search(r"\[(\d+)\]", ours)
    return int(found[1]) if found else None


def aliases_in(signature: Signature, known: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Arguments with a common name for one of the `known` hyperparameters, beyond the names that are `given`."""
    renamed = {field_of(ours) for ours in given.values()}
    found: dict[str, str] = {}
    for common in SYNONYMS:
        ours = next((name for name in common if field_of(name) in known), None)
        if ours and field_of(ours) not in {*renamed, *signature.names}:
            theirs = (name for name in common if name in signature.names and name not in {*known, *given})
            found |= dict.fromkeys(list(theirs)[:1], ours)
    return found


@dataclass(frozen=True)
class Names:
    """A class's own names for hyperparameters."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    """The name of each argument, with the reference's name (`betas`, or `betas[0]`)."""
    places: Mapping[str, Sequence[tuple[str, int | None]]] = field(default_factory=dict)
    """The keys of its groups that hold a hyperparameter, each with the index of an element if it holds only one."""

    @property
    def renamed(self) -> set[str]:
        """The reference's hyperparameters that have another name in the signature."""
        return {field_of(ours) for ours in self.arguments.values()}

    def as_arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings under the names of the constructor's arguments."""
        arguments = {name: value for name, value in settings.items() if name not in self.renamed}
        for theirs, ours in self.arguments.items():
            if field_of(ours) in settings:
                arguments[theirs] = _element(settings[field_of(ours)], index_in(ours))
        return arguments

    def in_groups(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings under the keys of the groups."""
        kept: dict[str, Any] = {}
        for name, value in settings.items():
            if name in self.places:
                kept |= {key: _element(value, index) for key, index in self.places[name]}
            else:
                kept |= self.as_arguments({name: value})
        return kept

    def placed(self, group: Mapping[str, Any], settings: Mapping[str, Any]) -> "Names":
        """The names with their places in a group that was constructed with `settings`.

        A group holds a hyperparameter under the argument's name, the reference's name, or a key found by its value that
        is no other hyperparameter's name.
        """
        others = {key: value for key, value in group.items() if key not in {*settings, *self.arguments}}
        places = {name: self._found(group, others, name, value) for name, value in settings.items()}
        return Names(self.arguments, places)

    def _found(
        self, group: Mapping[str, Any], others: Mapping[str, Any], name: str, value: Any
    ) -> list[tuple[str, int | None]]:
        theirs = [(key, index_in(ours)) for key, ours in self.arguments.items() if field_of(ours) == name]
        named = theirs or [(name, None)]
        if all(key in group for key, _ in named):
            return named
        if name in group:
            return [(name, None)]
        parts = list(enumerate(value)) if isinstance(value, tuple) else [(None, value)]
        by_value = [(_key_of(others, part), index) for index, part in parts]
        return [(key, index) for key, index in by_value if key is not None] if all(k for k, _ in by_value) else named


def _element(value: Any, index: int | None) -> Any:
    return value if index is None else value[index]


def _key_of(group: Mapping[str, Any], value: Any) -> str | None:
    """The only key with this number as its value; None if there is no such key or more than one."""
    keys = [key for key, kept in group.items() if type(kept) is type(value) is float and kept == value]
    return keys[0] if len(keys) == 1 else None
