"""ReferenceRun: the references of all parameters, stepped alongside a run, and how far the optimizer may differ.

A class that is judged alone has plain runs of itself in their place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.plain_run import PlainRun
from optreg.conformance.harness.problems import Problem, Step
from optreg.conformance.results.tolerance import rounding
from optreg.conformance.subjects.subject import OptimizerSubject


class ReferenceRun:
    """One reference for each parameter, and the scales in which errors are measured.

    A state's scale is the largest magnitude that its coordinate has had. If the decay is coupled to the gradient, the
    allowed error of a parameter enters the state too.

    Args:
        subject: the optimizer whose reference it is.
        starts: the parameters' initial values.
        dtype: the dtype of the run beside it, whose rounding is allowed for.
        groups: the parameters of each group, and what the group overrides: `[([0, 2], {"lr": 0.1}), ...]`.
        settings: hyperparameters; hostile values for all others.
    """

    def __init__(
        self,
        subject: OptimizerSubject,
        starts: Sequence[Array],
        dtype: torch.dtype = torch.float64,
        *,
        groups: Sequence[tuple[Sequence[int], Mapping[str, Any]]] | None = None,
        **settings: Any,
    ) -> None:
        self.subject, self.dtype = subject, dtype
        self.settings = {name: _plain(settings.get(name, value)) for name, value in subject.hostile.items()}
        changes = {index: own for members, own in groups or () for index in members}
        own = [
            {name: _plain(changes.get(i, {}).get(name, v)) for name, v in self.settings.items()}
            for i in range(len(starts))
        ]
        self.references = [subject.reference(**each) for each in own]
        pairs = zip(self.references, starts, strict=True)
        self.plain = PlainRun(subject, starts, groups or (), own) if subject.alone else None
        self.runs = [] if self.plain else [r.trajectory(np.array(start, dtype=np.float64)) for r, start in pairs]
        self.now = [next(run) for run in self.runs] or [(np.array(start, dtype=np.float64), {}) for start in starts]
        self.started = [False for _ in starts]
        self.peak = [np.abs(theta) for theta, _ in self.now]
        self.state_peaks = [{name: np.abs(value) for name, value in state.items()} for _, state in self.now]
        self.gradients = [np.zeros_like(theta) for theta, _ in self.now]
        self.total_lrs, self.t = [0.0 for _ in starts], 0
        coupled = not self.plain and decay_of(subject.reference, self.settings, subject.ndim) == "coupled"
        self.couplings = [float(each["weight_decay"]) if coupled else 0.0 for each in own]

    def run(self, problem: Problem, start: int = 0, stop: int | None = None) -> "ReferenceRun":
        """Make the updates `start` to `stop - 1` of a problem."""
        for step in problem.steps[start:stop]:
            self.take(step)
        return self

    def take(self, step: Step) -> "ReferenceRun":
        """Make one update of a problem."""
        return self.step(step.grads, lr=step.lr)

    def step(self, grads: Sequence[Array | None], **changes: Any) -> "ReferenceRun":
        """Make one update in every reference whose parameter has a gradient."""
        self.t += 1
        if self.plain:
            self.plain.send(grads, {name: _plain(value) for name, value in changes.items()})
        for index, grad in enumerate(grads):
            reference = self.references[index]
            for name, value in changes.items():
                setattr(reference, name, _plain(value))
            self.total_lrs[index] += abs(float(reference.lr))
            if grad is None:
                continue
            self.started[index] = True
            if self.plain:
                self.now[index] = (self.plain.values(index), {})
            else:
                self.now[index] = self.runs[index].send(np.array(grad, dtype=np.float64))
            theta, state = self.now[index]
            self.peak[index] = np.maximum(self.peak[index], np.abs(theta))
            self.gradients[index] = np.maximum(self.gradients[index], np.abs(grad))
            peaks = self.state_peaks[index]
            for name, value in state.items():
                peaks[name] = np.maximum(peaks.get(name, 0.0), np.abs(value))
        return self

    def values(self) -> list[Array]:
        """The parameters."""
        return [theta for theta, _ in self.now]

    def bound(self, index: int) -> Array:
        """How far each element of a parameter may be from the reference."""
        return np.asarray(rounding(self.dtype, self.t) * self._scale(index))

    def _scale(self, index: int) -> Array:
        """S; one for the whole parameter if its elements are coupled, since an error in one then reaches the others."""
        peak = self.peak[index]
        largest = peak if self.subject.traits.elementwise else np.full_like(peak, peak.max(initial=0.0))
        return np.asarray(np.maximum(largest, 1.0) + self.total_lrs[index])

    def state_bound(self, index: int, name: str) -> Array:
        """How far each element of a state may be from the reference."""
        scale = self.state_peaks[index][name]
        if not self.subject.traits.elementwise:
            scale = np.full_like(scale, scale.max(initial=0.0))
        if self.couplings[index]:
            pull = self.couplings[index] * self._scale(index)
            scale = scale + pull + 2 * (self.gradients[index] + pull) * pull
        return np.asarray(rounding(self.dtype, self.t) * scale)


def _plain(value: Any) -> Any:
    """A tensor of one element as a number."""
    return value.item() if isinstance(value, torch.Tensor) else value


def decay_of(reference: type, settings: Mapping[str, Any], ndim: int = 1) -> str:
    """How a reference decays weights: `"none"`, `"decoupled"` or `"coupled"`.

    Coupled decay is part of the gradient and reaches the state; decoupled decay does not. Without state, a first update
    under a gradient of zero decides: decoupled decay removes lr * weight_decay of the parameter.
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
