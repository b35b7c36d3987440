"""Momentum for torch."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optreg_plugins.elementwise import Elementwise
from optreg_plugins.momentum.reference import Momentum as Paper


class Momentum(Elementwise):
    """Step along a moving average of the gradients (Polyak 1964, doi:10.1016/0041-5553(64)90137-5).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        momentum: decay rate of the average, in [0, 1).
        maximize: ascend instead of descend.
        foreach: use torch's multi-tensor kernels; None: on accelerators.

    State: `momentum_buffer`, shaped like the parameter; an average, so 1 - momentum times torch.optim.SGD's sum.

    Raises:
        ValueError: a hyperparameter is out of its range, or a checkpoint is torch.optim.SGD's.
    """

    reference = Paper
    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = Paper.lr,
        momentum: float = Paper.momentum,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, maximize=maximize, foreach=foreach)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint, unless its buffers are sums of gradients, as torch.optim.SGD keeps them."""
        for index, group in enumerate(state["param_groups"]):
            if "dampening" in group:
                raise ValueError(
                    f"{type(self).__name__}: group {index} of the checkpoint is torch.optim.SGD's, whose buffer is "
                    "a sum of gradients and not their average; go on with torch.optim.SGD"
                )
        super().__setstate__(state)

    @staticmethod
    def update(p: Tensor, g: Tensor, v: Tensor, *, lr: float, momentum: float) -> None:
        """One tensor: the average, then theta -= eta v."""
        v.lerp_(g, 1 - momentum)
        p.add_(v, alpha=-lr)

    @staticmethod
    def update_foreach(ps: list[Tensor], gs: list[Tensor], vs: list[Tensor], *, lr: float, momentum: float) -> None:
        """The same, over lists."""
        torch._foreach_lerp_(vs, gs, 1 - momentum)
        torch._foreach_add_(ps, vs, alpha=-lr)
