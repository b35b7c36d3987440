"""The rig: an optimizer on parameters of its own, driven by given gradients, and the record of what was done to it."""

import copy
import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg.conformance import diagnosis, programs
from optreg.conformance.problems import Problem, Step
from optreg.conformance.record import ANEW, DENSE, Event, Layout, Line, Update, as_array
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.verdict import Finding

if TYPE_CHECKING:
    from optreg.conformance.twin import Twin

Array = np.ndarray


WAYS = {
    "state_dict": "copy.deepcopy(optimizer.state_dict())",
    "file": "through_a_file(optimizer.state_dict())",
}
THROUGH_A_FILE = """\
def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)"""
COPIES = {
    "deepcopy": "copy.deepcopy((params, optimizer))",
    "pickle": "pickle.loads(pickle.dumps((params, optimizer)))",
}


class Rig:
    """An optimizer with parameters of its own, and the record of what was done to it.

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
        groups: Sequence[tuple[Sequence[int], Mapping[str, Any]]] | None = None,
        layout: Layout = DENSE,
        frozen: Sequence[int] = (),
        **settings: Any,
    ) -> None:
        self.subject = subject
        self.dtype = dtype
        self.starts = [np.array(start) for start in starts]
        self.settings = {**subject.hostile, **subject.execution, **settings}
        self.groups = groups
        self.layout, self.grad_layout = layout, DENSE
        self.events: list[Event] = []
        self.params = [Parameter(layout(torch.tensor(np.array(start)).to(dtype))) for start in starts]
        self.frozen = frozen
        for index in frozen:
            self.params[index].requires_grad_(False)
        subject.judge.latest = self
        self.optimizer = subject.make(self._grouped(), **self.settings)

    def _grouped(self) -> Any:
        if self.groups is None:
            return list(self.params)
        return [{"params": [self.params[i] for i in members], **changes} for members, changes in self.groups]

    def run(self, problem: Problem, start: int = 0, stop: int | None = None) -> "Rig":
        """Make the updates of a problem, from number `start` to before `stop`."""
        for step in problem.steps[start:stop]:
            self.take(step)
        return self

    def take(self, step: Step) -> None:
        """Make one update of a problem."""
        self.step(step.grads, lr=step.lr)

    def step(self, grads: Sequence[Array | None], *, layout: Layout = DENSE, **changes: Any) -> None:
        """Set the gradients, edit every group's hyperparameters, make the update."""
        self.grad_layout = layout
        for group in self.optimizer.param_groups:
            self.subject.edit(group, **changes)
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = None if grad is None else layout(torch.tensor(np.array(grad)).to(param.dtype))
        self.events.append(Update(dict(changes), list(grads)))
        self._update()

    def step_again(self, code: str = "optimizer.step()", closure: Any = None) -> Any:
        """Make an update with the gradients that are there, or through a closure; returns what `step` returns."""
        self.note(code)
        return self._update() if closure is None else self._update(closure)

    def _update(self, *arguments: Any) -> Any:
        """Call `step`, and see whether anything has moved."""
        judge = self.subject.judge
        judge.latest = self
        before = None if judge.moved else [param.detach().clone() for param in self.params]
        returned = self.optimizer.step(*arguments)
        judge.steps += 1
        if before is not None:
            pairs = zip(before, self.params, strict=True)
            judge.moved = any(not torch.equal(old, new.detach()) for old, new in pairs)
        return returned

    def note(self, code: str) -> None:
        """Record something else that was done, as code."""
        self.events.append(Line(code))

    def resumed(
        self,
        saved: Any = None,
        *,
        way: str = "state_dict",
        groups: Sequence[tuple[Sequence[int], Mapping[str, Any]]] | None = None,
        **settings: Any,
    ) -> "Rig":
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
        fresh = Rig(self.subject, self.values(), dtype=self.dtype, groups=groups, **{**self.settings, **settings})
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
        fresh.events = [*self.events, Line(code, resumes=True, settings=fresh.settings, groups=groups)]
        fresh.starts, fresh.settings, fresh.groups = self.starts, self.settings, self.groups
        return fresh

    def reuse(self, grads: Sequence[Array], **changes: Any) -> None:
        """Write gradients into the tensors that hold them already, edit every group, make the update."""
        for group in self.optimizer.param_groups:
            self.subject.edit(group, **changes)
        for index, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            assert param.grad is not None
            param.grad.copy_(torch.tensor(grad))
            self.note(f"params[{index}].grad.copy_(torch.tensor({programs.literal(grad)}, dtype={self.dtype}))")
        edits = self.subject.group_arguments(changes)
        for name, value in edits.items():
            self.note(f"for group in optimizer.param_groups:\n    group[{name!r}] = {programs.literal(value)}")
        self.step_again()

    def reload(self, saved: Any, values: Sequence[Tensor]) -> None:
        """Load a checkpoint into this very optimizer, and put its parameters where they were."""
        with torch.no_grad():
            for param, value in zip(self.params, values, strict=True):
                param.copy_(value)
        self.optimizer.load_state_dict(copy.deepcopy(saved))

    def duplicate(self, way: str) -> "Rig":
        """A copy of optimizer and parameters, made by `"deepcopy"` or through a `"pickle"`."""
        other = copy.copy(self)
        pair = (self.params, self.optimizer)
        other.params, other.optimizer = copy.deepcopy(pair) if way == "deepcopy" else pickle.loads(pickle.dumps(pair))
        other.events = [*self.events, Line(f"params, optimizer = {COPIES[way]}")]
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
            (param.detach().clone(), {name: _copied(value) for name, value in self.state(index).items()})
            for index, param in enumerate(self.params)
        ]

    def same(
        self,
        other: "Rig | Sequence[Tensor]",
        what: str,
        *,
        step: int | None = None,
        of: str,
        twin: "Twin | None" = None,
    ) -> None:
        """Every parameter against another rig's, bit for bit."""
        expected = other.tensors() if isinstance(other, Rig) else list(other)
        for index, (mine, theirs) in enumerate(zip(self.tensors(), expected, strict=True)):
            with self.explaining(index, as_array(theirs), twin=twin):
                self.subject.judge.equal(mine, theirs, f"{what}, parameter {index}", step=step, of=of)

    def close(
        self,
        index: int,
        expected: Array,
        bound: Array | float,
        what: str,
        *,
        step: int | None = None,
        of: str = "",
        twin: "Twin | None" = None,
    ) -> None:
        """One parameter against what it should be, each element within its bound."""
        with self.explaining(index, expected, bound, twin=twin):
            self.subject.judge.close(as_array(self.params[index]), expected, bound, what, step=step, of=of)

    def raising(self, error: BaseException) -> str | None:
        """The smallest program in which the optimizer raises an error of the same kind; None where none does."""
        return programs.raising(self, error)

    @contextmanager
    def explaining(
        self,
        index: int,
        expected: Array,
        bound: Array | float = 0.0,
        *,
        show: str = "params[{i}]",
        twin: "Twin | None" = None,
    ) -> Iterator[None]:
        """Give a finding that is made inside its probable cause, and a program that shows it.

        Args:
            index: the parameter that is compared.
            expected: what is expected of what `show` shows.
            bound: how far from it is near enough.
            show: what the program prints, as code; `{i}` is the parameter's place.
            twin: the reference that the rig follows, from which the cause can be found out.
        """

        def explain(finding: Finding, where: tuple[int, ...] | None) -> Finding:
            cause = finding.likely or (diagnosis.likely(self, twin) if twin else None)
            shown = programs.Shown(show, np.asarray(expected), np.asarray(bound))
            return replace(finding, likely=cause, snippet=programs.smallest(self, index, shown, where, twin))

        with self.subject.judge.explaining(explain):
            yield


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _through_a_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
