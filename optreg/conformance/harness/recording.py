"""Recordings: what was done to an optimizer or a scheduler, as values from which programs and causes are made.

A run keeps its recording, and alone adds to the recording's events; nothing here refers to what was run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from optreg.conformance.harness.layouts import DENSE, Layout
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject

Array = np.ndarray

Groups = Sequence[tuple[Sequence[int], Mapping[str, Any]]]
"""Which parameters form which group, with what is different there: `[([0, 2], {"lr": 0.1}), ...]`."""

ANEW = "optimizer = <anew>"
"""Stands, in recorded code, for making the optimizer."""


@dataclass(frozen=True)
class Update:
    """One update: hyperparameters edited in every group, the gradients set, `step` called."""

    changes: dict[str, Any]
    grads: list[Array | None]
    layout: Layout = DENSE


@dataclass(frozen=True)
class Line:
    """Something else that was done, as code about `params` and `optimizer`; it may hold ANEW.

    Args:
        code: the code.
        resumes: the optimizer was exchanged for one that went on from its checkpoint.
        settings: what an optimizer made anew is given; what the first was, where it is not told.
        groups: likewise.
        outside: it changes neither parameters nor optimizer, but something around them.
    """

    code: str
    resumes: bool = False
    settings: Mapping[str, Any] | None = None
    groups: Groups | None = None
    outside: bool = False


Event = Update | Line


@dataclass(frozen=True)
class OptimizerRecording:
    """What was done to an optimizer, from its parameters' start on.

    Args:
        subject: what is judged.
        starts: where the parameters start.
        dtype: the parameters' dtype.
        groups: the param groups; None for one of all parameters.
        layout: how the parameters lie in memory.
        frozen: the parameters that are frozen when the optimizer is made.
        settings: hyperparameters and execution options that it is made with.
        events: what followed.
    """

    subject: OptimizerSubject
    starts: list[Array]
    dtype: torch.dtype
    groups: Groups | None
    layout: Layout
    frozen: Sequence[int]
    settings: dict[str, Any]
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Making:
    """An optimizer is made for a scheduler, with these learning rates of its groups."""

    base_lrs: tuple[float, ...]


@dataclass(frozen=True)
class SchedulerRecording:
    """What was done to a scheduler and to the optimizer that it drives.

    Args:
        subject: what is judged.
        settings: the schedule's hyperparameters.
        base_lrs: each group's base learning rate.
        tensor_lr: whether the groups hold their rate in a tensor.
        resumed_at: the step at which the run was stopped and resumed, if it was.
        lines: what was done, as code, or the making of an optimizer.
    """

    subject: ScheduleSubject
    settings: dict[str, Any]
    base_lrs: tuple[float, ...]
    tensor_lr: bool
    resumed_at: int | None = None
    lines: list["str | Making"] = field(default_factory=list)


@dataclass(frozen=True)
class Shown:
    """What a program prints, as code (`{i}` is the place of a parameter or group), and what is expected of it.

    Args:
        code: the code.
        expected: what it should print.
        bound: how far from it is near enough.
    """

    code: str
    expected: Array | float
    bound: Array | float


@dataclass(frozen=True)
class OptimizerEvidence:
    """What a finding about one parameter was made from.

    Args:
        recording: what was done.
        index: the parameter.
        shown: what was compared.
        values: where all parameters are.
        reference: the references that were followed, if any were.
    """

    recording: OptimizerRecording
    index: int
    shown: Shown
    values: list[Array]
    reference: ReferenceRun | None


@dataclass(frozen=True)
class SchedulerEvidence:
    """What a finding about one group's rate was made from.

    Args:
        recording: what was done.
        index: the group.
        shown: what was compared.
        t: the step that the scheduler is at.
    """

    recording: SchedulerRecording
    index: int
    shown: Shown
    t: int
