"""linear_warmup as a pure function of the step."""

import optreg
from optreg_plugins.linear_warmup.reference import LinearWarmup as Paper


class LinearWarmup(optreg.PureSchedule):
    """Up linearly, then level: 0 at t = 0 (when W > 0), 1 from t = W on.

    Args:
        warmup_steps: W, updates until the base learning rate, >= 0.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, warmup_steps: int) -> float:
        """The line up to its end."""
        return t / warmup_steps if t < warmup_steps else 1.0
