"""Phase sections: lists of phases in a document become timelines, of the rates or of one hyperparameter."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from optreg.clock import START, Clock, LackingError, OpenError, Point
from optreg.entries import Kind
from optreg.errors import Path, Problem
from optreg.formulas import factor
from optreg.hyperparameters import complaints, defaults, names
from optreg.level_sections import level
from optreg.quantities import Quantity, Unit, quantity
from optreg.records import Registration, SchedulePlugin
from optreg.registry import Registry
from optreg.settings_checks import (
    Span,
    complete,
    counted,
    found,
    in_form,
    is_faulty,
    own_names,
    unknown_keys,
    without_placeholders,
    wrong_values,
)
from optreg.spec import Component, Level, Phase, Timeline, quantities
from optreg.yaml_reader import FAULTY, Document

LENGTHS = ("for", "until")
KEYS = ("name", *LENGTHS, "from", "to", "warmup_steps")
"""What a phase may state besides the settings of its schedule."""

_INSTEAD = {
    "warmup_from": "write the rise as a phase of its own, such as {name: linear, from: 1%, for: 1000, to: 100%}",
    "convention": "it is for a schedule by itself; in a list, phases of 'linear' count as optreg does",
}
"""What a schedule by itself may state, and a phase may not, with what to write instead."""


@dataclass(frozen=True)
class Driven:
    """What a timeline drives.

    Args:
        name: in messages: `lr`, `weight_decay`, `betas[0]`.
        base: for multipliers of every group's rate, the optimizer's own rate, or 0 if it has none; None for a
            hyperparameter, whose first level is the base.
    """

    name: str
    base: float | None = None


def are_phases(value: Any) -> bool:
    """Whether the value of a section is a list of phases, or a single one."""
    return isinstance(value, tuple) or (isinstance(value, dict) and bool({*LENGTHS, "from", "to"} & value.keys()))


def timeline(
    document: Document, path: Path, value: Any, registry: Registry, clock: Clock, driven: Driven
) -> tuple[Timeline | None, list[Problem]]:
    """The timeline of a phase or of a list of phases."""
    items = value if isinstance(value, tuple) else (value,)
    if not items:
        return None, [document.problem(path, "the list has no phase; begin with '- name: ...'")]
    reader = _Reader(document, registry, clock, driven, len(items))
    for index, item in enumerate(items):
        place: Path = (*path, index) if isinstance(value, tuple) else path
        if isinstance(item, dict):
            reader.read(place, item)
        elif item is not FAULTY:
            reader.problems.append(document.problem(place, "a phase is a mapping: 'name: ...' and 'for: ...'"))
            reader.ended = None
    if reader.problems or not reader.phases or any(is_faulty(item) for item in items):
        return None, reader.problems
    return Timeline(tuple(reader.phases), reader.base, open=frozenset(reader.open)), []


class _Reader:
    """Reads phases one after another."""

    def __init__(self, document: Document, registry: Registry, clock: Clock, driven: Driven, count: int) -> None:
        self.document, self.registry, self.clock, self.driven, self.count = document, registry, clock, driven, count
        self.base: float = 1.0
        self.phases: list[Phase] = []
        self.problems: list[Problem] = []
        self.open: set[str] = set()
        self.ended: Point | None = START
        """Where the phases so far end; None if that is not known."""
        self.number = 0
        self.endless = False
        """Whether the last phase read is open although its schedule may have an end."""

    @property
    def relative(self) -> bool:
        """Whether values are shares of each group's rate."""
        return self.driven.base is not None

    def problem(self, path: Path, message: str, *, key: bool = False) -> None:
        self.problems.append(self.document.problem(path, message, key=key))

    def read(self, path: Path, item: Mapping[str, Any]) -> None:
        """Read one phase."""
        self.number += 1
        known = len(self.problems)
        data, unset = without_placeholders(self.document, path, item)
        self.problems += unset
        registration, problems = found(self.document, path, Kind.SCHEDULER, self.registry, data)
        self.problems += problems
        if registration is None or not isinstance(registration.plugin, SchedulePlugin):
            self.ended = None
            return
        plugin, name = registration.plugin, str(data["name"])
        if plugin.traits.pure is False:
            message = f"{name} cannot be a phase: it is an LRScheduler, and only a function of the step can be one"
            self.problem((*path, "name"), message)
            self.ended = None
            return
        with registration.entry.naming():
            self._read(path, self._without_nulls(path, data, plugin), registration, plugin, name, known)

    def _without_nulls(self, path: Path, data: dict[str, Any], plugin: SchedulePlugin) -> dict[str, Any]:
        """The data without values that are empty, of what every phase may state; a problem is told for each."""
        empty = [key for key in (*KEYS, plugin.horizon) if key in data and data[key] is None]
        for key in empty:
            self.problem((*path, key), f"'{key}' has no value; write one, or leave '{key}' out")
        return {key: FAULTY if key in empty else value for key, value in data.items()}

    def _read(
        self,
        path: Path,
        data: Mapping[str, Any],
        registration: Registration[Any],
        plugin: SchedulePlugin,
        name: str,
        known: int,
    ) -> None:
        begin = self.ended
        warmup, line_end = self._warmup(path, data, plugin, name)
        start = self._level(path, "from", data.get("from"))
        to = self._level(path, "to", data.get("to")) if _goes_to_levels(plugin) else None
        start = self._start(path, data, start, warmup, name)
        self._refuse_levels(path, data, plugin, name)
        length, end = self._length(path, data, plugin, name)
        whole, curve_end = self._whole(path, data, plugin, length, end)
        self.ended = end
        first = begin if warmup is None else line_end
        own = self._own(path, data, plugin, name, Span(first, curve_end))
        steps = None if first is None or curve_end is None else curve_end.update - first.update
        overlap = begin is not None and first is not None and end is not None and end.update < first.update
        if overlap:
            self._tell_overlap(path, data, plugin, begin, first, end)  # type: ignore[arg-type]  # they are known
        if plugin.horizon and (steps is not None or not self.endless):
            own[plugin.horizon] = _NOT_KNOWN if steps is None or overlap else max(steps, 1)
        self.problems += wrong_values(self.document, path, name, plugin, own)
        if len(self.problems) > known:
            return
        component = Component(name, registration, complete(plugin, own), where=self.document.where((*path, "name")))
        if steps is not None and not any(isinstance(value, Quantity) for value in own.values()):
            self._check_levels(path, component, plugin, start, to, steps)
        where = self.document.where(path)
        at = begin.update if begin else 0
        if warmup is not None:
            rising = Level(0.0, False, 0) if self.number == 1 else None
            ends = line_end.update if line_end else None
            self.phases.append(Phase(at, ends, rising, start or Level(1.0, True, "100%"), where=where))
            at = ends or 0
        closed = end.update if end and (length or plugin.horizon) else None
        self.phases.append(Phase(at, closed, start, to, component, length, warmup, whole, where))

    def _whole(
        self,
        path: Path,
        data: Mapping[str, Any],
        plugin: SchedulePlugin,
        length: tuple[str, Quantity] | None,
        end: Point | None,
    ) -> tuple[Quantity | None, Point | None]:
        """The length of the whole curve, if the phase is a part of it, and where the curve would end."""
        stated = plugin.horizon and data.get(plugin.horizon) not in (None, FAULTY)
        if not stated or not any(data.get(key) is not None for key in LENGTHS):
            return None, end
        return self._point((*path, str(plugin.horizon)), f"'{plugin.horizon}'", data[str(plugin.horizon)], "for")

    def _own(
        self, path: Path, data: Mapping[str, Any], plugin: SchedulePlugin, name: str, span: Span
    ) -> dict[str, Any]:
        """The settings of the schedule itself."""
        elsewhere = {*KEYS} - {*names(plugin.reference)} | {"name", plugin.horizon}
        kept = {key: value for key, value in data.items() if key not in elsewhere}
        for key, instead in _INSTEAD.items():
            if key in kept and key not in own_names(plugin):
                self.problem((*path, key), f"a phase has no '{key}'; {instead}", key=True)
                del kept[key]
        settings, problems = counted(self.document, path, name, plugin, in_form(plugin, kept), self.clock, span)
        levels = plugin.traits.levels or ()
        known = [key for key in own_names(plugin) if key not in levels]
        others = {key: value for key, value in settings.items() if key not in levels}
        also = [key for key in KEYS[1:] if key not in known]
        self.problems += [*problems, *unknown_keys(self.document, path, name, others, known, also)]
        self.open |= {self.clock.lacks(length) for length in quantities(settings.values())} - {""}
        return _stand_ins(plugin) | {key: value for key, value in settings.items() if key in own_names(plugin)}

    def _refuse_levels(self, path: Path, data: Mapping[str, Any], plugin: SchedulePlugin, name: str) -> None:
        """Tell what has its place in `from` and `to`, and levels for a curve that does not take them."""
        for key in plugin.traits.levels or ():
            if key in data:
                message = f"in a phase, 'from' and 'to' take the place of {name}'s '{key}'"
                self.problem((*path, key), f"{message}; write for example 'to: 10%'", key=True)
        if "to" in data and not _goes_to_levels(plugin):
            reason = "it has no end" if not plugin.horizon else "its plugin does not declare that it goes to a level"
            self.problem((*path, "to"), f"{name} cannot be told where to go: {reason}; leave 'to' out", key=True)

    def _warmup(
        self, path: Path, data: Mapping[str, Any], plugin: SchedulePlugin, name: str
    ) -> tuple[Quantity | None, Point | None]:
        """The warm-up of a phase, and where it ends."""
        value = data.get("warmup_steps")
        if value is None or value is FAULTY or not plugin.takes_warmup:
            return None, None
        return self._point((*path, "warmup_steps"), "'warmup_steps'", value, "for")

    def _start(
        self, path: Path, data: Mapping[str, Any], start: Level | None, warmup: Quantity | None, name: str
    ) -> Level | None:
        """The level that the schedule begins at, after the warm-up; None for where the last phase ended."""
        if self.number > 1:
            if warmup is not None and "from" not in data:
                message = f"{name} warms up to a level that is not stated; add 'from'"
                self.problem((*path, "warmup_steps"), message, key=True)
            return start
        if self.relative:
            return start
        if start is None and "from" not in data:
            message = f"the first phase of {self.driven.name} has no value to begin at; add 'from: ...'"
            self.problem(path, message)
        elif start is not None and start.is_share:
            message = f"'from' is {start.said} of a value that is not stated; write the value of {self.driven.name}"
            self.problem((*path, "from"), message)
        elif start is not None:
            self.base = start.value
        return start

    def _level(self, path: Path, key: str, value: Any) -> Level | None:
        """A value or a share: `2.2e-5`, `10%`."""
        if value is None or value is FAULTY:
            return None
        place = (*path, key)
        read, problems = level(self.document, place, value, self.driven.base)
        self.problems += problems
        if read and read.is_share and not self.relative and self.number > 1 and self.base == 0:
            self.problem(place, f"'{key}' is {read.said} of 0, where {self.driven.name} begins; write the value")
        return read

    def _length(
        self, path: Path, data: Mapping[str, Any], plugin: SchedulePlugin, name: str
    ) -> tuple[tuple[str, Quantity] | None, Point | None]:
        """How far a phase reaches, as written, and where it ends."""
        stated = [key for key in LENGTHS if data.get(key) is not None]
        if not stated and plugin.horizon and data.get(plugin.horizon) is not None:
            stated = [plugin.horizon]
        if len(stated) > 1:
            message = f"a phase states its length once, but this one has {' and '.join(map(repr, stated))}"
            self.problem((*path, stated[1]), message, key=True)
            return None, None
        if stated and data[stated[0]] is not FAULTY:
            key = "until" if stated[0] == "until" else "for"
            length, end = self._point((*path, stated[0]), f"'{stated[0]}'", data[stated[0]], key)
            return ((key, length) if length else None), end
        if stated or self.ended is None:
            return None, None
        if self.number < self.count:
            message = f"only the last phase may be open; say how long {name} lasts, such as 'for: 1000 steps'"
            self.problem(path, f"{message} or 'until: 10T tokens'")
            return None, None
        if not plugin.horizon:
            return None, None
        try:
            end = None if "horizon" not in self.clock.open and self.clock.horizon is None else self.clock.at(_WHOLE)
        except OpenError as error:
            self.open.add(error.fact)
            return None, None
        except ValueError as error:
            self.problem(path, str(error))
            return None, None
        self.endless = end is None and defaults(plugin.reference).get(plugin.horizon, FAULTY) is None
        if end is None and not self.endless:
            message = f"{name} needs a length; add 'for: 1000 steps', 'until: 10T tokens', or the section 'horizon'"
            self.problem(path, message)
        return None, end

    def _point(self, path: Path, what: str, value: Any, key: str) -> tuple[Quantity | None, Point | None]:
        """A quantity, and the point of the run that it leads to."""
        try:
            length = quantity(value)
        except ValueError as error:
            self.problem(path, f"{what} {error}")
            return None, None
        try:
            if key == "until":
                return length, self.clock.at(length)
            end = self.clock.after(self.ended or START, length)
            return length, end if self.ended else None
        except OpenError as error:
            self.open.add(error.fact)
        except LackingError as error:
            self.problem(path, str(error))
        return length, None

    def _tell_overlap(
        self, path: Path, data: Mapping[str, Any], plugin: SchedulePlugin, begin: Point, first: Point, end: Point
    ) -> None:
        key = next((key for key in (*LENGTHS, plugin.horizon) if key and key in data), None)
        if end.update >= begin.update:
            message = f"the warm-up lasts until update {first.update:,}, but the phase ends at update {end.update:,}"
            self.problem((*path, "warmup_steps"), f"{message}; make the phase longer, or the warm-up shorter")
            return
        where = f"update {end.update:,}, but the phase begins at update {begin.update:,}"
        if key:
            message = f"'{key}' leads to {where}; 'until' is counted from the beginning of the run"
            self.problem((*path, key), message)
        else:
            message = f"the phase lasts to the end of the run, {where}; make the run longer, or leave the phase out"
            self.problem(path, message)

    def _check_levels(
        self, path: Path, component: Component, plugin: SchedulePlugin, start: Level | None, to: Level | None, n: int
    ) -> None:
        """Tell if the schedule cannot begin at the level, or go to it, by its formula."""
        settings = component.settings
        first = factor(plugin, settings, 0)
        if to is not None and n and first is not None and first == factor(plugin, settings, n):
            message = (
                f"{component.name} begins and ends at {first:g} with these settings, so that it cannot go to a level"
            )
            self.problem((*path, "to"), f"{message}; leave 'to' out", key=True)
        elif to is None and first == 0 and (self.number > 1 or start is not None):
            message = f"{component.name} begins at 0, so that it cannot go on from another level"
            remedy = "add 'to'" if plugin.traits.levels is not None else "choose a schedule that begins at its level"
            self.problem(path, f"{message}; {remedy}")


def _stand_ins(plugin: SchedulePlugin) -> dict[str, Any]:
    """Values for the levels that have no default: whatever they are, the curve is mapped to the phase's own levels."""
    levels = plugin.traits.levels or ()
    first_and_last = dict(zip(reversed(levels), (0.0, 1.0), strict=False))
    given = {key: value for key, value in first_and_last.items() if key not in defaults(plugin.reference)}
    faults = {complaint.path[:1] for complaint in complaints(plugin.reference, given, plugin.name)}
    return {key: 0.5 if (key,) in faults else value for key, value in given.items()}


def _goes_to_levels(plugin: SchedulePlugin) -> bool:
    """Whether a phase of the schedule can say `to`."""
    return plugin.traits.levels is not None and bool(plugin.horizon)


_NOT_KNOWN = Quantity(Fraction(0), Unit.STEPS, 0)
_WHOLE = Quantity(Fraction(100), Unit.SHARE, "100%")
