"""The plan of a spec: the value of every hyperparameter of every group at any update, without a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optreg.cli.curve import Curve, StepError, curve, factor, refuse_open
from optreg.clock import Clock
from optreg.combining import scaled
from optreg.drives import at_start, drives, timelines
from optreg.errors import plugin_code, raised
from optreg.groups import Group
from optreg.hyperparameters import names
from optreg.quantities import Unit, quantity
from optreg.spec import FREEZE_STEPS, Component, Rule, Spec, Timeline

DEFAULT = "default"
"""The group of the parameters that no rule changes."""

COUNTED = (Unit.TOKENS, Unit.SAMPLES, Unit.EPOCHS)
"""The units in which a point of the run is told besides updates, as far as they are known."""


@dataclass(frozen=True)
class GroupPlan:
    """The hyperparameters of a group over the run.

    Args:
        name: the rule that makes the group, in words, or `DEFAULT`.
        optimizer: the name of its optimizer.
        values: each hyperparameter as a function of the update; constants too.
        scheduled: the hyperparameters that change, each with the timeline that it follows, or the schedule.
    """

    name: str
    optimizer: str
    values: Mapping[str, Callable[[int], Any]]
    scheduled: Mapping[str, Component | Timeline]

    def first(self, key: str) -> Any:
        """The value of a hyperparameter at the first update; None if there is none, or if its schedule fails there."""
        try:
            return self.values[key](0) if key in self.values else None
        except KeyboardInterrupt:
            raise
        except BaseException:  # whoever draws the curve tells it
            return None

    def at(self, t: int) -> dict[str, Any]:
        """The values of update t, as plain data.

        Raises:
            StepError: a schedule has no value there.
        """
        try:
            values = {key: f(t) for key, f in self.values.items()}
        except (KeyboardInterrupt, StepError):
            raise
        except BaseException as error:
            raise StepError(raised(error)) from error
        return {"group": self.name, "optimizer": self.optimizer, **values}


def plan(spec: Spec) -> list[GroupPlan]:
    """The default group, and one for each rule as if no other rule touched its parameters.

    How many layers there are is not known without a model: a rate that decays by layer is that of the last layer.

    Raises:
        SpecError: the spec leaves to the trainer what its schedules need.
        PluginError: a schedule cannot be built.
    """
    refuse_open(spec)
    return [group_plan(spec, DEFAULT, spec.optimizer, {}), *(_of_rule(spec, rule) for rule in spec.groups)]


def _of_rule(spec: Spec, rule: Rule) -> GroupPlan:
    """The plan of the parameters that a rule matches, if no other does."""
    own = {**rule.settings, FREEZE_STEPS: rule.settings.get("freeze", 0)}
    return group_plan(spec, str(rule), rule.optimizer or spec.optimizer, own)


def plan_of(spec: Spec, groups: Sequence[Group]) -> list[GroupPlan]:
    """The plan of the param groups of a model; errors as in `plan`."""
    refuse_open(spec)
    return [group_plan(spec, _name(group), group.component, group.settings) for group in groups]


def _name(group: Group) -> str:
    return str(group) if group.rules else DEFAULT


def group_plan(spec: Spec, name: str, component: Component, own: Mapping[str, Any]) -> GroupPlan:
    """The plan of one group.

    Args:
        spec: whose schedule it follows.
        name: what it is called.
        component: its optimizer.
        own: the settings that differ from the optimizer's, and `lr_scale` and `layer_decay`; errors as in `plan`.
    """
    settings = {key: value for key, value in {**component.settings, **own}.items() if key in _known(component)}
    scale = own.get("lr_scale", 1.0) * own.get("layer_decay", 1.0)
    if "lr" in settings and scale != 1:
        settings["lr"] = scaled(settings["lr"], scale)
    with plugin_code(f"a schedule of the group '{name}' cannot be built"):
        driven = drives(settings)
    started = at_start(settings, driven)
    values: dict[str, Callable[[int], Any]] = {key: _constant(value) for key, value in started.items()}
    scheduled: dict[str, Component | Timeline] = {}
    for key in dict.fromkeys(drive.key for drive in driven):
        of_key = [drive for drive in driven if drive.key == key]
        values[key] = _moving(started[key], of_key)
        value = settings[key]
        scheduled[key] = value if isinstance(value, Timeline) else next(v for v in value if isinstance(v, Timeline))
    if isinstance(started.get("lr"), int | float) and "lr" not in scheduled and spec.scheduler is not None:
        values["lr"] = factor(spec, float(started["lr"]))
        scheduled["lr"] = spec.scheduler
    if "lr" in values and (frozen := own.get(FREEZE_STEPS)):
        values["lr"] = _frozen(values["lr"], frozen)
    return GroupPlan(name, component.name, values, scheduled)


def _frozen(rate: Callable[[int], Any], steps: float) -> Callable[[int], Any]:
    """The rate of parameters that are frozen in the first updates."""
    return lambda t: 0.0 if t < steps else rate(t)


def _known(component: Component) -> list[str]:
    return names(component.registration.plugin.reference)


def _constant(value: Any) -> Callable[[int], Any]:
    plain = list(value) if isinstance(value, tuple) else value
    return lambda t: plain


def _moving(value: Any, driven: Any) -> Callable[[int], Any]:
    """A hyperparameter of which drives set the whole, or elements."""

    def at(t: int) -> Any:
        group = {driven[0].key: value}
        for drive in driven:
            drive.put(group, drive.curve(t))
        now = group[driven[0].key]
        return list(now) if isinstance(now, tuple) else now

    return at


def chosen(spec: Spec, of: Sequence[str] = ()) -> list[tuple[str, str, Curve]]:
    """Curves to show, each with its hyperparameter and group; a group is left out where it does as the default one.

    Args:
        spec: whose curves they are.
        of: the hyperparameters, constant ones too; `betas` stands for all its elements that change. By default,
            learning rates, and all that changes.

    Raises:
        SpecError: the spec leaves to the trainer what its schedules need.
        PluginError: a schedule cannot be built.
    """
    groups = [(group, group_curves(spec, group)) for group in plan(spec)]
    changing = list(dict.fromkeys(name for _, curves in groups for name in curves))
    names = changing
    if of:
        rate = "lr" if "lr" in changing else "multiplier"
        asked = [rate if name == "lr" else name for name in of]
        names = [name for one in asked for name in (one, *(each for each in changing if each.startswith(f"{one}[")))]
    found = [
        (name, group.name, curves.get(name) or constant(spec, group, name))
        for group, curves in groups
        for name in dict.fromkeys(names)
        if group.name == DEFAULT or _has_its_own(spec, group.name, name)
    ]
    return [(name, group, one) for name, group, one in found if one]


def _has_its_own(spec: Spec, group: str, of: str) -> bool:
    """Whether the rule that makes a group says something of a hyperparameter."""
    rule = next(rule for rule in spec.groups if str(rule) == group)
    stated = rule.settings.keys()
    rates = {"lr_scale", "layer_decay", "freeze"}
    return bool(rule.optimizer) or of.partition("[")[0] in stated or (of == "lr" and not stated.isdisjoint(rates))


def constant(spec: Spec, group: GroupPlan, of: str) -> Curve | None:
    """The curve of a hyperparameter that does not change in a group; None if it is no number there."""
    name, _, index = of.removesuffix("]").partition("[")
    value = group.first(name)
    if index:
        value = value[int(index)] if index.isdigit() and isinstance(value, list) and int(index) < len(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return Curve(spec, lambda t: number, None, of)


def group_curves(spec: Spec, group: GroupPlan) -> dict[str, Curve]:
    """The curves of a group, by hyperparameter; of a tuple, those of the elements that change."""
    found: dict[str, Curve] = {}
    if "lr" not in group.values and spec.scheduler is not None:
        found["multiplier"] = curve(spec)
    for key in dict.fromkeys(["lr", *group.scheduled]):
        if key not in group.values:
            continue
        value, follows, now = group.values[key], group.scheduled.get(key), group.first(key)
        if not isinstance(now, list):
            found[key] = Curve(spec, value, follows, "learning rate" if key == "lr" else key)
        else:
            elements = (Curve(spec, _element(value, n), follows, f"{key}[{n}]") for n in range(len(now)))
            found |= {each.unit: each for each in elements if len({*each.values(each.points(each.end))}) > 1}
    return found


def _element(value: Callable[[int], Any], index: int) -> Callable[[int], Any]:
    return lambda t: value(t)[index]


def point(clock: Clock, text: str) -> int:
    """The update at a quantity as the command line gives it: `2000`, `10T tokens`.

    Raises:
        ValueError: it is not a quantity, or the spec does not say what converts it.
        OpenError: what converts it is left to the trainer.
    """
    bare = text.strip().replace("_", "").replace(",", "")
    return clock.at(quantity(int(bare)) if bare.isdigit() else quantity(text)).update


def places(clock: Clock, t: int) -> dict[str, Any]:
    """What the updates before t consumed, in every unit that is known."""
    found = {unit.value: clock.consumed(t, unit) for unit in units(clock)}
    return {"update": t, **{unit: _plain(amount) for unit, amount in found.items() if amount is not None}}


def units(clock: Clock) -> list[Unit]:
    """The units besides updates that are known of the whole run."""
    return [unit for unit in COUNTED if clock.consumed(1, unit) is not None]


def _plain(amount: Fraction) -> int | float:
    return int(amount) if amount.denominator == 1 else float(amount)


def short(amount: Fraction | int | None) -> str:
    """A number for a table: whole below a million, then four digits with k, M, B or T."""
    if amount is None:
        return ""
    for size, suffix in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if amount >= size:
            return f"{float(Fraction(amount) / size):.4g}{suffix}"
    return f"{int(amount):,}" if Fraction(amount).denominator == 1 else f"{float(amount):.4g}"


@dataclass(frozen=True)
class Stretch:
    """A phase, or a stage of the batch, as a row: what it is of, its name, its first and its last update."""

    of: str
    name: str
    begin: int
    end: int | None
    levels: str = ""


def stretches(spec: Spec) -> Iterator[Stretch]:
    """The phases of the schedule and of every scheduled hyperparameter, and the stages of the batch."""
    if isinstance(spec.scheduler, Timeline):
        yield from _phases("lr", spec.scheduler)
    elif spec.scheduler is not None:
        yield from _of_component(spec.scheduler)
    parts = [("", spec.optimizer.settings)]
    for rule in spec.groups:
        own = rule.optimizer.settings if rule.optimizer else {}
        parts.append((f" of '{rule}'", {**own, **rule.settings}))
    for where, settings in parts:
        for key, index, timeline in timelines(settings):
            yield from _phases(f"{key if index is None else f'{key}[{index}]'}{where}", timeline)
    stages = spec.clock.stages
    if len(stages) > 1:
        for stage, following in zip(stages, (*stages[1:], None), strict=True):
            yield Stretch("batch", stage.size.text, stage.begin, following.begin if following else None)


def _phases(of: str, timeline: Timeline) -> Iterator[Stretch]:
    for phase in timeline.phases:
        name = phase.component.name if phase.component else "warm-up"
        levels = [f"{word} {level.said}" for word, level in (("from", phase.start), ("to", phase.to)) if level]
        yield Stretch(of, name, phase.begin, phase.end, " ".join(levels))


def _of_component(component: Component) -> Iterator[Stretch]:
    settings = component.settings
    warmup = component.warmup_steps or settings.get("warmup_steps") or 0
    plugin: Any = component.registration.plugin
    end = settings.get(plugin.horizon) if plugin.horizon else None
    if warmup:
        start = f"from {component.warmup_from.said if component.warmup_from else 0} to 100%"
        yield Stretch("lr", "warm-up", 0, warmup, start)
    back = {name: settings[name] for name in plugin.traits.tail if settings.get(name)}
    if end is None or not back:
        yield Stretch("lr", component.name, warmup, end)
        return
    begin = max(warmup, end - max(back.values()))
    if begin > warmup:
        yield Stretch("lr", component.name, warmup, begin)
    yield Stretch("lr", f"{component.name}, {' and '.join(back)}", begin, end)


def first_and_last(spec: Spec, stretch: Stretch) -> list[str]:
    """The cells of a row: first and last update, and both in every unit that is known."""
    last = "open" if stretch.end is None else "none" if stretch.end == stretch.begin else f"{stretch.end - 1:,}"
    cells = [f"{stretch.begin:,}", last]
    for unit in units(spec.clock):
        ends = (spec.clock.consumed(t, unit) if t is not None else None for t in (stretch.begin, stretch.end))
        cells.append(" - ".join(short(amount) for amount in ends))
    return cells
