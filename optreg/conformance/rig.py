"""The rig: an optimizer on parameters of its own, driven by given gradients; and its twin, the reference."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg.conformance.judge import Judge
from optreg.conformance.problems import Problem, Step
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.tolerance import rounding

Array = np.ndarray
Layout = Callable[[Array], Tensor]


@dataclass(frozen=True)
class Event:
    """One thing that was done to the optimizer: an update with its gradients, or a line of code."""

    changes: dict[str, Any]
    grads: list[Array | None] | None = None
    code: str = ""


class Rig:
    """An optimizer with parameters of its own, and the record of what was done to it.

    Args:
        subject: what is judged.
        starts: where the parameters start.
        dtype: the parameters' dtype.
        groups: which parameters form which group, with what is different there: `[([0, 2], {"lr": 0.1}), ...]`.
        layout: how an array becomes a tensor.
        settings: hyperparameters and execution options; the hostile ones unless given.
    """

    def __init__(
        self,
        subject: OptimizerSubject,
        starts: Sequence[Array],
        *,
        dtype: torch.dtype = torch.float64,
        groups: Sequence[tuple[Sequence[int], Mapping[str, Any]]] | None = None,
        layout: Layout = torch.tensor,
        **settings: Any,
    ) -> None:
        self.subject = subject
        self.dtype = dtype
        self.starts = [np.array(start) for start in starts]
        self.settings = {**subject.hostile, **settings}
        self.groups = groups
        self.events: list[Event] = []
        self.params = [Parameter(layout(np.array(start)).to(dtype)) for start in starts]
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

    def step(self, grads: Sequence[Array | None], *, layout: Layout = torch.tensor, **changes: Any) -> None:
        """Set the gradients, edit every group's hyperparameters, make the update."""
        for group in self.optimizer.param_groups:
            self.subject.edit(group, **{name: changes[name] for name in changes})
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = None if grad is None else layout(np.array(grad)).to(self.dtype)
        self.events.append(Event(dict(changes), list(grads)))
        self.update()

    def update(self) -> None:
        """Make an update with the gradients that are set, and see whether anything moved."""
        judge = self.subject.judge
        before = None if judge.moved else [param.detach().clone() for param in self.params]
        self.optimizer.step()
        judge.steps += 1
        if before is not None:
            pairs = zip(before, self.params, strict=True)
            judge.moved = any(not torch.equal(old, new.detach()) for old, new in pairs)

    def note(self, code: str) -> None:
        """Record something else that was done, as a line of code."""
        self.events.append(Event({}, None, code))

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


