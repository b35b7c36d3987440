"""The family: update rules with switches. No plugin is known here, but some settings of the switches equal a reference.

Changing a switch makes another variant of the algorithm, or a common mistake in it.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Array = np.ndarray
Betas = tuple[float, float]
State = dict[str, Array]


@dataclass(frozen=True)
class Rule:
    """A rule of the family: what is averaged, corrected and divided, how weights decay, and how updates are counted."""

    mean: Literal["beta1", "none"] = "beta1"
    square: Literal["beta2", "none"] = "beta2"
    interpolates: bool = False
    """The direction interpolates momentum and gradient by beta1; the momentum is updated by beta2."""
    sign: bool = False
    """The update is the sign of the direction."""
    correct_mean: bool = True
    correct_square: bool = True
    eps: Literal["outside", "inside", "clamped", "none", "uncorrected"] = "outside"
    rectified: Literal["no", "mean", "skip"] = "no"
    """The denominator's variance is rectified; where it cannot be, the mean alone is used, or nothing moves."""
    decay: Literal["decoupled", "coupled", "none"] = "decoupled"
    decay_first: bool = True
    decay_by: float = 1.0
    """A factor of the decay, besides the learning rate; 0 omits the learning rate."""
    decay_of: Literal["all", "matrices", "one"] = "all"
    """What is decayed: all parameters, matrices alone, or, whatever the parameter is, a constant."""
    first_count: int = 1
    counting: Literal["parameter", "group", "all", "parameters"] = "parameter"
    """What is counted: a parameter's updates, those with any gradient in its group, all, or all once per parameter."""
    last_count: int | None = None
    """The count at which counting stops."""
    gap: Literal["skip", "zero", "decay", "last"] = "skip"
    """The effect of a missing gradient."""
    zeros: Literal["follow", "skip"] = "follow"
    """The effect of a gradient of zeros."""
    swapped: Literal["nowhere", "everywhere", "means"] = "nowhere"
    """Where the two decay rates are swapped."""
    damped: Literal["beta", "dampening", "no"] = "beta"
    """The gradient is multiplied by 1 - beta when it is added to a mean; or by 1 - dampening, but for the first."""
    begins: Literal["zero", "gradient", "one"] = "zero"
    """How the mean begins, or, at one, the mean of squares."""
    square_of: Literal["gradient", "mean", "decayed"] = "gradient"
    stale_square: bool = False
    """The denominator does not include the current gradient."""
    largest_square: bool = False
    nesterov: bool = False
    accumulates: Literal["no", "direction", "step"] = "no"
    """Momentum is of the direction after its division, or of the whole step, learning rate included."""
    remembers_first: bool = False
    ascend: Literal["no", "gradient", "update"] = "no"
    """The gradient, or the whole update, has the wrong sign."""
    rate: Literal["group", "before", "first", "count"] = "group"
    """The learning rate of this update, of the update before, of the first, or of the first with the same count."""
    decay_rate: Literal["own", "first group", "constructor"] = "own"
    """The learning rate by which weights decay: that of the update, of the first group, or of the constructor."""
    resume: Literal["exact", "afresh", "count lost", "means lost", "counted", "uncounted"] = "exact"


@dataclass(frozen=True)
class Changes:
    """What is changed: switches of the rule, and hyperparameters that have another value than they were given."""

    switches: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def together(cls, changes: Iterable["Changes"]) -> "Changes":
        """All of some changes at once."""
        every = list(changes)
        return cls(
            {name: value for each in every for name, value in each.switches.items()},
            {name: value for each in every for name, value in each.settings.items()},
        )

    def __len__(self) -> int:
        return len(self.switches) + len(self.settings)


NO_CORRECTION: dict[str, Any] = {"correct_mean": False, "correct_square": False}

FAMILY = (
    Rule(),
    Rule(decay="coupled"),
    Rule(decay="coupled", eps="uncorrected", rectified="mean"),
    Rule(decay="decoupled", eps="uncorrected", rectified="mean"),
    Rule(mean="none", **NO_CORRECTION),
    Rule(mean="none", decay="coupled", accumulates="direction", **NO_CORRECTION),
    Rule(square="none", **NO_CORRECTION),
    Rule(square="none", damped="no", **NO_CORRECTION),
    Rule(square="none", damped="dampening", decay="coupled", **NO_CORRECTION),
    Rule(square="none", damped="dampening", decay="coupled", nesterov=True, **NO_CORRECTION),
    Rule(square="none", interpolates=True, sign=True, **NO_CORRECTION),
    Rule(mean="none", square="none", sign=True, **NO_CORRECTION),
    Rule(mean="none", square="none", **NO_CORRECTION),
)


@dataclass(frozen=True)
class Setting:
    """The hyperparameters that a run begins with.

    Args:
        made: what the optimizer was constructed with.
        own: each parameter's, as its group has them.
        groups: the place of each parameter's group.
        first: the first group's.
    """

    made: Mapping[str, Any]
    own: Sequence[Mapping[str, Any]]
    groups: Sequence[int]
    first: Mapping[str, Any]


