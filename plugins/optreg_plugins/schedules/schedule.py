"""The first-party schedules as pure functions of the step."""

import math

import optreg
from optreg_plugins.schedules import reference as papers


class Constant(optreg.PureSchedule):
    """Always the same multiple of the base learning rate.

    Args:
        factor: c, >= 0.
    """

    reference = papers.Constant

    @staticmethod
    def multiplier(t: int, *, factor: float) -> float:
        """c at every step."""
        return factor


class Cosine(optreg.PureSchedule):
    """Down along half a cosine, then level: 1 at t = 0, r from t = T on.

    Args:
        total_steps: T, updates until the floor, >= 1.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = papers.Cosine

    @staticmethod
    def multiplier(t: int, *, total_steps: int, min_lr_ratio: float) -> float:
        """The curve up to its end."""
        T, r = total_steps, min_lr_ratio
        if t >= T:
            return r
        return r + (1 - r) * half_cosine((T - t) / T)


class CosineRestarts(optreg.PureSchedule):
    """Half cosines down to a floor, one after another: 1 at t = 0, a peak at the first update of each cycle, no end.

    Args:
        period: updates of the first cycle, >= 1.
        growth: how many times longer each cycle is than the one before, a whole number >= 1.
        peak_decay: what each peak is multiplied by to be the next, 0 < peak_decay <= 1; no peak is below the floor.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = papers.CosineRestarts

    @staticmethod
    def multiplier(t: int, *, period: int, growth: int, peak_decay: float, min_lr_ratio: float) -> float:
        """The half cosine of the cycle that t belongs to."""
        length, begin, cycle = period, 0, t // period
        if growth > 1:
            cycle = 0
            while t >= begin + length:
                begin, length, cycle = begin + length, length * growth, cycle + 1
        else:
            begin = cycle * period
        above = max(peak_decay**cycle - min_lr_ratio, 0.0)
        return min_lr_ratio + above * half_cosine((begin + length - t) / length)


class Exponential(optreg.PureSchedule):
    """A constant factor at every update; 1 at t = 0, and no end.

    Args:
        gamma: the factor of one update, 0 < gamma <= 1.
    """

    reference = papers.Exponential

    @staticmethod
    def multiplier(t: int, *, gamma: float) -> float:
        """The power."""
        return gamma**t


class Linear(optreg.PureSchedule):
    """A straight line, then level: a at t = 0, b from t = T on.

    Args:
        total_steps: T, updates until the end of the line, >= 1.
        start_factor: a, the multiplier at t = 0, >= 0.
        end_factor: b, the multiplier from t = T on, >= 0.
    """

    reference = papers.Linear

    @staticmethod
    def multiplier(t: int, *, total_steps: int, start_factor: float, end_factor: float) -> float:
        """The line up to its end."""
        T, a, b = total_steps, start_factor, end_factor
        if t >= T:
            return b
        line = a * ((T - t) / T) + b * (t / T)
        return min(max(line, min(a, b)), max(a, b))  # rounding may carry the line past its ends


class LinearWarmup(optreg.PureSchedule):
    """Up linearly, then level: 0 at t = 0 (when W > 0), 1 from t = W on.

    Args:
        warmup_steps: W, updates until the base learning rate, >= 0.
    """

    reference = papers.LinearWarmup

    @staticmethod
    def multiplier(t: int, *, warmup_steps: int) -> float:
        """The line up to its end."""
        return t / warmup_steps if t < warmup_steps else 1.0


class MultiStep(optreg.PureSchedule):
    """A constant factor at each of some updates; 1 at t = 0, and level after the last of them.

    Args:
        milestones: the updates from which on the factor counts once more, each >= 1, in any order.
        gamma: the factor, 0 < gamma <= 1.
    """

    reference = papers.MultiStep

    @staticmethod
    def multiplier(t: int, *, milestones: tuple[int, ...], gamma: float) -> float:
        """The power."""
        passed = [milestone for milestone in milestones if t >= milestone]
        return math.pow(gamma, len(passed))


class OneMinusSqrt(optreg.PureSchedule):
    """Down along one minus a square root, then level: 1 at t = 0, r from t = T on.

    Args:
        total_steps: T, updates until the floor, >= 1.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = papers.OneMinusSqrt

    @staticmethod
    def multiplier(t: int, *, total_steps: int, min_lr_ratio: float) -> float:
        """The curve up to its end; 1 - sqrt(x) as (1 - x) / (1 + sqrt(x)), which loses no digits near it."""
        T, r = total_steps, min_lr_ratio
        return r if t >= T else r + (1 - r) * ((T - t) / T / (1 + math.sqrt(t / T)))


class Polynomial(optreg.PureSchedule):
    """Down along a power of the remaining time, then level: 1 at t = 0, r from t = T on.

    Args:
        total_steps: T, updates until the floor, >= 1.
        power: p, > 0; 1 is a straight line.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = papers.Polynomial

    @staticmethod
    def multiplier(t: int, *, total_steps: int, power: float, min_lr_ratio: float) -> float:
        """The curve up to its end."""
        T, r = total_steps, min_lr_ratio
        return r if t >= T else r + (1 - r) * math.pow((T - t) / T, power)


class Step(optreg.PureSchedule):
    """A constant factor every so many updates; 1 at t = 0, and no end.

    Args:
        step_size: updates from one factor to the next, >= 1.
        gamma: the factor, 0 < gamma <= 1.
    """

    reference = papers.Step

    @staticmethod
    def multiplier(t: int, *, step_size: int, gamma: float) -> float:
        """The power."""
        return math.pow(gamma, t // step_size)


class WarmupCosine(optreg.PureSchedule):
    """Up linearly, down along half a cosine, then level: 1 at t = W, r from t = T on.

    With W > 0 it begins at 0; with W = T the floor takes the place of the peak.

    Args:
        warmup_steps: W, updates until the peak, >= 0 and <= T.
        total_steps: T, updates until the floor, >= 1; counts the warm-up.
        min_lr_ratio: r, the floor as a fraction of the base learning rate.
    """

    reference = papers.WarmupCosine

    @staticmethod
    def multiplier(t: int, *, warmup_steps: int, total_steps: int, min_lr_ratio: float) -> float:
        """The line up to the peak, then the curve up to its end."""
        W, T, r = warmup_steps, total_steps, min_lr_ratio
        if t >= T:
            return r
        if t < W:
            return t / W
        return r + (1 - r) * half_cosine((T - t) / (T - W))


def half_cosine(left: float) -> float:
    """(1 + cos(pi x)) / 2 where `left` is 1 - x: as a sine squared, it loses no digits near the end of the curve."""
    return math.sin(math.pi * left / 2) ** 2
