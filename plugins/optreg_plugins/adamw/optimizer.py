"""AdamW for torch."""

from typing import ClassVar

from optreg_plugins.adam.optimizer import Adam
from optreg_plugins.adamw.reference import AdamW as Paper


class AdamW(Adam):
    """Step as Adam does; decay the weights separately (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        betas: decay rates of the mean and of the mean square, each in [0, 1).
        eps: added to the root, >= 0, in units of the gradient.
        weight_decay: decoupled decay, >= 0, in units of the learning rate.
        maximize, execution, stochastic_rounding, state_dtype, seed: how it runs; see `optreg.FusedPointwiseOptions`.

    State: `step`, the number of updates, a float32 scalar; `exp_avg` and `exp_avg_sq`, shaped like the parameter. It
    is torch.optim.AdamW's: checkpoints of either load into the other.

    Raises:
        ValueError: a hyperparameter or an option is out of range, or a checkpoint has AMSGrad or coupled
            weight decay.
    """

    reference = Paper
    fused_kernel = "adamw"
    marks: ClassVar = {"amsgrad": False, "decoupled_weight_decay": True}  # as torch.optim's checkpoints have them

    @staticmethod
    def update(p, g, v, s, *, t, lr, betas, eps, weight_decay):
        """The two means, and a step by the first over the root of the second, both corrected, and by the decay."""
        beta1, beta2 = betas
        v = beta1 * v + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        v_hat = v / (1 - beta1**t)
        s_hat = s / (1 - beta2**t)
        p = p - lr * (v_hat / (s_hat.sqrt() + eps) + weight_decay * p)
        return p, v, s
