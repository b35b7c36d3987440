"""The formula of linear, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import NonNegative, PositiveSteps


@dataclass
class Linear:
    """Go from one multiple of the base learning rate to another along a straight line.

    From 1 to 0 it is the linear decay of Defazio et al. 2023, arXiv:2310.07831.
    With T = total_steps, a = start_factor, b = end_factor:

        0 <= t <= T   f(t) = a (T - t) / T + b t / T
        t > T         f(t) = b

    f(0) = a, f(T) = b, and b from then on.
    """

    total_steps: PositiveSteps
    start_factor: NonNegative = 1.0
    end_factor: NonNegative = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, a, b = self.total_steps, mp.mpf(self.start_factor), mp.mpf(self.end_factor)
        return b if t >= T else a * (T - t) / T + b * t / T
