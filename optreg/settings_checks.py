"""Settings checks: a mapping with a name and settings, beside the plugin that the name leads to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from optreg.clock import FACTS, START, Clock, LackingError, OpenError, Point
from optreg.entries import Kind
from optreg.errors import Path, Position, Problem, UnknownPluginError, closest
from optreg.formulas import factor
from optreg.hyperparameters import complaints, counts, defaults, names, taken
from optreg.multipliers import WarmUpSettings, parts
from optreg.quantities import Quantity, Unit, is_meant, quantity
from optreg.records import OptimizerPlugin, Registration, SchedulePlugin
from optreg.registry import Registry
from optreg.remedies import CLASS_KEYS, for_class, for_unknown_key, placeholders
from optreg.spec import Component, Pairs, Phase, Timeline
from optreg.yaml_reader import FAULTY, Document

AnyPlugin = OptimizerPlugin | SchedulePlugin
AnyRegistration = Registration[OptimizerPlugin] | Registration[SchedulePlugin]


def found(
    document: Document, path: Path, kind: Kind, registry: Registry, data: Mapping[str, Any]
) -> tuple[AnyRegistration | None, list[Problem]]:
    """The plugin that a mapping at `path` names."""
    name = data.get("name")
    if name is FAULTY:
        return None, []
    foreign = next((key for key in CLASS_KEYS if key in data), None)
    if foreign is not None and "name" not in data:
        remedy = for_class(data[foreign], [entry.name for entry in registry.usable(kind)])
        message = f"'{foreign}' names a class, but a spec names a plugin; {remedy} and the hyperparameters beside it"
        return None, [document.problem((*path, foreign), message, key=True)]
    if "name" not in data and (typo := closest("name", data)):
        message = f"the {kind}'s 'name' is missing; did you mean it by '{typo}'?"
        return None, [document.problem((*path, typo), message, key=True)]
    if not isinstance(name, str):
        choices = ", ".join(entry.name for entry in registry.usable(kind))
        said = "must be a string" if "name" in data else "is missing"
        return None, [document.problem((*path, "name"), f"the {kind}'s 'name' {said}; choose from: {choices}")]
    try:
        return registry.optimizer(name) if kind is Kind.OPTIMIZER else registry.scheduler(name), []
    except UnknownPluginError as error:
        return None, [document.problem((*path, "name"), str(error))]


def without_placeholders(
    document: Document, path: Path, data: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The data without the values that are still to come, and a problem for each."""
    told = dict(placeholders(data))
    problems = [document.problem((*path, key), message) for key, message in told.items()]
    return {key: FAULTY if key in told else value for key, value in data.items()}, problems


def unknown_keys(
    document: Document, path: Path, owner: str, keys: Mapping[str, Any], known: Sequence[str], also: Iterable[str] = ()
) -> Iterator[Problem]:
    """Keys that the plugin `owner` does not have; those in `also` are proposed too."""
    for key in keys:
        if key not in known:
            remedy = for_unknown_key(key, keys[key], [*also, *known])
            remedy = "; it is a section of the spec, so write it at the beginning of a line" if key in FACTS else remedy
            message = f"{owner} has no parameter '{key}'{remedy}"
            yield document.problem((*path, key), message, key=True)


