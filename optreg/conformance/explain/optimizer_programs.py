"""Optimizer programs: the smallest one in which an optimizer does not do what it should."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from optreg.conformance.explain.programs import differs, indented, printing, raises, repeated, with_imports
from optreg.conformance.harness.code import call, importing, literal, on_device
from optreg.conformance.harness.layouts import Layout
from optreg.conformance.harness.recording import (
    NEW_OPTIMIZER,
    Event,
    Line,
    OptimizerEvidence,
    OptimizerRecording,
    Shown,
    Update,
)
from optreg.conformance.harness.reference_run import ReferenceRun

Array = np.ndarray

LARGEST = 300
"""How many elements of parameters a program may contain."""


@dataclass(frozen=True)
class _Part:
    """The part of a run that a program keeps: some of its parameters, with all their elements or a single one."""

    members: Sequence[int]
    element: int | None = None

    def of(self, array: Array) -> Array:
        """The kept elements of an array."""
        array = np.asarray(array)
        return array if self.element is None or not array.ndim else array.ravel()[[self.element]]

    @property
    def alone(self) -> bool:
        return len(self.members) == 1


def smallest(evidence: OptimizerEvidence, where: tuple[int, ...] | None) -> str | None:
    """The smallest program that reproduces a difference, at the element `where` if known; None if none does."""
    recording, index, shown = evidence.recording, evidence.index, evidence.shown
    expected, bound = np.asarray(shown.expected), np.asarray(shown.bound)
    element = None
    if where is not None and len(where) == expected.ndim and recording.subject.traits.elementwise:
        element = int(np.ravel_multi_index(where, expected.shape)) if where else 0
    parts = [_Part([index], element)] if element is not None and recording.layout.code == "x" else []
    parts += [_Part([index]), _Part(range(len(recording.starts)))]
    if parts[0].element is not None and evidence.reference is not None:
        simple = _under_one_gradient(recording, index, parts[0], shown, evidence.reference)
        if simple:
            return simple
    for part in parts:
        if part.element is None and sum(recording.starts[i].size for i in part.members) > LARGEST:
            continue
        code = shown.code.format(i=0 if part.alone else index)
        program = printing([*_setting_up(recording, part), *_events(recording, part)], code, part.of(expected))
        if differs(program, code, part.of(expected), part.of(bound)):
            return program
    return None


def raising(recording: OptimizerRecording, error: BaseException) -> str | None:
    """The smallest program in which the optimizer raises an error of the same type; None if none does."""
    every = range(len(recording.starts))
    for part in (*(_Part([index]) for index in every), _Part(every)):
        if sum(recording.starts[i].size for i in part.members) > LARGEST:
            continue
        program = with_imports([*_setting_up(recording, part), *_events(recording, part)])
        if raises(program, type(error)):
            return program
    return None


def _constructor(recording: OptimizerRecording, part: _Part, made: Line | None = None) -> str:
    """The line that constructs the run's optimizer, or the one that replaced it."""
    subject = recording.subject
    params, settings = "params", made.settings if made else None
    groups = made.groups if made and made.groups is not None else recording.groups
    if groups is not None and not part.alone:
        texts = []
        for members, changes in groups:
            items = {name: literal(value) for name, value in subject.group_arguments(changes).items()}
            own = "".join(f", {name!r}: {value}" for name, value in items.items())
            texts.append(f"{{'params': [{', '.join(f'params[{i}]' for i in members)}]{own}}}")
        params = f"[{', '.join(texts)}]"
    return f"optimizer = {call(subject, params, recording.settings if settings is None else settings)}"


def _setting_up(recording: OptimizerRecording, part: _Part) -> list[str]:
    starts, device = [literal(part.of(recording.starts[i])) for i in part.members], on_device(recording.subject)
    lines = [importing(recording.subject)]
    if part.alone:
        made = _laid(recording.layout.code, f"torch.tensor({starts[0]}, dtype={recording.dtype}{device})")
        lines.append(f"params = [torch.nn.Parameter({made})]")
    else:
        made = _laid(recording.layout.code, f"torch.tensor(x, dtype={recording.dtype}{device})")
        lines += [f"starts = [{', '.join(starts)}]", f"params = [torch.nn.Parameter({made}) for x in starts]"]
    lines += [f"params[{part.members.index(i)}].requires_grad_(False)" for i in recording.frozen if i in part.members]
    return [*lines, _constructor(recording, part)]


def _laid(code: str, tensor: str) -> str:
    return tensor if code == "x" else re.sub(r"\bx\b", tensor, code)


