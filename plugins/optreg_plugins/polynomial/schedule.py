"""polynomial as a pure function of the step."""

import math

import optreg
from optreg_plugins.polynomial.reference import Polynomial as Paper


class Polynomial(optreg.PureSchedule):
    """Down along a power of the remaining time, then level: 1 at t = 0, r from t = T on.

    Args:
        total_steps: T, updates until the floor, >= 1.
        power: p, > 0; 1 is a straight line.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, total_steps: int, power: float, min_lr_ratio: float) -> float:
        """The curve up to its end."""
        T, r = total_steps, min_lr_ratio
        return r if t >= T else r + (1 - r) * math.pow((T - t) / T, power)
