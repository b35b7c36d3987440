"""Schedule settings: values of a schedule's hyperparameters, ordinary ones and those at every corner of its ranges."""

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from optreg.conformance.subjects.settings import fits, hostile_value
from optreg.hyperparameters import defaults, json_schema

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
    right = [settings for settings in [ordinary, *single] if fits(reference, settings)]
    few = {name: [v for v in values if v not in UNROUND] or [ordinary[name]] for name, values in choices.items()}
    combined = [dict(zip(few, values, strict=True)) for values in product(*few.values())]
    possible = [settings for settings in combined if fits(reference, settings)]
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
            settings[name] = hostile_value(schema, None)
    for name, schema in json_schema(reference).get("properties", {}).items():
        if schema.get("type") == "number":
            settings[name] = _unround(reference, settings, name, given)
    return settings


def _unround(reference: type, settings: dict[str, Any], name: str, given: dict[str, Any]) -> float:
    """A number near a field's default, or else in its range, that is not round."""
    near = [round(0.9 * given[name] + 0.0371, 6)] if name in given else [0.837]
    candidates = (value for value in (*near, *UNROUND) if fits(reference, {**settings, name: value}))
    return float(next(candidates, settings[name]))


def span(settings: Mapping[str, Any]) -> int:
    """The last step that settings name, or 20."""
    return max((value for value in settings.values() if type(value) is int), default=20)
