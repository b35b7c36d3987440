"""The formulas of torch's schedulers from torch's documentation, in arbitrary precision."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, Lt, MinLen

from optreg import Decay, Fraction, NonNegative, Positive, PositiveSteps

Proper = Annotated[float, Gt(0), Le(1)]


@dataclass
class StepLR:
    """Multiply the learning rate by gamma every `step_size` steps (torch.optim.lr_scheduler.StepLR).

        f(t) = gamma^floor(t / step_size)

    f(0) = 1, and there is no end.
    """

    step_size: PositiveSteps
    gamma: Proper = 0.1

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** (t // self.step_size)


@dataclass
class MultiStepLR:
    """Multiply the learning rate by gamma at each milestone (torch.optim.lr_scheduler.MultiStepLR).

        f(t) = gamma^(number of milestones <= t)

    f(0) = 1 unless 0 is a milestone, and there is no end.
    """

    milestones: Annotated[list[PositiveSteps], MinLen(1)]
    gamma: Proper = 0.1

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** sum(milestone <= t for milestone in self.milestones)


@dataclass
class LinearLR:
    """Go from one factor to another along a straight line (torch.optim.lr_scheduler.LinearLR).

        t <= T   f(t) = a + (b - a) t / T        a = start_factor, b = end_factor, T = total_iters
        t > T    f(t) = b

    f(0) = a, f(T) = b, and b from then on.
    """

    start_factor: Proper = 1 / 3
    end_factor: Fraction = 1.0
    total_iters: PositiveSteps = 5

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        a, b = mp.mpf(self.start_factor), mp.mpf(self.end_factor)
        return a + (b - a) * min(t, self.total_iters) / self.total_iters


@dataclass
class CosineAnnealingLR:
    """Follow a cosine from the base learning rate to eta_min, and back again.

    torch.optim.lr_scheduler.CosineAnnealingLR; Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5, without
    restarts; T = T_max:

        f(t) base_lr = eta_min + (base_lr - eta_min) (1 + cos(pi t / T)) / 2

    base_lr at t = 0, eta_min at t = T, and base_lr again at 2 T: it has no end.
    """

    T_max: PositiveSteps
    eta_min: NonNegative = 0.0

    def rate(self, base_lr: Any, t: int, mp: Any) -> Any:
        """The learning rate at step t, with the functions and the precision of the mpmath context `mp`."""
        floor = mp.mpf(self.eta_min)
        return floor + (mp.mpf(base_lr) - floor) * (1 + mp.cos(mp.pi * t / self.T_max)) / 2


@dataclass
class PolynomialLR:
    """Fall to zero along a power of the remaining steps (torch.optim.lr_scheduler.PolynomialLR).

        f(t) = (1 - min(t, T) / T)^p        T = total_iters, p = power

    f(0) = 1, f(T) = 0, and 0 from then on.
    """

    total_iters: PositiveSteps = 5
    power: Positive = 1.0

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return (1 - mp.mpf(min(t, self.total_iters)) / self.total_iters) ** mp.mpf(self.power)


@dataclass
class ExponentialLR:
    """Multiply the learning rate by gamma at every step (torch.optim.lr_scheduler.ExponentialLR).

        f(t) = gamma^t

    f(0) = 1, and there is no end.
    """

    gamma: Proper

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.gamma) ** t


@dataclass
class ConstantLR:
    """Hold a fraction of the learning rate for a number of steps, then all of it (torch.optim.lr_scheduler.ConstantLR).

    f(t) = factor for t < T, 1 from t = T on        T = total_iters
    """

    factor: Proper = 1 / 3
    total_iters: PositiveSteps = 5

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        return mp.mpf(self.factor) if t < self.total_iters else mp.mpf(1)


@dataclass
class OneCycleLR:
    """Rise to max_lr and fall far below the start, in one cycle (torch.optim.lr_scheduler.OneCycleLR).

    Smith & Topin 2018, arXiv:1708.07120, as in torch: h = max_lr, a = h / div_factor, z = a / final_div_factor,
    T = total_steps and w = pct_start T - 1, f(t) base_lr goes from a (t = 0) to h (t = w) to z (t = T - 1) along half
    cosines, or straight lines. The base learning rate has no effect. With cycle_momentum the momentum goes the
    other way, from max_momentum (t = 0) to base_momentum (t = w) and back (t = T - 1).
    """

    max_lr: Positive
    total_steps: PositiveSteps
    pct_start: Annotated[float, Gt(0), Lt(1)] = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: Decay = 0.85
    max_momentum: Decay = 0.95
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4

    def __post_init__(self) -> None:
        if self.pct_start * self.total_steps <= 1 or self.total_steps < 4:
            raise ValueError("a cycle needs at least four steps, more than one of them rising")

    def rate(self, base_lr: Any, t: int, mp: Any) -> Any:
        """The learning rate at step t, with the functions and the precision of the mpmath context `mp`."""
        h = mp.mpf(self.max_lr)
        a = h / mp.mpf(self.div_factor)
        z = a / mp.mpf(self.final_div_factor)
        return self._between(a, h, z, t, mp)

    def momentum(self, t: int, mp: Any) -> Any:
        """The momentum at step t, with the functions of `mp`; None if it is not changed."""
        low, high = mp.mpf(self.base_momentum), mp.mpf(self.max_momentum)
        return self._between(high, low, high, t, mp) if self.cycle_momentum else None

    def _between(self, first: Any, middle: Any, last: Any, t: int, mp: Any) -> Any:
        w, end = mp.mpf(self.pct_start) * self.total_steps - 1, self.total_steps - 1
        start, stop, part = (first, middle, t / w) if t <= w else (middle, last, (t - w) / (end - w))
        weight = (1 - mp.cos(mp.pi * part)) / 2 if self.anneal_strategy == "cos" else part
        return start + (stop - start) * weight
