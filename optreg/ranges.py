"""The ranges of hyperparameters: annotated types for the fields of a reference.

    @dataclass
    class Lion:
        lr: NonNegative = 1e-4
        betas: tuple[Decay, Decay] = (0.9, 0.99)

Every range is finite: infinity and NaN are never allowed.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, Unit

Positive = Annotated[float, Gt(0)]
"""A float > 0."""

NonNegative = Annotated[float, Ge(0)]
"""A float >= 0."""

Decay = Annotated[float, Ge(0), Lt(1)]
"""The decay rate of a moving average: 0 <= x < 1."""

Fraction = Annotated[float, Ge(0), Le(1)]
"""A fraction of a whole: 0 <= x <= 1."""

UPDATES = Unit("update")
"""Marks integers that count updates of the optimizer. In a spec, such a number may be a quantity: `10T tokens`."""

Steps = Annotated[int, Ge(0), UPDATES]
"""A number of optimizer updates, >= 0."""

PositiveSteps = Annotated[int, Ge(1), UPDATES]
"""A number of optimizer updates, >= 1."""
