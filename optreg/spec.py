"""The spec: the parts of a run as checked, complete, frozen records.

An existing `Spec` is valid: every name leads to one plugin, every value has its type and range, every default is filled
in. Only which parameters a rule matches depends on the model; `optreg.groups` finds out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optreg.entries import Entry
from optreg.errors import Position, Problem
from optreg.on_resume import OnResume
from optreg.records import OptimizerPlugin, Registration, SchedulePlugin

Pairs = tuple[tuple[str, Any], ...]
"""An immutable, hashable dict."""


@dataclass(frozen=True)
class Component:
    """A plugin and the settings it runs with, complete with defaults."""

    name: str
    registration: Registration[OptimizerPlugin] | Registration[SchedulePlugin]
    pairs: Pairs
    warmup_steps: int | None = None
    """Updates of linear warm-up before a schedule; None if not stated, or if it has a parameter of that name."""
    where: Position | None = field(default=None, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters and execution options by name; sequences are tuples."""
        return dict(self.pairs)

    @property
    def entry(self) -> Entry:
        """The distribution and version that the plugin comes from."""
        return self.registration.entry

    def changed(self, settings: Mapping[str, Any]) -> "Component":
        """The component with other values; those of a warm-up before a schedule are among them."""
        own = {**self.settings, **settings}
        if "warmup_steps" in self.settings:
            return replace(self, pairs=tuple(own.items()))
        warmup_steps = own.pop("warmup_steps", self.warmup_steps)
        return replace(self, pairs=tuple(own.items()), warmup_steps=warmup_steps)

    def problem(self, message: str) -> Problem:
        """A problem at the component's place; the message names the section where there is no place."""
        return Problem(self.where, message if self.where else f"{self.entry.kind}: {message}")

    def as_dict(self) -> dict[str, Any]:
        """The same as a section of a spec, as plain data."""
        warmup = {} if self.warmup_steps is None else {"warmup_steps": self.warmup_steps}
        return {"name": self.name, **warmup, **_listed(self.pairs)}


@dataclass(frozen=True)
class Rule:
    """Which parameters form a group, and the settings that differ there. All criteria must hold."""

    criterion_pairs: Pairs
    """Keys of `optreg.criteria.CRITERIA`, each with items of which one must match the parameter."""
    pairs: Pairs = ()
    where: Position | None = field(default=None, compare=False)

    @property
    def criteria(self) -> dict[str, tuple[Any, ...]]:
        """The criteria by key, each with its items."""
        return dict(self.criterion_pairs)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyperparameters and execution options that the rule sets, by name."""
        return dict(self.pairs)

    def __str__(self) -> str:
        return ", ".join(f"{key}: {', '.join(map(str, items))}" for key, items in self.criterion_pairs)

    def as_dict(self) -> dict[str, Any]:
        """The rule as plain data."""
        return _listed((*self.criterion_pairs, *self.pairs))


@dataclass(frozen=True)
class Spec:
    """A checked, complete, immutable description of an optimizer, its param groups and its schedule.

    Without a schedule, `scheduler` is None and all rates are constant. `on_resume` says what becomes of a checkpoint
    that differs from the spec. `notes` are plain data of the author's. Nothing is made of them, so specs that differ in
    them alone are equal.
    """

    optimizer: Component
    scheduler: Component | None = None
    groups: tuple[Rule, ...] = ()
    on_resume: OnResume = field(default_factory=OnResume)
    notes: Any = field(default=None, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The spec as plain data with every default filled in; `load_spec` reads it again."""
        groups = {"groups": [rule.as_dict() for rule in self.groups]} if self.groups else {}
        scheduler = {"scheduler": self.scheduler.as_dict()} if self.scheduler else {}
        choices = {"on_resume": chosen} if (chosen := self.on_resume.as_dict()) else {}
        notes = {"notes": _plain(self.notes)} if self.notes is not None else {}
        return {**notes, "optimizer": self.optimizer.as_dict(), **groups, **scheduler, **choices}


def _listed(pairs: Pairs) -> dict[str, Any]:
    """Pairs as a dict, tuples as lists."""
    return {key: list(item) if isinstance(item, tuple) else item for key, item in pairs}


def _plain(value: Any) -> Any:
    """A copy of plain data, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
