"""The formula of constant, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import NonNegative


@dataclass
class Constant:
    """Hold the learning rate at a constant multiple of its base.

        f(t) = c

    with c = factor: at every step; there is no end.
    """

    factor: NonNegative = 1.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.factor)
