"""More right optimizers: other names, other forms of state, other ways to count, caches, buffers and refusals."""

import torch
from broken.textbook import AdamW, Lion, Momentum


class OtherArguments(AdamW):
    """Arguments under names of its own, kept in groups under torch's."""

    def __init__(self, params, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, wd=0.01):
        super().__init__(params, learning_rate, (beta1, beta2), epsilon, wd)


class SplitInGroups(AdamW):
    """A pair of betas as argument, two keys in the groups."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        torch.optim.Optimizer.__init__(
            self, params, {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": weight_decay}
        )

    def step_group(self, group):
        super().step_group({**group, "betas": (group["beta1"], group["beta2"])})


class KeepsPowers(AdamW):
    """The powers of the betas are state, and no count is."""

    def count(self, group, state):
        for name, beta in zip(("power1", "power2"), group["betas"], strict=True):
            state[name] = state.get(name, torch.ones((), dtype=torch.float64)) * beta

    def mean(self, group, state, t):
        return state["exp_avg"] / (1 - float(state["power1"]))

    def denominator(self, group, state, t):
        return (state["exp_avg_sq"] / (1 - float(state["power2"]))).sqrt() + group["eps"]


class ScaledState(Momentum):
    """The memory is a sum under the reference's name; the step is scaled instead. The decay rate scales both."""

    def remember(self, group, state, g):
        state["momentum_buffer"].mul_(group["momentum"]).add_(g)

    def direction(self, group, state, g):
        return (1 - group["momentum"]) * state["momentum_buffer"]


class CountsInGroupsState(AdamW):
    """Each parameter's count goes on in every update of its group: declared as counter=group."""

    def step_group(self, group):
        for p in group["params"]:
            if any(q.grad is not None for q in group["params"]):
                self.state_of(p)["step"] += 1
        super().step_group(group)

    def count(self, group, state):
        return int(state["step"])


class CountsForAll(AdamW):
    """One count for the whole optimizer, beside the parameters' state: declared as counter=optimizer."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        self.state["all"] = {"step": self.state.get("all", {"step": 0})["step"] + 1}
        for group in self.param_groups:
            self.step_group(group)
        return loss

    def count(self, group, state):
        return self.state["all"]["step"]


class ViewsOfOneBuffer(AdamW):
    """Parameters become views of a buffer that their group has, made anew when anything has moved away."""

    @torch.no_grad()
    def step_group(self, group):
        for dtype in {p.dtype for p in group["params"]}:
            params = [p for p in group["params"] if p.dtype is dtype]
            buffer = torch.cat([p.reshape(-1) for p in params])
            for p, part in zip(params, buffer.split([p.numel() for p in params]), strict=True):
                if p.grad is not None:
                    flat = torch.nn.Parameter(part)
                    g = -p.grad if group["maximize"] else p.grad
                    self.update(group, flat, g.reshape(-1), self.state_of(p))
                    p.copy_(part.view(p.shape))

    def state_of(self, p):
        state = super().state_of(p)
        for name in self.names:
            state[name] = state[name].reshape(-1)
        return state


class CachesLists(Lion):
    """Parameters with gradients are listed once, until another set of them has gradients, or a checkpoint is loaded."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.__dict__.pop("cache", None)

    def step_group(self, group):
        cache = self.__dict__.setdefault("cache", {})
        key = tuple(id(p) for p in group["params"] if p.grad is not None)
        if key not in cache:
            params = [p for p in group["params"] if p.grad is not None]
            cache[key] = [(p, self.state_of(p)) for p in params]
        for p, state in cache[key]:
            self.update(group, p, -p.grad if group["maximize"] else p.grad, state)


class RefusesFused(AdamW):
    """Has a fused path, and not here."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=None):
        if fused:
            raise ValueError("fused needs a GPU")
        super().__init__(params, lr, betas, eps, weight_decay)


class RefusesNaN(Lion):
    """A gradient that is not finite is an error."""

    def step_param(self, group, p, g):
        if not g.isfinite().all():
            raise FloatingPointError("the gradient is not finite")
        super().step_param(group, p, g)


class NarrowRanges(AdamW):
    """Takes no zeros, and has defaults of its own."""

    def __init__(self, params, lr=3e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1):
        if not (lr > 0 and eps > 0 and all(0 < beta < 1 for beta in betas)):
            raise ValueError("lr, eps and betas must be above 0")
        super().__init__(params, lr, betas, eps, weight_decay)


class RefusesMuch(AdamW):
    """Refuses lists and plain counts, makes a float of a rate in a tensor, and has an attribute that copies lose."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps, weight_decay)
        self.counted = 0

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        param_group["lr"] = float(param_group["lr"])

    def step_group(self, group):
        self.counted += 1
        if not isinstance(group["betas"], tuple):
            raise TypeError("betas are a tuple")
        super().step_group(group)

    def load_state_dict(self, state_dict):
        if not all(isinstance(state["step"], torch.Tensor) for state in state_dict["state"].values()):
            raise TypeError("a step is a tensor")
        super().load_state_dict(state_dict)


class OwnCheckpoints(Lion):
    """Checkpoints of a form of its own."""

    def state_dict(self):
        return {"format": 2, "torch": super().state_dict()}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict["torch"])


class RatesInTensors(AdamW):
    """A learning rate that is a number is kept as a tensor."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, torch.as_tensor(lr, dtype=torch.float64), list(betas), eps, weight_decay)


def configured(params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    """A function that makes an optimizer whose constructor takes other things."""
    return Configured(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})


class Configured(AdamW):
    def __init__(self, params, config):
        super().__init__(params, **config)


class LateMaximum(torch.optim.Adam):
    """The largest second moment begins as zero in the update in which `amsgrad` is on for the first time."""

    def _init_group(self, group, *lists):
        for p in group["params"]:
            if group["amsgrad"] and self.state[p] and "max_exp_avg_sq" not in self.state[p]:
                self.state[p]["max_exp_avg_sq"] = torch.zeros_like(p)
        return super()._init_group(group, *lists)


class SumsFromTheConstructor(torch.optim.Optimizer):
    """Adagrad whose sums are made when a group is added, from the initial value that the group has then."""

    def __init__(self, params, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
        defaults = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, {**defaults, "initial_accumulator_value": initial_accumulator_value})

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            first = torch.full_like(p, group["initial_accumulator_value"], requires_grad=False)
            self.state[p] = {"step": 0, "sum": first}

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state, lr = self.state[p], group["lr"] / (1 + self.state[p]["step"] * group["lr_decay"])
                    g = p.grad + group["weight_decay"] * p
                    state["step"] += 1
                    state["sum"] += g**2
                    p -= lr * g / (state["sum"].sqrt() + group["eps"])
        return loss
