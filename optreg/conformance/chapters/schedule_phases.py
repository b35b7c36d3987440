"""Schedule phases: what a schedule promises as one phase of several, begun later and at another level."""

import math
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

from optreg.conformance.catalogue import check
from optreg.conformance.harness.schedule_corners import BEYOND, corners_for
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.conformance.subjects.schedule_settings import span
from optreg.conformance.subjects.settings import fits, in_words
from optreg.conformance.subjects.subject import ScheduleSubject
from optreg.hyperparameters import names
from optreg.phases import Phases, phases
from optreg.spec import Component, Level, Phase, Timeline

LENGTHS = (1, 2, 7, 20)
"""How many updates a phase takes here, if its schedule has an end."""

BEGIN, LEVEL = 5, 0.37
"""Where it begins, and the multiplier there."""


def _unless_it_can_be_a_phase(subject: ScheduleSubject) -> str | None:
    """The condition that a spec can name it as a phase."""
    if not subject.registered:
        return "it is not a registered plugin"
    return None if subject.pure else "it is an LRScheduler, and only a function of the step can be a phase"


def _unless_it_declares_levels(subject: ScheduleSubject) -> str | None:
    """The condition that a phase of it can say `to`."""
    reason = _unless_it_can_be_a_phase(subject)
    return reason or (None if subject.traits.levels is not None else "it declares no levels")


@check(
    "W01",
    formula=True,
    still=True,
    needs=_unless_it_can_be_a_phase,
    hint="the schedule has no value at its last step, or needs more steps than a phase may have",
)
def check_a_later_beginning(subject: ScheduleSubject) -> None:
    """Begun later and at another level, over 1, 2, 7 and 20 steps, it follows its formula, scaled, to its last step."""
    for settings, steps in _settings(subject):
        first = subject.formula(settings, 0)
        curve, begin, scale = _as_a_phase(subject, settings, later=first != 0)
        scale = scale / first if first else 1.0
        formula = [scale * subject.formula(settings, s) for s in range(steps + 1)]
        most = max(map(abs, formula))
        for s, expected in enumerate(formula):
            value = curve(begin + s)
            what = f"the multiplier {s} steps after its beginning under {in_words(settings)}"
            subject.assert_true(math.isfinite(value), f"{what} is {value}", step=begin + s)
            bound = SCHEDULE_RTOL * abs(expected) + SCHEDULE_ATOL * most
            subject.assert_close(value, expected, bound, what, step=begin + s)


@check(
    "W02",
    still=True,
    needs=_unless_it_declares_levels,
    hint="the curve rises and falls; leave `levels` undeclared, so that a phase of it cannot say `to`",
)
def check_it_does_not_turn_back(subject: ScheduleSubject) -> None:
    """A curve that is declared to go from one level to another never turns back on its way."""
    for settings, steps in _settings(subject):
        curve = _curve(subject, settings, steps)
        up = 1 if curve[-1] >= curve[0] else -1
        slack = SCHEDULE_RTOL * max(map(abs, curve))
        whole = f"under {in_words(settings)} it goes from {curve[0]!r} to {curve[-1]!r}"
        for s, (before, after) in enumerate(pairwise(curve)):
            turns = f"{whole}, but on its way from {before!r} to {after!r}"
            subject.assert_true(up * (after - before) >= -slack, turns, step=s + 1)


@check(
    "W03",
    still=True,
    needs=_unless_it_declares_levels,
    hint="a declared level changes the shape of the curve too; leave it out of `levels`",
)
def check_its_levels_set_levels_alone(subject: ScheduleSubject) -> None:
    """Other values of the declared levels change the curve by a linear map alone: a phase can choose its own."""
    levels = [name for name in subject.traits.levels or () if name in names(subject.reference)]
    seen: list[dict[str, Any]] = []
    for settings, steps in _settings(subject):
        others = {name: value for name, value in settings.items() if name not in levels}
        if others in seen:
            continue
        seen.append(others)
        choices = [
            {**others, **dict(zip(levels, values, strict=True))} for values in product(VALUES, repeat=len(levels))
        ]
        curves = {in_words(each): _curve(subject, each, steps) for each in choices if fits(subject.reference, each)}
        widest = max(curves.values(), key=lambda curve: abs(curve[0] - curve[-1]), default=[0.0])
        height = widest[0] - widest[-1]
        for said, curve in curves.items():
            for s, value in enumerate(curve):
                part = (widest[s] - widest[-1]) / height if height else 0.0
                expected = curve[-1] + (curve[0] - curve[-1]) * part
                bound = SCHEDULE_RTOL * max(map(abs, curve))
                subject.assert_close(
                    value, expected, bound, f"the multiplier under {said}", step=s, of="a linear map of it"
                )
    subject.assert_true(seen, "no settings")


VALUES = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Levels, as far as their ranges allow."""


@check(
    "W04",
    still=True,
    needs=_unless_it_declares_levels,
    hint="`ScheduleTraits.levels` names the hyperparameters that set the last level, or the first and the last",
)
def check_its_levels_are_hyperparameters(subject: ScheduleSubject) -> None:
    """Each declared level is a hyperparameter, and there are at most two: of the first level and of the last."""
    levels = subject.traits.levels or ()
    for level in levels:
        subject.assert_true(level in names(subject.reference), f"there is no hyperparameter '{level}'")
    subject.assert_true(len({*levels}) == len(levels) <= 2, f"{len(levels)} levels are declared: {', '.join(levels)}")


def _settings(subject: ScheduleSubject) -> Iterator[tuple[dict[str, Any], int]]:
    """Settings at every corner, and the steps to follow each: over each of LENGTHS, if there is an end."""
    end = subject.traits.end if subject.traits.end in names(subject.reference) else None
    seen: list[dict[str, Any]] = []
    for settings in corners_for(subject):
        for length in LENGTHS if end else [span(settings) + BEYOND]:
            each = {**settings, end: length} if end else settings
            if each not in seen and fits(subject.reference, each):
                seen.append(each)
                yield each, length


def _curve(subject: ScheduleSubject, settings: dict[str, Any], steps: int) -> list[float]:
    """The multipliers from the first step to the last."""
    schedule = subject.implementation(**subject.own_arguments(settings))
    return [float(schedule(s)) for s in range(steps + 1)]


def _as_a_phase(subject: ScheduleSubject, settings: dict[str, Any], *, later: bool) -> tuple[Phases, int, float]:
    """It as a phase without an end, after one that holds LEVEL if it begins later; where it begins, and the level."""
    assert subject.registration
    component = Component(subject.name, subject.registration, tuple(settings.items()))
    level = Level(LEVEL, True, LEVEL)
    before = [Phase(0, BEGIN, level, level)] if later else []
    timeline = Timeline((*before, Phase(BEGIN if later else 0, None, component=component)))
    made = phases(timeline, lambda each: subject.implementation(**subject.own_arguments(each.settings)))
    return made, *((BEGIN, LEVEL) if later else (0, 1.0))
