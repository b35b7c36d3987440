"""The formulas of schedules in stages, in arbitrary precision: a warm-up, a level, a decay."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from optreg import Fraction, PositiveSteps, Steps

Decay = Literal["linear", "cosine", "1-sqrt", "exponential", "inverse"]
"""The shapes of a decay from a level a to a floor r, where x goes from 0 to 1:

    linear         r + (a - r) (1 - x)
    cosine         r + (a - r) (1 + cos(pi x)) / 2
    1-sqrt         r + (a - r) (1 - sqrt(x))
    exponential    a^(1 - x) r^x
    inverse        1 / ((1 - x) / a + x / r)
"""


def decayed(decay: Decay, a: Any, r: Any, x: Any, mp: Any) -> Any:
    """The level after the part x of a decay from a to r."""
    if decay == "exponential":
        return a ** (1 - x) * r**x
    if decay == "inverse":
        return 1 / ((1 - x) / a + x / r)
    if decay == "cosine":
        return r + (a - r) * (1 + mp.cos(mp.pi * x)) / 2
    return r + (a - r) * (1 - (mp.sqrt(x) if decay == "1-sqrt" else x))


def lacks_a_floor(decay: Decay, min_lr_ratio: float) -> bool:
    """Whether a decay cannot reach its floor because that is 0."""
    return decay in ("exponential", "inverse") and min_lr_ratio == 0


def no_floor(decay: Decay) -> str:
    """What is wrong with a decay that lacks a floor."""
    return f"decay '{decay}' never reaches 0; set min_lr_ratio to a number above 0, such as 0.01"


def no_room(warmup_steps: int, decay_steps: int, total_steps: int) -> str:
    """What is wrong where warm-up and decay are longer than the whole."""
    return (
        f"warmup_steps ({warmup_steps}) and decay_steps ({decay_steps}) must not be more than total_steps "
        f"({total_steps}) together"
    )


def _too_short(begin: int, end: int, decay_steps: int) -> str:
    return (
        f"the cycle from update {begin} to {end} must have room for decay_steps ({decay_steps}); restarts are "
        "increasing, between warmup_steps and total_steps"
    )


@dataclass
class WSD:
    """Warm up linearly, hold the base learning rate, then decay to a floor.

    Warmup-Stable-Decay, Hu et al. 2024 (MiniCPM), arXiv:2404.06395, section 4; the decay 1-sqrt is that of Haegele et
    al. 2024, arXiv:2405.18392. With W = warmup_steps, D = decay_steps, T = total_steps, r = min_lr_ratio, and
    x = (t - (T - D)) / D:

        0 <= t < W          f(t) = t / W
        W <= t <= T - D     f(t) = 1
        T - D <= t <= T     linear         f(t) = r + (1 - r) (1 - x)
                            cosine         f(t) = r + (1 - r) (1 + cos(pi x)) / 2
                            1-sqrt         f(t) = r + (1 - r) (1 - sqrt(x))
                            exponential    f(t) = r^x
                            inverse        f(t) = 1 / (1 - x + x / r)
        t > T               f(t) = r

    f(0) = 0 when W > 0, f(W) = 1, f(T - D) = 1, f(T) = r, and r from then on. The decays exponential and inverse need
    r > 0. MiniCPM's exponential decay, 0.5^(n / h) after n updates of it, has r = 0.5^(D / h). transformers'
    get_wsd_schedule is this where r = 0; otherwise its warm-up begins at r.
    """

    total_steps: PositiveSteps
    decay_steps: PositiveSteps
    decay: Decay
    warmup_steps: Steps = 0
    min_lr_ratio: Fraction = 0.0

    def __post_init__(self) -> None:
        W, D, T = self.warmup_steps, self.decay_steps, self.total_steps
        if W + D > T:
            raise ValueError(
                f"warmup_steps ({W}) and decay_steps ({D}) must not be more than total_steps ({T}) together"
            )
        if lacks_a_floor(self.decay, self.min_lr_ratio):
            raise ValueError(no_floor(self.decay))

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, D, T, r = self.warmup_steps, self.decay_steps, self.total_steps, mp.mpf(self.min_lr_ratio)
        if t < W:
            return mp.mpf(t) / W
        if t <= T - D:
            return mp.mpf(1)
        return r if t >= T else decayed(self.decay, mp.mpf(1), r, mp.mpf(t - (T - D)) / D, mp)


@dataclass
class WSDS:
    """Hold the base learning rate and decay to a floor, again and again, after one linear warm-up.

    WSD-S, Wen et al. 2024, arXiv:2410.05192: training goes on from the decayed checkpoint, at the full rate.
    With W = warmup_steps, D = decay_steps, r = min_lr_ratio, and E the end of the cycle that t belongs to, which is the
    next restart, or total_steps if there is none left; x = (t - (E - D)) / D:

        0 <= t < W          f(t) = t / W
        t <= E - D          f(t) = 1
        E - D <= t < E      f(t) = 1 / (1 - x + x / r) with the paper's decay, inverse; or another one of `wsd`
        t >= total_steps    f(t) = r

    f(0) = 0 when W > 0, f(W) = 1; 1 at each E - D and, a new cycle's first update, at each restart;
    f(total_steps) = r, and r from then on. The decays exponential and inverse need r > 0.
    """

    total_steps: PositiveSteps
    restarts: Annotated[tuple[PositiveSteps, ...], MinLen(1)]
    decay_steps: PositiveSteps
    decay: Decay
    warmup_steps: Steps = 0
    min_lr_ratio: Fraction = 0.0

    def __post_init__(self) -> None:
        begin, D, T = self.warmup_steps, self.decay_steps, self.total_steps
        for restart in self.restarts:
            if restart - begin < D:
                raise ValueError(_too_short(begin, restart, D))
            begin = restart
        if T - begin < D:
            raise ValueError(_too_short(begin, T, D))
        if lacks_a_floor(self.decay, self.min_lr_ratio):
            raise ValueError(no_floor(self.decay))

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, D, r = self.warmup_steps, self.decay_steps, mp.mpf(self.min_lr_ratio)
        if t < W:
            return mp.mpf(t) / W
        if t >= self.total_steps:
            return r
        E = self.total_steps
        for restart in self.restarts:
            if t < restart:
                E = min(E, restart)
        return mp.mpf(1) if t <= E - D else decayed(self.decay, mp.mpf(1), r, mp.mpf(t - (E - D)) / D, mp)


@dataclass
class TriStage:
    """Warm up linearly from a share of the base learning rate, hold it, then decay exponentially to another share.

    SpecAugment, Park et al. 2019, arXiv:1904.08779, as in fairseq's `tri_stage`, with which wav2vec 2.0
    (arXiv:2006.11477) is fine-tuned. With W = warmup_steps, D = decay_steps, T = total_steps, a = init_lr_ratio,
    r = min_lr_ratio:

        0 <= t < W          f(t) = a + (1 - a) t / W
        W <= t <= T - D     f(t) = 1
        T - D <= t <= T     f(t) = r^((t - (T - D)) / D)
        t > T               f(t) = r

    f(0) = a when W > 0, f(W) = 1, f(T - D) = 1, f(T) = r, and r from then on. fairseq's phase_ratio [0.1, 0.4, 0.5] is
    `warmup_steps: 10%` and `decay_steps: 50%`; its hold_steps are what these leave of total_steps.
    """

    total_steps: PositiveSteps
    warmup_steps: Steps
    decay_steps: PositiveSteps
    init_lr_ratio: Fraction = 0.01
    min_lr_ratio: Annotated[float, Gt(0), Le(1)] = 0.01

    def __post_init__(self) -> None:
        W, D, T = self.warmup_steps, self.decay_steps, self.total_steps
        if W + D > T:
            raise ValueError(
                f"warmup_steps ({W}) and decay_steps ({D}) must not be more than total_steps ({T}) together"
            )

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, D, T = self.warmup_steps, self.decay_steps, self.total_steps
        a, r = mp.mpf(self.init_lr_ratio), mp.mpf(self.min_lr_ratio)
        if t < W:
            return a + (1 - a) * t / W
        if t <= T - D:
            return mp.mpf(1)
        return r if t >= T else r ** (mp.mpf(t - (T - D)) / D)


@dataclass
class OneCycle:
    """Rise from a share of the base learning rate to all of it, then fall far below the start, in one cycle.

    Smith & Topin 2018, arXiv:1708.07120, in the two phases of `torch.optim.lr_scheduler.OneCycleLR`. With
    W = warmup_steps, T = total_steps, a = 1 / div_factor, r = a / final_div_factor, and the curve
    c(x) = (1 - cos(pi x)) / 2 (cosine) or x (linear):

        0 <= t < W    f(t) = a + (1 - a) c(t / W)
        W <= t <= T   f(t) = 1 + (r - 1) c((t - W) / (T - W))
        t > T         f(t) = r

    f(0) = a when W > 0, f(W) = 1, f(T) = r, and r from then on. With W = T the peak is also the end: f(T) = r.
    The base learning rate is the peak, torch's max_lr. torch puts the peak at p N - 1 and the end at N - 1:
    OneCycleLR(max_lr, total_steps=N, pct_start=p) is this with total_steps = N - 1 and warmup_steps = p N - 1, where
    that is a whole number. It moves the momentum too, which here is a schedule of its own.
    """

    total_steps: PositiveSteps
    warmup_steps: Steps
    curve: Literal["cosine", "linear"] = "cosine"
    div_factor: Annotated[float, Ge(1)] = 25.0
    final_div_factor: Annotated[float, Ge(1)] = 1e4

    def __post_init__(self) -> None:
        if self.warmup_steps > self.total_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must not be more than total_steps ({self.total_steps})"
            )

    def multiplier(self, t: int, mp: Any) -> Any:
        """f(t), with the functions and the precision of the mpmath context `mp`."""
        W, T = self.warmup_steps, self.total_steps
        a = 1 / mp.mpf(self.div_factor)
        r = a / mp.mpf(self.final_div_factor)
        if t >= T:
            return r
        first, last, x = (a, 1, mp.mpf(t) / W) if t < W else (1, r, mp.mpf(t - W) / (T - W))
        return first + (last - first) * ((1 - mp.cos(mp.pi * x)) / 2 if self.curve == "cosine" else x)
