"""Phases: schedules one after another, as one function of the step."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from optreg.errors import PluginError
from optreg.protocols import Schedule
from optreg.spec import Component, Phase, Timeline


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the curve, as a function of the steps s since its beginning.

        to is None    scale g(s)
        otherwise     start h(s) + to (1 - h(s)) with h(s) = (g(s) - g(n)) / (g(0) - g(n))

    where g is the schedule's own curve and n its length. At s = 0 and s = n the values are `start` and `to` exactly.

    Args:
        begin: its first update.
        schedule: g; None for a straight line from `start` to `to` over n steps.
        start: the value at s = 0.
        to: the value at s = n, if it is given.
        steps: how many updates it lasts, at most n; None if it is open.
        length: n, if `to` is given.
        scale: what multiplies g.
        first: g(0).
        last: g(n); 0 if there is no `to`.
    """

    begin: int
    schedule: Schedule | None
    start: float
    to: float | None = None
    steps: int | None = None
    length: int = 0
    scale: float = 1.0
    first: float = 1.0
    last: float = 0.0

    def __call__(self, s: int) -> float:
        """The value after s steps."""
        to = self.to
        if s == 0:
            return self.start
        if s == self.length and to is not None:
            return to
        if to is None:
            assert self.schedule is not None
            return self.scale * self.schedule(s)
        if self.schedule is None:
            part = s / self.length
            return self.start * (1 - part) + to * part
        weight = self.schedule(s)
        if self.first != 1 or self.last != 0:
            weight = (weight - self.last) / (self.first - self.last)
        value = self.start * weight + to * (1 - weight)
        low, high = (to, self.start) if to < self.start else (self.start, to)
        return min(max(value, low), high)  # rounding may carry it past its ends

    @property
    def final(self) -> float:
        """The value where it ends, and ever after if it is the last."""
        assert self.steps is not None
        return self(self.steps)


@dataclass(frozen=True)
class Phases:
    """The pieces as one closed form of one integer: update t belongs to the last piece that begins at or before it.

    Args:
        pieces: at least one; the first begins at 0, each of the others where the one before ends.
        settings: what the phases were made of, as plain data, for checkpoints and messages.
    """

    pieces: tuple[Piece, ...]
    settings: tuple[Any, ...] = field(repr=False)
    _begins: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _end: float = field(init=False, repr=False, compare=False)
    _final: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        last = self.pieces[-1]
        object.__setattr__(self, "_begins", tuple(piece.begin for piece in self.pieces))
        object.__setattr__(self, "_end", float("inf") if last.steps is None else last.begin + last.steps)
        object.__setattr__(self, "_final", 0.0 if last.steps is None else last.final)

    def __call__(self, step: int) -> float:
        """The value of update `step`."""
        if step >= self._end:
            return self._final
        piece = self.pieces[bisect_right(self._begins, step) - 1]
        return piece(step - piece.begin)

    @property
    def joints(self) -> tuple[int, ...]:
        """The first updates of all pieces but the first, and the end if there is one."""
        ends = () if self.pieces[-1].steps is None else (int(self._end),)
        return tuple(dict.fromkeys((*self._begins[1:], *ends)))

    @property
    def parameters(self) -> dict[str, Any]:
        """The phases as plain data."""
        return {"name": "phases", "phases": [dict(each) for each in self.settings]}


def phases(timeline: Timeline, make: Callable[[Component], Schedule]) -> Phases:
    """The function of a timeline.

    Args:
        timeline: closed; what is open in it must have been given.
        make: makes the schedule of a component.

    Raises:
        PluginError: a schedule cannot go from one level to another.
    """
    base = timeline.base
    pieces: list[Piece] = []
    level: float | None = None
    for phase in timeline.phases:
        start = level if phase.start is None else phase.start.of(base)
        to = None if phase.to is None else phase.to.of(base)
        piece = _piece(phase, make, start, to, base)
        if piece.steps == 0:
            level = piece.start if to is None or phase.whole else to
            piece = Piece(phase.begin, None, level, level, 0)
        if piece.steps != 0 or phase is timeline.phases[-1]:
            pieces.append(piece)
        level = None if piece.steps is None else piece.final
    made = tuple(_scaled(piece, timeline.factor) for piece in pieces)
    return Phases(made, tuple(_settings(phase, timeline.factor) for phase in timeline.phases))


def _piece(
    phase: Phase, make: Callable[[Component], Schedule], start: float | None, to: float | None, base: float
) -> Piece:
    """The piece of a phase; `start` is None for the first, which begins as its schedule does alone."""
    lasts, begin = None if phase.end is None else phase.end - phase.begin, phase.begin
    if phase.component is None:
        assert start is not None
        return Piece(begin, None, start, to, lasts, phase.steps or 0)
    schedule = make(phase.component)
    first = schedule(0)
    if to is not None:
        assert phase.steps is not None
        last = schedule(phase.steps)
        if first == last:
            raise PluginError(_still(phase.component.name, first))
        start = first * base if start is None else start
        return Piece(begin, schedule, start, to, lasts, phase.steps, 1.0, first, last)
    if start is None:
        return Piece(begin, schedule, first * base, None, lasts, 0, base, first)
    if first == 0:
        raise PluginError(_from_nothing(phase.component.name))
    return Piece(begin, schedule, start, None, lasts, 0, start / first, first)


def _still(name: str, level: float) -> str:
    return f"{name} begins and ends at {level:g} over this length, so that it cannot go from one level to another"


def _from_nothing(name: str) -> str:
    return f"{name} begins at 0, so that it cannot go on from another level"


def _scaled(piece: Piece, factor: float) -> Piece:
    """A piece with every value multiplied."""
    if factor == 1:
        return piece
    to = None if piece.to is None else piece.to * factor
    return replace(piece, start=piece.start * factor, to=to, scale=piece.scale * factor)


def _settings(phase: Phase, factor: float) -> tuple[tuple[str, Any], ...]:
    """A phase as pairs of plain data, its lengths in updates."""
    stated = phase.as_dict() if phase.component else {"name": "warm-up"}
    levels = {key: level.said for key, level in (("from", phase.start), ("to", phase.to)) if level is not None}
    own = {key: value for key, value in stated.items() if key not in {"name", "for", "until", "warmup_steps"}}
    if phase.whole and phase.end_name:
        own[phase.end_name] = phase.steps
    scale = {"factor": factor} if factor != 1 else {}
    return (*{"name": stated["name"], "begin": phase.begin, "end": phase.end, **levels, **own, **scale}.items(),)
