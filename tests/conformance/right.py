"""Right optimizers and schedules in styles unlike ours, which know nothing of optreg: each must pass."""

import math

import torch
from broken import textbook
from torch.optim.lr_scheduler import LambdaLR


class AdamW(textbook.Textbook):
    """The arguments of AdamW, for the styles below."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})


class OutOfPlaceAdamW(AdamW):
    """The textbook, out of place; its own names of state, its own step tensor."""

    def step_param(self, group, p, g):
        beta1, beta2 = group["betas"]
        state = self.state[p]
        if not state:
            state["count"] = torch.zeros((), dtype=torch.int64)
            state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
        state["count"] = state["count"] + 1
        t = int(state["count"])
        state["m"] = beta1 * state["m"] + (1 - beta1) * g
        state["v"] = beta2 * state["v"] + (1 - beta2) * g * g
        m_hat, v_hat = state["m"] / (1 - beta1**t), state["v"] / (1 - beta2**t)
        p.copy_(p - group["lr"] * (m_hat / (v_hat.sqrt() + group["eps"]) + group["weight_decay"] * p))


class FlatAdamW(AdamW):
    """One buffer for each moment of a group's parameters, rebuilt when the set of parameters with gradients changes."""

    def step_group(self, group):
        kinds = {}
        for p in group["params"]:
            if p.grad is not None:
                kinds.setdefault((p.dtype, p.device), []).append(p)
        for params in kinds.values():
            self._flat_step(group, params)

    def _flat_step(self, group, params):
        beta1, beta2 = group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p].update(
                    step=0, flat_m=torch.zeros(p.numel(), dtype=p.dtype), flat_v=torch.zeros(p.numel(), dtype=p.dtype)
                )
        sizes = [p.numel() for p in params]
        flat, g = (torch.cat([x.reshape(-1) for x in xs]) for xs in (params, [p.grad for p in params]))
        m, v = (torch.cat([self.state[p][key] for p in params]) for key in ("flat_m", "flat_v"))
        counts = []
        for p in params:
            self.state[p]["step"] += 1
            counts += [self.state[p]["step"]] * p.numel()
        t = torch.tensor(counts, dtype=torch.float64)
        m, v = m * beta1 + g * (1 - beta1), v * beta2 + g * g * (1 - beta2)
        c1, c2 = (1 - beta1**t).to(flat.dtype), (1 - beta2**t).to(flat.dtype)
        flat = flat * (1 - group["lr"] * group["weight_decay"])
        flat = flat - group["lr"] * (m / c1) / ((v / c2).sqrt() + group["eps"])
        for p, part, m_part, v_part in zip(params, flat.split(sizes), m.split(sizes), v.split(sizes), strict=True):
            p.copy_(part.view(p.shape))
            self.state[p]["flat_m"], self.state[p]["flat_v"] = m_part.clone(), v_part.clone()


class ForeachAdamW(textbook.AdamW):
    """torch._foreach, with the corrections folded into the step size, as torch's own does it."""

    def step_group(self, group):
        beta1, beta2 = group["betas"]
        by_dtype = {}
        for p in group["params"]:
            if p.grad is not None:
                by_dtype.setdefault(p.dtype, []).append(p)
        for params in by_dtype.values():
            for p in params:
                if not self.state[p]:
                    self.state[p].update(step=torch.tensor(0.0), m=torch.zeros_like(p), v=torch.zeros_like(p))
            grads = [-p.grad if group["maximize"] else p.grad for p in params]
            states = [self.state[p] for p in params]
            ms, vs, steps = ([s[key] for s in states] for key in ("m", "v", "step"))
            torch._foreach_add_(steps, 1)
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_lerp_(ms, grads, 1 - beta1)
            torch._foreach_mul_(vs, beta2)
            torch._foreach_addcmul_(vs, grads, grads, 1 - beta2)
            roots = torch._foreach_sqrt(vs)
            torch._foreach_div_(roots, [math.sqrt(1 - beta2 ** float(t)) for t in steps])
            torch._foreach_add_(roots, group["eps"])
            torch._foreach_addcdiv_(params, ms, roots, [-group["lr"] / (1 - beta1 ** float(t)) for t in steps])


class GroupCountedAdamW(AdamW):
    """Counts updates in the group, as some libraries do: a trait that has to be declared."""

    def step_group(self, group):
        group["step"] = group.get("step", 0) + any(p.grad is not None for p in group["params"])
        super().step_group(group)

    def step_param(self, group, p, g):
        beta1, beta2 = group["betas"]
        state = self.state[p]
        if not state:
            state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        state["m"].mul_(beta1).add_(g, alpha=1 - beta1)
        state["v"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        denominator = (state["v"] / (1 - beta2 ** group["step"])).sqrt().add_(group["eps"])
        p.addcdiv_(state["m"], denominator, value=-group["lr"] / (1 - beta1 ** group["step"]))


class DataAdam(torch.optim.Optimizer):
    """Adam of the old days: `p.data`, `if closure is not None: loss = closure()` under enable_grad, Python step counts."""

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, l2=0.0):
        super().__init__(params, {"lr": lr, "beta1": beta1, "beta2": beta2, "epsilon": epsilon, "l2": l2})

    def step(self, closure=None):
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad.data
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p.data), torch.zeros_like(p.data)
                state["step"] += 1
                if group["l2"] != 0:
                    grad = grad.add(p.data, alpha=group["l2"])
                state["exp_avg"].mul_(group["beta1"]).add_(grad, alpha=1 - group["beta1"])
                state["exp_avg_sq"].mul_(group["beta2"]).addcmul_(grad, grad, value=1 - group["beta2"])
                c1, c2 = 1 - group["beta1"] ** state["step"], 1 - group["beta2"] ** state["step"]
                denominator = (state["exp_avg_sq"].sqrt() / math.sqrt(c2)).add_(group["epsilon"])
                p.data.addcdiv_(state["exp_avg"], denominator, value=-group["lr"] / c1)
        return loss


class PlainLion(textbook.Textbook):
    """Lion as its authors wrote it, in a loop like any other."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def step_param(self, group, p, g):
        p.data.mul_(1 - group["lr"] * group["weight_decay"])
        state = self.state[p]
        if len(state) == 0:
            state["exp_avg"] = torch.zeros_like(p)
        beta1, beta2 = group["betas"]
        update = state["exp_avg"] * beta1 + g * (1 - beta1)
        p.add_(update.sign_(), alpha=-group["lr"])
        state["exp_avg"].mul_(beta2).add_(g, alpha=1 - beta2)


class LionWithModes(PlainLion):
    """Halves the parameters for evaluation, and keeps in its groups whether it has."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
        for group in self.param_groups:
            group["training"] = True

    def train(self):
        self._switch(to_training=True, factor=2.0)

    def eval(self):
        self._switch(to_training=False, factor=0.5)

    @torch.no_grad()
    def _switch(self, to_training, factor):
        for group in self.param_groups:
            if group["training"] is not to_training:
                torch._foreach_mul_(group["params"], factor)
                group["training"] = to_training


def lambda_warmup_cosine(optimizer, num_warmup_steps, num_training_steps, last_epoch=-1):
    """A function that makes a LambdaLR, as transformers has them."""

    def factor(t):
        if t < num_warmup_steps:
            return t / max(1, num_warmup_steps)
        if t >= num_training_steps:
            return 0.0
        return 0.5 * (1 + math.cos(math.pi * (t - num_warmup_steps) / max(1, num_training_steps - num_warmup_steps)))

    return LambdaLR(optimizer, factor, last_epoch)