@dataclass(frozen=True)
class Move:
    """One update: the hyperparameters edited before it, the gradients, and whether the run was resumed before it."""

    changes: dict[str, Any]
    grads: list[Array | None]
    resumes: bool


class _Memory:
    """What a rule remembers of one parameter."""

    def __init__(self, start: Array, count: int) -> None:
        self.theta = np.array(start, dtype=np.float64)
        self.m, self.s, self.peak = (np.zeros_like(self.theta) for _ in range(3))
        self.velocity = np.zeros_like(self.theta)
        self.t = count
        self.fresh, self.averaged = True, False
        self.last: Array | None = None

    def resume(self, way: str, count: int) -> None:
        if way in {"afresh", "means lost"}:
            self.m, self.s, self.peak, self.velocity = (np.zeros_like(self.theta) for _ in range(4))
            self.fresh, self.averaged = True, False
        if way in {"afresh", "count lost"}:
            self.t = count
        if not self.fresh:
            self.t += {"counted": 1, "uncounted": -1}.get(way, 0)


def trajectory(rule: Rule, settings: Mapping[str, Any], start: Array) -> Generator[tuple[Array, State], Array, None]:
    """One parameter under a rule, as a reference's `trajectory`: send a gradient, receive the parameter and the state.

    `settings` are read in every update, and may be changed between updates.
    """
    memory = _Memory(start, 0)
    while True:
        counts = {"step": np.array(memory.t)} if rule.correct_mean or rule.correct_square else {}
        means = {"mean": memory.m} if rule.mean != "none" or rule.interpolates else {}
        grad = yield memory.theta, {**counts, **means, **({"square": memory.s} if rule.square != "none" else {})}
        memory.t += 1
        with np.errstate(all="ignore"):
            _update(rule, memory, grad, settings, settings["lr"], settings["lr"])


def play(rule: Rule, starts: Sequence[Array], moves: Sequence[Move], setting: Setting) -> list[Array]:
    """The parameters after some updates by a rule of the family."""
    begin = rule.first_count - 1
    memories = [_Memory(start, begin) for start in starts]
    own, first = [dict(each) for each in setting.own], dict(setting.first)
    first_rates = [moves[0].changes.get("lr", each["lr"]) for each in own]
    before, counts = list(first_rates), dict.fromkeys(setting.groups, begin)
    by_count: dict[int, float] = {}
    with np.errstate(all="ignore"):
        for move in moves:
            for h in (first, *own):
                h.update(move.changes)
            if move.resumes and rule.resume in {"afresh", "count lost"}:
                counts = dict.fromkeys(counts, begin)
            _count_together(rule, counts, setting.groups, move.grads)
            for index, (memory, given) in enumerate(zip(memories, move.grads, strict=True)):
                h, place = own[index], setting.groups[index]
                rates = {"group": h["lr"], "before": before[index], "first": first_rates[index], "count": h["lr"]}
                lr, before[index] = rates[rule.rate], h["lr"]
                if move.resumes:
                    memory.resume(rule.resume, begin)
                grad = _gradient(rule, memory, given, h, lr)
                if grad is None:
                    continue
                if rule.counting == "parameters":
                    counts = {each: count + 1 for each, count in counts.items()}
                t = memory.t + 1 if rule.counting == "parameter" else counts[place]
                memory.t = t if rule.last_count is None else min(t, rule.last_count)
                step_lr = by_count.setdefault(t, lr) if rule.rate == "count" else lr
                decay_lr = {"own": lr, "first group": first["lr"], "constructor": setting.made["lr"]}[rule.decay_rate]
                _update(rule, memory, grad, h, step_lr, decay_lr)
    return [memory.theta for memory in memories]


def _count_together(rule: Rule, counts: dict[int, int], groups: Sequence[int], grads: Sequence[Array | None]) -> None:
    """Count an update in every group, or in those that have a gradient, if that is how the rule counts."""
    present = {place for place, grad in zip(groups, grads, strict=True) if grad is not None}
    for place in counts:
        counts[place] += rule.counting == "all" or (rule.counting == "group" and place in present)


def _gradient(rule: Rule, memory: _Memory, given: Array | None, h: Mapping[str, Any], lr: float) -> Array | None:
    """The gradient that a rule uses when it is given one or none."""
    if given is not None:
        memory.last = np.asarray(given)
        return None if rule.zeros == "skip" and not np.any(given) else memory.last
    if rule.gap == "decay":
        memory.theta = memory.theta - lr * h.get("weight_decay", 0.0) * memory.theta
    if rule.gap == "last":
        return memory.last
    return np.zeros_like(memory.theta) if rule.gap == "zero" else None


