"""Right optimizers that are peculiar: how they are made, how they make updates, and what they couple is found out."""

import math

import torch
from broken.textbook import Lion, Momentum
from right import lambda_warmup_cosine


class Matrices(Momentum):
    """Takes matrices alone, as Muon does."""

    def update(self, group, p, g, state):
        if p.ndim != 2:
            raise ValueError("only matrices")
        self.remember(group, state, g)
        direction = self.direction(group, state, g)
        p.add_(direction / direction.norm().clamp(min=1e-30), alpha=-float(group["lr"]))


class Closure(Momentum):
    """Makes no update without a closure, which it calls twice."""

    @torch.no_grad()
    def step(self, closure):
        loss = torch.enable_grad()(closure)()
        torch.enable_grad()(closure)()
        for group in self.param_groups:
            self.step_group(group)
        return loss


class Trains(Momentum):
    """Makes updates in the mode for training alone, and begins in none."""

    def train(self):
        for group in self.param_groups:
            group["training"] = True

    def eval(self):
        for group in self.param_groups:
            group["training"] = False

    def step_group(self, group):
        if not self.param_groups[0].get("training"):
            raise RuntimeError("call train() before step()")
        super().step_group(group)


class Normed(Momentum):
    """The gradients of a group are scaled together."""

    def step_group(self, group):
        norms = [torch.linalg.vector_norm(p.grad.double()) for p in group["params"] if p.grad is not None]
        self.scale = 1 / (1 + float(sum(norms)))
        super().step_group(group)

    def update(self, group, p, g, state):
        super().update(group, p, g * self.scale, state)


class Draws(Momentum):
    """Adds noise to every update."""

    def direction(self, group, state, g):
        return super().direction(group, state, g) + 0.01 * torch.randn_like(g)


class WarmsUp(Lion):
    """Needs the length of the run, and rests in the first two updates."""

    def __init__(self, params, total_steps, lr=1e-4, betas=(0.9, 0.99)):
        super().__init__(params, lr, betas)
        self.defaults["total_steps"] = total_steps
        for group in self.param_groups:
            group["total_steps"] = total_steps

    def update(self, group, p, g, state):
        factor = min(1.0, max(0, self.count(group, state) - 2) / math.sqrt(group["total_steps"]))
        super().update({**group, "lr": factor * float(group["lr"])}, p, g, state)


class OneGroup(Momentum):
    """Takes one group alone."""

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        if len(self.param_groups) > 1:
            raise ValueError("there is one group alone")


def cosine(optimizer, num_warmup_steps, num_training_steps, last_epoch=-1):
    """A function that makes a schedule which refuses to go on after its end."""
    scheduler = lambda_warmup_cosine(optimizer, num_warmup_steps, num_training_steps, last_epoch)
    (factor,) = {*scheduler.lr_lambdas}

    def until_the_end(t):
        if t > num_training_steps:
            raise ValueError("it has ended")
        return factor(t)

    scheduler.lr_lambdas = [until_the_end for _ in scheduler.lr_lambdas]
    return scheduler


class Halves(torch.optim.Optimizer):
    """Takes another optimizer, and goes half the way that it goes."""

    def __init__(self, optimizer, share=0.5):
        self.optimizer = optimizer
        super().__init__(optimizer.param_groups, {**optimizer.defaults, "share": share})
        self.join()

    def join(self):
        self.optimizer.__setstate__({"state": self.state, "param_groups": self.param_groups})

    def __getstate__(self):
        return {**super().__getstate__(), "optimizer": self.optimizer}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.join()

    def step(self, closure=None):
        params = [(p, group["share"]) for group in self.param_groups for p in group["params"]]
        before = [p.detach().clone() for p, _ in params]
        loss = self.optimizer.step(closure)
        with torch.no_grad():
            for (p, share), old in zip(params, before, strict=True):
                p.lerp_(old, share)
        return loss


class HalvesAndForgets(Halves):
    """Loads its own state, and not that of the other optimizer."""

    def __setstate__(self, state):
        torch.optim.Optimizer.__setstate__(self, state)
        self.optimizer.param_groups = self.param_groups


class HalvesOfAModel(Halves):
    """Takes a model, its parameters, and the class of another optimizer."""

    def __init__(self, model, params, base_optimizer, share=0.5, **settings):
        super().__init__(base_optimizer(params, **settings), share)
        self.names = [name for name, _ in model.named_parameters()]


class ByFlag(Matrices):
    """Takes groups that hold every hyperparameter, and say by which of two algorithms they are updated."""

    def __init__(self, param_groups):
        for group in param_groups:
            assert "use_muon" in group
            group.setdefault("lr", 0.02)
            group.setdefault("momentum", 0.9)
        torch.optim.Optimizer.__init__(self, param_groups, {})

    def step_group(self, group):
        assert group["use_muon"]
        super().step_group(group)


class ByOneFlag(ByFlag):
    """Reads the momentum from the first group."""

    def remember(self, group, state, g):
        super().remember(self.param_groups[0], state, g)


class Curved(Momentum):
    """Divides the gradient by an estimate of the Hessian's diagonal."""

    def __init__(self, params, lr=1e-3, momentum=0.9):
        super().__init__(params, lr, momentum)

    def update(self, group, p, g, state):
        if g.grad_fn is None:
            raise RuntimeError("call backward(create_graph=True)")
        v = torch.randint_like(p, 2) * 2 - 1
        (hv,) = torch.autograd.grad(g, p, v, retain_graph=True)
        super().update(group, p, g.detach() / (1 + v * hv), state)


class CurvedAndForgets(Curved):
    """Counts its updates in an attribute, which no checkpoint holds."""

    updates = 0

    def direction(self, group, state, g):
        self.updates += 1
        return super().direction(group, state, g) / self.updates


class Compiles(Momentum):
    """Compiles a part of its update."""

    @staticmethod
    @torch.compile
    def scaled(g, momentum):
        return (1 - momentum) * g

    def remember(self, group, state, g):
        state["momentum_buffer"].mul_(group["momentum"]).add_(self.scaled(g, group["momentum"]))


class InAGroupOfOne(Momentum):
    """Means gradients over a process group."""

    def update(self, group, p, g, state):
        mean = g.clone()
        torch.distributed.all_reduce(mean)
        super().update(group, p, mean, state)


class OfOneDtype(Momentum):
    """Takes gradients of the one dtype that it is told."""

    def __init__(self, params, lr=1e-3, momentum=0.9, grad_dtype="float32"):
        super().__init__(params, lr, momentum)
        self.grad_dtype = getattr(torch, grad_dtype)

    def update(self, group, p, g, state):
        if g.dtype != self.grad_dtype:
            raise TypeError(f"a gradient is not in {self.grad_dtype}")
        super().update(group, p, g, state)


class SumsInOneDtype(Momentum):
    """Is told a dtype that need not be the parameters'."""

    def __init__(self, params, lr=1e-3, momentum=0.9, sums="float64"):
        super().__init__(params, lr, momentum)
        self.sums = getattr(torch, sums)


class Abstract(Momentum):
    """Leaves the update to others."""

    def step(self, closure=None):
        raise NotImplementedError
