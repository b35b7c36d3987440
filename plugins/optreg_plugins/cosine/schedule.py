"""cosine as a pure function of the step."""

import math

import optreg
from optreg_plugins.cosine.reference import Cosine as Paper


class Cosine(optreg.PureSchedule):
    """Down along half a cosine, then level: 1 at t = 0, r from t = T on.

    Args:
        total_steps: T, updates until the floor, >= 1.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, total_steps: int, min_lr_ratio: float) -> float:
        """The curve up to its end."""
        T, r = total_steps, min_lr_ratio
        if t >= T:
            return r
        # (1 + cos(pi x)) / 2 = sin(pi (1 - x) / 2)^2, which loses no digits near the end of the curve
        return r + (1 - r) * math.sin(math.pi * ((T - t) / T) / 2) ** 2
