"""Optimizer programs: the smallest one in which an optimizer does not do what it should."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from optreg.conformance.explain.programs import differs, indented, printing, raises, repeated, with_imports
from optreg.conformance.harness.code import call, importing, literal, on_device
from optreg.conformance.harness.layouts import Array, Layout
from optreg.conformance.harness.recording import (
    NEW_OPTIMIZER,
    Line,
    OptimizerEvidence,
    OptimizerRecording,
    Shown,
    Update,
)
from optreg.conformance.harness.reference_run import ReferenceRun

LARGEST = 300
"""How many elements of parameters a program may contain."""


@dataclass(frozen=True)
class _Part:
    """The part of a run that a program keeps: some of its parameters, with all their elements or a single one."""

    recording: OptimizerRecording
    members: Sequence[int]
    element: int | None = None

    def of(self, array: Array) -> Array:
        """The kept elements of an array."""
        array = np.asarray(array)
        return array if self.element is None or not array.ndim else array.ravel()[[self.element]]

    @property
    def alone(self) -> bool:
        return len(self.members) == 1

    @property
    def fits(self) -> bool:
        """Whether it is small enough for a program."""
        return self.element is not None or sum(self.recording.starts[i].size for i in self.members) <= LARGEST

    @property
    def tensor(self) -> str:
        """A tensor on the run's device, in its dtype, as code with a place for the values."""
        return f"torch.tensor({{}}, dtype={self.recording.dtype}{on_device(self.recording.subject)})"

    def lines(self) -> list[str]:
        """What was done, as code."""
        starts = [literal(self.of(self.recording.starts[i])) for i in self.members]
        lines, code = [importing(self.recording.subject)], self.recording.layout.code
        if self.alone:
            lines.append(f"params = [torch.nn.Parameter({_laid(code, self.tensor.format(starts[0]))})]")
        else:
            made = _laid(code, self.tensor.format("x"))
            lines += [f"starts = [{', '.join(starts)}]", f"params = [torch.nn.Parameter({made}) for x in starts]"]
        frozen = [self.members.index(i) for i in self.recording.frozen if i in self.members]
        lines += [f"params[{index}].requires_grad_(False)" for index in frozen]
        lines.append(self._constructor())
        current = self.recording.subject.group_arguments(self.recording.settings)
        for updates, run in groupby(self.recording.events, key=lambda event: isinstance(event, Update)):
            events: list[Any] = list(run)
            lines += self._updates(events, current) if updates else self._code(events)
        return lines

    def _constructor(self, made: Line | None = None) -> str:
        """The line that constructs the run's optimizer, or the one that replaced it."""
        subject = self.recording.subject
        params, settings = "params", made.settings if made else None
        groups = made.groups if made and made.groups is not None else self.recording.groups
        if groups is not None:
            texts = []
            for members, changes in groups:
                kept = [self.members.index(i) for i in members if i in self.members]
                items = {name: literal(value) for name, value in subject.group_arguments(changes).items()}
                own = "".join(f", {name!r}: {value}" for name, value in items.items())
                if kept or not self.alone:
                    texts.append(f"{{'params': [{', '.join(f'params[{i}]' for i in kept)}]{own}}}")
            params = f"[{', '.join(texts)}]"
        return f"optimizer = {call(subject, params, self.recording.settings if settings is None else settings)}"

    def _code(self, events: Sequence[Line]) -> Iterator[str]:
        for event, run in groupby(events):
            code = event.code.replace(NEW_OPTIMIZER, self._constructor(event))
            yield from repeated(code.splitlines(), len(list(run)))

    def _updates(self, updates: Sequence[Update], current: dict[str, Any]) -> list[str]:
        """Consecutive updates: a single one in full, or several as a loop over a table of what changes."""
        subject = self.recording.subject
        names = sorted({name for update in updates for name in subject.group_arguments(update.changes)})
        rows = []
        for update in updates:
            current.update(subject.group_arguments(update.changes))
            grads = [
                "None" if grad is None else literal(self.of(grad)) for grad in (update.grads[i] for i in self.members)
            ]
            rows.append(
                [*(literal(current[name]) for name in names), grads[0] if self.alone else f"[{', '.join(grads)}]"]
            )
        given, body = (
            ", ".join([*names, "grad" if self.alone else "grads"]),
            self._one_update(updates[-1].layout, names),
        )
        if len(rows) == 1:
            return [f"{given} = {', '.join(rows[0])}", *body]
        texts = [f"({', '.join(row)})" if names else row[0] for row in rows]
        return ["steps = [", *(f"    {text}," for text in texts), "]", f"for {given} in steps:", *indented(body)]

    def _one_update(self, layout: Layout, names: Sequence[str]) -> list[str]:
        made = _laid(layout.code, f"torch.tensor(grad, dtype=p.dtype{on_device(self.recording.subject)})")
        if self.alone:
            edit = [f"optimizer.param_groups[0][{name!r}] = {name}" for name in names]
            made = made.replace("p.dtype", "params[0].dtype")
            return [*edit, f"params[0].grad = None if grad is None else {made}", "optimizer.step()"]
        edits = [f"    group[{name!r}] = {name}" for name in names]
        loop = ["for group in optimizer.param_groups:", *edits] if edits else []
        each = ["for p, grad in zip(params, grads):", f"    p.grad = None if grad is None else {made}"]
        return [*loop, *each, "optimizer.step()"]