def _under_one_gradient(
    recording: OptimizerRecording, index: int, part: _Part, shown: Shown, reference: ReferenceRun
) -> str | None:
    """A program with the same gradient and learning rate in every update, if it reproduces a difference too."""
    updates = [event for event in recording.events if isinstance(event, Update)]
    plain = all(event.changes.keys() <= {"lr"} for event in updates) and len(updates) == len(recording.events)
    if not updates or not plain or not shown.code.startswith("params[{i}]") or updates[-1].layout.code != "x":
        return None
    grads = [part.of(event.grads[index]) for event in updates if event.grads[index] is not None]  # type: ignore[arg-type]
    grad = next((grad for grad in grads if np.all(grad != 0)), None)
    if grad is None:
        return None
    start, lr = part.of(recording.starts[index]), updates[0].changes.get("lr", reference.settings["lr"])
    settings = {**recording.settings, "lr": lr}
    same = ReferenceRun(recording.subject, [start], recording.dtype, **{**reference.settings, "lr": lr})
    for _ in grads:
        same.step([grad])
    tensor = f"torch.tensor({{}}, dtype={recording.dtype}{on_device(recording.subject)})"
    body = [f"params[0].grad = {tensor.format(literal(grad))}", "optimizer.step()"]
    lines = [
        importing(recording.subject),
        f"params = [torch.nn.Parameter({tensor.format(literal(start))})]",
        f"optimizer = {call(recording.subject, 'params', settings)}",
        *repeated(body, len(grads)),
    ]
    program = printing(lines, "params[0]", same.values()[0])
    return program if differs(program, "params[0]", same.values()[0], same.bound(0)) else None


def _events(recording: OptimizerRecording, part: _Part) -> list[str]:
    lines: list[str] = []
    current = recording.subject.group_arguments(recording.settings)
    for updates, run in groupby(recording.events, key=lambda event: isinstance(event, Update)):
        events: list[Event] = list(run)
        if updates:
            lines += _updates(recording, part, events, current)  # type: ignore[arg-type]
        else:
            lines += _code(recording, part, events)  # type: ignore[arg-type]
    return lines


def _code(recording: OptimizerRecording, part: _Part, events: Sequence[Line]) -> Iterator[str]:
    for event, run in groupby(events):
        code = event.code.replace(NEW_OPTIMIZER, _constructor(recording, part, event))
        yield from repeated(code.splitlines(), len(list(run)))


def _updates(
    recording: OptimizerRecording, part: _Part, updates: Sequence[Update], current: dict[str, Any]
) -> list[str]:
    """Consecutive updates: a single one in full, or several as a loop over a table of what changes."""
    names = sorted({name for update in updates for name in recording.subject.group_arguments(update.changes)})
    rows = []
    for update in updates:
        current.update(recording.subject.group_arguments(update.changes))
        kept = [update.grads[i] for i in part.members]
        grads = ["None" if grad is None else literal(part.of(grad)) for grad in kept]
        rows.append([*(literal(current[name]) for name in names), grads[0] if part.alone else f"[{', '.join(grads)}]"])
    grad = "grad" if part.alone else "grads"
    if len(rows) == 1:
        given = f"{', '.join([*names, grad])} = {', '.join(rows[0])}"
        return [given, *_one_update(recording, updates[-1].layout, part, names)]
    table = ["steps = [", *(f"    ({', '.join(row)})," for row in rows), "]"]
    if not names:
        table = ["steps = [", *(f"    {row[0]}," for row in rows), "]"]
    return [
        *table,
        f"for {', '.join([*names, grad])} in steps:",
        *indented(_one_update(recording, updates[-1].layout, part, names)),
    ]


def _one_update(recording: OptimizerRecording, layout: Layout, part: _Part, names: Sequence[str]) -> list[str]:
    edits = [f"group[{name!r}] = {name}" for name in names]
    edit = [f"optimizer.param_groups[0][{name!r}] = {name}" for name in names]
    made = _laid(layout.code, f"torch.tensor(grad, dtype=p.dtype{on_device(recording.subject)})")
    if part.alone:
        made = made.replace("p.dtype", "params[0].dtype")
        return [*edit, f"params[0].grad = None if grad is None else {made}", "optimizer.step()"]
    loop = ["for group in optimizer.param_groups:", *indented(edits)] if edits else []
    each = ["for p, grad in zip(params, grads):", f"    p.grad = None if grad is None else {made}"]
    return [*loop, *each, "optimizer.step()"]
