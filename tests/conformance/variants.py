"""Right optimizers that are another variant than the reference they are named after."""

import math

import torch
from right import AdamW


class DecoupledNAdam(torch.optim.NAdam):
    """torch's NAdam, whose decay is always decoupled."""

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3):
        super().__init__(params, lr, betas, eps, weight_decay, momentum_decay, decoupled_weight_decay=True)


class InFloat32(AdamW):
    """Computes in float32 whatever its parameters are, as kernels do: a trait that has to be declared."""

    def step_param(self, group, p, g):
        state, (beta1, beta2), p32 = self.state[p], group["betas"], p.float()
        state["step"] = state.get("step", 0) + 1
        moments = [state.get(name, torch.zeros_like(p32)).float() for name in ("m", "v")]
        m, v = beta1 * moments[0] + (1 - beta1) * g.float(), beta2 * moments[1] + (1 - beta2) * g.float() ** 2
        state.update(m=m, v=v)
        m_hat, v_hat = m / (1 - beta1 ** state["step"]), v / (1 - beta2 ** state["step"])
        p32 = p32 * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * m_hat / (v_hat.sqrt() + group["eps"])
        p.copy_(p32)


class SkippingRAdam(AdamW):
    """RAdam that counts by group, decouples its decay, and leaves out the updates that it cannot rectify."""

    def step_group(self, group):
        group["step"] = group.get("step", 0) + 1
        super().step_group(group)

    def step_param(self, group, p, g):
        (beta1, beta2), t, state = group["betas"], group["step"], self.state[p]
        if not state:
            state.update(m=torch.zeros_like(p), v=torch.zeros_like(p))
        state["m"].lerp_(g, 1 - beta1)
        state["v"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        rho = 2 / (1 - beta2) - 1
        rho_t = rho - 2 * t * beta2**t / (1 - beta2**t)
        if rho_t > 5:
            r = math.sqrt((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t) * (1 - beta2**t))
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.addcdiv_(state["m"], state["v"].sqrt() + group["eps"], value=-group["lr"] * r / (1 - beta1**t))


def polynomial_with_warmup(optimizer, num_warmup_steps, num_training_steps, lr_end=1e-7, power=1.0, last_epoch=-1):
    """A polynomial decay after a warm-up, with the arguments that transformers gives it."""
    first = optimizer.defaults["lr"]

    def factor(step):
        if step < num_warmup_steps:
            return step / max(1, num_warmup_steps)
        if step > num_training_steps:
            return lr_end / first
        left = 1 - (step - num_warmup_steps) / (num_training_steps - num_warmup_steps)
        return ((first - lr_end) * left**power + lr_end) / first

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch)
