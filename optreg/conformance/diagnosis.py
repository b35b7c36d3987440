"""Diagnosis: which common mistake an optimizer's trajectory equals.

No plugin is known here. A family of update rules with switches is tried: where a setting of the switches equals the
subject's reference, each change of one switch is a mistake that somebody may have made, and the first that follows the
subject's own trajectory is named. Where no setting equals the reference, mistakes that need no formula are tried on the
reference itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optreg.conformance.rig import Event, Rig, Twin

Array = np.ndarray

CLOSE = 1e-9
"""How near, relative to how far the subject is from its reference, a mistake must come to be named."""


@dataclass(frozen=True)
class Rule:
    """A rule of the family: what is averaged, corrected and divided, and where the decay comes in."""

    mean: str = "beta1"
    """The decay rate of the gradients' mean: `"beta1"`, `"none"`."""
    square: str = "beta2"
    """The decay rate of the squares' mean: `"beta2"`, `"none"`."""
    sign: bool = False
    """Only the sign of the direction is taken, interpolated with beta1 before the mean is updated with beta2."""
    correct_mean: bool = True
    correct_square: bool = True
    eps: str = "outside"
    decay: str = "decoupled"
    decay_first: bool = True
    decay_by_lr: bool = True
    first_count: int = 1
    swapped: str = "nowhere"
    """Where the two decay rates change places: `"everywhere"`, or only in the `"means"`."""
    damped: bool = True
    """The new gradient enters a mean by 1 - beta, not whole."""
    ascend: bool = False
    late_lr: bool = False


FAMILY = (
    Rule(),
    Rule(decay="coupled"),
    Rule(mean="none", correct_mean=False, correct_square=False),
    Rule(square="none", correct_mean=False, correct_square=False),
    Rule(square="none", correct_mean=False, correct_square=False, damped=False),
    Rule(square="none", sign=True, correct_mean=False, correct_square=False),
    Rule(mean="none", square="none", sign=True, correct_mean=False, correct_square=False),
)

MISTAKES: dict[str, dict[str, Any]] = {
    "matches eps inside the square root": {"eps": "inside"},
    "matches eps outside the square root": {"eps": "outside"},
    "matches eps added before the second moment's bias correction": {"eps": "uncorrected"},
    "matches a denominator clamped to eps from below": {"eps": "clamped"},
    "matches an update without eps": {"eps": "none"},
    "matches no bias correction of the first moment": {"correct_mean": False},
    "matches no bias correction of the second moment": {"correct_square": False},
    "matches no bias correction at all": {"correct_mean": False, "correct_square": False},
    "matches a bias correction where there should be none": {"correct_mean": True, "correct_square": True},
    "matches a step count that begins one too late (t - 1)": {"first_count": 0},
    "matches a step count that begins one too early (t + 1)": {"first_count": 2},
    "matches decay coupled to the gradient (L2) instead of decoupled": {"decay": "coupled"},
    "matches decoupled decay instead of decay in the gradient (L2)": {"decay": "decoupled"},
    "matches no weight decay": {"decay": "none"},
    "matches decay of the parameter after its update instead of before": {"decay_first": False},
    "matches decay that is not multiplied by the learning rate": {"decay_by_lr": False},
    "matches betas in the wrong order": {"swapped": "everywhere"},
    "matches betas in the wrong order in the means (not in the corrections)": {"swapped": "means"},
    "matches means to which the gradient is added whole, without 1 - beta": {"damped": False},
    "matches means to which the gradient is added by 1 - beta": {"damped": True},
    "matches ascent instead of descent": {"ascend": True},
    "matches the learning rate of the step before": {"late_lr": True},
}


def likely(rig: "Rig", twin: "Twin") -> str | None:
    """One sentence on the probable cause of a difference, or None where no known mistake explains it."""
    events = [_plain(event) for event in rig.events if event.grads is not None]
    starts, actual, expected = rig.starts, rig.values(), twin.values()
    distance = _distance(actual, expected)
    if not events or not np.isfinite(distance) or distance == 0:
        return None
    settings = {name: _number(rig.settings.get(name, value)) for name, value in rig.subject.default.items()}

    def explains(values: Sequence[Array]) -> bool:
        return _distance(actual, values) <= max(CLOSE * distance, 1e-13 * max(map(_size, actual), default=1.0))

    for rule in FAMILY:
        if (
            _distance(_play(rule, starts, events, settings), expected)
            > 1e-3 * CLOSE * max(map(_size, expected)) + 1e-14
        ):
            continue
        for sentence, change in MISTAKES.items():
            wrong = replace(rule, **change)
            if wrong != rule and explains(_play(wrong, starts, events, settings)):
                return sentence
    for sentence, values in _plain_mistakes(rig, starts, events, settings):
        if explains(values):
            return sentence
    return None


