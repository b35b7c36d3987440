"""AdamW for torch."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optreg_plugins.adam.checkpoint import refuse_variants
from optreg_plugins.adamw.reference import AdamW as Paper
from optreg_plugins.elementwise import Elementwise
from optreg_plugins.options import FusedOptions


class AdamW(Elementwise):
    """Step as Adam does; decay weights apart from it (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        betas: decay rates of the mean and of the mean square, each in [0, 1).
        eps: added to the root, >= 0, in units of the gradient.
        weight_decay: decoupled decay, >= 0, in units of the learning rate.
        maximize: ascend instead of descend.
        foreach: use torch's multi-tensor kernels; None: where `fused` is not to be had, on accelerators.
        fused: use torch's fused kernel; None: wherever there is one, unless `foreach` is asked for.

    State: `step`, the number of updates, a float32 scalar; `exp_avg` and `exp_avg_sq`, shaped like the parameter. It
    is torch.optim.AdamW's: checkpoints of either load into the other.

    Raises:
        ValueError: a hyperparameter is out of its range, `foreach` and `fused` are both asked for, or a checkpoint
            is of AMSGrad or of coupled weight decay.
    """

    reference = Paper
    options = FusedOptions
    state_names = ("exp_avg", "exp_avg_sq")
    counts_steps = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = Paper.lr,
        betas: tuple[float, float] = Paper.betas,
        eps: float = Paper.eps,
        weight_decay: float = Paper.weight_decay,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            maximize=maximize,
            foreach=foreach,
            fused=fused,
            decoupled_weight_decay=True,  # as torch.optim marks its checkpoints
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint, of this class or of torch.optim.AdamW, unless its groups mean another algorithm."""
        refuse_variants(type(self).__name__, state["param_groups"], decoupled=True)
        super().__setstate__(state)

    @staticmethod
    def update(
        p: Tensor,
        g: Tensor,
        v: Tensor,
        s: Tensor,
        *,
        t: int,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        """One tensor: the two means, the decay, then theta -= eta v^ / (sqrt(s^) + eps)."""
        beta1, beta2 = betas
        v.lerp_(g, 1 - beta1)
        s.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        root = s.div(1 - beta2**t).sqrt_().add_(eps)
        p.mul_(1 - lr * weight_decay)
        p.addcdiv_(v, root, value=-lr / (1 - beta1**t))

    @staticmethod
    def update_foreach(
        ps: list[Tensor],
        gs: list[Tensor],
        vs: list[Tensor],
        ss: list[Tensor],
        *,
        t: list[int],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        """The same, over lists."""
        beta1, beta2 = betas
        torch._foreach_lerp_(vs, gs, 1 - beta1)
        torch._foreach_mul_(ss, beta2)
        torch._foreach_addcmul_(ss, gs, gs, value=1 - beta2)
        roots = torch._foreach_div(ss, [1 - beta2**n for n in t])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, eps)
        torch._foreach_mul_(ps, 1 - lr * weight_decay)
        torch._foreach_addcdiv_(ps, vs, roots, [-lr / (1 - beta1**n) for n in t])

    @staticmethod
    def update_fused(
        ps: list[Tensor],
        gs: list[Tensor],
        vs: list[Tensor],
        ss: list[Tensor],
        steps: list[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        """The same, in torch's kernel; `steps` are already those of this update."""
        beta1, beta2 = betas
        torch._fused_adamw_(
            ps,
            gs,
            vs,
            ss,
            [],
            steps,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=weight_decay,
            eps=eps,
            amsgrad=False,
            maximize=False,
        )
