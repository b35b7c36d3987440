"""The formula of exponential, in arbitrary precision."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Gt, Le


@dataclass
class Exponential:
    """Multiply the learning rate by the same factor at every update.

    The closed form of `torch.optim.lr_scheduler.ExponentialLR`, stepped once per update:

        f(t) = gamma^t

    f(0) = 1; it has no end, and tends to zero.
    """

    gamma: Annotated[float, Gt(0), Le(1)]

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** t
