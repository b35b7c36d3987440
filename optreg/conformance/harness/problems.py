"""Problems: initial parameters, and the gradients and learning rates of every update."""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.harness.layouts import Array
from optreg.conformance.subjects.subject import OptimizerSubject

Shape = tuple[int, ...]

STEPS = 12
ALL_ZERO = 5
"""The update whose gradients are all zero."""

SHAPES: list[Shape] = [(6,), (4, 3), (2, 3, 2), ()]
MISSING = frozenset({(1, 2), (1, 6), (1, 7), (2, 0), (2, 1), (2, 9), (3, 11)})
"""The pairs (parameter, update) without a gradient."""


@dataclass(frozen=True)
class Step:
    """One update: the learning rate, and a gradient or None for each parameter."""

    lr: float
    grads: list[Array | None]


@dataclass(frozen=True)
class Problem:
    """The initial parameters, and every update."""

    starts: list[Array]
    steps: list[Step]

    def mapped(self, grad: Callable[[Array], Array], start: Callable[[Array], Array] = np.array) -> "Problem":
        """The problem with every gradient, and every initial parameter if asked for, mapped."""
        steps = [Step(step.lr, [None if g is None else grad(g) for g in step.grads]) for step in self.steps]
        return Problem([np.array(start(s)) for s in self.starts], steps)

    def scaled(self, updates: Container[int], factor: float) -> "Problem":
        """The problem with the gradients of some updates multiplied by a factor."""
        factors = [factor if t in updates else 1.0 for t in range(len(self.steps))]
        pairs = zip(self.steps, factors, strict=True)
        return Problem(self.starts, [Step(s.lr, [None if g is None else g * f for g in s.grads]) for s, f in pairs])

    def only(self, members: Sequence[int]) -> "Problem":
        """The problem of some of the parameters."""
        steps = [Step(step.lr, [step.grads[i] for i in members]) for step in self.steps]
        return Problem([self.starts[i] for i in members], steps)


VANISHING = 2.0**-300
"""A number that acts as zero does in any sum of ordinary numbers."""


def hostile_problem(
    subject: OptimizerSubject,
    shapes: Sequence[Shape] = SHAPES,
    *,
    steps: int = STEPS,
    seed: int = 7,
    missing: bool | None = None,
    exponents: tuple[float, float] = (-6.0, 2.0),
    lr: float = 1e-2,
) -> Problem:
    """Gradients that easy tests never show, in shapes that the subject accepts.

    Each coordinate has a scale of its own, from 10**exponents[0] to 10**exponents[1], and both signs. One update is all
    zeros; the learning rate changes in every update, from 0.5 to 2.5 `lr`. Some gradients are `missing`; if that is not
    given, they are unless the subject counts updates by group.
    """
    random, shapes = np.random.default_rng(seed), shapes_for(subject, shapes)
    missing = subject.traits.counter == "parameter" if missing is None else missing
    scales = [10 ** random.uniform(*exponents, shape) for shape in shapes]
    updates = []
    for t in range(steps):
        grads: list[Array | None] = []
        for i, scale in enumerate(scales):
            g = scale * random.uniform(0.5, 1.5, scale.shape) * random.choice([-1.0, 1.0], scale.shape)
            absent = missing and (i, t) in MISSING
            grads.append(None if absent else np.asarray(g * (t != ALL_ZERO)))
        updates.append(Step(lr * (1.5 + math.sin(t)), grads))
    problem = Problem([np.asarray(random.normal(size=shape)) for shape in shapes], updates)
    if subject.precise is torch.float64:
        return problem
    return problem.mapped(_in_float32, _in_float32)


def _in_float32(array: Array) -> Array:
    """The nearest numbers that float32 holds, so that nothing is lost before the first update."""
    return np.asarray(array.astype(np.float32).astype(np.float64))


CROWD = (3, 1, 7, 10, 33, 64, 1, 3, 7, 10, 3, 33, 1, 7, 10, 3)
"""The sizes of many small parameters, most of which no vector of a processor divides."""

LATE = {4: 3, 9: 6}
"""The parameters of a crowd whose first gradient is late, and the update that brings it."""


def crowded_problem(subject: OptimizerSubject, *, missing: bool = True) -> Problem:
    """Many small parameters; two have their first gradient late, and one gradient in eight is `missing` later on."""
    shapes = [(size, 1) if subject.ndim == 2 else (size,) for size in CROWD]
    problem = hostile_problem(subject, shapes, missing=False, exponents=(-3.0, 1.0), seed=19)
    absent = np.random.default_rng(19).random((STEPS, len(CROWD))) < 0.125
    steps = [
        Step(
            step.lr, [None if missing and (t < LATE.get(i, 0) or absent[t, i]) else g for i, g in enumerate(step.grads)]
        )
        for t, step in enumerate(problem.steps)
    ]
    return Problem(problem.starts, steps)


def dyadic_problem() -> Problem:
    """Parameters and gradients that are small multiples of a power of two, so that their sums and halves are exact."""
    random, shape = np.random.default_rng(3), (4, 3)
    grads = [random.integers(1, 16, shape) * random.choice([-1.0, 1.0], shape) / 8 for _ in range(6)]
    return Problem([random.integers(-16, 17, shape) / 4], [Step(0.25, [grad]) for grad in grads])


PERIOD = 8191
"""The size of a problem that is `repeated` to make a large one. No block of a power of two repeats with it."""


def repeated(shape: Shape) -> Callable[[Array], Array]:
    """A function that repeats an array's elements in an array of a larger shape.

    Where elements are independent, the reference of the small problem is that of the large one.
    """
    return lambda array: np.resize(array, shape)


MATRICES: tuple[Shape, ...] = ((4, 3), (3, 5), (6, 2))
"""Used instead of other shapes where a subject accepts only matrices."""


def shapes_for(subject: OptimizerSubject, shapes: Sequence[Shape] = SHAPES) -> list[Shape]:
    """The shapes, with matrices in place of those that the subject does not accept."""
    accepted = subject.traits.ndim
    return [
        shape if not accepted or len(shape) in accepted else MATRICES[index % len(MATRICES)]
        for index, shape in enumerate(shapes)
    ]


def a_parameter(subject: OptimizerSubject) -> Parameter:
    """A float32 parameter of ones, in a shape that the subject accepts."""
    return Parameter(subject.tensor(np.ones(shapes_for(subject, [(3,)])[0]), torch.float32))
