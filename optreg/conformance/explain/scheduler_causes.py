"""Causes: which common mistake explains a schedule's curve.

No plugin is known here: a mistake is the reference at another step, with other hyperparameters, or in only one phase.
If only a resumed run is wrong, a mistake is a run that was resumed at another step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

from optreg.conformance.explain import scheduler_programs
from optreg.conformance.harness.recording import SchedulerEvidence, SchedulerRecording
from optreg.conformance.harness.scheduler_run import SchedulerRun
from optreg.conformance.subjects.schedule_settings import span
from optreg.hyperparameters import defaults

Curve = dict[tuple[int, int], float]
"""The learning rates, by group and step."""

NEAR = 1e-9
"""How close a mistake must come everywhere, relative to the largest rate."""

LONGEST = 300
"""How many steps a curve may have to be explained."""

MORE = 5
"""How many steps after the last one named in the settings are compared."""


def likely(evidence: SchedulerEvidence) -> tuple[str, ...]:
    """Why a rate differs: each known mistake that explains it, in one sentence, the likeliest first."""
    recording = evidence.recording
    if span(recording.settings) > LONGEST:
        return ()  # shorter runs show as much
    try:
        curve, right = _observed(recording), _right(recording)
    except Exception:  # it cannot be run from its start
        return ()
    if _near(curve, right):
        counted = recording.resumed_at is not None and not recording.subject.fed
        found = _resuming(evidence) if counted else None
        return (found,) if found else ()
    named = _named(recording, curve, right)
    ordinary = replace(recording, settings=recording.subject.ordinary())
    if recording.settings == ordinary.settings:
        return _alone(recording, curve, right, named, evidence.t)
    try:
        plain, plainly_right = _observed(ordinary), _right(ordinary)
    except Exception:  # it cannot be run there
        return _alone(recording, curve, right, named, evidence.t)
    mistakes = dict(_mistakes(ordinary, plainly_right))
    named = [sentence for sentence in named if sentence not in mistakes or _near(plain, mistakes[sentence])]
    if named:
        return tuple(f"matches {sentence}" for sentence in named)
    if _near(plain, plainly_right):
        return (_corner(recording.settings, ordinary.settings),)
    return _alone(ordinary, plain, plainly_right, _named(ordinary, plain, plainly_right), evidence.t)


def _named(recording: SchedulerRecording, curve: Curve, right: Curve) -> list[str]:
    """The known mistakes that explain a curve, or the part of it that is given."""
    return [sentence for sentence, wrong in _mistakes(recording, right) if _near(curve, wrong)]


def _alone(recording: SchedulerRecording, curve: Curve, right: Curve, named: list[str], t: int) -> tuple[str, ...]:
    """What explains a curve, if it is not compared with one at other settings: mistakes, or the phase that is wrong.

    If two phases are wrong, what explains the one of step t is told.
    """
    end = recording.subject.last_step(recording.settings)
    if not named and end and t < end:
        named = _named(recording, {key: rate for key, rate in curve.items() if key[1] < end}, right)
    if named:
        return tuple(f"matches {sentence}" for sentence in named)
    found = _where(curve, right, recording)
    if not found and end and t >= end and any(curve[0, step] != curve[0, end] for _, step in curve if step > end):
        found = "it goes on after its last step"
    return (found,) if found else ()


def _corner(settings: Mapping[str, Any], ordinary: Mapping[str, Any]) -> str:
    """Where a schedule is wrong that is right at ordinary settings."""
    steps = {name: value for name, value in settings.items() if type(value) is int}
    equal = [f"{a} equals {b}" for a, b in combinations(steps, 2) if steps[a] == steps[b]]
    few = [f"{name} is {value}" for name, value in steps.items() if value in (0, 1)]
    others = [f"{name} has other values" for name, value in settings.items() if value != ordinary[name]]
    return f"right at ordinary settings, and wrong where {(equal or few or others)[0]}"


def _right(recording: SchedulerRecording) -> Curve:
    """What the schedule's curve should be."""
    subject, settings = recording.subject, recording.settings
    steps, bases = range(subject.reach(settings, MORE) + 1), recording.base_lrs
    return {(group, t): subject.rate(settings, base, t) for t in steps for group, base in enumerate(bases)}


def _observed(recording: SchedulerRecording) -> Curve:
    """The schedule's curve from its start."""
    subject = recording.subject.apart()
    run = SchedulerRun(subject, recording.settings, recording.base_lrs)
    curve: Curve = {}
    for t in range(subject.reach(recording.settings, MORE) + 1):
        if t:
            run.step()
        curve |= {(group, t): rate for group, rate in enumerate(run.rates)}
    return curve


def _near(curve: Curve, other: Curve) -> bool:
    slack = NEAR * max(map(abs, other.values()), default=1.0)
    return all(abs(curve[key] - other[key]) <= slack for key in curve)


