"""Schedule settings: ordinary values of a schedule's hyperparameters, and values at every corner of its ranges."""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from optreg.conformance.subjects.settings import fits, hostile_value
from optreg.hyperparameters import counts, defaults, json_schema

CORNER_STEPS = (0, 1, 7, 19, 20)
"""Of an ordinary 20 steps: none, one, some, all but one, and all."""

UNROUND = (0.0371, 0.837, 1.7, 2.3, 0.0043)
"""Numbers that any rounding to whole percents, any cap at 1, or any floor of a percent would change."""

COMBINATIONS = 60

OPTIONAL = 2
"""The ordinary steps of a phase that a schedule has not by default: a warm-up, a cooldown."""


def corners(reference: type) -> list[dict[str, Any]]:
    """Settings of a schedule at every corner of its ranges, as far as the reference accepts them.

    First the ordinary settings; then each hyperparameter alone at CORNER_STEPS, at the ends of its range, at
    its default, at numbers that are not round, and at lists that are not in order or have an item twice; then at most
    COMBINATIONS combinations of these, evenly chosen.
    """
    given, ordinary = defaults(reference), typical(reference)
    choices: dict[str, list[Any]] = {}
    for name, schema in json_schema(reference).get("properties", {}).items():
        if schema.get("type") == "integer":
            choices[name] = list(CORNER_STEPS)
        elif name in counts(reference) and "anyOf" in schema:
            choices[name] = [*CORNER_STEPS, None]
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
            if schema.get("type") == "array":
                choices[name] += [ordinary[name][::-1], ordinary[name] + ordinary[name][:1]]
    single = [{**ordinary, name: value} for name, values in choices.items() for value in values]
    right = [settings for settings in [ordinary, *single] if fits(reference, settings)]
    few = {name: [v for v in values if v not in (*UNROUND, 19)] or [ordinary[name]] for name, values in choices.items()}
    combined = [dict(zip(few, values, strict=True)) for values in product(*few.values())]
    possible = [settings for settings in combined if fits(reference, settings)]
    right += possible[:: max(1, math.ceil(len(possible) / COMBINATIONS))]
    return [settings for index, settings in enumerate(right) if settings not in right[:index]]


def typical(reference: type, **steps: int) -> dict[str, Any]:
    """Ordinary settings of a schedule, without round numbers; `steps` replace 20 total steps and 5 of each other.

    Phases that it has not by default are there for OPTIONAL steps, and an end that it need not have is stated.
    """
    given = defaults(reference)
    settings, early = dict(given), dict[str, Any]()
    whole = max(steps.values(), default=20)
    for name, schema in json_schema(reference).get("properties", {}).items():
        if name in counts(reference) and schema.get("type") == "array" and name not in given:
            settings[name] = (2 * whole // 5, 7 * whole // 10)
            early |= {} if steps else {name: hostile_value(schema, None)}
        elif schema.get("type") == "integer" and name not in given:
            settings[name] = steps.get(name, 20 if name == "total_steps" else 5)
        elif name not in given:
            settings[name] = hostile_value(schema, None)
        elif schema.get("type") == "integer" and hasattr(reference, "rates"):
            settings[name] = min(given[name], 5)  # so that few metrics lead to several reductions
    optional = {name: steps.get(name, OPTIONAL) for name in counts(reference) if given.get(name, 1) == 0}
    optional |= {name: whole for name in counts(reference) if name in given and given[name] is None}
    if fits(reference, {**settings, **optional}):
        settings |= optional
    if fits(reference, {**settings, **early}):
        settings |= early
    for name, schema in json_schema(reference).get("properties", {}).items():
        if schema.get("type") == "number":
            settings[name] = _unround(reference, settings, name, given)
    return settings


def _unround(reference: type, settings: dict[str, Any], name: str, given: dict[str, Any]) -> float:
    """A number that is not round, near a field's default or in its range."""
    near = [round(0.9 * given[name] + 0.0371, 6)] if name in given else [0.837]
    candidates = (value for value in (*near, *UNROUND) if fits(reference, {**settings, name: value}))
    return float(next(candidates, settings[name]))


def span(settings: Mapping[str, Any]) -> int:
    """The largest number of steps in the settings, or 20."""
    return max((value for value in settings.values() if type(value) is int), default=20)
