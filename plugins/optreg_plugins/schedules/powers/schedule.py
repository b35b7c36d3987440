"""Schedules that fall as a power of the step, as pure functions of the step."""

import math

import optreg
from optreg_plugins.schedules.powers import reference as papers
from optreg_plugins.schedules.stages.reference import Decay
from optreg_plugins.schedules.stages.schedule import decayed


class InverseSqrt(optreg.PureSchedule):
    """Up linearly, level, then down as an inverse square root: 1 from t = W to t = W + hold_steps; a cooldown at last.

    Args:
        timescale: k, >= 1: the curve is sqrt(k / (k + n)) after n updates of it, and so at half height after 3 k.
        warmup_steps: W, updates until the level, >= 0.
        hold_steps: updates at the level, >= 0.
        cooldown_steps: updates of the line to the floor, the last ones before the end, >= 0; needs total_steps.
        total_steps: T, updates until the end; None, and it goes on for ever.
        min_lr_ratio: the floor as a fraction of the base learning rate: where the cooldown ends, and where the curve is
            level at the latest.
    """

    reference = papers.InverseSqrt

    @staticmethod
    def multiplier(
        t: int, *, timescale: int, warmup_steps: int, hold_steps: int, cooldown_steps: int, total_steps: int | None,
        min_lr_ratio: float,
    ) -> float:  # fmt: skip
        """The line, the level, the root, and the line to the floor."""
        T, C = total_steps, cooldown_steps
        on = t if T is None else min(t, T - C)  # the update of the curve from which the cooldown goes on
        if on < warmup_steps:
            return on / warmup_steps
        beyond = max(on - warmup_steps - hold_steps, 0)
        rate = max(math.sqrt(timescale / (timescale + beyond)), min_lr_ratio)
        if T is None or on == t or not C:
            return rate
        return min_lr_ratio + (rate - min_lr_ratio) * (max(T - t, 0) / C)


class Power(optreg.PureSchedule):
    """Up linearly, then along a power of the step, at most 1, for t > k; a decay at last.

    Args:
        timescale: k, >= 1: the update up to which the power law is above 1, and so the rate is level.
        exponent: p, > 0: the curve is (t / k)^-p from t = k on.
        warmup_steps: W, updates until the law is followed, >= 0.
        decay_steps: updates of the decay, the last ones before the end, >= 0; needs total_steps.
        decay: the shape of the decay, as for `wsd`.
        total_steps: T, updates until the end; None, and it goes on for ever.
        min_lr_ratio: the floor as a fraction of the base learning rate: where the decay ends, and where the curve is
            level at the latest; above 0 for exponential and inverse.
    """

    reference = papers.Power

    @staticmethod
    def multiplier(
        t: int, *, timescale: int, exponent: float, warmup_steps: int, decay_steps: int, decay: Decay,
        total_steps: int | None, min_lr_ratio: float,
    ) -> float:  # fmt: skip
        """The line, the power law, and the decay."""

        def law(n: int) -> float:
            return max(math.pow(timescale / max(n, timescale), exponent), min_lr_ratio)

        if t < warmup_steps:
            return law(warmup_steps) * (t / warmup_steps)
        if total_steps is None or t <= total_steps - decay_steps:
            return law(t)
        if t >= total_steps:
            return min_lr_ratio if decay_steps else law(total_steps)
        begin = total_steps - decay_steps
        return decayed(decay, law(begin), min_lr_ratio, t - begin, decay_steps)
