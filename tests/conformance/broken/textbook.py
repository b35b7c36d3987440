"""Right optimizers, made of small methods: each fault overrides one of them."""

import torch


class Textbook(torch.optim.Optimizer):
    """Per-parameter loops, as tutorials write them."""

    names = ()

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.step_group(group)
        return loss

    def step_group(self, group):
        for p in group["params"]:
            if p.grad is not None:
                self.step_param(group, p, p.grad)

    def step_param(self, group, p, g):
        if group.get("maximize"):
            g = -g
        self.update(group, p, g, self.state_of(p))

    def state_of(self, p):
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            for name in self.names:
                state[name] = self.zeros(p)
        return state

    def zeros(self, p):
        return torch.zeros_like(p)

    def count(self, group, state):
        state["step"] += 1
        return int(state["step"])


class AdamW(Textbook):
    names = ("exp_avg", "exp_avg_sq")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, maximize=False):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, group, p, g, state):
        t = self.count(group, state)
        g = self.decay(group, p, g)
        self.means(group, state, g, t)
        self.move(group, p, self.mean(group, state, t), self.denominator(group, state, t))

    def decay(self, group, p, g):
        p.mul_(1 - group["lr"] * group["weight_decay"])
        return g

    def means(self, group, state, g, t):
        beta1, beta2 = group["betas"]
        state["exp_avg"].mul_(beta1).add_(g, alpha=1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)

    def mean(self, group, state, t):
        return state["exp_avg"] / (1 - group["betas"][0] ** t)

    def denominator(self, group, state, t):
        return (state["exp_avg_sq"] / (1 - group["betas"][1] ** t)).sqrt() + group["eps"]

    def move(self, group, p, mean, denominator):
        p.addcdiv_(mean, denominator, value=-float(group["lr"]))


class Adam(AdamW):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False):
        super().__init__(params, lr, betas, eps, weight_decay, maximize)

    def decay(self, group, p, g):
        return g + group["weight_decay"] * p


class Lion(Textbook):
    names = ("exp_avg",)

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def update(self, group, p, g, state):
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(self.direction(group, state, g), alpha=-float(group["lr"]))
        self.remember(group, state, g)

    def direction(self, group, state, g):
        beta1, _ = group["betas"]
        return (beta1 * state["exp_avg"] + (1 - beta1) * g).sign()

    def remember(self, group, state, g):
        _, beta2 = group["betas"]
        state["exp_avg"].mul_(beta2).add_(g, alpha=1 - beta2)


class Momentum(Textbook):
    names = ("momentum_buffer",)

    def __init__(self, params, lr=1e-3, momentum=0.9, maximize=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "maximize": maximize})

    def update(self, group, p, g, state):
        self.remember(group, state, g)
        p.add_(self.direction(group, state, g), alpha=-float(group["lr"]))

    def remember(self, group, state, g):
        state["momentum_buffer"].mul_(group["momentum"]).add_(g, alpha=1 - group["momentum"])

    def direction(self, group, state, g):
        return state["momentum_buffer"]


class RMSprop(Textbook):
    names = ("square_avg",)

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, maximize=False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "maximize": maximize})

    def update(self, group, p, g, state):
        state["square_avg"].mul_(group["alpha"]).addcmul_(g, g, value=1 - group["alpha"])
        p.addcdiv_(g, self.denominator(group, state), value=-float(group["lr"]))

    def denominator(self, group, state):
        return state["square_avg"].sqrt() + group["eps"]