def wrong_values(
    document: Document,
    path: Path,
    owner: str,
    plugin: AnyPlugin,
    settings: Mapping[str, Any],
    inherited: Mapping[str, Any] | None = None,
) -> Iterator[Problem]:
    """What is wrong with the values of settings; given `inherited` ones, only what these settings cause.

    Of a setting that follows a schedule, each level is a value.
    """
    unknown = {key for key, value in settings.items() if is_unknown(value)}
    for part in parts(plugin):
        own = {key: settings[key] for key in names(part) if key in settings and key not in unknown}
        for key in unknown & {*names(part)}:
            if isinstance(settings[key], tuple) and not is_faulty(settings[key]):
                yield from _wrong_items(document, path, owner, part, key, settings[key])
        if inherited is not None and not own:
            continue
        above = inherited or {}
        values = {key: above[key] for key in names(part) if key in above and not is_unknown(above[key])} | own
        elsewhere = unknown if inherited is None else {*names(part)} - own.keys()
        told: set[str] = set()
        for standing_in, of in _levels(values):
            for complaint in complaints(part, standing_in, owner):
                if complaint.message in told or (complaint.path and complaint.path[0] in elsewhere):
                    continue
                told.add(complaint.message)
                level = of.get(complaint.path)
                if level is not None and level.where:
                    yield Problem(level.where, complaint.message + level.leads)
                elif level is not None:
                    yield document.problem((*path, *complaint.path), complaint.message + level.leads)
                elif complaint.path or not unknown:  # conditions on several values may hold when all are known
                    yield document.problem((*path, *complaint.path), complaint.message)


def _wrong_items(document: Document, path: Path, owner: str, part: type, key: str, value: Any) -> Iterator[Problem]:
    """What is wrong with a list in which quantities wait for facts, whatever these become."""
    waiting = {(key, index) for index, item in enumerate(value) if isinstance(item, Quantity)}
    standing_in = tuple(1 if isinstance(item, Quantity) else item for item in value)
    for complaint in complaints(part, {key: standing_in}, owner):
        if complaint.path[:1] == (key,) and complaint.path not in waiting:
            yield document.problem((*path, *complaint.path), complaint.message)


class _Reached(NamedTuple):
    """A value that a timeline goes through: its place, and what leads there if it is not written, in words."""

    value: float
    where: Position | None
    leads: str = ""


def _levels(values: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[Path, _Reached]]]:
    """The settings with numbers for timelines, once for every level of each; and what each such number is."""
    timelines: dict[Path, Timeline] = {}
    for key, value in values.items():
        if isinstance(value, Timeline):
            timelines[(key,)] = value
        elif isinstance(value, tuple):
            timelines |= {(key, i): item for i, item in enumerate(value) if isinstance(item, Timeline)}
    reached = {path: [*_reached(timeline)] for path, timeline in timelines.items()}
    first = {path: levels[0] for path, levels in reached.items()}
    yield _standing_in(values, first), first
    for path, levels in reached.items():
        for level in levels[1:]:
            yield _standing_in(values, {**first, path: level}), {path: level}


def _reached(timeline: Timeline) -> Iterator[_Reached]:
    """The levels of a timeline, in order; also where a schedule leads that has none to go to, as far as it is known."""
    level: float | None = None
    for phase in timeline.phases:
        for stated in (phase.start, phase.to):
            if stated is not None:
                level = stated.of(timeline.base)
                yield _Reached(level * timeline.factor, stated.where)
        if phase.component is None or phase.to is not None or level is None:
            continue
        values = [level * multiple for multiple in _multiples(phase, phase.component)]
        plugin: Any = phase.component.registration.plugin
        remedy = "choose another 'from', or another schedule" if plugin.traits.levels is None else "add 'to'"
        leads = f", where {phase.component.name} leads; {remedy}"
        yield from (_Reached(value * timeline.factor, phase.where, leads) for value in values)
        level = values[-1] if values else None


def _multiples(phase: Phase, component: Component) -> list[float]:
    """The values of a schedule at its peak and where its phase ends, as multiples of the first; none if not known."""
    plugin, settings = component.registration.plugin, component.settings
    if not isinstance(plugin, SchedulePlugin) or any(map(is_unknown, settings.values())):
        return []
    lasts = None if phase.end is None else phase.end - phase.begin
    peak = settings.get(plugin.traits.peak) if plugin.traits.peak else None
    first = factor(plugin, settings, 0)
    ends = [peak if lasts is None or peak is None else min(peak, lasts), lasts]
    values = [factor(plugin, settings, t) for t in ends if t is not None]
    return [value / first for value in values if value is not None] if first else []


