"""Scheduler programs: the smallest one in which a scheduler does not do what it should."""

import contextlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from optreg.conformance.explain.programs import differs, executed, printing, raises, repeated, silence, with_imports
from optreg.conformance.harness.code import importing, literal, on_device
from optreg.conformance.harness.recording import Feeding, Making, SchedulerEvidence, SchedulerRecording
from optreg.conformance.harness.scheduler_run import STEP, group_options
from optreg.conformance.subjects.metrics import code


def smallest(evidence: SchedulerEvidence) -> str | None:
    """The smallest program that reproduces the difference of one group's rate; None if none does."""
    recording, index = evidence.recording, evidence.index
    expected, bound = evidence.shown.expected, evidence.shown.bound
    made = _groups(recording)
    for groups in (*([[index]] if index in made else []), made):
        code = f"float({evidence.shown.code.format(i=0 if len(groups) == 1 else index)})"
        program = printing(_lines(recording, groups), code, expected)
        if differs(program, code, expected, bound):
            return program
    return None


def raising(recording: SchedulerRecording, error: BaseException) -> str | None:
    """The program in which the scheduler raises an error of the same type; None if it does not."""
    program = with_imports(_lines(recording, [0]))
    return program if raises(program, type(error)) else None


def rates_from(recording: SchedulerRecording, t: int, steps: int) -> dict[int, float]:
    """The first group's rate at the end of a run, at step t, and after each of some more steps, until one raises."""
    program = with_imports(_lines(recording, _groups(recording)))
    rates: dict[int, float] = {}
    with contextlib.suppress(Exception), silence():
        namespace = executed(program)
        for step in range(steps + 1):
            if step:
                exec(
                    f"optimizer.step()\nscheduler.step({code(t + step)})" if recording.subject.fed else STEP, namespace
                )
            rates[t + step] = float(namespace["optimizer"].param_groups[0]["lr"])
    return rates


def _groups(recording: SchedulerRecording) -> range:
    """The groups that the optimizer was constructed with; others may have been added."""
    return range(min(len(line.base_lrs) for line in recording.lines if isinstance(line, Making)))


def _lines(recording: SchedulerRecording, groups: Sequence[int]) -> list[str]:
    """What was done, as code, with only some of the groups."""
    lines = [importing(recording.subject)]
    if recording.subject.pure:
        lines.append("from optreg import ScheduleLR")
    for line, repeats in groupby(recording.lines, _alike):
        if isinstance(line, tuple):
            lines += _feeding(line[1], [each.metric for each in repeats if isinstance(each, Feeding)])
            continue
        body = [_making(recording, groups, line)] if isinstance(line, Making) else line.splitlines()
        lines += repeated(body, len(list(repeats)))
    return lines


def _alike(line: str | Making | Feeding) -> Any:
    """What lines have in common that are one loop."""
    return (Feeding, line.update) if isinstance(line, Feeding) else line


def _feeding(update: bool, metrics: Sequence[str]) -> list[str]:
    """The lines of steps that take these metrics, after an update each, or without."""
    before = ["    optimizer.step()"] if update else []
    return [f"for metric in [{', '.join(metrics)}]:", *before, "    scheduler.step(metric)"]


def _making(recording: SchedulerRecording, groups: Sequence[int], making: Making) -> str:
    """The line that constructs the optimizer."""
    made = []
    for index in groups:
        options = group_options(recording.subject, index, making.base_lrs[index], tensor=recording.tensor_lr)
        own = "".join(f", {key!r}: {literal(value)}" for key, value in options.items())
        made.append(f"{{'params': [torch.nn.Parameter(torch.ones(1{on_device(recording.subject)}))]{own}}}")
    return f"optimizer = torch.optim.SGD([{', '.join(made)}])"
