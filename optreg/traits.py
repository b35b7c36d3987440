"""Traits: what plugins declare where algorithms may differ; the conformance suite verifies every declaration."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerTraits:
    """What an optimizer declares about itself. A false declaration fails, in either direction.

    Args:
        decay: weight decay is part of the gradient (`"coupled"`), a step of its own (`"decoupled"`), or there is
            `"none"`. None: as in the reference.
        eps: the term that keeps the division finite is `"outside"` the root, `"inside"` it, or outside and
            `"uncorrected"`, added before the root's bias is corrected; or the denominator is `"clamped"` from below;
            `"other"` for anything else. None: as in the reference.
        correction: the bias of `"both"` moments is corrected, or of `"none"`. None: as in the reference.
        unrectified: while the denominator's variance cannot be rectified (RAdam), updates follow the `"mean"` alone, or
            are left out (`"skip"`). None: as in the reference.
        arithmetic: updates are computed in the `"parameter"`'s dtype, or in `"float32"` even if that is float64.
        counter: updates are counted for each `"parameter"`, for the whole `"group"`, even if gradients are missing, or
            for the whole `"optimizer"`.
        elementwise: each element is updated independently of its neighbours.
        coupled: parameters are updated independently of each other (None), or their updates depend on the others of
            their `"group"`, or of the whole `"optimizer"`.
        random: the update draws random numbers.
        state: the optimizer's state has the `"reference"`'s keys, or a form of its `"own"`, which is not compared.
            None: `"reference"` for a plugin whose state has all those keys, `"own"` for a class that is not a plugin.
        ndim: the numbers of dimensions that parameters may have; if empty, all.
        maximize: accepts `maximize=True`. None: if its signature or its options say so.
        complex_params: True, updates complex parameters as pairs of reals; False, refuses them. None: either.
        sparse_grads: accepts sparse gradients; otherwise refuses them.
        tensor_lr: accepts a one-element tensor as `lr`. None: either handles it correctly or refuses it.
        temporaries: the most temporary memory that an update needs, in units of the largest parameter's size, on the
            default execution path. None: not stated.
    """

    decay: Literal["none", "coupled", "decoupled"] | None = None
    eps: Literal["outside", "inside", "uncorrected", "clamped", "other"] | None = None
    correction: Literal["both", "none"] | None = None
    unrectified: Literal["mean", "skip"] | None = None
    arithmetic: Literal["parameter", "float32"] = "parameter"
    counter: Literal["parameter", "group", "optimizer"] = "parameter"
    elementwise: bool = True
    coupled: Literal["group", "optimizer"] | None = None
    random: bool = False
    state: Literal["reference", "own"] | None = None
    ndim: tuple[int, ...] = ()
    maximize: bool | None = None
    complex_params: bool | None = None
    sparse_grads: bool = False
    tensor_lr: bool | None = None
    temporaries: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleTraits:
    """What a schedule declares about itself. A false declaration fails, in either direction.

    Args:
        drives: keys of the param groups that the schedule sets besides `lr`, for instance `("momentum",)`. For each,
            the reference has a method of that name: `momentum(t, mp)`, its value at step t, or None if unchanged.
        after: beyond the last step the rate stays constant (`"hold"`), repeats (`"cycle"`), follows the formula
            (`"formula"`), or is an error (`"raise"`).
        end: the hyperparameter that names the last step; None if there is none.
        peak: the hyperparameter that names the step at which the multiplier is 1; None if there is none.
        tail: the hyperparameters that count updates back from the end, for instance `("decay_steps",)`. In tokens, they
            are converted there, where updates may be larger than at the beginning.
        resume: the hyperparameters that apply after loading a checkpoint with different ones: the `"checkpoint"`'s (or
            it is refused), or the `"constructor"`'s, as in torch's LambdaLR. None: the checkpoint's, if it has them.
        pure: the implementation is a function of the step, which a warm-up can precede, or, if False, an LRScheduler.
            None: found out when it is built.
        driven_by: the rate follows from the number of the `"step"`, or from a `"metric"`, such as a validation loss,
            that each step is called with. The latter is an LRScheduler (`pure=False`), and its reference has the
            method `rates` (`optreg.MetricReference`).
        levels: a curve that goes from one level to another, without turning back, can be told the levels in a phase, by
            `from` and `to`. It names here the hyperparameters that only set levels, whose place these take: of the last
            one, `("min_lr_ratio",)`, or of the first and the last, `("start_factor", "end_factor")`; or none, `()`.
            None: the curve turns, or this is not stated.
    """

    drives: tuple[str, ...] = ()
    after: Literal["hold", "cycle", "formula", "raise"] = "hold"
    end: str | None = "total_steps"
    peak: str | None = None
    tail: tuple[str, ...] = ()
    resume: Literal["checkpoint", "constructor"] | None = "checkpoint"
    pure: bool | None = None
    driven_by: Literal["step", "metric"] = "step"
    levels: tuple[str, ...] | None = None
