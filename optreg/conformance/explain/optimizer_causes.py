"""Causes: which common mistake explains an optimizer's trajectory.

If a rule of a family with switches equals the subject's reference, switches are changed one at a time, until one change
reproduces the subject's trajectory. Mistakes that need no formula are tried on the reference itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from optreg.conformance.explain.mistakes import FAMILY, MISTAKES, Move, play
from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.recording import OptimizerRecording, Update
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.settings import fits

CLOSE = 1e-9
"""How close a mistake must come, relative to the subject's distance from its reference."""

SINGLE = (2.0**-28, 2.0**-20)
"""The relative errors of a float64 result, after a dozen updates, that was computed in float32."""


def likely(recording: OptimizerRecording, actual: Sequence[Array], reference: ReferenceRun) -> str | None:
    """One sentence on the likely cause why the `actual` parameters differ; None if no known mistake explains it."""
    moves, expected = _moves(recording), reference.values()
    distance = _distance(actual, expected)
    pairs = enumerate(zip(actual, expected, strict=True))
    right = all(np.all(np.abs(a - b) <= reference.bound(i)) for i, (a, b) in pairs)
    if not moves or not np.isfinite(distance) or right:
        return None
    given = recording.subject.default.items()
    settings = {name: _number(recording.settings.get(name, value)) for name, value in given}

    near = min(max(CLOSE * distance, 1e-13 * max(map(_size, actual), default=1.0)), 0.1 * distance)
    for sentence, values in _mistakes(recording, expected, moves, settings):
        if _distance(actual, values) <= near:
            return f"matches {sentence}"
    digits = distance / max(map(_size, expected), default=1.0)
    if recording.dtype is torch.float64 and SINGLE[0] < digits < SINGLE[1]:
        return "correct to seven or eight digits: something is computed, or kept, in float32"
    return None


def _moves(recording: OptimizerRecording) -> list[Move]:
    """What was done, if it was only updates and resumes; otherwise nothing."""
    moves, resumes = [], False
    if recording.groups and any(changes for _, changes in recording.groups):
        return []
    for event in recording.events:
        if isinstance(event, Update):
            changes = {name: _number(value) for name, value in event.changes.items()}
            moves.append(Move(changes, event.grads, resumes))
            resumes = False
        elif event.resumes:
            resumes = True
        elif not event.outside:
            return []
    return moves


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _mistakes(
    recording: OptimizerRecording, expected: Sequence[Array], moves: Sequence[Move], settings: Mapping[str, Any]
) -> Iterator[tuple[str, list[Array]]]:
    """Every known mistake, with the parameters that it leads to."""
    size = max(map(_size, expected), default=1.0)
    for rule in FAMILY:
        if _distance(play(rule, recording.starts, moves, settings), expected) > 1e-3 * CLOSE * size + 1e-14:
            continue
        for sentence, change in MISTAKES.items():
            wrong = replace(rule, **change)
            if wrong != rule:
                yield sentence, play(wrong, recording.starts, moves, settings)
    yield from _plain_mistakes(recording, moves, settings)


def _plain_mistakes(
    recording: OptimizerRecording, moves: Sequence[Move], settings: Mapping[str, Any]
) -> Iterator[tuple[str, list[Array]]]:
    """Mistakes that need no formula: the reference with other hyperparameters, gradients, or an unintended restart."""
    subject = recording.subject

    def reference(
        changed: Mapping[str, Any], ignore: Sequence[str] = (), *, afresh: bool = False, gap: bool = False
    ) -> list[Array]:
        now = {**settings, **changed}
        if not fits(subject.reference, now):
            return [np.full_like(start, np.nan) for start in recording.starts]
        run = ReferenceRun(subject, recording.starts, **now)
        for move in moves:
            if move.resumes and afresh:
                run = ReferenceRun(subject, run.values(), **now)
            pairs = zip(move.grads, run.values(), strict=True)
            changes = {name: value for name, value in move.changes.items() if name not in ignore}
            run.step([np.zeros_like(theta) if grad is None and gap else grad for grad, theta in pairs], **changes)
            now |= changes
        return run.values()

    for name, value in subject.default.items():
        if value != settings.get(name):
            yield f"{name} ignored: it behaves as with the default, {value!r}", reference({name: value}, [name])
    yield "the constructor's learning rate, whatever is in the group", reference({}, ["lr"])
    for name in {name for move in moves for name in move.changes} - {"lr"}:
        yield f"the constructor's {name}, whatever is in the group", reference({}, [name])
    if "weight_decay" in settings:
        yield "no weight decay", reference({"weight_decay": 0.0})
    yield "a missing gradient treated as zero", reference({}, gap=True)
    yield "a run that starts over when it is resumed", reference({}, afresh=True)
    yield "no update: the parameter does not change", [np.array(s) for s in recording.starts]


def _distance(left: Sequence[Array], right: Sequence[Array]) -> float:
    """The largest difference; infinite if any is NaN."""
    with np.errstate(all="ignore"):
        differences = [float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(left, right, strict=True)]
    return np.inf if np.isnan(differences).any() else max(differences, default=0.0)


def _size(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))
