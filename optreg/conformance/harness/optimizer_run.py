"""OptimizerRun: an optimizer on parameters of its own, driven by given gradients, with a recording."""

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
from optreg.conformance.harness.counts import recounted
from optreg.conformance.harness.drawing import Drawing
from optreg.conformance.harness.layouts import DENSE, Array, Layout, as_array
from optreg.conformance.harness.problems import Problem, Step
from optreg.conformance.harness.recording import (
    NEW_OPTIMIZER,
    Groups,
    Line,
    OptimizerEvidence,
    OptimizerRecording,
    Shown,
    Update,
)
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.differences import first_difference
from optreg.conformance.results.verdict import Failed
from optreg.conformance.subjects.subject import OptimizerSubject

WAYS = {"state_dict": "copy.deepcopy(optimizer.state_dict())", "file": "through_a_file(optimizer.state_dict())"}
THROUGH_A_FILE = """\
def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)"""
KEPT = "saved, values = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in params]"
RELOADED = """\
with torch.no_grad():
    for p, value in zip(params, values):
        p.copy_(value)
optimizer.load_state_dict(copy.deepcopy(saved))"""
COPIES = {"deepcopy": "copy.deepcopy((params, optimizer))", "pickle": "pickle.loads(pickle.dumps((params, optimizer)))"}


