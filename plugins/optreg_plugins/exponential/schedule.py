"""exponential as a pure function of the step."""

import optreg
from optreg_plugins.exponential.reference import Exponential as Paper


class Exponential(optreg.PureSchedule):
    """A constant factor at every update; 1 at t = 0, and no end.

    Args:
        gamma: the factor of one update, 0 < gamma <= 1.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, gamma: float) -> float:
        """The power."""
        return gamma**t