def _laid(code: str, tensor: str) -> str:
    return tensor if code == "x" else re.sub(r"\bx\b", tensor, code)


def smallest(evidence: OptimizerEvidence, where: tuple[int, ...] | None) -> str | None:
    """The smallest program that reproduces a difference, at the element `where` if known; None if none does."""
    recording, index, shown = evidence.recording, evidence.index, evidence.shown
    expected, bound = np.asarray(shown.expected), np.asarray(shown.bound)
    parts = [_Part(recording, [index]), _Part(recording, range(len(recording.starts)))]
    if where is not None and len(where) == expected.ndim and recording.subject.traits.elementwise:
        element = int(np.ravel_multi_index(where, expected.shape)) if where else 0
        if recording.layout.code == "x":
            parts.insert(0, _Part(recording, [index], element))
    simple = _under_one_gradient(parts[0], shown, evidence.reference)
    if simple:
        return simple
    for part in filter(lambda part: part.fits, parts):
        code = shown.code.format(i=0 if part.alone else index)
        program = printing(part.lines(), code, part.of(expected))
        if differs(program, code, part.of(expected), part.of(bound)):
            return program
    return None


def raising(recording: OptimizerRecording, error: BaseException) -> str | None:
    """The smallest program in which the optimizer raises an error of the same type; None if none does."""
    every = range(len(recording.starts))
    parts = [*(_Part(recording, [index]) for index in every), _Part(recording, every)]
    programs = (with_imports(part.lines()) for part in parts if part.fits)
    return next((program for program in programs if raises(program, type(error))), None)


def _under_one_gradient(part: _Part, shown: Shown, reference: ReferenceRun | None) -> str | None:
    """A program with the same gradient and learning rate in every update, if it reproduces a difference too."""
    recording, index = part.recording, part.members[0]
    updates = [event for event in recording.events if isinstance(event, Update)]
    plain = all(event.changes.keys() <= {"lr"} for event in updates) and len(updates) == len(recording.events)
    plain = plain and shown.code.startswith("params[{i}]") and part.element is not None
    if not updates or not plain or reference is None or updates[-1].layout.code != "x":
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
    body = [f"params[0].grad = {part.tensor.format(literal(grad))}", "optimizer.step()"]
    lines = [
        importing(recording.subject),
        f"params = [torch.nn.Parameter({part.tensor.format(literal(start))})]",
        f"optimizer = {call(recording.subject, 'params', settings)}",
        *repeated(body, len(grads)),
    ]
    program = printing(lines, "params[0]", same.values()[0])
    return program if differs(program, "params[0]", same.values()[0], same.bound(0)) else None
