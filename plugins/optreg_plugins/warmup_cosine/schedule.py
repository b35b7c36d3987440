"""warmup_cosine as a pure function of the step."""

import math

import optreg
from optreg_plugins.warmup_cosine.reference import WarmupCosine as Paper


class WarmupCosine(optreg.PureSchedule):
    """Up linearly, down along half a cosine, then level: 1 at t = W, r from t = T on.

    With W > 0 it begins at 0; with W = T the floor takes the place of the peak.

    Args:
        warmup_steps: W, updates until the peak, >= 0 and <= T.
        total_steps: T, updates until the floor, >= 1; counts the warm-up.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, warmup_steps: int, total_steps: int, min_lr_ratio: float) -> float:
        """The line up to the peak, then the curve up to its end."""
        W, T, r = warmup_steps, total_steps, min_lr_ratio
        if t >= T:
            return r
        if t < W:
            return t / W
        # (1 + cos(pi x)) / 2 = sin(pi (1 - x) / 2)^2, which loses no digits near the end of the curve
        return r + (1 - r) * math.sin(math.pi * ((T - t) / (T - W)) / 2) ** 2