def _plain(event: "Event") -> "Event":
    """An event whose learning rate is a float, even where it came in a tensor."""
    return replace(event, changes={name: _number(value) for name, value in event.changes.items()})


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _plain_mistakes(
    rig: "Rig", starts: Sequence[Array], events: Sequence["Event"], settings: Mapping[str, Any]
) -> Iterator[tuple[str, list[Array]]]:
    """Mistakes that need no formula: what the reference does under other hyperparameters, or another decay."""
    subject = rig.subject

    def reference(
        changed: Mapping[str, Any], ignore: Sequence[str] = (), after: Callable[..., Any] | None = None
    ) -> list[Array]:
        finals = []
        for index, start in enumerate(starts):
            instance = subject.reference(**{**settings, **changed})
            run = instance.trajectory(np.array(start, dtype=np.float64))
            theta, _ = next(run)
            for event in events:
                for name, value in event.changes.items():
                    if name not in ignore:
                        setattr(instance, name, value)
                grad = event.grads[index] if event.grads else None
                if grad is not None:
                    theta, _ = run.send(np.array(grad, dtype=np.float64))
            finals.append(theta)
        return finals

    for name, value in subject.default.items():
        if value != settings.get(name):
            yield f"matches {name} ignored: it behaves as with the default, {value!r}", reference({name: value}, [name])
    yield "matches the learning rate given to the constructor, whatever its group says", reference({}, ["lr"])
    if "weight_decay" in settings:
        yield "matches no weight decay", reference({"weight_decay": 0.0})
    yield "matches an update that is never made: the parameter stays where it began", [np.array(s) for s in starts]


def _play(rule: Rule, starts: Sequence[Array], events: Sequence["Event"], settings: Mapping[str, Any]) -> list[Array]:
    """Where a rule of the family takes the parameters."""
    finals = []
    with np.errstate(all="ignore"):
        for index, start in enumerate(starts):
            theta = np.array(start, dtype=np.float64)
            m, s, t = np.zeros_like(theta), np.zeros_like(theta), rule.first_count - 1
            h, lr_before = dict(settings), None
            for event in events:
                h.update(event.changes)
                grad = event.grads[index] if event.grads else None
                if grad is None:
                    continue
                lr = h["lr"] if lr_before is None or not rule.late_lr else lr_before
                lr_before = h["lr"]
                t += 1
                theta, m, s = _update(rule, theta, np.asarray(grad), m, s, t, h, lr)
            finals.append(theta)
    return finals


def _update(
    rule: Rule, theta: Array, g: Array, m: Array, s: Array, t: int, h: Mapping[str, Any], lr: float
) -> tuple[Array, Array, Array]:
    beta1, beta2 = _betas(h)
    mean1, mean2 = (beta1, beta2) if rule.swapped == "nowhere" else (beta2, beta1)
    if rule.swapped == "everywhere":
        beta1, beta2 = mean1, mean2
    eps, decay = h.get("eps", 0.0), h.get("weight_decay", 0.0)
    shrink = (lr if rule.decay_by_lr else 1.0) * decay if rule.decay == "decoupled" else 0.0
    g = -g if rule.ascend else g
    if rule.decay == "coupled":
        g = g + decay * theta
    if rule.sign:
        if rule.mean == "none":
            direction = np.sign(g)
        else:
            direction = np.sign(mean1 * m + (1 - mean1) * g)
            m = mean2 * m + (1 - mean2) * g
    else:
        direction = g
        if rule.mean != "none":
            m = mean1 * m + ((1 - mean1) if rule.damped else 1.0) * g
            direction = m / (1 - beta1**t) if rule.correct_mean else m
        if rule.square != "none":
            s = mean2 * s + (1 - mean2) * g**2
            direction = direction / _denominator(rule, s, 1 - beta2**t, eps)
    step = lr * direction
    if rule.decay_first:
        return theta - shrink * theta - step, m, s
    moved = theta - step
    return moved - shrink * moved, m, s


def _betas(h: Mapping[str, Any]) -> tuple[float, float]:
    if "betas" in h and len(h["betas"]) == 2:
        first, second = h["betas"]
        return first, second
    single = h.get("momentum", h.get("beta", 0.0))
    return single, h.get("alpha", h.get("beta2", single))


def _denominator(rule: Rule, s: Array, correction: float, eps: float) -> Array:
    corrected = s / correction if rule.correct_square else s
    if rule.eps == "inside":
        return np.asarray(np.sqrt(corrected + eps))
    if rule.eps == "clamped":
        return np.asarray(np.maximum(np.sqrt(corrected), eps))
    if rule.eps == "none":
        return np.asarray(np.sqrt(corrected))
    if rule.eps == "uncorrected":
        return np.asarray((np.sqrt(s) + eps) / np.sqrt(correction))
    return np.asarray(np.sqrt(corrected) + eps)


def _distance(left: Sequence[Array], right: Sequence[Array]) -> float:
    with np.errstate(all="ignore"):
        return max((float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(left, right, strict=True)), default=0.0)


def _size(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))