def _mistakes(recording: SchedulerRecording, right: Curve) -> Iterator[tuple[str, Curve]]:
    """Every known mistake, with its curve."""
    subject, settings = recording.subject, recording.settings

    def at(step: Callable[[int], int], **changed: Any) -> Curve | None:
        try:
            complete, base_lrs = {**settings, **changed}, recording.base_lrs
            return {(group, t): subject.rate(complete, base_lrs[group], max(step(t), 0)) for group, t in right}
        except Exception:  # the reference is not defined there
            return None

    whole: dict[str, Curve | None] = {
        "the formula one step ahead (t + 1)": at(lambda t: t + 1),
        "the formula one step behind (t - 1)": at(lambda t: t - 1),
    }
    given = defaults(subject.reference)
    for name, value in settings.items():
        if type(value) is int:
            whole[f"{name} one step too long"] = at(lambda t: t, **{name: value + 1})
            whole[f"{name} one step too short"] = at(lambda t: t, **{name: value - 1})
            whole[f"{name} one step too long, and a count from 1"] = at(lambda t: t + 1, **{name: value + 1})
        elif type(value) is float:
            for other in dict.fromkeys([0.0, 1.0, *([given[name]] if name in given else [])]):
                whole[f"{name} ignored: it behaves as with {other!r}"] = at(lambda t: t, **{name: other})
    yield from ((sentence, curve) for sentence, curve in whole.items() if curve)
    peak, end = subject.traits.peak, subject.traits.end
    if peak and settings.get(peak):
        phases = {**whole, f"a curve without {peak}, from step 0": at(lambda t: t, **{peak: 0})}
        phases[f"a curve without {peak}, from its own step 0"] = at(lambda t: t - settings[peak], **{peak: 0})
        for sentence, curve in phases.items():
            if curve:
                yield f"{sentence}, only in the warmup", _joined(curve, right, settings[peak])
                yield f"{sentence}, only after the warmup", _joined(right, curve, settings[peak])
    if end and settings.get(end):
        for sentence, curve in whole.items():
            if curve:
                yield f"{sentence}, only before the end", _joined(curve, right, settings[end])
    yield "the first group's base rate in all groups", {(group, t): right[0, t] for group, t in right}
    yield "the base rate at every step: nothing is scheduled", {key: recording.base_lrs[key[0]] for key in right}
    yield "the rate of the first step at every step", {key: right[key[0], 0] for key in right}


def _joined(before: Curve, after: Curve, joint: int) -> Curve:
    """One curve before a step, and another from this step on."""
    return {(group, t): (before if t < joint else after)[group, t] for group, t in before}


def _where(curve: Curve, right: Curve, recording: SchedulerRecording) -> str | None:
    """The only phase in which the curve is wrong."""
    slack = NEAR * max(map(abs, right.values()), default=1.0)
    wrong = sorted({t for group, t in right if abs(curve[group, t] - right[group, t]) > slack})
    end = recording.settings.get(recording.subject.traits.end or "")
    peak = recording.settings.get(recording.subject.traits.peak or "")
    if wrong == [0]:
        return "right from step 1 on: only the rate at construction is wrong"
    if end is not None and wrong[0] > end:
        return "right until its last step, and wrong after it"
    if end is not None and wrong == [end]:
        return "wrong only at its last step"
    if peak is not None and wrong == [peak]:
        return "wrong only at its peak, where the warmup ends"
    if peak is not None and wrong[-1] < peak:
        return "wrong only in the warmup"
    if peak is not None and wrong[0] >= peak:
        return "right in the warmup, and wrong after it"
    return None


def _resuming(evidence: SchedulerEvidence) -> str | None:
    """What is wrong with a resumed run, if the run from the start is right."""
    recording, first = evidence.recording, evidence.t
    resumed_at = recording.resumed_at or 0
    rates = scheduler_programs.rates_from(recording, first, 3)
    if not rates:
        return None

    def expected(t: int) -> float:
        return recording.subject.rate(recording.settings, recording.base_lrs[0], max(t, 0))

    steps: dict[str, Callable[[int], int]] = {
        "a resume one step ahead": lambda t: t + 1,
        "a resume one step behind": lambda t: t - 1,
        "a run that starts over when it is resumed": lambda t: t - resumed_at,
        "a run that is at its first step when it is resumed, and right from the next step on":
            lambda t: 0 if t == resumed_at else t,
    }  # fmt: skip
    for sentence, step in steps.items():
        wrong = {t: expected(step(t)) for t in rates}
        if all(abs(rates[t] - wrong[t]) <= NEAR * max(abs(wrong[t]), 1e-3) for t in rates):
            return f"matches {sentence}"
    later = [abs(rates[t] - expected(t)) <= NEAR for t in rates if t > first]
    return "the current rate is not restored; later ones are right" if later and all(later) else None
