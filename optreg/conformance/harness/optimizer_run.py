"""OptimizerRun: an optimizer on parameters of its own, driven by given gradients, and the recording of it."""

import copy
import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg.conformance.harness.code import call, literal, on_device
from optreg.conformance.harness.layouts import DENSE, Layout, as_array
from optreg.conformance.harness.problems import Problem, Step
from optreg.conformance.harness.recording import (
    ANEW,
    Groups,
    Line,
    OptimizerEvidence,
    OptimizerRecording,
    Shown,
    Update,
)
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.verdict import Failed
from optreg.conformance.subjects.subject import OptimizerSubject

Array = np.ndarray


WAYS = {"state_dict": "copy.deepcopy(optimizer.state_dict())", "file": "through_a_file(optimizer.state_dict())"}
THROUGH_A_FILE = """\
def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)"""
COPIES = {"deepcopy": "copy.deepcopy((params, optimizer))", "pickle": "pickle.loads(pickle.dumps((params, optimizer)))"}


class OptimizerRun:
    """An optimizer with parameters of its own, and the recording of what was done to it.

    Args:
        subject: what is judged.
        starts: where the parameters start.
        dtype: the parameters' dtype.
        groups: which parameters form which group, with what is different there: `[([0, 2], {"lr": 0.1}), ...]`.
        layout: how the parameters lie in memory.
        frozen: the parameters that are frozen when the optimizer is made.
        settings: hyperparameters and execution options; the hostile ones unless given.
    """

    def __init__(
        self,
        subject: OptimizerSubject,
        starts: Sequence[Array],
        *,
        dtype: torch.dtype = torch.float64,
        groups: Groups | None = None,
        layout: Layout = DENSE,
        frozen: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        self.subject = subject
        self.recording = OptimizerRecording(
            subject=subject,
            starts=[np.array(start) for start in starts],
            dtype=dtype,
            groups=groups,
            layout=layout,
            frozen=frozen,
            settings={**subject.hostile, **subject.execution, **settings},
        )
        self.params = [Parameter(layout(subject.tensor(start, dtype))) for start in starts]
        for index in frozen:
            self.params[index].requires_grad_(False)
        subject.activity.recording = self.recording
        self.optimizer = subject.make(self._grouped(), **self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyperparameters and execution options that the optimizer was made with."""
        return self.recording.settings

    @property
    def groups(self) -> Groups | None:
        """The param groups that it was made with; None for one of all parameters."""
        return self.recording.groups

    def _grouped(self) -> Any:
        if self.groups is None:
            return list(self.params)
        return [{"params": [self.params[i] for i in members], **changes} for members, changes in self.groups]

    def run(self, problem: Problem, start: int = 0, stop: int | None = None) -> "OptimizerRun":
        """Make the updates of a problem, from number `start` to before `stop`."""
        for step in problem.steps[start:stop]:
            self.take(step)
        return self

    def take(self, step: Step) -> None:
        """Make one update of a problem."""
        self.step(step.grads, lr=step.lr)

    def step(self, grads: Sequence[Array | None], *, layout: Layout = DENSE, **changes: Any) -> None:
        """Set the gradients, edit every group's hyperparameters, make the update."""
        self._edit(changes)
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = None if grad is None else layout(self.subject.tensor(grad, param.dtype))
        self.recording.events.append(Update(dict(changes), list(grads), layout))
        self._update()

    def step_again(self, code: str = "optimizer.step()", closure: Any = None) -> Any:
        """Make an update with the gradients that are there, or through a closure; returns what `step` returns."""
        self.note(code)
        return self._update() if closure is None else self._update(closure)

    def _edit(self, changes: Mapping[str, Any]) -> None:
        for group in self.optimizer.param_groups:
            self.subject.edit(group, **changes)

    def _update(self, *arguments: Any) -> Any:
        """Call `step`, and see whether anything has moved."""
        activity = self.subject.activity
        activity.recording = self.recording
        before = None if activity.moved else self.tensors()
        returned = self.optimizer.step(*arguments)
        activity.updates += 1
        if before is not None:
            pairs = zip(before, self.params, strict=True)
            activity.moved = any(not torch.equal(old, new.detach()) for old, new in pairs)
        return returned

    def note(self, code: str, *, outside: bool = False) -> None:
        """Record something else that was done, as code; perhaps outside, to neither parameters nor optimizer."""
        self.recording.events.append(Line(code, outside=outside))

    def remake(self, params: Any, code: str) -> None:
        """Make the optimizer once more, from parameters or groups given in another form, which `code` says."""
        self.note(f"optimizer = {call(self.subject, code, self.settings)}")
        self.optimizer = self.subject.make(params, **self.settings)

    def resumed(
        self, saved: Any = None, *, way: str = "state_dict", groups: Groups | None = None, **settings: Any
    ) -> "OptimizerRun":
        """A fresh optimizer on copies of the parameters, gone on from a checkpoint, which is made unless given.

        Args:
            saved: the checkpoint.
            way: how it travels: `"state_dict"` as a copy in memory, or through a `"file"`.
            groups: the groups of the fresh optimizer; this one's, if not given.
            settings: what the constructor is given otherwise.
        """
        if saved is None:
            state = self.optimizer.state_dict()
            saved = copy.deepcopy(state) if way == "state_dict" else _through_a_file(state)
        groups = self.groups if groups is None else groups
        made = {**self.settings, **settings}
        fresh = OptimizerRun(self.subject, self.values(), dtype=self.recording.dtype, groups=groups, **made)
        for param, old in zip(fresh.params, self.params, strict=True):
            with torch.no_grad():
                param.copy_(old)
        fresh.optimizer.load_state_dict(saved)
        code = "\n".join(
            [
                *([THROUGH_A_FILE] if way == "file" else []),
                f"saved = {WAYS[way]}",
                "params = [torch.nn.Parameter(p.detach().clone()) for p in params]",
                ANEW,
                "optimizer.load_state_dict(saved)",
            ]
        )
        line = Line(code, resumes=True, settings=fresh.settings, groups=groups)
        fresh.recording = replace(
            fresh.recording,
            starts=self.recording.starts,
            settings=self.settings,
            groups=self.groups,
            events=[*self.recording.events, line],
        )
        return fresh

    def reuse(self, grads: Sequence[Array], **changes: Any) -> None:
        """Write gradients into the tensors that hold them already, edit every group, make the update."""
        self._edit(changes)
        device = on_device(self.subject)
        for index, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            assert param.grad is not None
            param.grad.copy_(self.subject.tensor(grad))
            self.note(
                f"params[{index}].grad.copy_(torch.tensor({literal(grad)}, dtype={self.recording.dtype}{device}))"
            )
        for name, value in self.subject.group_arguments(changes).items():
            self.note(f"for group in optimizer.param_groups:\n    group[{name!r}] = {literal(value)}")
        self.step_again()

    def reload(self, saved: Any, values: Sequence[Tensor]) -> None:
        """Load a checkpoint into this very optimizer, and put its parameters where they were."""
        with torch.no_grad():
            for param, value in zip(self.params, values, strict=True):
                param.copy_(value)
        self.optimizer.load_state_dict(copy.deepcopy(saved))

    def duplicate(self, way: str) -> "OptimizerRun":
        """A copy of optimizer and parameters, made by `"deepcopy"` or through a `"pickle"`."""
        other = copy.copy(self)
        pair = (self.params, self.optimizer)
        other.params, other.optimizer = copy.deepcopy(pair) if way == "deepcopy" else pickle.loads(pickle.dumps(pair))
        line = Line(f"params, optimizer = {COPIES[way]}")
        other.recording = replace(self.recording, events=[*self.recording.events, line])
        return other

    def values(self) -> list[Array]:
        """The parameters in float64."""
        return [as_array(param) for param in self.params]

    def tensors(self) -> list[Tensor]:
        """Copies of the parameters."""
        return [param.detach().clone() for param in self.params]

    def state(self, index: int) -> dict[str, Any]:
        """The optimizer's state of one parameter."""
        return dict(self.optimizer.state.get(self.params[index], {}))

    def snapshot(self) -> list[tuple[Tensor, dict[str, Any]]]:
        """Copies of the parameters, with copies of what tensors and numbers their state holds."""
        return [
            (param, {name: _copied(value) for name, value in self.state(index).items()})
            for index, param in enumerate(self.tensors())
        ]

    def assert_same(
        self,
        other: "OptimizerRun | Sequence[Tensor]",
        what: str,
        *,
        step: int | None = None,
        of: str,
        reference: ReferenceRun | None = None,
    ) -> None:
        """Every parameter against another run's, bit for bit."""
        expected = other.tensors() if isinstance(other, OptimizerRun) else list(other)
        for index, (mine, theirs) in enumerate(zip(self.tensors(), expected, strict=True)):
            with self.showing(index, as_array(theirs), reference=reference):
                self.subject.assert_equal(mine, theirs, f"{what}, parameter {index}", step=step, of=of)

    def assert_close(
        self,
        index: int,
        expected: Array,
        bound: Array | float,
        what: str,
        *,
        step: int | None = None,
        of: str = "",
        reference: ReferenceRun | None = None,
    ) -> None:
        """One parameter against what it should be, each element within its bound."""
        with self.showing(index, expected, bound, reference=reference):
            found = as_array(self.params[index])
            self.subject.assert_close(found, expected, bound, what, step=step, of=of)

    @contextmanager
    def showing(
        self,
        index: int,
        expected: Array,
        bound: Array | float = 0.0,
        *,
        show: str = "params[{i}]",
        reference: ReferenceRun | None = None,
    ) -> Iterator[None]:
        """Give a finding that is made inside the evidence from which its cause and a program are found.

        Args:
            index: the parameter that is compared.
            expected: what is expected of what `show` shows.
            bound: how far from it is near enough.
            show: what the program prints, as code; `{i}` is the parameter's place.
            reference: the references that the run follows, from which the cause can be found out.
        """
        try:
            yield
        except Failed as failed:
            if failed.evidence is None:
                shown = Shown(show, expected, bound)
                failed.evidence = OptimizerEvidence(self.recording, index, shown, self.values(), reference)
            raise


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _through_a_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
