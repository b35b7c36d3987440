"""Problems: where parameters start, what gradients and learning rates they are given, which values are hostile."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from optreg.hyperparameters import defaults, json_schema, names

Array = np.ndarray
Shape = tuple[int, ...]

STEPS = 12
ALL_ZERO = 5
"""The update whose gradients are all zero."""

SHAPES: list[Shape] = [(6,), (4, 3), (2, 3, 2), ()]
MISSING = frozenset({(1, 2), (1, 6), (1, 7), (2, 0), (2, 1), (2, 9), (3, 11)})
"""The (parameter, update) pairs without a gradient."""


@dataclass(frozen=True)
class Step:
    """What one update is given: the learning rate, and a gradient or None for each parameter."""

    lr: float
    grads: list[Array | None]


@dataclass(frozen=True)
class Problem:
    """Where the parameters start, and every update."""

    starts: list[Array]
    steps: list[Step]


def hostile(
    shapes: list[Shape] | None = None,
    *,
    steps: int = STEPS,
    seed: int = 7,
    missing: bool = True,
    exponents: tuple[float, float] = (-6.0, 2.0),
    lr: float = 1e-2,
) -> Problem:
    """Gradients that easy tests never show.

    Scales from 1e-6 to 1e2 by coordinate, both signs at every coordinate, one update of zeros, parameters that
    sometimes have no gradient, a learning rate that changes every step.

    Args:
        shapes: the parameters' shapes.
        steps: how many updates.
        seed: what the random numbers begin from.
        missing: whether some gradients are missing.
        exponents: the decimal exponents of the smallest and the largest scale.
        lr: the learning rate's lowest value is half of it, the highest 2.5 times.
    """
    random = np.random.default_rng(seed)
    shapes = SHAPES if shapes is None else shapes
    scales = [10 ** random.uniform(*exponents, shape) for shape in shapes]
    updates = []
    for t in range(steps):
        grads: list[Array | None] = []
        for i, scale in enumerate(scales):
            g = scale * random.uniform(0.5, 1.5, scale.shape) * random.choice([-1.0, 1.0], scale.shape)
            absent = missing and (i, t) in MISSING
            grads.append(None if absent else np.asarray(g * (t != ALL_ZERO)))
        updates.append(Step(lr * (1.5 + math.sin(t)), grads))
    return Problem([np.asarray(random.normal(size=shape)) for shape in shapes], updates)


def constant(gradient: Array, start: Array, *, steps: int, lr: float) -> Problem:
    """The same gradient and learning rate in every update."""
    return Problem([start], [Step(lr, [gradient]) for _ in range(steps)])


def dyadic(shape: Shape = (4, 3), *, steps: int = 6, seed: int = 3) -> Problem:
    """Starts and gradients that are small multiples of a power of two, so that sums and halves of them are exact."""
    random = np.random.default_rng(seed)
    grads = [random.integers(1, 16, shape) * random.choice([-1.0, 1.0], shape) / 8 for _ in range(steps)]
    return Problem([random.integers(-16, 17, shape) / 4], [Step(0.25, [grad]) for grad in grads])


HOSTILE_BY_NAME = {"eps": 1e-3, "weight_decay": 0.1, "lr": 1e-2}
HOSTILE_PAIR = (0.8, 0.95)


def hostile_settings(reference: type) -> dict[str, Any]:
    """Values for every hyperparameter, at which faults show that defaults hide.

    `betas` (0.8, 0.95), `eps` 1e-3, `weight_decay` 0.1; any other decay rate 0.8, any other number a value in its
    range that is not its default. Switches keep their defaults: each position of a switch is a run of its own.
    """
    given = defaults(reference)
    schema = json_schema(reference).get("properties", {})
    settings = dict(given)
    for name in names(reference):
        wanted = HOSTILE_BY_NAME.get(name, _hostile(schema[name], given.get(name)))
        if wanted is not None and fits(reference, {**settings, name: wanted}, given):
            settings[name] = wanted
    return settings


def switches(reference: type) -> list[dict[str, Any]]:
    """Every position of every switch (a truth value, a choice among texts) that is not its default, one at a time."""
    given = defaults(reference)
    positions = []
    for name, schema in json_schema(reference).get("properties", {}).items():
        choices = [True, False] if schema.get("type") == "boolean" else schema.get("enum", [])
        positions += [{name: choice} for choice in choices if name in given and choice != given[name]]
    return positions


def reachable(reference: type, settings: dict[str, Any], position: dict[str, Any]) -> dict[str, Any] | None:
    """The settings with a switch in another position, and as many of the other values as go together with it."""
    given = defaults(reference)
    for changes in ({}, *({name: value} for name, value in given.items())):
        candidate = {**settings, **changes, **position}
        if fits(reference, candidate, given):
            return candidate
    return None


def perturbed(reference: type, settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each hyperparameter but `lr` with another value that is in its range; every element of a tuple by itself."""
    for name, value in settings.items():
        if name == "lr" or isinstance(value, bool | str | None):
            continue
        for candidate in _others(value):
            if fits(reference, {**settings, name: candidate}, defaults(reference)):
                yield name, candidate


