"""The formulas of the first-party schedules, in arbitrary precision."""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, MinLen

from optreg import Fraction, NonNegative, Positive, PositiveSteps, Steps

Factor = Annotated[float, Gt(0), Le(1)]


@dataclass
class Constant:
    """Hold the learning rate at a constant multiple of its base.

        f(t) = c

    with c = factor: at every step; there is no end.
    """

    factor: NonNegative = 1.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.factor)


@dataclass
class Cosine:
    """Follow half a cosine from the base learning rate down to a floor.

    Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5 with one cycle; T = total_steps, r = min_lr_ratio:

        0 <= t <= T   f(t) = r + (1 - r) (1 + cos(pi t / T)) / 2
        t > T         f(t) = r

    f(0) = 1, f(T) = r, and r from then on.
    """

    total_steps: PositiveSteps
    min_lr_ratio: Fraction = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, r = self.total_steps, mp.mpf(self.min_lr_ratio)
        return r if t >= T else r + (1 - r) * (1 + mp.cos(mp.pi * t / T)) / 2


@dataclass
class CosineRestarts:
    """Follow half a cosine down to a floor, again and again, each time from a peak.

    SGDR, Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5; the decay of the peaks is that of timm's
    CosineLRScheduler (`cycle_decay`). Cycle i = 0, 1, 2, ... lasts L = period growth^i updates, and s counts the
    updates since its beginning; r = min_lr_ratio:

        0 <= s < L    f(t) = r + (p - r) (1 + cos(pi s / L)) / 2,    p = max(peak_decay^i, r)

    f(0) = 1, and p at the first update of each cycle; in the last one before that, s = L - 1, it is above r still. It
    has no end. With a growth of 1 all cycles are equally long, with 2 each is twice as long as the one before.
    """

    period: PositiveSteps
    growth: Annotated[int, Ge(1)] = 1
    peak_decay: Factor = 1.0
    min_lr_ratio: Fraction = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        r, cycle, s, L = mp.mpf(self.min_lr_ratio), 0, t, self.period
        if self.growth == 1:
            cycle, s = t // L, t % L
        else:
            while s >= L:
                cycle, s, L = cycle + 1, s - L, L * self.growth
        p = max(mp.mpf(self.peak_decay) ** cycle, r)
        return r + (p - r) * (1 + mp.cos(mp.pi * s / L)) / 2


@dataclass
class Exponential:
    """Multiply the learning rate by the same factor at every update.

    The closed form of `torch.optim.lr_scheduler.ExponentialLR`, stepped once per update:

        f(t) = gamma^t

    f(0) = 1; it has no end, and tends to zero.
    """

    gamma: Factor

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** t


@dataclass
class Linear:
    """Go from one multiple of the base learning rate to another along a straight line.

    From 1 to 0 it is the linear decay of Defazio et al. 2023, arXiv:2310.07831.
    With T = total_steps, a = start_factor, b = end_factor:

        0 <= t <= T   f(t) = a (T - t) / T + b t / T
        t > T         f(t) = b

    f(0) = a, f(T) = b, and b from then on.
    """

    total_steps: PositiveSteps
    start_factor: NonNegative = 1.0
    end_factor: NonNegative = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, a, b = self.total_steps, mp.mpf(self.start_factor), mp.mpf(self.end_factor)
        return b if t >= T else a * (T - t) / T + b * t / T


@dataclass
class LinearWarmup:
    """Warm up linearly from zero to the base learning rate, then hold it.

    The gradual warm-up of Goyal et al. 2017, arXiv:1706.02677, section 2.2, begun at zero; W = warmup_steps:

        0 <= t < W    f(t) = t / W
        t >= W        f(t) = 1

    f(0) = 0 when W > 0, f(W) = 1, and 1 from then on; there is no end.
    """

    warmup_steps: Steps

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W = self.warmup_steps
        return mp.mpf(t) / W if t < W else mp.mpf(1)


@dataclass
class MultiStep:
    """Multiply the learning rate by the same factor at each of some updates.

    The closed form of `torch.optim.lr_scheduler.MultiStepLR`, stepped once per update:

        f(t) = gamma^(number of milestones <= t)

    f(0) = 1, and gamma^k from the k-th milestone on; the last value is for good. Milestones may stand in any order, and
    one that stands there twice counts twice.
    """

    milestones: Annotated[tuple[PositiveSteps, ...], MinLen(1)]
    gamma: Factor = 0.1

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** sum(milestone <= t for milestone in self.milestones)


@dataclass
class OneMinusSqrt:
    """Fall from the base learning rate to a floor, fast at first, as one minus the square root of the time.

    The cooldown of Haegele et al. 2024, arXiv:2405.18392, section 3.2, by itself; `wsd` has it after a warm-up and a
    level. With T = total_steps, r = min_lr_ratio:

        0 <= t <= T   f(t) = r + (1 - r) (1 - sqrt(t / T))
        t > T         f(t) = r

    f(0) = 1, f(T) = r, and r from then on.
    """

    total_steps: PositiveSteps
    min_lr_ratio: Fraction = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, r = self.total_steps, mp.mpf(self.min_lr_ratio)
        return r if t >= T else r + (1 - r) * (1 - mp.sqrt(mp.mpf(t) / T))


@dataclass
class Polynomial:
    """Follow a power of the remaining time from the base learning rate down to a floor.

    The "poly" policy of Chen et al. 2016 (DeepLab), arXiv:1606.00915, given a floor.
    With T = total_steps, p = power, r = min_lr_ratio:

        0 <= t <= T   f(t) = r + (1 - r) (1 - t / T)^p
        t > T         f(t) = r

    f(0) = 1, f(T) = r, and r from then on. With p = 1 it is a straight line.
    """

    total_steps: PositiveSteps
    power: Positive = 1.0
    min_lr_ratio: Fraction = 0.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        T, p, r = self.total_steps, mp.mpf(self.power), mp.mpf(self.min_lr_ratio)
        return r if t >= T else r + (1 - r) * (1 - mp.mpf(t) / T) ** p


@dataclass
class Step:
    """Multiply the learning rate by the same factor every so many updates.

    The closed form of `torch.optim.lr_scheduler.StepLR`, stepped once per update:

        f(t) = gamma^floor(t / step_size)

    f(0) = 1, and gamma^k at t = k step_size; it has no end, and tends to zero.
    """

    step_size: PositiveSteps
    gamma: Factor = 0.1

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** (t // self.step_size)


@dataclass
class WarmupCosine:
    """Warm up linearly to the base learning rate, then follow half a cosine down to a floor.

    Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5 with one cycle, after a linear warm-up;
    W = warmup_steps, T = total_steps, r = min_lr_ratio:

        0 <= t < W    f(t) = t / W
        W <= t <= T   f(t) = r + (1 - r) (1 + cos(pi (t - W) / (T - W))) / 2
        t > T         f(t) = r

    f(0) = 0 when W > 0, f(W) = 1, f(T) = r, and r from then on. With W = T the peak is also the end: f(T) = r.
    """

    warmup_steps: Steps
    total_steps: PositiveSteps
    min_lr_ratio: Fraction = 0.1

    def __post_init__(self) -> None:
        if self.warmup_steps > self.total_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must not be more than total_steps ({self.total_steps})"
            )

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, T, r = self.warmup_steps, self.total_steps, mp.mpf(self.min_lr_ratio)
        if t >= T:
            return r
        if t < W:
            return mp.mpf(t) / W
        return r + (1 - r) * (1 + mp.cos(mp.pi * (t - W) / (T - W))) / 2
