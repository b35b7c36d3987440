"""ReferenceRun: the references of all parameters, stepped alongside a run, and how far the optimizer may differ.

A class that is judged alone has plain runs of itself in their place.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.plain_run import PlainRun
from optreg.conformance.harness.problems import Problem, Step
from optreg.conformance.results.tolerance import UNIT, coarser, rounding
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.conformance.subjects.variants import decay_of

NEARBY = 4
"""How many runs show what a rounding does."""

AMPLIFIED = 4.0
"""A factor of the tolerance where rounding is amplified: Muons in four orders of operations need 0.8 of it without."""


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
        self.subject, self.dtype = subject, coarser(dtype, subject.precise)
        self.settings = {name: _plain(settings.get(name, value)) for name, value in subject.hostile.items()}
        changes = {index: own for members, own in groups or () for index in members}
        own = [
            {name: _plain(changes.get(i, {}).get(name, v)) for name, v in self.settings.items()}
            for i in range(len(starts))
        ]
        self.references = [subject.reference(**each) for each in own]
        for reference in self.references:
            if hasattr(reference, "epsilon") and "epsilon" not in self.settings:  # there it is a hyperparameter
                reference.epsilon = torch.finfo(dtype).eps
        pairs = zip(self.references, starts, strict=True)
        self.plain = PlainRun(subject, starts, groups or (), own) if subject.alone else None
        self.runs = [] if self.plain else [r.trajectory(np.array(start, dtype=np.float64)) for r, start in pairs]
        self.now = [next(run) for run in self.runs] or [(np.array(start, dtype=np.float64), {}) for start in starts]
        self.started = [False for _ in starts]
        self.peak = [np.abs(theta) for theta, _ in self.now]
        self.state_peaks = [{name: np.abs(value) for name, value in state.items()} for _, state in self.now]
        self.gradients = [np.zeros_like(theta) for theta, _ in self.now]
        self.total_lrs, self.t = [0.0 for _ in starts], 0
        self._made = (starts, groups, settings)
        self._history: list[tuple[Sequence[Array | None], dict[str, Any]]] = []
        self._nearby: list[tuple[ReferenceRun, np.random.Generator]] = []
        self._decays = [float(each.get("weight_decay", 0.0)) for each in own]

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
        self._history.append((grads, changes))
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

    def amplified(self, index: int) -> Array:
        """How much farther each element of a parameter may be because the algorithm amplifies rounding errors.

        The reference is run beside itself, from starts and under gradients that are changed by a unit roundoff. How far
        that moves an element, beyond u S, adds to the tolerance. Independent elements move by up to 4 u S without any
        amplification.
        """
        if not self._nearby:
            starts, groups, settings = self._made
            for seed in range(NEARBY):
                random = np.random.default_rng(seed)
                nearby = [self._rounded(start, random) for start in starts]
                run = ReferenceRun(self.subject, nearby, self.dtype, groups=groups, **settings)
                self._nearby.append((run, random))
        with np.errstate(all="ignore"):
            for run, random in self._nearby:
                for grads, changes in self._history[run.t :]:
                    run.step([None if grad is None else self._rounded(grad, random) for grad in grads], **changes)
            moved = [np.abs(run.values()[index] - self.values()[index]) for run, _ in self._nearby]
        spread = np.nan_to_num(np.max(moved, axis=0), nan=0.0, posinf=0.0)
        spread = spread if self.subject.traits.elementwise else np.full_like(spread, spread.max(initial=0.0))
        plain = 4.0 if self.subject.traits.elementwise else 1.0
        excess = np.maximum(spread - plain * UNIT[self.dtype] * self._scale(index), 0.0)
        return np.asarray(AMPLIFIED * rounding(self.dtype, self.t) / UNIT[self.dtype] * excess)

    def _rounded(self, array: Array, random: np.random.Generator) -> Array:
        """An array whose elements are changed by a unit roundoff; where a matrix is multiplied, by their rows'."""
        unit = UNIT[self.dtype]
        rounded = array * (1 + unit * random.choice([-1.0, 1.0], np.shape(array)))
        if np.ndim(array) == 2 and not self.subject.traits.elementwise:
            rows, columns = (random.choice([-unit, unit], (size, size)) for size in array.shape)
            rounded = rounded + rows @ array + array @ columns
        return np.asarray(rounded)

    def _scale(self, index: int) -> Array:
        """S; one for the whole parameter if its elements are coupled, since an error in one then reaches the others."""
        peak = self.peak[index]
        largest = peak if self.subject.traits.elementwise else np.full_like(peak, peak.max(initial=0.0))
        return np.asarray(np.maximum(largest, 1.0) + self.total_lrs[index])

    @functools.cached_property
    def _coupled(self) -> bool:
        return decay_of(self.subject.reference, self.settings, self.subject.ndim) == "coupled"

    def state_bound(self, index: int, name: str) -> Array:
        """How far each element of a state may be from the reference."""
        scale = self.state_peaks[index][name]
        if not self.subject.traits.elementwise:
            scale = np.full_like(scale, scale.max(initial=0.0))
        if self._coupled:
            pull = self._decays[index] * self._scale(index)
            scale = scale + pull + 2 * (self.gradients[index] + pull) * pull
        return np.asarray(rounding(self.dtype, self.t) * scale)


def _plain(value: Any) -> Any:
    """A tensor of one element as a number."""
    return value.item() if isinstance(value, torch.Tensor) else value