def _others(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            for other in _others(item):
                yield (*value[:index], other, *value[index + 1 :])
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield round(value * 0.75, 12) or 0.1


def out_of_range(reference: type) -> Iterator[tuple[str, Any]]:
    """Each hyperparameter with a value beyond each end of its declared range."""
    settings = hostile_settings(reference)
    for name, schema in json_schema(reference).get("properties", {}).items():
        if "prefixItems" in schema:
            for index, item in enumerate(schema["prefixItems"]):
                for value in _beyond(item):
                    yield name, (*settings[name][:index], value, *settings[name][index + 1 :])
        else:
            for value in _beyond(schema):
                yield name, value


def _beyond(schema: dict[str, Any]) -> Iterator[float]:
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "exclusiveMinimum" in schema:
        yield schema["exclusiveMinimum"]
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "exclusiveMaximum" in schema:
        yield schema["exclusiveMaximum"]


def fits(reference: type, settings: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether the reference takes the settings: each in its range, and all together."""
    from optreg.hyperparameters import complaints

    return not list(complaints(reference, {**given, **settings}, reference.__name__))


def _hostile(schema: dict[str, Any], default: Any) -> Any:
    """A value in the range of a field that is not its default; None where none is told."""
    if "prefixItems" in schema:
        items = [_hostile(item, None) for item in schema["prefixItems"]]
        if isinstance(default, tuple) and all(isinstance(item, float) for item in default):
            items = [0.9 * item for item in default]
        if all(_is_decay(item) for item in schema["prefixItems"]) and len(items) == len(HOSTILE_PAIR):
            return HOSTILE_PAIR
        return tuple(items) if all(item is not None for item in items) else None
    if schema.get("type") == "array":
        item = _hostile(schema.get("items", {}), None)
        return None if item is None else (item, item + 4)
    if _is_decay(schema):
        return 0.8
    if schema.get("type") == "integer":
        return (default or schema.get("minimum", 0)) + 2
    if schema.get("type") == "number":
        return default * 0.5 if default else 0.1 + max(schema.get("minimum", 0), schema.get("exclusiveMinimum", 0))
    return None


def decay_rates(reference: type) -> set[str]:
    """The hyperparameters that are decay rates of means, or pairs of them."""
    found = set()
    for name, schema in json_schema(reference).get("properties", {}).items():
        if all(_is_decay(item) for item in schema.get("prefixItems", [schema])):
            found.add(name)
    return found


def _is_decay(schema: dict[str, Any]) -> bool:
    return schema.get("minimum") == 0 and (schema.get("exclusiveMaximum") == 1 or schema.get("maximum") == 1)


CORNER_STEPS = (0, 1, 7, 20)

UNROUND = (0.0371, 0.837, 1.7, 2.3)
"""Numbers that no rounding to whole percents, and no cap at 1, leaves as they are."""


def corners(reference: type, limit: int = 60) -> list[dict[str, Any]]:
    """Settings of a schedule at every corner: phases of no, of one and of all steps, floors of nothing and of all.

    The ordinary setting first; then with each hyperparameter by itself at 0, 1, 7 and 20 steps, at the ends of its
    range, at its default, and at numbers that are not round; then combinations of all these, at most `limit` of them,
    evenly chosen. What the reference does not accept is left out.
    """
    given, ordinary = defaults(reference), typical(reference)
    choices: dict[str, list[Any]] = {}
    for name, schema in json_schema(reference).get("properties", {}).items():
        if schema.get("type") == "integer":
            choices[name] = list(CORNER_STEPS)
        elif schema.get("type") == "number":
            ends = [schema[key] for key in ("minimum", "maximum") if key in schema]
            own = [given[name]] if name in given else []
            choices[name] = list(dict.fromkeys(map(float, [*ends, *own, *UNROUND])))
        elif schema.get("type") == "boolean":
            choices[name] = [False, True]
        elif "enum" in schema:
            choices[name] = list(schema["enum"])
        else:
            choices[name] = [ordinary[name]]
    single = [{**ordinary, name: value} for name, values in choices.items() for value in values]
    right = [settings for settings in [ordinary, *single] if fits(reference, settings, given)]
    few = {name: [v for v in values if v not in UNROUND] or [ordinary[name]] for name, values in choices.items()}
    combined = [dict(zip(few, values, strict=True)) for values in product(*few.values())]
    possible = [settings for settings in combined if fits(reference, settings, given)]
    right += possible[:: max(1, math.ceil(len(possible) / limit))]
    return [settings for index, settings in enumerate(right) if settings not in right[:index]]


def typical(reference: type, **steps: int) -> dict[str, Any]:
    """One ordinary setting of a schedule, no number of which is round or of no effect.

    Args:
        reference: the schedule's reference.
        steps: numbers of steps, where others than 5 of 20 are wanted.
    """
    given = defaults(reference)
    settings = dict(given)
    order = {"total_steps": 20}
    for name, schema in json_schema(reference).get("properties", {}).items():
        if schema.get("type") == "integer" and name not in given:
            settings[name] = steps.get(name, order.get(name, 5))
        elif name not in given:
            settings[name] = _hostile(schema, None)
    for name, schema in json_schema(reference).get("properties", {}).items():
        if schema.get("type") == "number":
            settings[name] = _unround(reference, settings, name, given)
    return settings


def _unround(reference: type, settings: dict[str, Any], name: str, given: dict[str, Any]) -> float:
    """A number near a field's default, or else in its range, that is not round."""
    near = [round(0.9 * given[name] + 0.0371, 6)] if name in given else [0.837]
    candidates = (value for value in (*near, *UNROUND) if fits(reference, {**settings, name: value}, given))
    return float(next(candidates, settings[name]))


def span(settings: Mapping[str, Any]) -> int:
    """The last step that settings name, or 20."""
    return max((value for value in settings.values() if type(value) is int), default=20)


def short(settings: Mapping[str, Any]) -> str:
    """Settings as a line."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items()) or "no settings"
