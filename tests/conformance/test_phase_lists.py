"""Lists of phases pass the suite, as one schedule: by the formulas of their schedules, and after every resume."""

import itertools
import random
from dataclasses import make_dataclass
from typing import Annotated

import pytest
from annotated_types import Ge, Le

import optreg
from optreg.conformance import Status, Target, Tier, checks
from optreg.conformance.catalogue import of_tier
from optreg.conformance.running.check import judge_subject
from optreg.conformance.subjects.subject import ScheduleSubject
from optreg.entries import Kind
from optreg.multipliers import curve

LISTS = {
    "DeepSeek-V3 in 60 updates": [
        {"name": "linear", "from": 0, "for": 8, "to": "100%"},
        {"name": "constant", "until": 30},
        {"name": "cosine", "for": 20, "to": "10%"},
        {"name": "constant", "for": 6},
        {"name": "constant", "from": "3.3%", "for": 4},
    ],
    "a re-warm-up": [
        {"name": "cosine", "warmup_steps": 5, "until": 30, "to": "10%"},
        {"name": "linear", "warmup_steps": 4, "from": "24%", "for": 20, "to": 0},
    ],
    "a curve that is cut, then another": [
        {"name": "cosine", "total_steps": 40, "until": 17, "to": "5%"},
        {"name": "polynomial", "power": 2.0, "for": 9, "to": 0},
    ],
    "one phase without an end": [{"name": "exponential", "gamma": 0.9, "warmup_steps": 3, "for": 20}],
    "a rise above the base, and a phase of no length": [
        {"name": "linear", "for": 0, "to": "50%"},
        {"name": "cosine", "for": 12, "to": "170%"},
        {"name": "linear", "from": "20%", "for": 12, "to": "30%"},
    ],
    "a schedule with a warm-up of its own, which begins as it does alone": [
        {"name": "warmup_cosine", "warmup_steps": 3, "for": 12},
        {"name": "cosine", "for": 9},
    ],
}
"""Each ends."""


def random_list(seed):
    """Phases of at most 60 updates in all, the first of which moves from its first update on."""
    draw = random.Random(seed)
    phases, at = [], 0
    for _ in range(draw.randint(1, 6)):
        length = draw.choice([1, 2, 5, 9] if phases else [5, 9])
        at += length
        name = draw.choice(["linear", "cosine", "polynomial", "exponential", *(["constant"] if phases else [])])
        phase = {"name": name, **draw.choice([{"for": length}, {"until": at}])}
        if draw.random() < 0.5 or (phases and phases[-1].get("to") == 0):
            phase["from"] = draw.choice(["30%", 0.7, "100%", 1.5])
        if name in {"linear", "cosine", "polynomial"} and draw.random() < 0.8:
            phase["to"] = draw.choice(["10%", 0.25, 0, "140%"])
        if name == "exponential":
            phase["gamma"] = 0.8
        if length > 2 and "from" in phase and draw.random() < 0.3:
            phase["warmup_steps"] = 2
        phases.append(phase)
    return phases


def value(phase, level, s, mp):
    """A phase's value after s updates, by the formula of its schedule; `level` is where the last phase ended."""
    start = level if phase.start is None else mp.mpf(phase.start.value)
    to = None if phase.to is None else mp.mpf(phase.to.value)
    if phase.begin == phase.end:
        return start if to is None else to
    if phase.component is None:
        return start + (to - start) * s / (phase.end - phase.begin)
    paper = phase.component.registration.plugin.reference(**phase.component.settings)
    first, now = paper.multiplier(0, mp), paper.multiplier(s, mp)
    if to is None:
        return now if start is None else start * now / first
    last = paper.multiplier(phase.steps, mp)
    return to + ((first if start is None else start) - to) * (now - last) / (first - last)


def expected(timeline, t, mp):
    """The multiplier of update t in arbitrary precision."""
    level = None
    for phase in timeline.phases[:-1]:
        if t < phase.end:
            return value(phase, level, t - phase.begin, mp)
        level = value(phase, level, phase.end - phase.begin, mp)
    last = timeline.phases[-1]
    return value(last, level, min(t, last.end) - last.begin, mp)


def subject(phases):
    """The list as a schedule that the suite judges."""
    spec = optreg.load_spec({"optimizer": {"name": "adamw", "lr": 1.0}, "scheduler": phases})
    end = spec.scheduler.phases[-1].end
    only = Annotated[int, Ge(end), Le(end)]
    reference = make_dataclass(
        "Phases",
        [("total_steps", only, end)],
        namespace={"multiplier": lambda self, t, mp: expected(spec.scheduler, t, mp)},
    )
    made = curve(spec.scheduler)
    return ScheduleSubject(
        target=Target("phases"),
        kind=Kind.SCHEDULER,
        implementation=lambda total_steps: made,
        reference=reference,
        registration=None,
        traits=optreg.ScheduleTraits(pure=True),
    )


RANDOM = {f"random list {seed}": random_list(seed) for seed in range(10)}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", [*LISTS, *RANDOM])
def test_a_list_of_phases_passes_the_suite(name):
    phases = {**LISTS, **RANDOM}[name]
    verdicts = [judge_subject(subject(phases), check) for check in of_tier(checks("scheduler"), Tier.SHOULD)]
    assert [f"{each.check}: {each.finding}" for each in verdicts if each.status is Status.FAILED] == []
    assert sum(each.status is Status.PASSED for each in verdicts) > 25


def test_the_random_lists_have_every_kind_of_phase():
    found = {(phase["name"], "to" in phase, "from" in phase) for phase in itertools.chain(*RANDOM.values())}
    assert len(found) > 8
    assert any("warmup_steps" in phase for phase in itertools.chain(*RANDOM.values()))
