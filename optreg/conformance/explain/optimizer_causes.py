"""Causes: which common mistake explains an optimizer's trajectory.

If a rule of a family with switches equals the subject's reference, switches are changed one at a time. Mistakes that
need no formula are tried on the reference itself. Those that reproduce the subject's trajectory match. If several do,
the subject runs once more, where they differ, and the first that still matches is named.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.harness.recording import Line, OptimizerRecording, Update
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.family import Changes, Move, Setting, play
from optreg.conformance.subjects.mistakes import IGNORED, in_rule, of_the_formula
from optreg.conformance.subjects.settings import fits
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.conformance.subjects.variants import rule_of

CLOSE = 1e-9
"""How close a mistake must come, relative to the subject's distance from its reference."""

SINGLE = (2.0**-28, 2.0**-20)
"""The relative errors of a float64 result, after a dozen updates, that was computed in float32."""

DOUBLE = 2.0**-40
"""A relative error that no float64 result has after a dozen updates."""

GAP, RESUMED, EDITED = 2, 4, 7
"""In a run that tells mistakes apart: the update in which a whole group has no gradient, the one before which the run
is resumed, and the first with an edited learning rate."""


def likely(recording: OptimizerRecording, actual: Sequence[Array], reference: ReferenceRun) -> tuple[str, ...]:
    """Why the `actual` parameters differ: each known mistake that explains it, in one sentence, the likeliest first."""
    moves, expected = _moves(recording), reference.values()
    distance = _distance(actual, expected)
    pairs = enumerate(zip(actual, expected, strict=True))
    right = all(np.all(np.abs(a - b) <= reference.bound(i)) for i, (a, b) in pairs)
    if not moves or not np.isfinite(distance) or right:
        return ()

    near = min(_near(actual, expected, reference), 0.1 * distance)
    mistakes = _mistakes(recording, expected, moves)
    matching = list(dict.fromkeys(sentence for sentence, values in mistakes if _distance(actual, values) <= near))
    if len(matching) > 1:
        for other in _other_runs(recording):
            holding = other.explained_by(matching)
            if holding:
                matching = holding
                break
    if matching:
        return tuple(f"matches {sentence}" for sentence in matching)
    single = recording.dtype is torch.float64 and SINGLE[0] < _relative(actual, expected) < SINGLE[1]
    if single and any(DOUBLE < _relative(run.actual, run.expected) < SINGLE[1] for run in _other_runs(recording)):
        return ("correct to seven or eight digits: something is computed, or kept, in float32",)
    return ()


def together(recording: OptimizerRecording, actual: Sequence[Array], reference: ReferenceRun) -> tuple[str, ...]:
    """Why the `actual` parameters differ, if it is by all the mistakes together that are known of the class."""
    subject, moves, expected = recording.subject, _moves(recording), reference.values()
    rule, mistakes = rule_of(subject.reference, recording.settings), subject.target.mistakes
    if len(mistakes) < 2 or not moves or rule is None:
        return ()
    known, given = of_the_formula(subject.reference, subject.hostile), _setting(recording)
    changes = Changes.together(known[sentence] for sentence in mistakes)
    made, first = {**given.made, **changes.settings}, {**given.first, **changes.settings}
    setting = replace(given, made=made, own=[{**own, **changes.settings} for own in given.own], first=first)
    moves = [replace(move, changes={**move.changes, **changes.settings}) for move in moves]
    values = play(replace(rule, **changes.switches), recording.starts, moves, setting)
    near = min(_near(actual, expected, reference), 0.1 * _distance(actual, expected))
    return tuple(f"matches {sentence}" for sentence in mistakes) if _distance(actual, values) <= near else ()


def _near(actual: Sequence[Array], expected: Sequence[Array], reference: ReferenceRun) -> float:
    """How close a mistake must come: as close as rounding allows, or to a share of the distance."""
    bound = max((_size(reference.bound(index)) for index in range(len(actual))), default=0.0)
    return max(CLOSE * _distance(actual, expected), 1e-13 * max(map(_size, actual), default=1.0), bound)


