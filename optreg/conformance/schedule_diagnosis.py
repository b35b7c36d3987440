"""Schedule diagnosis: which common mistake a schedule's curve equals.

No plugin is known here: mistakes are what the reference itself does at another step, under other hyperparameters, or in
one phase and not in another. Where the curve from the start is right, and the finding is of a run that was resumed,
mistakes are what a run does that was resumed at another step.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optreg.conformance.judge import Judge
from optreg.conformance.problems import span
from optreg.hyperparameters import defaults

if TYPE_CHECKING:
    from optreg.conformance.probe import Probe

Curve = dict[tuple[int, int], float]
"""The rates, by group and step."""

NEAR = 1e-9
"""How near, relative to the largest rate, a mistake must come everywhere to be named."""

LONGEST = 300
"""How many steps a curve may have that is looked into."""

MORE = 5
"""How many steps beyond the last that settings name are looked at."""


def likely(probe: "Probe") -> str | None:
    """One sentence on the probable cause of a difference, or None where no known mistake explains it."""
    if span(probe.settings) > LONGEST:
        return None  # shorter runs tell as much
    try:
        curve = _observed(probe)
    except Exception:  # it cannot be run alone from its start; nothing can be said
        return None
    steps = max(t for _, t in curve)
    right = {(group, t): probe.expected(group, t) for group, t in curve}
    if not _near(curve, right):
        named = (sentence for sentence, wrong in _mistakes(probe, right, steps) if _near(curve, wrong))
        return next((f"matches {sentence}" for sentence in named), _where(curve, right, probe))
    return _resuming(probe) if probe.resumed_at is not None else None


def _observed(probe: "Probe") -> Curve:
    """What the schedule does from its start."""
    apart = replace(probe.subject, judge=Judge())
    fresh = type(probe)(apart, probe.settings, probe.base_lrs)
    limited = probe.subject.traits.after in {"raise", "cycle"}
    curve: Curve = {}
    for t in range(span(probe.settings) + (0 if limited else MORE) + 1):
        if t:
            fresh.step()
        curve |= {(group, t): rate for group, rate in enumerate(fresh.rates)}
    return curve


def _near(curve: Curve, other: Curve) -> bool:
    slack = NEAR * max(map(abs, other.values()), default=1.0)
    return all(abs(curve[key] - other[key]) <= slack for key in curve)


def _mistakes(probe: "Probe", right: Curve, steps: int) -> Iterator[tuple[str, Curve]]:
    """Every known mistake, with its curve."""
    subject, settings = probe.subject, probe.settings

    def at(step: Callable[[int], int], **changed: Any) -> Curve | None:
        try:
            return {
                (group, t): subject.rate({**settings, **changed}, probe.base_lrs[group], max(step(t), 0))
                for group, t in right
            }
        except Exception:  # the reference does not go there
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
                yield f"{sentence}, in the warm-up alone", _joined(curve, right, settings[peak])
                yield f"{sentence}, after the warm-up alone", _joined(right, curve, settings[peak])
    if end and settings.get(end):
        for sentence, curve in whole.items():
            if curve:
                yield f"{sentence}, before the end alone", _joined(curve, right, settings[end])
    firsts = {(group, t): right[0, t] for group, t in right}
    yield "the first group's base rate in all groups", firsts
    yield "the base rate at every step: nothing is scheduled", {key: probe.base_lrs[key[0]] for key in right}
    yield "the rate of the first step at every step", {key: right[key[0], 0] for key in right}


def _joined(before: Curve, after: Curve, joint: int) -> Curve:
    """One curve before a step, another from it on."""
    return {(group, t): (before if t < joint else after)[group, t] for group, t in before}


def _where(curve: Curve, right: Curve, probe: "Probe") -> str | None:
    """In which phase alone the curve is wrong."""
    slack = NEAR * max(map(abs, right.values()), default=1.0)
    wrong = sorted({t for group, t in right if abs(curve[group, t] - right[group, t]) > slack})
    end = probe.settings.get(probe.subject.traits.end or "")
    peak = probe.settings.get(probe.subject.traits.peak or "")
    if wrong == [0]:
        return "right from step 1 on: the rate at construction alone is wrong"
    if end is not None and wrong[0] > end:
        return "right until its last step, and not after it"
    if end is not None and wrong == [end]:
        return "wrong at its last step alone"
    if peak is not None and wrong == [peak]:
        return "wrong at its peak alone, where the warm-up ends"
    if peak is not None and wrong[-1] < peak:
        return "wrong in the warm-up alone"
    if peak is not None and wrong[0] >= peak:
        return "right in the warm-up, and wrong after it"
    return None


def _resuming(probe: "Probe") -> str | None:
    """What a resumed run does, where the run from the start is right."""
    assert probe.resumed_at is not None
    first = probe.t
    rates = {first: probe.rates[0]}
    apart = replace(probe.subject, judge=Judge())
    own, probe.subject = probe.subject, apart
    try:
        for _ in range(3):
            probe.step()
            rates[probe.t] = probe.rates[0]
    except Exception:  # it cannot go on; what there is tells
        pass
    finally:
        probe.subject = own
    steps: dict[str, Callable[[int], int]] = {
        "a resume one step ahead": lambda t: t + 1,
        "a resume one step behind": lambda t: t - 1,
        "a run that begins afresh when it resumes": lambda t: t - (probe.resumed_at or 0),
        "a run that stands at its first step when it resumes, and goes on from the next":
            lambda t: 0 if t == probe.resumed_at else t,
    }  # fmt: skip
    for sentence, step in steps.items():
        wrong = {t: probe.expected(0, max(step(t), 0)) for t in rates}
        if all(abs(rates[t] - wrong[t]) <= NEAR * max(abs(wrong[t]), 1e-3) for t in rates):
            return f"matches {sentence}"
    later = [abs(rates[t] - probe.expected(0, t)) <= NEAR for t in rates if t > first]
    return "the rate that is current is not restored; those that follow are right" if later and all(later) else None
