"""Adam for torch."""

from typing import Any, ClassVar, Literal

import optreg
from optreg_plugins.adam.reference import Adam as Paper


class Adam(optreg.Pointwise):
    """Step by the gradients' mean over the root of their mean square (Kingma & Ba 2015, arXiv:1412.6980).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        betas: decay rates of the mean and of the mean square, each in [0, 1).
        eps: added to the root, >= 0, in units of the gradient.
        weight_decay: L2 penalty, >= 0: the gradient gains weight_decay times the parameter.
        maximize, execution, stochastic_rounding, state_dtype, seed: how it runs; see `optreg.FusedPointwiseOptions`.

    State: `step`, the number of updates, a float32 scalar; `exp_avg` and `exp_avg_sq`, shaped like the parameter. It
    is torch.optim.Adam's: checkpoints of either load into the other.

    Raises:
        ValueError: a hyperparameter or an option is out of range, or a checkpoint has AMSGrad or decoupled
            weight decay.
    """

    reference: ClassVar[type] = Paper
    state_names = ("exp_avg", "exp_avg_sq")
    counts_steps = True
    fused_kernel: ClassVar[Literal["adam", "adamw"]] = "adam"
    marks: ClassVar = {"amsgrad": False, "decoupled_weight_decay": False}  # as torch.optim's checkpoints have them

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a checkpoint of this class or of torch's, unless its groups state another algorithm.

        A missing key means the ordinary algorithm, except in groups that other classes of torch wrote.
        """
        owner, decoupled = type(self).__name__, self.marks["decoupled_weight_decay"]
        for index, group in enumerate(state["param_groups"]):
            if group.get("amsgrad"):
                raise ValueError(
                    f"{owner}: group {index} of the checkpoint has amsgrad=True, which {owner} does not support; "
                    "continue with the torch.optim class that saved it"
                )
            if "foreach" in group and "amsgrad" not in group:
                raise ValueError(
                    f"{owner}: group {index} of the checkpoint has 'foreach' and no 'amsgrad', as torch.optim's RAdam "
                    "and Adamax write it; continue with the torch.optim class that saved it"
                )
            if bool(group.get("decoupled_weight_decay", decoupled)) is not decoupled:
                raise ValueError(
                    f"{owner}: group {index} of the checkpoint has decoupled_weight_decay={not decoupled}; "
                    f"load it into {'adam' if decoupled else 'adamw'} instead"
                )
        super().__setstate__(state)

    @staticmethod
    def update(p, g, v, s, *, t, lr, betas, eps, weight_decay):
        """The penalty, the two means, and a step by the first over the root of the second, both corrected."""
        beta1, beta2 = betas
        if weight_decay:
            g = g + weight_decay * p
        v = beta1 * v + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        v_hat = v / (1 - beta1**t)
        s_hat = s / (1 - beta2**t)
        p = p - lr * (v_hat / (s_hat.sqrt() + eps))
        return p, v, s

    @staticmethod
    def update_fused(ps, gs, vs, ss, steps, *, kernel, maximize, lr, betas, eps, weight_decay):
        """The same by torch's kernel."""
        beta1, beta2 = betas
        kernel(
            ps, gs, vs, ss, [], steps, amsgrad=False, maximize=maximize,
            lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay,
        )  # fmt: skip
