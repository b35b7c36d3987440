"""signSGD for torch: an ordinary optimizer, which knows nothing of optreg."""

import torch


class SignSGD(torch.optim.Optimizer):
    """Step by the sign of the gradient (Bernstein et al. 2018, arXiv:1802.04434).

    Args:
        params: parameters, or dicts of param groups.
        lr: learning rate, >= 0.
        weight_decay: decoupled decay, >= 0, in units of the learning rate.

    Raises:
        ValueError: a hyperparameter is out of its range.
    """

    def __init__(self, params, lr=1e-3, weight_decay=0.0):
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"lr ({lr}) and weight_decay ({weight_decay}) must not be negative")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Make one update; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(p.grad.sign(), alpha=group["lr"])
        return loss