def _update(rule: Rule, memory: _Memory, g: Array, h: Mapping[str, Any], lr: float, decay_lr: float) -> None:
    """One update of one parameter."""
    beta1, beta2 = _betas(h)
    mean1, mean2 = (beta1, beta2) if rule.swapped == "nowhere" else (beta2, beta1)
    if rule.swapped == "everywhere":
        beta1, beta2 = mean1, mean2
    theta, decay = memory.theta, h.get("weight_decay", 0.0)
    decay = 0.0 if rule.decay_of == "matrices" and theta.ndim < 2 else decay
    shrink = (decay_lr * rule.decay_by if rule.decay_by else 1.0) * decay if rule.decay == "decoupled" else 0.0
    g = -g if rule.ascend == "gradient" else g
    coupled = rule.decay_by * decay * theta if rule.decay == "coupled" else 0.0
    if rule.begins != "zero" and memory.fresh:
        memory.m, memory.s = (g + coupled, memory.s) if rule.begins == "gradient" else (memory.m, np.ones_like(g))
    memory.fresh = False
    if rule.interpolates:
        direction = _interpolated(rule, memory, g + coupled, mean1, mean2)
    else:
        direction = _averaged(rule, memory, g + coupled, (mean1, mean2), (beta1, beta2), h)
    if rule.rectified == "skip" and not _rectification(beta2, memory.t):
        return
    step = lr * (np.sign(direction) if rule.sign else direction)
    if rule.accumulates != "no":
        of_step = rule.accumulates == "step"
        memory.velocity = h.get("momentum", 0.0) * memory.velocity + (step if of_step else direction)
        step = memory.velocity if of_step else lr * memory.velocity
    step = -step if rule.ascend == "update" else step
    moved = theta - step
    if rule.decay_of == "one":
        memory.theta = moved - shrink
    else:
        memory.theta = theta - shrink * theta - step if rule.decay_first else moved - shrink * moved


def _interpolated(rule: Rule, memory: _Memory, g: Array, mean1: float, mean2: float) -> Array:
    """The direction that interpolates momentum and gradient; the momentum has a decay rate of its own."""
    remembered = mean2 * memory.m + (1 - mean2) * g
    base = remembered if rule.remembers_first else memory.m
    direction = mean1 * base + (1 - mean1) * g
    memory.m = remembered
    return np.asarray(direction)


def _averaged(rule: Rule, memory: _Memory, g: Array, means: Betas, betas: Betas, h: Mapping[str, Any]) -> Array:
    """The mean of the gradients, divided by the root of the mean of their squares, as far as the rule has them."""
    direction = g
    if rule.mean != "none" and (means[0] or rule.damped != "dampening"):
        damping = {"beta": means[0], "dampening": h.get("dampening", 0.0) if memory.averaged else 0.0, "no": 0.0}
        added = (1 - damping[rule.damped]) * g
        memory.averaged = True
        memory.m = means[0] * memory.m + added
        ahead = means[0] * memory.m + added if rule.nesterov else memory.m
        direction = ahead / _correction(betas[0], memory.t) if rule.correct_mean else ahead
    if rule.square == "none":
        return np.asarray(direction)
    old = memory.s
    decayed = g + h.get("weight_decay", 0.0) * memory.theta
    squared = {"gradient": g, "mean": memory.m, "decayed": decayed}[rule.square_of]
    memory.s = means[1] * old + (1 - means[1]) * squared**2
    memory.peak = np.maximum(memory.peak, memory.s)
    if rule.rectified != "no":
        factor = _rectification(betas[1], memory.t)
        if not factor:
            return np.asarray(direction)
        direction = direction * factor
    s = old if rule.stale_square else memory.peak if rule.largest_square else memory.s
    return np.asarray(direction / _denominator(rule, s, _correction(betas[1], memory.t), h.get("eps", 0.0)))


def _rectification(beta2: float, t: int) -> float:
    """The factor that rectifies the variance of the denominator in update t; 0 where it cannot be rectified."""
    rho = 2 / (1 - beta2) - 1
    rho_t = rho - 2 * t * beta2**t / (1 - beta2**t) if t else 0.0
    return float(((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t)) ** 0.5) if rho_t > 5 else 0.0


def _correction(beta: float, t: int) -> float:
    """The divisor that corrects the bias of a mean; 1 before the first update."""
    return 1 - beta**t if t else 1.0


def _betas(h: Mapping[str, Any]) -> Betas:
    if "betas" in h and len(h["betas"]) == 2:
        first, second = h["betas"]
        return first, second
    single = h.get("momentum", h.get("beta", 0.0))
    return single, h.get("alpha", h.get("beta2", single))


def _denominator(rule: Rule, s: Array, correction: float, eps: float) -> Array:
    corrected = s / correction if rule.correct_square else s
    root = np.sqrt(corrected)
    denominators: dict[str, Array] = {
        "outside": root + eps,
        "inside": np.sqrt(corrected + eps),
        "clamped": np.maximum(root, eps),
        "none": root,
        "uncorrected": (np.sqrt(s) + eps) / np.sqrt(correction),
    }
    return denominators[rule.eps]
