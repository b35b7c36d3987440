"""Optimizers and schedules that deviate in several ways, as released ones do; each deviation is one finding."""

import math

import torch
from broken import textbook
from right import AdamW
from torch.optim.lr_scheduler import LambdaLR


class LateDecayAdamW(AdamW):
    """The AdamW of early transformers: eps is added before the bias correction, and the decay comes last."""

    def step_param(self, group, p, g):
        (beta1, beta2), state = group["betas"], self.state[p]
        if not state:
            state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
        state["step"] += 1
        state["m"].mul_(beta1).add_(g, alpha=1 - beta1)
        state["v"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        rate = group["lr"] * (1 - beta2 ** state["step"]) ** 0.5 / (1 - beta1 ** state["step"])
        p.addcdiv_(state["m"], state["v"].sqrt().add_(group["eps"]), value=-rate)
        p.mul_(1 - group["lr"] * group["weight_decay"])


class TensorFlowRMSprop(torch.optim.Optimizer):
    """TensorFlow's RMSprop: its mean of squares begins at one, eps is inside the root, and momentum includes lr."""

    def __init__(self, params, lr=1e-2, alpha=0.9, eps=1e-10, weight_decay=0.0, momentum=0.0):
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_param(group, p, p.grad.add(p, alpha=group["weight_decay"]))

    def _step_param(self, group, p, g):
        state = self.state[p]
        if not state:
            state.update(square=torch.ones_like(p), momentum=torch.zeros_like(p))
        state["square"].lerp_(g * g, 1 - group["alpha"])
        root = state["square"].add(group["eps"]).sqrt()
        state["momentum"].mul_(group["momentum"]).addcdiv_(g, root, value=group["lr"])
        p.sub_(state["momentum"])


class ConstantDecaySGD(torch.optim.SGD):
    """Subtracts lr * weight_decay, whatever the parameter is."""

    @torch.no_grad()
    def step(self, closure=None):
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        super().step()
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * decay)


class DampedSGD(torch.optim.SGD):
    """SGD whose dampening is always its momentum, in the first update too."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                    velocity.lerp_(p.grad.add(p, alpha=group["weight_decay"]), 1 - group["momentum"])
                    p.sub_(group["lr"] * velocity)


class CachedRateAdam(textbook.Adam):
    """Computes the step size of a count once, and keeps it in a dict that the groups share, as early RAdams do."""

    def add_param_group(self, group):
        group["rates"] = self.defaults.setdefault("rates", {})
        super().add_param_group(group)

    def step_param(self, group, p, g):
        own = group["lr"]
        group["lr"] = group["rates"].setdefault(int(self.state[p].get("step", 0)), own)
        super().step_param(group, p, g)
        group["lr"] = own


def endless_cosine(optimizer, warmup_steps, total_steps, last_epoch=-1, ahead=0):
    """A cosine that rises again after its end. Its last phase has a step at least, so it can end late."""

    def factor(t):
        if t < warmup_steps:
            return (t + ahead) / warmup_steps
        return (1 + math.cos(math.pi * (t + ahead - warmup_steps) / max(1, total_steps - warmup_steps))) / 2

    return LambdaLR(optimizer, factor, last_epoch)


def cosine_ahead(optimizer, warmup_steps, total_steps, last_epoch=-1):
    """The same cosine, counted from one."""
    return endless_cosine(optimizer, warmup_steps, total_steps, last_epoch, ahead=1)


class StepsToEpochs:
    """A schedule with an interface of its own: it must be told the epoch, and does not tell its rates."""

    def __init__(self, optimizer, total_steps):
        self.optimizer, self.total_steps = optimizer, total_steps
        self.rates = [group["lr"] for group in optimizer.param_groups]

    def step(self, epoch):
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * min(epoch / self.total_steps, 1.0))) / 2
