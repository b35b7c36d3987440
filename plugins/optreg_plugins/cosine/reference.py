"""The formula of cosine, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import Fraction, PositiveSteps


@dataclass
class Cosine:
    """Follow half a cosine from the base learning rate down to a floor.

    Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5 with one cycle; T = total_steps, r = min_lr_ratio:

        0 <= t <= T   f(t) = r + (1 - r) (1 + cos(pi t / T)) / 2
        t > T         f(t) = r

    f(0) = 1, f(T) = r, and r from then on.
    """

    total_steps: PositiveSteps
    min_lr_ratio: Fraction = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, r = self.total_steps, mp.mpf(self.min_lr_ratio)
        return r if t >= T else r + (1 - r) * (1 + mp.cos(mp.pi * t / T)) / 2