def _relative(actual: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest difference, relative to the largest element."""
    return _distance(actual, expected) / max(map(_size, expected), default=1.0)


@dataclass(frozen=True)
class _Run:
    """A run that was made to tell mistakes apart: its recording, its parameters, and the reference beside it."""

    recording: OptimizerRecording
    actual: list[Array]
    reference: ReferenceRun

    @property
    def expected(self) -> list[Array]:
        """What the parameters should be."""
        return self.reference.values()

    def explained_by(self, sentences: Sequence[str]) -> list[str]:
        """Those of some mistakes that lead to these parameters."""
        near = _near(self.actual, self.expected, self.reference)
        mistakes = _mistakes(self.recording, self.expected, _moves(self.recording))
        holding = {sentence for sentence, values in mistakes if _distance(self.actual, values) <= near}
        return [sentence for sentence in sentences if sentence in holding]


def _other_runs(recording: OptimizerRecording) -> Iterator[_Run]:
    """Runs of the same subject that tell mistakes apart, as far as it can make them: in two groups, then in one.

    Groups have hyperparameters of their own. Gradients are late, missing or zero, the learning rate is edited, and the
    run is resumed.
    """
    subject = recording.subject.apart()
    problem = hostile_problem(subject, missing=True)
    places = range(len(problem.starts))
    two = [(places[::2], {"lr": 0.03, **dict(subject.perturbed)}), (places[1::2], {"lr": 0.05})]
    for groups in (two, None):
        with suppress(Exception):  # of a subject that is at fault
            run = OptimizerRun(subject, problem.starts, groups=groups, **recording.settings)
            reference = ReferenceRun(subject, problem.starts, groups=groups, **recording.settings)
            for t, step in enumerate(problem.steps):
                if t == RESUMED:
                    run = run.resumed()
                grads = [None if t == GAP and index % 2 else grad for index, grad in enumerate(step.grads)]
                changes: dict[str, Any] = {"lr": step.lr} if t >= EDITED else {}
                for each in (run, reference):
                    each.step(grads, **changes)
            yield _Run(run.recording, run.values(), reference)


def _moves(recording: OptimizerRecording) -> list[Move]:
    """What was done, if it was only updates, resumes and groups added; otherwise nothing."""
    moves, resumes = [], False
    for event in recording.events:
        if isinstance(event, Update):
            changes = {name: _number(value) for name, value in event.changes.items()}
            moves.append(Move(changes, event.grads, resumes))
            resumes = False
        elif event.resumes:
            resumes = True
        elif not event.outside and event.added is None:
            return []
    return moves


def _setting(recording: OptimizerRecording) -> Setting:
    """The hyperparameters that a recorded run began with."""
    made = {name: _number(recording.settings.get(name, value)) for name, value in recording.subject.default.items()}
    every = range(len(recording.starts))
    added = [event.added for event in recording.events if isinstance(event, Line) and event.added]
    groups = [*([(every, {})] if recording.groups is None else recording.groups), *added]
    changes = [{name: _number(value) for name, value in own.items() if name in made} for _, own in groups]
    place = {index: number for number, (members, _) in enumerate(groups) for index in members}
    own = [{**made, **(changes[place[index]] if index in place else {})} for index in every]
    return Setting(made, own, [place.get(index, 0) for index in every], {**made, **changes[0]})


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _mistakes(
    recording: OptimizerRecording, expected: Sequence[Array], moves: Sequence[Move]
) -> Iterator[tuple[str, list[Array]]]:
    """Every known mistake, with the parameters that it leads to."""
    size, setting = max(map(_size, expected), default=1.0), _setting(recording)
    rule = rule_of(recording.subject.reference, recording.settings)
    plain = play(rule, recording.starts, moves, setting) if rule else ()
    if rule and _distance(plain, expected) <= 1e-3 * CLOSE * size + 1e-14:
        for sentence, wrong in in_rule(rule).items():
            yield sentence, play(wrong, recording.starts, moves, setting)
    yield from _plain_mistakes(recording, moves, setting)


def _plain_mistakes(
    recording: OptimizerRecording, moves: Sequence[Move], setting: Setting
) -> Iterator[tuple[str, list[Array]]]:
    """Mistakes that need no formula: the reference with other hyperparameters, gradients, or an unintended restart."""
    subject = recording.subject

    def reference(
        changed: Mapping[str, Any], ignore: Sequence[str] = (), *, afresh: bool = False, gap: bool = False
    ) -> list[Array]:
        own = [{**each, **changed} for each in setting.own]
        if not all(fits(subject.reference, each) for each in own):
            return [np.full_like(start, np.nan) for start in recording.starts]
        run = _reference(subject, recording.starts, own)
        for move in moves:
            if move.resumes and afresh:
                run = _reference(subject, run.values(), own)
            pairs = zip(move.grads, run.values(), strict=True)
            changes = {name: value for name, value in move.changes.items() if name not in ignore}
            run.step([np.zeros_like(theta) if grad is None and gap else grad for grad, theta in pairs], **changes)
            own = [{**each, **changes} for each in own]
        return run.values()

    for name, value in subject.default.items():
        if any(value != each[name] for each in setting.own):
            yield IGNORED.format(name=name, value=value), reference({name: value}, [name])
    edited = {name for move in moves for name in move.changes}
    overridden = {name for name, value in setting.made.items() if any(each[name] != value for each in setting.own)}
    for name in ["lr", *sorted((edited | overridden) - {"lr"})]:
        what = "learning rate" if name == "lr" else name
        yield f"the constructor's {what}, whatever is in the group", reference({name: setting.made[name]}, [name])
    for name in sorted(overridden):
        what = "learning rate" if name == "lr" else name
        yield f"the first group's {what} in every group", reference({name: setting.first[name]})
    if overridden:
        yield "the first group's hyperparameters in every group", reference(setting.first)
        yield "the constructor's hyperparameters, whatever is in the group", reference(setting.made, list(setting.made))
    if "weight_decay" in setting.made:
        yield "no weight decay", reference({"weight_decay": 0.0})
    yield "a missing gradient treated as zero", reference({}, gap=True)
    yield "a run that starts over when it is resumed", reference({}, afresh=True)
    yield "no update: the parameter does not change", [np.array(s) for s in recording.starts]


def _reference(subject: OptimizerSubject, starts: Sequence[Array], own: Sequence[Mapping[str, Any]]) -> ReferenceRun:
    """The references of parameters that each have hyperparameters of their own."""
    return ReferenceRun(subject, starts, groups=[([index], each) for index, each in enumerate(own)])


def _distance(left: Sequence[Array], right: Sequence[Array]) -> float:
    """The largest difference; infinite if any is NaN."""
    with np.errstate(all="ignore"):
        differences = [float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(left, right, strict=True)]
    return np.inf if np.isnan(differences).any() else max(differences, default=0.0)


def _size(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))
