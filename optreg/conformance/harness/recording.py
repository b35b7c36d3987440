"""Recordings: what was done to an optimizer or a scheduler, as values from which programs and causes are made.

Only the run that keeps a recording adds events to it; nothing here refers to the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from optreg.conformance.harness.layouts import DENSE, Array, Layout
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject

Groups = Sequence[tuple[Sequence[int], Mapping[str, Any]]]
"""The parameters of each group, and what the group overrides: `[([0, 2], {"lr": 0.1}), ...]`."""

NEW_OPTIMIZER = "optimizer = <new>"
"""Stands for the construction of the optimizer in recorded code."""


@dataclass(frozen=True)
class Update:
    """One update: hyperparameters edited in every group, the gradients set, `step` called."""

    changes: dict[str, Any]
    grads: list[Array | None]
    layout: Layout = DENSE


@dataclass(frozen=True)
class Line:
    """Anything else that was done, as code about `params` and `optimizer`; the code may contain NEW_OPTIMIZER."""

    code: str
    resumes: bool = False
    """The optimizer was replaced by one that resumed from its checkpoint."""
    settings: Mapping[str, Any] | None = None
    """What a new optimizer is constructed with, if not with the settings of the first one."""
    groups: Groups | None = None
    added: tuple[Sequence[int], Mapping[str, Any]] | None = None
    """The group that was added, as in `Groups`."""
    outside: bool = False
    """It changes neither the parameters' values nor the optimizer."""


Event = Update | Line


@dataclass(frozen=True)
class OptimizerRecording:
    """What was done to an optimizer, from the construction of its parameters on."""

    subject: OptimizerSubject
    starts: list[Array]
    dtype: torch.dtype
    groups: Groups | None
    layout: Layout
    frozen: Sequence[int]
    settings: dict[str, Any]
    """The hyperparameters and execution options that the optimizer was constructed with."""
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Making:
    """The construction of an optimizer for a scheduler, with the learning rate of each group."""

    base_lrs: tuple[float, ...]


@dataclass(frozen=True)
class Feeding:
    """A step of a scheduler that takes a metric, after an update unless that was left out; the metric is code."""

    metric: str
    update: bool


@dataclass(frozen=True)
class SchedulerRecording:
    """What was done to a scheduler and to the optimizer that it drives."""

    subject: ScheduleSubject
    settings: dict[str, Any]
    base_lrs: tuple[float, ...]
    tensor_lr: bool
    """The groups hold their learning rate in a tensor."""
    resumed_at: int | None = None
    """The step at which the run was interrupted and resumed, if it was."""
    lines: list["str | Making | Feeding"] = field(default_factory=list)
    """What was done, as code, or the construction of an optimizer, or a step that takes a metric."""


@dataclass(frozen=True)
class Shown:
    """What a program prints, as code (`{i}` is the index of a parameter or group), what it should be, and the bound."""

    code: str
    expected: Array | float
    bound: Array | float


@dataclass(frozen=True)
class OptimizerEvidence:
    """The facts behind a finding about the parameter at `index`: all parameters' `values`, and their reference."""

    recording: OptimizerRecording
    index: int
    shown: Shown
    values: list[Array]
    reference: ReferenceRun | None


@dataclass(frozen=True)
class SchedulerEvidence:
    """The facts behind a finding about the learning rate of the group at `index`, at step t."""

    recording: SchedulerRecording
    index: int
    shown: Shown
    t: int
