"""The formula of polynomial, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import Fraction, Positive, PositiveSteps


@dataclass
class Polynomial:
    """Follow a power of the remaining time from the base learning rate down to a floor.

    The "poly" policy of Chen et al. 2016 (DeepLab), arXiv:1606.00915, given a floor.
    With T = total_steps, p = power, r = min_lr_ratio:

        0 <= t <= T   f(t) = r + (1 - r) (1 - t / T)^p
        t > T         f(t) = r

    f(0) = 1, f(T) = r, and r from then on. With p = 1 it is a straight line.
    """

    total_steps: PositiveSteps
    power: Positive = 1.0
    min_lr_ratio: Fraction = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, p, r = self.total_steps, mp.mpf(self.power), mp.mpf(self.min_lr_ratio)
        return r if t >= T else r + (1 - r) * (1 - mp.mpf(t) / T) ** p
