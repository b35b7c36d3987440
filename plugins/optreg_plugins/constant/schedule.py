"""constant as a pure function of the step."""

import optreg
from optreg_plugins.constant.reference import Constant as Paper


class Constant(optreg.PureSchedule):
    """Always the same multiple of the base learning rate.

    Args:
        factor: c, >= 0.
    """

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, factor: float) -> float:
        """c at every step."""
        return factor
