"""RMSprop for torch."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optreg_plugins.elementwise import Elementwise
from optreg_plugins.rmsprop.reference import RMSprop as Paper


class RMSprop(Elementwise):
    """Divide the gradient by the root of its mean square (Tieleman & Hinton 2012, Coursera, lecture 6.5).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        alpha: decay rate of the mean square, in [0, 1).
        eps: added to the root, >= 0, in units of the gradient.
        maximize: ascend instead of descend.
        foreach: use torch's multi-tensor kernels; None: on accelerators.

    State: `square_avg`, shaped like the parameter.

    Raises:
        ValueError: a hyperparameter is out of its range, or a checkpoint is of another variant.
    """

    reference = Paper
    state_names = ("square_avg",)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = Paper.lr,
        alpha: float = Paper.alpha,
        eps: float = Paper.eps,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, maximize=maximize, foreach=foreach)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint, unless it is of a variant that torch.optim.RMSprop has and this has not."""
        for index, group in enumerate(state["param_groups"]):
            for variant in ("centered", "momentum", "weight_decay"):
                if group.get(variant):
                    raise ValueError(
                        f"{type(self).__name__}: group {index} of the checkpoint has {variant}={group[variant]}, which "
                        f"{type(self).__name__} does not do; go on with torch.optim.RMSprop"
                    )
        super().__setstate__(state)

    @staticmethod
    def update(p: Tensor, g: Tensor, s: Tensor, *, lr: float, alpha: float, eps: float) -> None:
        """One tensor: the mean square, then theta -= eta g / (sqrt(s) + eps)."""
        s.mul_(alpha).addcmul_(g, g, value=1 - alpha)
        p.addcdiv_(g, s.sqrt().add_(eps), value=-lr)

    @staticmethod
    def update_foreach(
        ps: list[Tensor], gs: list[Tensor], ss: list[Tensor], *, lr: float, alpha: float, eps: float
    ) -> None:
        """The same, over lists."""
        torch._foreach_mul_(ss, alpha)
        torch._foreach_addcmul_(ss, gs, gs, value=1 - alpha)
        roots = torch._foreach_sqrt(ss)
        torch._foreach_add_(roots, eps)
        torch._foreach_addcdiv_(ps, gs, roots, value=-lr)
