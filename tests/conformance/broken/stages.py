"""Faults of schedules with optional phases, choices and restarts: what shows at other settings than the defaults."""

import math

from broken import fault


@fault("L01", "wsd")
class DecaysAlongALine:
    """Whatever decay is asked for, it is a line."""

    def __init__(self, total_steps, decay_steps, decay, warmup_steps=0, min_lr_ratio=0.0):
        self.total_steps, self.decay_steps, self.warmup_steps = total_steps, decay_steps, warmup_steps
        self.min_lr_ratio = min_lr_ratio

    def __call__(self, t):
        if t < self.warmup_steps:
            return t / self.warmup_steps
        left = min(max((self.total_steps - t) / self.decay_steps, 0.0), 1.0)
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * left


@fault("L01", "wsd_s")
class RestartsLate:
    """Each cycle begins an update late, at the floor."""

    def __init__(self, total_steps, restarts, decay_steps, decay, warmup_steps=0, min_lr_ratio=0.0):
        self.ends, self.decay_steps, self.warmup_steps = (*restarts, total_steps), decay_steps, warmup_steps
        self.decay, self.min_lr_ratio = decay, min_lr_ratio

    def __call__(self, t):
        floor = self.min_lr_ratio
        if t < self.warmup_steps:
            return t / self.warmup_steps
        end = next((end for end in self.ends if t <= end), 0)
        part = 1 - min(max((end - t) / self.decay_steps, 0.0), 1.0)
        if part == 1:
            return floor
        return {
            "linear": floor + (1 - floor) * (1 - part),
            "cosine": floor + (1 - floor) * (1 + math.cos(math.pi * part)) / 2,
            "1-sqrt": floor + (1 - floor) * (1 - math.sqrt(part)),
            "exponential": floor**part,
            "inverse": 1 / (1 - part + part / floor) if floor else 0.0,
        }[self.decay]


@fault("L01", "inverse_sqrt")
class HasNoCooldown:
    """The curve goes on to the end, whatever the cooldown is."""

    def __init__(self, timescale, warmup_steps=0, hold_steps=0, cooldown_steps=0, total_steps=None, min_lr_ratio=0.0):
        self.timescale, self.warmup_steps, self.hold_steps = timescale, warmup_steps, hold_steps
        self.total_steps, self.min_lr_ratio = total_steps, min_lr_ratio

    def __call__(self, t):
        t = t if self.total_steps is None else min(t, self.total_steps)
        if t < self.warmup_steps:
            return t / self.warmup_steps
        beyond = max(t - self.warmup_steps - self.hold_steps, 0)
        return max(math.sqrt(self.timescale / (self.timescale + beyond)), self.min_lr_ratio)


@fault("L01", "step")
class NeverFalls:
    """The rate is never lowered."""

    def __init__(self, step_size, gamma=0.1):
        self.step_size, self.gamma = step_size, gamma

    def __call__(self, t):
        return 1.0
