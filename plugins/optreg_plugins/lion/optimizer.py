"""Lion for torch."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optreg_plugins.elementwise import Elementwise
from optreg_plugins.lion.reference import Lion as Paper


class Lion(Elementwise):
    """Step by the sign of an interpolation between momentum and gradient (Chen et al. 2023, arXiv:2302.06675).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        betas: decay rates of the interpolation and of the momentum, each in [0, 1).
        weight_decay: decoupled decay, >= 0, in units of the learning rate.
        maximize: ascend instead of descend.
        foreach: use torch's multi-tensor kernels; None: on accelerators.

    State: `exp_avg`, shaped like the parameter.

    Raises:
        ValueError: a hyperparameter is out of its range.
    """

    reference = Paper
    state_names = ("exp_avg",)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = Paper.lr,
        betas: tuple[float, float] = Paper.betas,
        weight_decay: float = Paper.weight_decay,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize, foreach=foreach)

    @staticmethod
    def update(p: Tensor, g: Tensor, m: Tensor, *, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        """One tensor: theta -= eta (sign(c) + lambda theta), then the momentum."""
        beta1, beta2 = betas
        c = m.lerp(g, 1 - beta1)
        p.mul_(1 - lr * weight_decay).add_(c.sign_(), alpha=-lr)
        m.lerp_(g, 1 - beta2)

    @staticmethod
    def update_foreach(
        ps: list[Tensor],
        gs: list[Tensor],
        ms: list[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        """The same, over lists."""
        beta1, beta2 = betas
        c = torch._foreach_lerp(ms, gs, 1 - beta1)
        torch._foreach_sign_(c)
        torch._foreach_mul_(ps, 1 - lr * weight_decay)
        torch._foreach_add_(ps, c, alpha=-lr)
        torch._foreach_lerp_(ms, gs, 1 - beta2)
