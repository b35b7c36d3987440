"""The formula of linear_warmup, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import Steps


@dataclass
class LinearWarmup:
    """Warm up linearly from zero to the base learning rate, then hold it.

    The gradual warm-up of Goyal et al. 2017, arXiv:1706.02677, section 2.2, begun at zero; W = warmup_steps:

        0 <= t < W    f(t) = t / W
        t >= W        f(t) = 1

    f(0) = 0 when W > 0, f(W) = 1, and 1 from then on; there is no end.
    """

    warmup_steps: Steps

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W = self.warmup_steps
        return mp.mpf(t) / W if t < W else mp.mpf(1)
