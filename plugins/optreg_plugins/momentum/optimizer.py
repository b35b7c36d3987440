"""Momentum for torch."""

from typing import Any

import optreg
from optreg_plugins.momentum.reference import Momentum as Paper


class Momentum(optreg.Pointwise):
    """Step along a moving average of the gradients (Polyak 1964, doi:10.1016/0041-5553(64)90137-5).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        momentum: decay rate of the average, in [0, 1).
        maximize, execution, stochastic_rounding, state_dtype, seed: how it runs; see `optreg.PointwiseOptions`.

    State: `momentum_buffer`, shaped like the parameter; an average, so 1 - momentum times torch.optim.SGD's sum.

    Raises:
        ValueError: a hyperparameter or an option is out of range, or a checkpoint is torch.optim.SGD's.
    """

    reference = Paper
    state_names = ("momentum_buffer",)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a checkpoint, unless its buffers are sums of gradients, as in torch.optim.SGD."""
        for index, group in enumerate(state["param_groups"]):
            if "dampening" in group:
                raise ValueError(
                    f"{type(self).__name__}: group {index} of the checkpoint is torch.optim.SGD's, whose buffer is "
                    "a sum of gradients, not their average; continue with torch.optim.SGD"
                )
        super().__setstate__(state)

    @staticmethod
    def update(p, g, v, *, lr, momentum):
        """The average, then a step along it."""
        v = momentum * v + (1 - momentum) * g
        p = p - lr * v
        return p, v
