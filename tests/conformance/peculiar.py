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
