"""The formula of warmup_cosine, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import Fraction, PositiveSteps, Steps


@dataclass
class WarmupCosine:
    """Warm up linearly to the base learning rate, then follow half a cosine down to a floor.

    Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5 with one cycle, after a linear warm-up;
    W = warmup_steps, T = total_steps, r = min_lr_ratio:

        0 <= t < W    f(t) = t / W
        W <= t <= T   f(t) = r + (1 - r) (1 + cos(pi (t - W) / (T - W))) / 2
        t > T         f(t) = r

    f(0) = 0 when W > 0, f(W) = 1, f(T) = r, and r from then on. With W = T the peak is also the end: f(T) = r.
    """

    warmup_steps: Steps
    total_steps: PositiveSteps
    min_lr_ratio: Fraction = 0.1

    def __post_init__(self) -> None:
        if self.warmup_steps > self.total_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must not be more than total_steps ({self.total_steps})"
            )

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, T, r = self.warmup_steps, self.total_steps, mp.mpf(self.min_lr_ratio)
        if t >= T:
            return r
        if t < W:
            return mp.mpf(t) / W
        return r + (1 - r) * (1 + mp.cos(mp.pi * (t - W) / (T - W))) / 2
