"""Schedules in stages, as pure functions of the step: a warm-up, a level, a decay."""

import math
from bisect import bisect_right

import optreg
from optreg_plugins.schedules.schedule import half_cosine
from optreg_plugins.schedules.stages import reference as papers


class WSD(optreg.PureSchedule):
    """Up linearly, level, then down to a floor: 1 from t = W to t = T - D, r from t = T on.

    Args:
        total_steps: T, updates until the floor; counts the warm-up and the decay.
        decay_steps: D, updates of the decay, >= 1; W + D <= T.
        decay: the shape of the decay: linear, cosine, 1-sqrt, exponential (the same factor at every update) or inverse
            (the inverse of the rate grows linearly).
        warmup_steps: W, updates until the level, >= 0.
        min_lr_ratio: r, the floor as a fraction of the base learning rate; above 0 for exponential and inverse.
    """

    reference = papers.WSD

    @staticmethod
    def multiplier(
        t: int, *, total_steps: int, decay_steps: int, decay: papers.Decay, warmup_steps: int, min_lr_ratio: float
    ) -> float:
        """The line, the level, then the decay."""
        if t >= total_steps:
            return min_lr_ratio
        if t < warmup_steps:
            return t / warmup_steps
        left = total_steps - t
        return 1.0 if left >= decay_steps else decayed(decay, 1.0, min_lr_ratio, decay_steps - left, decay_steps)


class WSDS(optreg.PureSchedule):
    """Level, then down to a floor, in cycles: 1 at t = W and at each restart, r from t = T on.

    Args:
        total_steps: T, updates until the last floor; counts the warm-up.
        restarts: the updates at which the rate is 1 again after a decay, increasing, between W and T.
        decay_steps: D, updates of each decay, >= 1; no cycle is shorter.
        decay: the shape of the decays, as for `wsd`; the paper's is inverse.
        warmup_steps: W, updates until the level, >= 0.
        min_lr_ratio: r, the floor as a fraction of the base learning rate; above 0 for exponential and inverse.
    """

    reference = papers.WSDS

    @staticmethod
    def multiplier(
        t: int, *, total_steps: int, restarts: tuple[int, ...], decay_steps: int, decay: papers.Decay,
        warmup_steps: int, min_lr_ratio: float,
    ) -> float:  # fmt: skip
        """The line, then each cycle's level and decay."""
        if t >= total_steps:
            return min_lr_ratio
        if t < warmup_steps:
            return t / warmup_steps
        left = (*restarts, total_steps)[bisect_right(restarts, t)] - t
        return 1.0 if left >= decay_steps else decayed(decay, 1.0, min_lr_ratio, decay_steps - left, decay_steps)


class TriStage(optreg.PureSchedule):
    """Up linearly from a, level, then down exponentially: 1 from t = W to t = T - D, r from t = T on.

    Args:
        total_steps: T, updates until the floor; counts the warm-up and the decay.
        warmup_steps: W, updates until the level, >= 0.
        decay_steps: D, updates of the decay, >= 1; W + D <= T.
        init_lr_ratio: a, where the warm-up begins, as a fraction of the base learning rate.
        min_lr_ratio: r, the floor as a fraction of the base learning rate, > 0.
    """

    reference = papers.TriStage

    @staticmethod
    def multiplier(
        t: int, *, total_steps: int, warmup_steps: int, decay_steps: int, init_lr_ratio: float, min_lr_ratio: float
    ) -> float:
        """The line, the level, then the power."""
        if t >= total_steps:
            return min_lr_ratio
        if t < warmup_steps:
            return init_lr_ratio + (1 - init_lr_ratio) * (t / warmup_steps)
        left = total_steps - t
        return 1.0 if left >= decay_steps else math.pow(min_lr_ratio, (decay_steps - left) / decay_steps)


class OneCycle(optreg.PureSchedule):
    """Up to the base learning rate and down again: 1 / div_factor at t = 0, 1 at t = W, the floor from t = T on.

    Args:
        total_steps: T, updates until the floor, >= 1; counts the rise.
        warmup_steps: W, updates until the peak, >= 0 and <= T.
        curve: cosine, half a cosine up and half a cosine down, or linear.
        div_factor: the peak divided by the rate at t = 0, >= 1.
        final_div_factor: the rate at t = 0 divided by the floor, >= 1.
    """

    reference = papers.OneCycle

    @staticmethod
    def multiplier(
        t: int, *, total_steps: int, warmup_steps: int, curve: str, div_factor: float, final_div_factor: float
    ) -> float:
        """The rise, then the fall."""
        W, T, floor = warmup_steps, total_steps, 1 / div_factor / final_div_factor
        if t >= T:
            return floor
        low, height = (1 / div_factor, t / W) if t < W else (floor, (T - t) / (T - W))
        return low + (1 - low) * (half_cosine(height) if curve == "cosine" else height)


def decayed(decay: papers.Decay, level: float, floor: float, n: int, steps: int) -> float:
    """The rate after n of the steps of a decay, 0 < n < steps; as exact near a floor of 0 as anywhere."""
    part, left = n / steps, (steps - n) / steps
    if decay == "exponential":
        return level * math.pow(floor / level, part)
    if decay == "inverse":
        return level * floor / (floor * left + level * part)
    if decay == "cosine":
        left = half_cosine(left)
    elif decay == "1-sqrt":
        left /= 1 + math.sqrt(part)
    return floor + (level - floor) * left
