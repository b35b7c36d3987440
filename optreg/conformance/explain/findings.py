"""Findings: each with its likely cause and a program that reproduces it."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import torch

from optreg.conformance.explain import optimizer_programs, scheduler_causes, scheduler_programs
from optreg.conformance.explain.optimizer_causes import likely, together
from optreg.conformance.harness.layouts import DENSE
from optreg.conformance.harness.recording import (
    Feeding,
    Line,
    Making,
    OptimizerEvidence,
    OptimizerRecording,
    SchedulerEvidence,
    SchedulerRecording,
    Update,
)
from optreg.conformance.harness.scheduler_run import STEP
from optreg.conformance.results.causes import INTERFACE, MISSING, SEEN, is_by_formula
from optreg.conformance.results.verdict import Failed, Finding

LARGE = 1000
"""How many elements, and MANY parameters, are a circumstance of a finding."""

MANY = 20

WRITES = "the update writes to the gradient"


def explained(failed: Failed) -> Finding:
    """The finding of a failed check, with its likely cause and a program, if they are found."""
    finding, evidence = failed.finding, failed.evidence
    if finding.likely:
        finding = replace(finding, causes=(finding.likely,))
    elif is_by_formula(finding):
        finding = replace(finding, circumstances=())
    with suppress(Exception):  # a finding counts even without an explanation
        if isinstance(evidence, OptimizerEvidence):
            if not finding.likely:
                finding = replace(finding, circumstances=tuple(_of_optimizer(evidence.recording, evidence.shown.code)))
                if evidence.shown.code == "params[{i}].grad":
                    finding = _with(finding, (WRITES,))
                elif evidence.reference is not None:
                    shown = evidence.recording, evidence.values, evidence.reference
                    one = likely(*shown)
                    finding = _with(finding, one or together(*shown))
                    finding = replace(finding, together=not one and bool(finding.causes))
            return replace(finding, snippet=optimizer_programs.smallest(evidence, failed.where))
        if isinstance(evidence, SchedulerEvidence):
            finding = replace(
                finding, snippet=scheduler_programs.smallest(evidence), coordinate=f"group {evidence.index}"
            )
            if not finding.likely:
                finding = replace(finding, circumstances=tuple(_of_schedule(evidence.recording, evidence.shown.code)))
                finding = _with(finding, scheduler_causes.likely(evidence))
    return finding


def _with(finding: Finding, causes: tuple[str, ...]) -> Finding:
    return replace(finding, causes=causes, likely=causes[0]) if causes else finding


def _of_optimizer(recording: OptimizerRecording, shown: str) -> Iterator[str]:
    """What is special about a run, beside the plainest: one group of dense float64 parameters with gradients."""
    updates = [event for event in recording.events if isinstance(event, Update)]
    lines = [event for event in recording.events if isinstance(event, Line)]
    if shown != "params[{i}]":
        yield SEEN + shown
    if recording.dtype is not torch.float64:
        yield f"in {recording.dtype}"
    if recording.layout != DENSE or any(update.layout != DENSE for update in updates):
        yield "in another layout"
    if recording.groups or any(line.added for line in lines):
        yield "in several groups"
    resumed = any(line.resumes for line in lines)
    if not resumed and any(grad is None for update in updates for grad in update.grads):
        yield MISSING
    edited = sorted({name for update in updates for name in update.changes} - {"lr"})
    yield from (f"with {name} edited" for name in edited)
    sizes = [start.size for start in recording.starts]
    special = {"empty": 0 in sizes, "large": max(sizes, default=0) > LARGE, "many": len(sizes) > MANY}
    yield from (f"with {name} parameters" for name, holds in special.items() if holds)
    plain = recording.subject.hostile
    switches = {name: value for name, value in recording.settings.items() if isinstance(value, bool | str)}
    yield from (f"{name}={value}" for name, value in switches.items() if value != plain.get(name))
    yield from dict.fromkeys("resumed" if line.resumes else _plain(line.code) for line in lines if not line.added)


def _of_schedule(recording: SchedulerRecording, shown: str) -> Iterator[str]:
    """What is special about a scheduler's run, beside the plainest: one optimizer, stepped."""
    if shown != "optimizer.param_groups[{i}]['lr']":
        yield SEEN + shown
    if recording.tensor_lr:
        yield "with rates in tensors"
    if recording.resumed_at is not None:
        yield "resumed"
        return
    done = [_step(line) if isinstance(line, Feeding) else line for line in recording.lines]
    lines = [line for line in done if not isinstance(line, Making) and line != STEP]
    yield from dict.fromkeys(_plain(line) for line in lines[1:])  # the first constructs the scheduler


def _step(feeding: Feeding) -> str:
    """A step that takes a metric, as if it took none."""
    return STEP if feeding.update else "scheduler.step()"


def _plain(code: str) -> str:
    """Code without its numbers."""
    return re.sub(r"\d[\d.e+-]*", "#", code)


def causes_of(error: BaseException, place: str) -> tuple[str, ...]:
    """The causes that explain an exception of the subject: what it is with its place, or what it shows."""
    if "written-to tensor refers to a single memory location" in str(error):  # an expanded gradient
        return (WRITES,)
    if not place and isinstance(error, AttributeError | TypeError):  # raised by the call, not in the subject's code
        return (INTERFACE,)
    return (f"{type(error).__name__}{place}",)


def program_that_raises(recording: object, error: BaseException) -> str | None:
    """A program in which the subject raises an error of the same type; None if none is found."""
    with suppress(Exception):
        if isinstance(recording, OptimizerRecording):
            return optimizer_programs.raising(recording, error)
        if isinstance(recording, SchedulerRecording):
            return scheduler_programs.raising(recording, error)
    return None
