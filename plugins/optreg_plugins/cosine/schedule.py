"""cosine as a pure function of the step."""

import math
from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.cosine.reference import Cosine as Formula


@dataclass(frozen=True, slots=True)
class Cosine:
    """Multiplier of the base learning rate: down along half a cosine, then level.

    Args:
        total_steps: T, updates until the floor, >= 1.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.

    1 at t = 0, r from t = T on.

    Raises:
        ValueError: a parameter is out of its range.
    """

    total_steps: int
    min_lr_ratio: float = Formula.min_lr_ratio

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        if step >= self.total_steps:
            return self.min_lr_ratio
        # (1 + cos(pi x)) / 2 = sin(pi (1 - x) / 2)^2, which loses no digits near the end of the curve
        remaining = (self.total_steps - step) / self.total_steps
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * math.sin(math.pi * remaining / 2) ** 2
