"""Traits: what plugins declare where algorithms rightly differ; the conformance suite holds each to its word."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerTraits:
    """What an optimizer says of itself. Each claim is verified both ways: claiming what is not so fails.

    Args:
        decay: weight decay is part of the gradient (`"coupled"`), a step of its own (`"decoupled"`), or there is
            `"none"`. None: as the reference does it.
        eps: what keeps the division finite stands `"outside"` the root, `"inside"` it, or the denominator is
            `"clamped"` from below; `"other"` for anything else. None: as the reference does it.
        counter: updates are counted for each `"parameter"`, for the whole `"group"`, missing gradients or not, or for
            the whole `"optimizer"`.
        elementwise: every element is treated alike, whatever its neighbours are.
        random: the update draws random numbers.
        state: the optimizer's state bears the `"reference"`'s keys, or has its `"own"` form, which is not compared.
            None: a plugin's is the reference's, if it has all its keys; a class's that is none is its own.
        ndim: the numbers of dimensions that parameters may have; all when empty.
        maximize: understands `maximize=True`. None: if its signature or its options say so.
        complex_params: updates complex parameters as pairs of reals; False, refuses them. None: one or the other.
        sparse_grads: takes sparse gradients; else it refuses them.
        tensor_lr: takes a one-element tensor as `lr`. None: takes it rightly, or refuses it.
        temporaries: how much memory an update takes for a while, at the most, in units of the largest parameter's size,
            on the path that is taken when no execution option is given. None: not told.
    """

    decay: Literal["none", "coupled", "decoupled"] | None = None
    eps: Literal["outside", "inside", "clamped", "other"] | None = None
    counter: Literal["parameter", "group", "optimizer"] = "parameter"
    elementwise: bool = True
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
    """What a schedule says of itself. Each claim is verified both ways.

    Args:
        drives: keys of the param groups that the schedule sets besides `lr`, say `("momentum",)`. For each, the
            reference has a method of that name: `momentum(t, mp)`, its value at step t, or None where it is left alone.
        after: beyond its last step the rate is held (`"hold"`), goes round (`"cycle"`), goes on by the formula
            (`"formula"`), or asking for it is an error (`"raise"`).
        end: the hyperparameter that names the last step; None where there is none.
        peak: the hyperparameter that names the step at which the multiplier is 1; None where there is none.
        resume: whose hyperparameters count after a checkpoint with others was loaded: the `"checkpoint"`'s (or it is
            refused), or the `"constructor"`'s, as of torch's LambdaLR. None: the checkpoint's, if it holds them.
    """

    drives: tuple[str, ...] = ()
    after: Literal["hold", "cycle", "formula", "raise"] = "hold"
    end: str | None = "total_steps"
    peak: str | None = None
    resume: Literal["checkpoint", "constructor"] | None = "checkpoint"
