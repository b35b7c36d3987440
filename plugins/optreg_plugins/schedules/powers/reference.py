"""The formulas of schedules that fall as a power of the step, in arbitrary precision."""

from dataclasses import dataclass
from typing import Any

from optreg import Fraction, Positive, PositiveSteps, Steps
from optreg_plugins.schedules.stages.reference import Decay, decayed, lacks_a_floor, no_floor, no_room


@dataclass
class InverseSqrt:
    """Warm up linearly, hold, then fall as the inverse square root of the step; at last, cool down to a floor.

    Vaswani et al. 2017, arXiv:1706.03762, equation 3, relative to its peak; the time scale and the hold are those of
    T5, Raffel et al. 2020, arXiv:1910.10683, section 3.1.2. With W = warmup_steps, H = W + hold_steps, k = timescale,
    C = cooldown_steps, T = total_steps, r = min_lr_ratio:

        0 <= t < W         f(t) = t / W
        W <= t <= H        f(t) = 1
        H <= t <= T - C    f(t) = max(r, sqrt(k / (k + t - H)))
        T - C <= t <= T    f(t) = r + (f(T - C) - r) (T - t) / C
        t > T              f(t) = f(T)

    f(0) = 0 when W > 0, f(W) = 1, f(H) = 1; f(T) = r after a cooldown, and f(T) from T on. Without total_steps it has
    no end. What others do:

    - Vaswani, and fairseq's inverse_sqrt: `{warmup_steps: 4000, timescale: 4000}`: sqrt(W / t) after the warm-up;
    - T5: `{hold_steps: 10_000, timescale: 10_000}`: 1 / sqrt(max(t, k)), divided by its first value;
    - transformers' get_inverse_sqrt_schedule: its warm-up and its time scale, without a hold.
    """

    timescale: PositiveSteps
    warmup_steps: Steps = 0
    hold_steps: Steps = 0
    cooldown_steps: Steps = 0
    total_steps: PositiveSteps | None = None
    min_lr_ratio: Fraction = 0.0

    def __post_init__(self) -> None:
        W, h, C, T = self.warmup_steps, self.hold_steps, self.cooldown_steps, self.total_steps
        if T is None and C:
            raise ValueError(f"cooldown_steps ({C}) lead to the end, which is not stated; add total_steps")
        if T is not None and W + h + C > T:
            raise ValueError(
                f"warmup_steps ({W}), hold_steps ({h}) and cooldown_steps ({C}) must not be more than total_steps "
                f"({T}) together"
            )

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        C, T, r = self.cooldown_steps, self.total_steps, mp.mpf(self.min_lr_ratio)
        if T is None or t <= T - C:
            return self._root(t, r, mp)
        return r + (self._root(T - C, r, mp) - r) * (T - t) / C if t < T else (r if C else self._root(T, r, mp))

    def _root(self, t: int, r: Any, mp: Any) -> Any:
        """f(t) without a cooldown."""
        W, k = self.warmup_steps, self.timescale
        H = W + self.hold_steps
        if t < W:
            return mp.mpf(t) / W
        return mp.mpf(1) if t <= H else max(r, mp.sqrt(mp.mpf(k) / (k + t - H)))


@dataclass
class Power:
    """Warm up linearly, then follow a power law of the step, never above the base learning rate; at last, decay.

    The Power scheduler, Shen et al. 2024, arXiv:2408.13359: min(eta_max, beta a n^b) of the n tokens so far, where beta
    is the batch size; relative to eta_max, the base learning rate. With W = warmup_steps, k = timescale, p = exponent,
    D = decay_steps, T = total_steps, r = min_lr_ratio, and g(t) = max(r, min(1, (t / k)^-p)):

        0 <= t < W         f(t) = g(W) t / W
        W <= t <= T - D    f(t) = g(t)
        T - D <= t <= T    f(t) = a decay from g(T - D) to r, one of those of `wsd`
        t > T              f(t) = f(T)

    f(0) = 0 when W > 0, f(W) = g(W), which is 1 if W <= k, f(k) = 1 if W <= k <= T - D; f(T) = r after a decay, and
    f(T) from T on. Without total_steps it has no end. With the paper's a and b, p = -b, and
    k = (eta_max / (beta a))^(1 / b) tokens. The decays exponential and inverse need r > 0.
    """

    timescale: PositiveSteps
    exponent: Positive = 0.51
    warmup_steps: Steps = 0
    decay_steps: Steps = 0
    decay: Decay = "linear"
    total_steps: PositiveSteps | None = None
    min_lr_ratio: Fraction = 0.0

    def __post_init__(self) -> None:
        W, D, T = self.warmup_steps, self.decay_steps, self.total_steps
        if T is None and D:
            raise ValueError(f"decay_steps ({D}) lead to the end, which is not stated; add total_steps")
        if T is not None and W + D > T:
            raise ValueError(no_room(W, D, T))
        if lacks_a_floor(self.decay, self.min_lr_ratio):
            raise ValueError(no_floor(self.decay))

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, D, T, r = self.warmup_steps, self.decay_steps, self.total_steps, mp.mpf(self.min_lr_ratio)
        if t < W:
            return self._law(W, r, mp) * t / W
        if T is None or t <= T - D:
            return self._law(t, r, mp)
        if t < T:
            return decayed(self.decay, self._law(T - D, r, mp), r, mp.mpf(t - (T - D)) / D, mp)
        return r if D else self._law(T, r, mp)

    def _law(self, t: int, r: Any, mp: Any) -> Any:
        """g(t)."""
        return mp.mpf(1) if t <= self.timescale else max(r, (mp.mpf(t) / self.timescale) ** -mp.mpf(self.exponent))