def _standing_in(values: Mapping[str, Any], levels: Mapping[Path, _Reached]) -> dict[str, Any]:
    settings = dict(values)
    for path, level in levels.items():
        key = str(path[0])
        if len(path) == 1:
            settings[key] = level.value
        else:
            settings[key] = tuple(level.value if i == path[1] else item for i, item in enumerate(settings[key]))
    return settings


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of the run that a schedule covers; None for an end that is not known."""

    begin: Point | None = START
    end: Point | None = None


def counted(
    document: Document,
    path: Path,
    owner: str,
    plugin: AnyPlugin,
    settings: Mapping[str, Any],
    clock: Clock,
    span: Span = Span(),
) -> tuple[dict[str, Any], list[Problem]]:
    """The settings with numbers of updates for quantities; what needs a fact that is left open stays as it is.

    Quantities are counted from the beginning of the span, and those of `ScheduleTraits.tail` back from its end.
    """
    fields = {name: listed for part in parts(plugin) for name, listed in counts(part).items()}
    tail: tuple[str, ...] = ()
    if isinstance(plugin, SchedulePlugin):
        fields = dict.fromkeys(filter(None, (plugin.horizon, plugin.traits.peak)), False) | fields
        tail = plugin.traits.tail
    converted: dict[str, Any] = {}
    problems: list[Problem] = []

    def updates(place: Path, key: str, value: Any) -> Any:
        if not is_meant(value):
            return value  # for others to judge
        try:
            length, point = quantity(value), span.end if key in tail else span.begin
            if length.unit is Unit.STEPS:
                return int(length.amount)
            if point is None:
                clock.at(length)  # tells if nothing converts it, wherever it stands
                return length
            return clock.back_from(point, length) if key in tail else clock.between(point, length)
        except OpenError:
            return length
        except LackingError as error:
            problems.append(document.problem(place, f"{owner}: {error}"))
            return FAULTY
        except ValueError as error:
            problems.append(document.problem(place, f"{owner}: {key} {error}"))
            return FAULTY

    for key, value in settings.items():
        place = (*path, key)
        if key not in fields or fields[key] != isinstance(value, tuple):
            converted[key] = value
        elif isinstance(value, tuple):
            converted[key] = tuple(updates((*place, index), key, item) for index, item in enumerate(value))
        else:
            converted[key] = updates(place, key, value)
    return converted, problems


def last_point(plugin: SchedulePlugin, settings: Mapping[str, Any], clock: Clock) -> Point | None:
    """Where a schedule that begins with the run ends, as its settings state it; None if that is not known, or wrong."""
    try:
        return clock.at(quantity(settings[plugin.horizon])) if plugin.horizon and plugin.horizon in settings else None
    except (OpenError, ValueError):
        return None


def own_names(plugin: AnyPlugin) -> list[str]:
    """The names of a component's settings, as declared."""
    return [name for part in parts(plugin) for name in names(part)]


def in_form(plugin: AnyPlugin, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings in the form that their types ask for."""
    for part in parts(plugin):
        settings = taken(part, settings)
    return settings


def complete(plugin: AnyPlugin, settings: Mapping[str, Any]) -> Pairs:
    """The plugin's own settings with their defaults; a warm-up before a schedule is not one."""
    own = [part for part in parts(plugin) if part is not WarmUpSettings]
    everything = {**{key: value for part in own for key, value in defaults(part).items()}, **settings}
    return tuple((name, everything[name]) for part in own for name in names(part) if name in everything)


def is_faulty(value: Any) -> bool:
    """Whether a value, or an item of it, could not be read; that was told already."""
    if isinstance(value, tuple):
        return any(is_faulty(item) for item in value)
    return value is FAULTY


def is_unknown(value: Any) -> bool:
    """Whether a value cannot be judged: it is faulty, or a quantity that needs what only the trainer knows."""
    if isinstance(value, tuple):
        return any(is_unknown(item) for item in value)
    return value is FAULTY or isinstance(value, Quantity)
