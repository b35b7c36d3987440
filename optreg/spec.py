"""The spec: the parts of a run as checked, complete, frozen records.

An existing `Spec` is valid: every name leads to one plugin, every value has its type and range, every default is filled
in. Only which parameters a rule matches depends on the model; `optreg.groups` finds out.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from optreg.clock import Clock
from optreg.entries import Entry
from optreg.errors import Position, Problem
from optreg.on_resume import OnResume
from optreg.quantities import Quantity, Unit
from optreg.records import OptimizerPlugin, Registration, SchedulePlugin

Pairs = tuple[tuple[str, Any], ...]
"""An immutable, hashable dict."""


@dataclass(frozen=True, slots=True)
class Level:
    """A value that a curve begins at or goes to.

    Args:
        value: a value of the hyperparameter, or a share of its base, of which 1 is the whole.
        is_share: which of the two it is.
        said: as it was written: `10%`, or a number.
        where: its place.
    """

    value: float
    is_share: bool
    said: Any = field(compare=False)
    where: Position | None = field(default=None, compare=False)

    def of(self, base: float) -> float:
        """The value, where the whole is `base`."""
        return self.value * base if self.is_share else self.value

    def shared(self, base: float) -> "Level":
        """The same as a share of `base`. Where a float can say it, its product with `base` is the value exactly."""
        if self.is_share:
            return self
        share = self.value / base
        near = (share, math.nextafter(share, 0.0), math.nextafter(share, math.inf))
        exact = next((one for one in near if one * base == self.value), share)
        return replace(self, value=exact, is_share=True)


@dataclass(frozen=True)
class Component:
    """A plugin and the settings it runs with, complete with defaults."""

    name: str
    registration: Registration[OptimizerPlugin] | Registration[SchedulePlugin]
    pairs: Pairs
    warmup_steps: int | None = None
    """Updates of linear warm-up before a schedule; None if not stated, or if it has a parameter of that name."""
    warmup_from: Level | None = None
    """Where that warm-up begins; None for 0."""
    convention: str | None = None
    """Whose way of counting the schedule follows (`optreg.conventions`); None for optreg's."""
    where: Position | None = field(default=None, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters and execution options by name; sequences are tuples."""
        return dict(self.pairs)

    @property
    def entry(self) -> Entry:
        """The distribution and version that the plugin comes from."""
        return self.registration.entry

    @property
    def by_metric(self) -> bool:
        """Whether it is a schedule whose steps take a metric, so that its rates are not known before the run."""
        plugin = self.registration.plugin
        return isinstance(plugin, SchedulePlugin) and plugin.traits.driven_by == "metric"

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
        ways: Pairs = (
            ("warmup_steps", self.warmup_steps),
            ("warmup_from", self.warmup_from),
            ("convention", self.convention),
        )
        return {
            "name": self.name,
            **_listed(tuple(pair for pair in ways if pair[1] is not None)),
            **_listed(self.pairs),
        }


@dataclass(frozen=True)
class Phase:
    """A stretch of a timeline: a schedule from one point of the run to another.

    Args:
        begin: its first update.
        end: the first update after it; None if it is open, or if that is left to the trainer.
        start: its level at `begin`; None to go on from where the last phase ended.
        to: its level at `end`; None for what the schedule's own curve leads to.
        component: the schedule, with its length among the settings if it has an end; None for a straight line from
            `start` to `to`, which is how a phase warms up.
        length: how far it reaches, as it was written, with the key, `for` or `until`.
        warmup: the warm-up within the phase, as it was written; it is a phase of its own, the one before.
        whole: the length of the curve, as it was written, if the phase is only the beginning of it.
    """

    begin: int
    end: int | None
    start: Level | None = None
    to: Level | None = None
    component: Component | None = None
    length: tuple[str, Quantity] | None = None
    warmup: Quantity | None = None
    whole: Quantity | None = None
    where: Position | None = field(default=None, compare=False)

    @property
    def end_name(self) -> str | None:
        """The setting that names the last step of its schedule; None if there is none."""
        plugin = self.component.registration.plugin if self.component else None
        return plugin.horizon if isinstance(plugin, SchedulePlugin) else None

    @property
    def steps(self) -> int | None:
        """How many updates its curve takes to its own end; None if it has none, or if that is not known."""
        if self.component is None or self.end_name is None:
            return None if self.end is None else self.end - self.begin
        steps = self.component.settings[self.end_name]
        return steps if isinstance(steps, int) else None

    def as_dict(self) -> dict[str, Any]:
        """The phase as a mapping of a spec; not for the line of a warm-up, which its phase states."""
        assert self.component is not None
        plugin = self.component.registration.plugin
        assert isinstance(plugin, SchedulePlugin)
        elsewhere = {plugin.horizon, *(plugin.traits.levels or ())}
        own = {key: value for key, value in self.component.as_dict().items() if key not in elsewhere}
        name = {"name": own.pop("name")}
        levels = {"from": self.start, "to": self.to}
        stated = {key: level.said for key, level in levels.items() if level is not None}
        length = {self.length[0]: self.length[1].text} if self.length else {}
        warmup = {"warmup_steps": self.warmup.text} if self.warmup else {}
        whole = {str(self.end_name): self.whole.text} if self.whole else {}
        return {**name, **warmup, **stated, **length, **whole, **own}


@dataclass(frozen=True)
class Timeline:
    """The curve of a hyperparameter over the whole run: phases, one after another.

    Args:
        phases: at least one, each beginning where the last one ends; only the last may be open.
        base: what 100% is: 1 for multipliers of each group's rate, or a value of the hyperparameter.
        factor: multiplies every value; `lr_scale` and `layer_decay` of a group's rate.
        open: the facts that its lengths need and that are left to the trainer.
    """

    phases: tuple[Phase, ...]
    base: float = 1.0
    factor: float = 1.0
    open: frozenset[str] = frozenset()

    @property
    def components(self) -> tuple[Component, ...]:
        """The schedules of its phases, in order."""
        return tuple(phase.component for phase in self.phases if phase.component is not None)

    @property
    def where(self) -> Position | None:
        """The place of its first phase."""
        return self.phases[0].where

    def problem(self, message: str) -> Problem:
        """A problem at the timeline's place."""
        return Problem(self.where, message if self.where else f"scheduler: {message}")

    def scaled(self, factor: float) -> "Timeline":
        """The timeline with every value multiplied."""
        return replace(self, factor=self.factor * factor)

    def as_list(self) -> list[dict[str, Any]]:
        """The phases as a list of a spec; the factor is not among them."""
        return [phase.as_dict() for phase in self.phases if phase.component is not None]


FOR_GOOD: Final = math.inf
"""The number of updates during which `freeze: true` freezes parameters."""

FREEZE_STEPS: Final = "freeze_steps"
"""The key of a param group that holds the number of updates during which it is frozen."""

RULE_KEYS: Final = ("not", "layers", "embeddings", "layer_decay", "lr_scale", "freeze", "optimizer")
"""What a rule may state besides criteria and the settings of optimizers."""


@dataclass(frozen=True)
class Rule:
    """Which parameters it is for, and what is different for them. All criteria must hold."""

    criterion_pairs: Pairs
    """Keys of `optreg.criteria.CRITERIA`, each with items of which one must match the parameter."""
    pairs: Pairs = ()
    """Settings of an optimizer, and `lr_scale`, `layer_decay`, `freeze` (a number of updates) and `optimizer`."""
    excluded: tuple[Pairs, ...] = ()
    """Criteria of parameters that the rule leaves out: those that match all of one item."""
    layers: tuple[str, ...] = ()
    """Patterns of names with the number of a layer in them; with them, a parameter must match one, or an embedding."""
    embeddings: tuple[str, ...] = ()
    """Globs on the names of the parameters that lie below all layers."""
    where: Position | None = field(default=None, compare=False)

    @property
    def criteria(self) -> dict[str, tuple[Any, ...]]:
        """The criteria by key, each with its items."""
        return dict(self.criterion_pairs)

    @property
    def settings(self) -> dict[str, Any]:
        """What the rule sets, by name: hyperparameters, execution options, and what is not of an optimizer."""
        return dict(self.pairs)

    @property
    def optimizer(self) -> Component | None:
        """The optimizer that the rule gives to its parameters."""
        return self.settings.get("optimizer")

    def __str__(self) -> str:
        patterns: Pairs = (("layers", self.layers), ("embeddings", self.embeddings))
        asked = [_said((*self.criterion_pairs, *(pair for pair in patterns if pair[1])))]
        return ", ".join(asked + [f"not ({_said(pairs)})" for pairs in self.excluded])

    def as_dict(self) -> dict[str, Any]:
        """The rule as plain data."""
        excluded = [_listed(pairs) for pairs in self.excluded]
        patterns = {"layers": [*self.layers], "embeddings": [*self.embeddings]}
        settings = _listed(self.pairs)
        if settings.get("freeze") == FOR_GOOD:
            settings["freeze"] = True
        return {
            **_listed(self.criterion_pairs),
            **({"not": excluded} if excluded else {}),
            **{key: items for key, items in patterns.items() if items},
            **settings,
        }


@dataclass(frozen=True)
class Spec:
    """A checked, complete, immutable description of an optimizer, its param groups and its schedule.

    Without a schedule, `scheduler` is None and all rates are constant. `on_resume` says what becomes of a checkpoint
    that differs from the spec. `clock` converts tokens, samples and epochs; what it leaves open, the trainer gives at
    build. `notes` are plain data of the author's; specs that differ in them alone are equal.
    """

    optimizer: Component
    scheduler: Component | Timeline | None = None
    groups: tuple[Rule, ...] = ()
    on_resume: OnResume = field(default_factory=OnResume)
    clock: Clock = field(default_factory=Clock)
    notes: Any = field(default=None, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The spec as plain data with every default filled in; `load_spec` reads it again."""
        groups = {"groups": [rule.as_dict() for rule in self.groups]} if self.groups else {}
        scheduler = {"scheduler": _plain(self.scheduler)} if self.scheduler else {}
        choices = {"on_resume": chosen} if (chosen := self.on_resume.as_dict()) else {}
        notes = {"notes": _plain(self.notes)} if self.notes is not None else {}
        optimizer = {"optimizer": self.optimizer.as_dict()}
        return {**notes, **optimizer, **groups, **scheduler, **self._whole, **_plain(self.clock.said), **choices}

    @property
    def _whole(self) -> dict[str, Any]:
        """The length of the run, if it is known from the end of a schedule that is not printed in the same unit."""
        whole = self.clock.horizon
        is_lost = isinstance(self.scheduler, Component) and whole is not None and whole.unit is not Unit.STEPS
        return {"horizon": whole.text} if is_lost and whole else {}

    @property
    def components(self) -> Iterator[Component]:
        """The optimizer and all schedules, each where it stands."""
        yield from self.optimizers
        parts = [self.scheduler, *(timeline for pairs in self._settings for timeline in _timelines(pairs))]
        for part in parts:
            yield from part.components if isinstance(part, Timeline) else [part] if part else []

    @property
    def optimizers(self) -> tuple[Component, ...]:
        """The optimizer, and those that rules give to their parameters."""
        return (self.optimizer, *(rule.optimizer for rule in self.groups if rule.optimizer))

    @property
    def _settings(self) -> list[Pairs]:
        """The settings of optimizers and of rules."""
        return [*(component.pairs for component in self.optimizers), *(rule.pairs for rule in self.groups)]

    @property
    def scheduled(self) -> list[str]:
        """The hyperparameters that follow schedules of their own, of an optimizer or in a rule."""
        pairs = [pair for part in self._settings for pair in part]
        return list(dict.fromkeys(key for key, value in pairs if any(_timelines(((key, value),)))))

    @property
    def open(self) -> frozenset[str]:
        """The facts that are needed to build it and are left to the trainer: of `horizon`, `batch` and `epoch`."""
        timelines = [self.scheduler] if isinstance(self.scheduler, Timeline) else []
        parts = self._settings
        timelines += [timeline for pairs in parts for timeline in _timelines(pairs)]
        if isinstance(self.scheduler, Component):
            parts.append((("warmup_steps", self.scheduler.warmup_steps), *self.scheduler.pairs))
        needed = {fact for timeline in timelines for fact in timeline.open}
        needed |= {self.clock.lacks(value) for pairs in parts for value in quantities(dict(pairs).values())}
        return frozenset(needed - {""})


def left_open(fact: str) -> Problem:
    """What to do about a fact that the trainer has not given."""
    examples = {"horizon": "10_000", "batch": "'4M tokens'", "epoch": "'312 steps'"}
    remedy = f"pass facts={{'{fact}': {examples[fact]}}} to optreg.build, or set '{fact}' in the spec or by an override"
    return Problem(None, f"the spec leaves the {fact} to the trainer, who has not given it; {remedy}")


def _timelines(pairs: Pairs) -> Iterator[Timeline]:
    """The timelines among settings and elements of tuples."""
    for _, value in pairs:
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Timeline):
                yield item


def quantities(values: Iterable[Any]) -> Iterator[Quantity]:
    """The quantities among settings and elements of tuples; they wait for facts."""
    for value in values:
        yield from (item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Quantity))


def _said(pairs: Pairs) -> str:
    """Criteria in words."""
    return ", ".join(f"{key}: {', '.join(map(str, items))}" for key, items in pairs)


def _listed(pairs: Pairs) -> dict[str, Any]:
    """Pairs as a dict of plain data."""
    return {key: _plain(item) for key, item in pairs}


def _plain(value: Any) -> Any:
    """A value as a spec writes it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Timeline):
        return value.as_list()
    if isinstance(value, Component):
        return value.as_dict()
    if isinstance(value, Level):
        return value.said
    return value.text if isinstance(value, Quantity) else value
