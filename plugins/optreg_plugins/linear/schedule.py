"""linear as a pure function of the step."""

import optreg
from optreg_plugins.linear.reference import Linear as Paper


class Linear(optreg.PureSchedule):
    """A straight line, then level: a at t = 0, b from t = T on.

    Args:
        total_steps: T, updates until the end of the line, >= 1.
        start_factor: a, the multiplier at t = 0, >= 0.
        end_factor: b, the multiplier from t = T on, >= 0.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, total_steps: int, start_factor: float, end_factor: float) -> float:
        """The line up to its end."""
        T, a, b = total_steps, start_factor, end_factor
        if t >= T:
            return b
        line = a * ((T - t) / T) + b * (t / T)
        return min(max(line, min(a, b)), max(a, b))  # rounding may carry the line past its ends
