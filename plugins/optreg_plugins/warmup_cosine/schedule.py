"""warmup_cosine as a pure function of the step."""

import math
from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.warmup_cosine.reference import WarmupCosine as Formula


@dataclass(frozen=True, slots=True)
class WarmupCosine:
    """Multiplier of the base learning rate: up linearly, down along half a cosine, then level.

    Args:
        warmup_steps: W, updates until the peak, >= 0.
        total_steps: T, updates until the floor, >= 1; counts the warm-up.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.

    0 at t = 0 (when W > 0), 1 at t = W, r from t = T on; with W = T the floor takes the place of the peak.

    Raises:
        ValueError: a parameter is out of its range, or W > T.
    """

    warmup_steps: int
    total_steps: int
    min_lr_ratio: float = Formula.min_lr_ratio

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        if step >= self.total_steps:
            return self.min_lr_ratio
        if step < self.warmup_steps:
            return step / self.warmup_steps
        # (1 + cos(pi x)) / 2 = sin(pi (1 - x) / 2)^2, which loses no digits near the end of the curve
        remaining = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * math.sin(math.pi * remaining / 2) ** 2