class Twin:
    """The references of all parameters, stepped along with a rig, and the scales that their errors are measured in.

    A state's scale is the largest value that its coordinate has had. Where the decay is part of the gradient, the error
    that a parameter may have reaches the state too.
    """

    def __init__(self, subject: OptimizerSubject, starts: Sequence[Array], dtype: torch.dtype, **settings: Any) -> None:
        self.subject, self.dtype = subject, dtype
        complete = {**subject.hostile, **settings}
        complete = {name: complete[name] for name in subject.hostile}
        self.references = [subject.reference(**complete) for _ in starts]
        self.runs = [
            reference.trajectory(np.array(start, dtype=np.float64))
            for reference, start in zip(self.references, starts, strict=True)
        ]
        self.now = [next(run) for run in self.runs]
        self.started = [False for _ in starts]
        self.peak = [np.abs(theta) for theta, _ in self.now]
        self.state_peaks = [{name: np.abs(value) for name, value in state.items()} for _, state in self.now]
        self.gradients = [np.zeros_like(theta) for theta, _ in self.now]
        self.total_lr = 0.0
        self.t = 0
        self.coupling = 0.0
        if decay_of(subject.reference, complete, subject.ndim) == "coupled":
            self.coupling = float(complete.get("weight_decay", 0.0))

    def take(self, step: Step) -> "Twin":
        """Make one update of a problem."""
        return self.step(step.grads, lr=step.lr)

    def step(self, grads: Sequence[Array | None], **changes: Any) -> "Twin":
        """Make one update in every reference whose parameter has a gradient."""
        self.t += 1
        for index, grad in enumerate(grads):
            reference = self.references[index]
            for name, value in changes.items():
                setattr(reference, name, value)
            if grad is None:
                continue
            self.started[index] = True
            theta, state = self.now[index] = self.runs[index].send(np.array(grad, dtype=np.float64))
            self.peak[index] = np.maximum(self.peak[index], np.abs(theta))
            self.gradients[index] = np.maximum(self.gradients[index], np.abs(grad))
            peaks = self.state_peaks[index]
            for name, value in state.items():
                peaks[name] = np.maximum(peaks.get(name, 0.0), np.abs(value))
        self.total_lr += abs(float(self.references[0].lr)) if self.references else 0.0
        return self

    def values(self) -> list[Array]:
        """The parameters."""
        return [theta for theta, _ in self.now]

    def bound(self, index: int) -> Array:
        """How far each element of a parameter may be from the reference."""
        return np.asarray(rounding(self.dtype, self.t) * self._scale(index))

    def _scale(self, index: int) -> Array:
        """S, one for the whole parameter: an error in one element may come from what others have in common with it."""
        peak = self.peak[index]
        largest = peak if self.subject.traits.elementwise else np.full_like(peak, peak.max(initial=0.0))
        return np.asarray(np.maximum(largest, 1.0) + self.total_lr)

    def state_bound(self, index: int, name: str) -> Array:
        """How far each element of a state may be from the reference."""
        scale = self.state_peaks[index][name]
        if not self.subject.traits.elementwise:
            scale = np.full_like(scale, scale.max(initial=0.0))
        if self.coupling:
            pull = self.coupling * self._scale(index)
            scale = scale + pull + 2 * (self.gradients[index] + pull) * pull
        return np.asarray(rounding(self.dtype, self.t) * scale)


def no_common_state(subject: OptimizerSubject) -> str | None:
    """Why the state is not compared with the reference's: it is declared its own, or lacks the reference's keys."""
    if subject.traits.state is None:
        shape = (4, 3) if subject.ndim == 2 else (4,)
        apart = replace(subject, judge=Judge())
        rig, twin = Rig(apart, [np.ones(shape)]), Twin(apart, [np.ones(shape)], torch.float64)
        rig.step([np.ones(shape)])
        own = set(twin.step([np.ones(shape)]).now[0][1]) - set(rig.state(0))
    else:
        own = {"all"} if subject.traits.state == "own" else set()
    return "its state is its own, under names that the reference does not know" if own else None


def undeclared_state(subject: OptimizerSubject) -> str | None:
    """Why the extent of the state is not judged: nobody has declared it."""
    return no_common_state(subject) if subject.registered else "it is no registered plugin, and declares no state"


def decay_of(reference: type, settings: Mapping[str, Any], ndim: int = 1) -> str:
    """How a reference decays weights: `"none"`, `"decoupled"` or `"coupled"`.

    A decay that is part of the gradient reaches the state; one that is a step of its own does not. Where there is no
    state, a first update without gradient tells: it takes lr * weight_decay of the parameter if the decay is decoupled.
    """
    if "weight_decay" not in settings:
        return "none"
    start = np.array([[1.0, -3.0, 0.5], [2.0, 0.25, -1.0]])
    start = start if ndim == 2 else start.ravel()

    def first(gradient: Array, decay: float) -> tuple[Array, dict[str, Array]]:
        run = reference(**{**settings, "weight_decay": decay, "lr": 0.01}).trajectory(start)
        next(run)
        theta, state = run.send(gradient)
        return theta, state

    (with_decay, state), (without, plain) = first(0.5 * start, 0.1), first(0.5 * start, 0.0)
    if np.array_equal(with_decay, without):
        return "none"
    if any(np.ndim(value) for value in state.values()):
        same = all(np.array_equal(state[name], plain[name]) for name in state)
    else:
        theta, _ = first(np.zeros_like(start), 0.1)
        same = np.allclose(theta, start * (1 - 0.001), rtol=1e-12, atol=0)
    return "decoupled" if same else "coupled"


def as_array(tensor: Tensor) -> Array:
    """A tensor's values in float64, complex ones as pairs of reals."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    array: Array = tensor.to(torch.float64).cpu().numpy().copy()
    return array


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