class OptimizerRun:
    """An optimizer with parameters of its own, and the recording of what was done to it.

    Args:
        subject: the optimizer that is judged.
        starts: the parameters' initial values.
        dtype: the parameters' dtype.
        groups: the parameters of each group, and what the group overrides: `[([0, 2], {"lr": 0.1}), ...]`.
        layout: the parameters' memory layout.
        frozen: the parameters that require no gradient when the optimizer is constructed.
        settings: hyperparameters and execution options; hostile values for all others.
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
        copies, settings = list(map(np.array, starts)), {**subject.hostile, **subject.execution, **settings}
        settings |= dict.fromkeys(subject.dtypes, str(dtype).removeprefix("torch."))
        self.recording = OptimizerRecording(subject, copies, dtype, groups, layout, frozen, settings)
        self.params = [Parameter(layout(subject.tensor(start, dtype))) for start in starts]
        for index in frozen:
            self.params[index].requires_grad_(False)
        self.added: list[tuple[Sequence[int], Mapping[str, Any]]] = []
        """The groups that were added later, as in `groups`."""
        subject.activity.recording = self.recording
        self.drawing = Drawing(subject)
        self.optimizer = subject.make(self._grouped(), **self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyperparameters and execution options that the optimizer was constructed with."""
        return self.recording.settings

    @property
    def groups(self) -> Groups | None:
        """The groups that it was constructed with; None for a single group of all parameters."""
        return self.recording.groups

    def _grouped(self) -> Any:
        if self.groups is None:
            return list(self.params)
        return [{"params": [self.params[i] for i in members], **changes} for members, changes in self.groups]

    def run(self, problem: Problem, start: int = 0, stop: int | None = None) -> "OptimizerRun":
        """Make the updates `start` to `stop - 1` of a problem."""
        for step in problem.steps[start:stop]:
            self.take(step)
        return self

    def take(self, step: Step) -> None:
        """Make one update of a problem."""
        self.step(step.grads, lr=step.lr)

    def step(self, grads: Sequence[Array | None], *, layout: Layout = DENSE, **changes: Any) -> None:
        """Edit every group's hyperparameters, set the gradients, make the update."""
        self.edit(**changes)
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = None if grad is None else layout(self.subject.tensor(grad, param.dtype))
        self.recording.events.append(Update(dict(changes), list(grads), layout))
        self._update()

    def step_again(self, code: str = "optimizer.step()", closure: Any = None) -> Any:
        """Make an update with the gradients that are set already, or through a closure; return what `step` returns."""
        self.note(code)
        return self._update() if closure is None else self._update(closure)

    def edit(self, *, noted: bool = False, only: int | None = None, **changes: Any) -> None:
        """Edit the hyperparameters of every group or of one; record that, if it is not part of a recorded update."""
        groups = self.optimizer.param_groups
        for group in groups if only is None else [groups[only]]:
            self.subject.edit(group, **changes)
        for name, value in self.subject.group_arguments(changes).items() if noted or only is not None else ():
            which = "" if only is None else f"[{only}:{only + 1}]"
            self.note(f"for group in optimizer.param_groups{which}:\n    group[{name!r}] = {literal(value)}")

    def _update(self, *arguments: Any) -> Any:
        """Call `step`, and notice whether any parameter has changed."""
        activity = self.subject.activity
        activity.recording = self.recording
        before = None if activity.moved else self.tensors()
        with self.drawing:
            returned = self.subject.update(self.optimizer, *arguments)
        activity.updates += 1
        if before is not None:
            pairs = zip(before, self.params, strict=True)
            activity.moved = any(not torch.equal(old, new.detach()) for old, new in pairs)
        return returned

    def note(self, code: str, *, outside: bool = False) -> None:
        """Record anything else that was done, as code; `outside` if neither to values nor to the optimizer."""
        self.recording.events.append(Line(code, outside=outside))

    def freeze(self, index: int, frozen: bool = True) -> None:
        """Freeze a parameter, or thaw it; its gradient stays as it is."""
        self.params[index].requires_grad_(not frozen)
        self.note(f"params[{index}].requires_grad_({not frozen})", outside=True)

    def add_group(self, members: Sequence[int], *, bare: bool = False, **changes: Any) -> None:
        """Add a group of some of the parameters, or of a `bare` one, with hyperparameters of its own."""
        self.recording.events.append(Line(self._extend(members, changes, bare), added=(members, changes)))
        self.added.append((members, changes))

    def _extend(self, members: Sequence[int], changes: Mapping[str, Any], bare: bool = False) -> str:
        """Add a group, and return how, as code."""
        own, params = self.subject.added(self.settings, changes), [self.params[i] for i in members]
        self.optimizer.add_param_group({"params": params[0] if bare else params, **own})
        listed = ", ".join(f"params[{i}]" for i in members)
        items = "".join(f", {name!r}: {literal(value)}" for name, value in own.items())
        return f"optimizer.add_param_group({{'params': {listed if bare else f'[{listed}]'}{items}}})"

    def remake(self, params: Any, code: str) -> None:
        """Construct the optimizer again from parameters or groups in another form, which `code` states."""
        self.note(f"optimizer = {call(self.subject, code, self.settings)}")
        self.optimizer = self.subject.make(params, **self.settings)

    def resumed(
        self,
        saved: Any = None,
        *,
        way: str = "state_dict",
        groups: Groups | None = None,
        extended: bool = False,
        thawed: bool = False,
        **settings: Any,
    ) -> "OptimizerRun":
        """A fresh optimizer on copies of the parameters, resumed from a checkpoint.

        Args:
            saved: the checkpoint; taken now, if not given.
            way: how it gets there: `"state_dict"` as a copy in memory, or through a `"file"`.
            groups: the groups of the fresh optimizer; this one's, if not given.
            extended: groups that were added later are added to the fresh optimizer too, before it loads; otherwise it
                is constructed with them.
            thawed: no copy of a parameter is frozen; otherwise those are whose originals are.
            settings: what the fresh optimizer is constructed with instead of this one's settings.
        """
        if saved is None:
            state = self.optimizer.state_dict()
            saved = copy.deepcopy(state) if way == "state_dict" else _through_a_file(state)
        if groups is None and self.added and not extended:
            groups = [*(self.groups or ()), *self.added]
        groups = self.groups if groups is None else groups
        frozen = [] if thawed else [i for i, param in enumerate(self.params) if not param.requires_grad]
        made = {**self.settings, **settings}
        fresh = OptimizerRun(
            self.subject, self.values(), dtype=self.recording.dtype, groups=groups, frozen=frozen, **made
        )
        for param, old in zip(fresh.params, self.params, strict=True):
            with torch.no_grad():
                param.copy_(old)
        extensions = [fresh._extend(*group) for group in self.added] if extended else []
        fresh.added, fresh.drawing = list(self.added), copy.copy(self.drawing)
        fresh.optimizer.load_state_dict(saved)
        helper = [THROUGH_A_FILE] if way == "file" else []
        copied = "p.detach().clone(), p.requires_grad" if frozen else "p.detach().clone()"
        copies = f"params = [torch.nn.Parameter({copied}) for p in params]"
        loading = "optimizer.load_state_dict(saved)"
        code = [*helper, f"saved = {WAYS[way]}", copies, NEW_OPTIMIZER, *extensions, loading]
        line = Line("\n".join(code), resumes=True, settings=fresh.settings, groups=groups)
        fresh.recording = replace(self.recording, events=[*self.recording.events, line])
        return fresh

    def reuse(self, grads: Sequence[Array], **changes: Any) -> None:
        """Write gradients into the tensors that held the last ones, edit every group, make the update."""
        options = f"dtype={self.recording.dtype}{on_device(self.subject)}"
        for index, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            assert param.grad is not None
            param.grad.copy_(self.subject.tensor(grad))
            self.note(f"params[{index}].grad.copy_(torch.tensor({literal(grad)}, {options}))")
        self.edit(noted=True, **changes)
        self.step_again()

    def reload(self, other: "OptimizerRun", times: int) -> None:
        """Load another run's checkpoint into this same optimizer, and take the values of its parameters."""
        saved = other.optimizer.state_dict()
        for _ in range(times):
            with torch.no_grad():
                for param, value in zip(self.params, other.params, strict=True):
                    param.copy_(value)
            self.optimizer.load_state_dict(copy.deepcopy(saved))
        events = [*other.recording.events, Line(KEPT), Line(NEW_OPTIMIZER), *self.recording.events]
        self.recording = replace(self.recording, events=[*events, *[Line(RELOADED, resumes=True)] * times])

    def recount(self, earlier: Any, saved: Any, count: int) -> bool:
        """Load its own checkpoint again with other counts, found as in `recounted`; whether it then has them."""
        set_to, counts = recounted(earlier, saved, lambda now: now * 0 + count)
        lines = [f"saved{place} = {literal(now * 0 + count)}" for place, now in counts.items()]
        self.note(
            "\n".join(["saved = copy.deepcopy(optimizer.state_dict())", *lines, "optimizer.load_state_dict(saved)"])
        )
        self.optimizer.load_state_dict(copy.deepcopy(set_to))
        return first_difference(self.optimizer.state_dict(), set_to, "a checkpoint") is None

    def duplicate(self, way: str) -> "OptimizerRun":
        """A copy of optimizer and parameters, made by `"deepcopy"` or through a `"pickle"`."""
        other = copy.copy(self)
        other.drawing = copy.copy(self.drawing)
        pair = (self.params, self.optimizer)
        other.params, other.optimizer = copy.deepcopy(pair) if way == "deepcopy" else pickle.loads(pickle.dumps(pair))
        line = Line(f"params, optimizer = {COPIES[way]}")
        other.recording = replace(self.recording, events=[*self.recording.events, line])
        return other

    def assert_gradient(self, index: int, grad: Array, *, step: int) -> None:
        """Assert that a parameter's gradient is still the one that it was given."""
        with self.showing(index, grad, show="params[{i}].grad"):
            given, what = self.subject.tensor(grad), f"the gradient of parameter {index}"
            self.subject.assert_equal(self.params[index].grad, given, what, step=step)

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
        """Copies of the parameters and of their state."""

        def copied(value: Any) -> Any:
            return value.detach().clone() if isinstance(value, Tensor) else value

        states = [{name: copied(value) for name, value in self.state(i).items()} for i in range(len(self.params))]
        return list(zip(self.tensors(), states, strict=True))

    def assert_same(
        self,
        other: "OptimizerRun | Sequence[Tensor]",
        what: str,
        *,
        step: int | None = None,
        of: str,
        reference: ReferenceRun | None = None,
    ) -> None:
        """Assert that every parameter is another run's, bit for bit."""
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
        """Assert that each element of a parameter is within its bound of the expected value."""
        found = as_array(self.params[index])
        try:
            self.subject.assert_close(found, expected, bound, what, step=step, of=of)
        except Failed:
            bound = bound if reference is None else bound + reference.amplified(index)
            with self.showing(index, expected, bound, reference=reference):
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
        """Add to a finding that is raised inside the evidence from which its cause and a program are derived.

        Args:
            index: the parameter that is compared.
            expected: what `show` should evaluate to.
            bound: the largest allowed error.
            show: what the program prints, as code; `{i}` is the parameter's index.
            reference: the reference that the run follows.
        """
        try:
            yield
        except Failed as failed:
            if failed.evidence is None:
                shown = Shown(show, expected, bound)
                failed.evidence = OptimizerEvidence(self.recording, index, shown, self.values(), reference)
            raise


def _through_a_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
