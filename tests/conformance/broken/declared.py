"""The implementations that `declarations` names."""

import math
from dataclasses import dataclass

import torch

from broken.textbook import Lion, Momentum


class IgnoresNesterov(Momentum):
    def __init__(self, params, lr=1e-3, momentum=0.9, nesterov=False, maximize=False):
        super().__init__(params, lr, momentum, maximize)
        for group in self.param_groups:
            group["nesterov"] = nesterov


class OtherDefaults(Lion):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.0, maximize=False):
        super().__init__(params, lr, betas, weight_decay, maximize)


def factor(t, warmup, total, floor):
    if t >= total:
        return floor
    if t < warmup:
        return t / warmup
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (t - warmup) / (total - warmup)))


@dataclass
class LooseWarmupCosine:
    warmup_steps: int
    total_steps: int
    min_lr_ratio: float = 0.0

    def __call__(self, step):
        return factor(step, self.warmup_steps, self.total_steps, self.min_lr_ratio)


@dataclass
class Remembers(LooseWarmupCosine):
    min_lr_ratio: float = 0.1
    calls: int = 0

    def __call__(self, step):
        self.calls += 1
        return super().__call__(step) if self.calls < 40 else 0.0


@dataclass
class OnlyForwards(LooseWarmupCosine):
    min_lr_ratio: float = 0.1
    furthest: int = 0

    def __call__(self, step):
        self.furthest = max(self.furthest, step)
        return super().__call__(self.furthest)


@dataclass
class RaisesAtItsEnd(LooseWarmupCosine):
    min_lr_ratio: float = 0.1

    def __call__(self, step):
        if step >= self.total_steps:
            raise IndexError("no step is left")
        return super().__call__(step)


@dataclass
class Geometric:
    total_steps: int
    min_lr_ratio: float = 0.1

    def __call__(self, step):
        return self.min_lr_ratio ** min(step / self.total_steps, 1.0)


@dataclass
class NoFunction:
    warmup_steps: int
    total_steps: int
    min_lr_ratio: float = 0.1


assert torch  # a schedule needs no torch: that this module imports it is a fault
