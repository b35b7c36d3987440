"""Problems: where parameters start, and what gradients and learning rates they are given."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optreg.conformance.subjects.subject import OptimizerSubject

Array = np.ndarray
Shape = tuple[int, ...]

STEPS = 12
ALL_ZERO = 5
"""The update whose gradients are all zero."""

SHAPES: list[Shape] = [(6,), (4, 3), (2, 3, 2), ()]
MISSING = frozenset({(1, 2), (1, 6), (1, 7), (2, 0), (2, 1), (2, 9), (3, 11)})
"""The (parameter, update) pairs without a gradient."""


@dataclass(frozen=True)
class Step:
    """What one update is given: the learning rate, and a gradient or None for each parameter."""

    lr: float
    grads: list[Array | None]


@dataclass(frozen=True)
class Problem:
    """Where the parameters start, and every update."""

    starts: list[Array]
    steps: list[Step]


def hostile_problem_of(
    shapes: list[Shape] | None = None,
    *,
    steps: int = STEPS,
    seed: int = 7,
    missing: bool = True,
    exponents: tuple[float, float] = (-6.0, 2.0),
    lr: float = 1e-2,
) -> Problem:
    """Gradients that easy tests never show.

    Scales from 1e-6 to 1e2 by coordinate, both signs at every coordinate, one update of zeros, parameters that
    sometimes have no gradient, a learning rate that changes every step.

    Args:
        shapes: the parameters' shapes.
        steps: how many updates.
        seed: what the random numbers begin from.
        missing: whether some gradients are missing.
        exponents: the decimal exponents of the smallest and the largest scale.
        lr: the learning rate's lowest value is half of it, the highest 2.5 times.
    """
    random = np.random.default_rng(seed)
    shapes = SHAPES if shapes is None else shapes
    scales = [10 ** random.uniform(*exponents, shape) for shape in shapes]
    updates = []
    for t in range(steps):
        grads: list[Array | None] = []
        for i, scale in enumerate(scales):
            g = scale * random.uniform(0.5, 1.5, scale.shape) * random.choice([-1.0, 1.0], scale.shape)
            absent = missing and (i, t) in MISSING
            grads.append(None if absent else np.asarray(g * (t != ALL_ZERO)))
        updates.append(Step(lr * (1.5 + math.sin(t)), grads))
    return Problem([np.asarray(random.normal(size=shape)) for shape in shapes], updates)


def dyadic_problem(shape: Shape = (4, 3), *, steps: int = 6, seed: int = 3) -> Problem:
    """Starts and gradients that are small multiples of a power of two, so that sums and halves of them are exact."""
    random = np.random.default_rng(seed)
    grads = [random.integers(1, 16, shape) * random.choice([-1.0, 1.0], shape) / 8 for _ in range(steps)]
    return Problem([random.integers(-16, 17, shape) / 4], [Step(0.25, [grad]) for grad in grads])


MATRICES: tuple[Shape, ...] = ((4, 3), (3, 5), (6, 2))
"""What stands for other shapes where matrices alone are taken."""


def shapes_for(subject: OptimizerSubject, shapes: Sequence[Shape] = SHAPES) -> list[Shape]:
    """The shapes, with matrices in place of those that the subject does not take."""
    taken = subject.traits.ndim
    return [
        shape if not taken or len(shape) in taken else MATRICES[index % len(MATRICES)]
        for index, shape in enumerate(shapes)
    ]


def hostile_problem(subject: OptimizerSubject, shapes: Sequence[Shape] = SHAPES, **options: Any) -> Problem:
    """The hostile problem in the shapes that the subject takes; no gradient is missing where groups count together."""
    options.setdefault("missing", subject.traits.counter == "parameter")
    return hostile_problem_of(shapes_for(subject, shapes), **options)
