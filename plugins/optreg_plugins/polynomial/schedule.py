"""polynomial as a pure function of the step."""

import math
from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.polynomial.reference import Polynomial as Formula


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Multiplier of the base learning rate: down along a power of the remaining time, then level.

    Args:
        total_steps: T, updates until the floor, >= 1.
        power: p, > 0; 1 is a straight line.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.

    1 at t = 0, r from t = T on.

    Raises:
        ValueError: a parameter is out of its range.
    """

    total_steps: int
    power: float = Formula.power
    min_lr_ratio: float = Formula.min_lr_ratio

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        if step >= self.total_steps:
            return self.min_lr_ratio
        remaining = (self.total_steps - step) / self.total_steps
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * math.pow(remaining, self.power)
