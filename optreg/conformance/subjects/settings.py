"""Settings: values of hyperparameters that reveal faults, derived from the fields that a reference declares."""

from collections.abc import Iterator, Mapping
from typing import Any

from optreg.hyperparameters import complaints, defaults, json_schema, names

HOSTILE_BY_NAME = {"eps": 1e-3, "weight_decay": 0.1, "lr": 1e-2}
HOSTILE_PAIR = (0.8, 0.95)


def hostile_settings(reference: type) -> dict[str, Any]:
    """Values of all hyperparameters that reveal faults which defaults hide.

    `betas` (0.8, 0.95), `eps` 1e-3, `weight_decay` 0.1, any other decay rate 0.8; any other number has a value in its
    range that is not its default. Switches keep their defaults: checks run each position separately.
    """
    given = defaults(reference)
    schema = json_schema(reference).get("properties", {})
    settings = dict(given)
    for name in names(reference):
        wanted = HOSTILE_BY_NAME.get(name, hostile_value(schema[name], given.get(name)))
        if wanted is not None and fits(reference, {**settings, name: wanted}):
            settings[name] = wanted
    return settings


def switches(reference: type) -> list[dict[str, Any]]:
    """Every position of every switch (a bool, or a choice of strings) except the default, one at a time."""
    given = defaults(reference)
    positions = []
    for name, schema in json_schema(reference).get("properties", {}).items():
        choices = [True, False] if schema.get("type") == "boolean" else schema.get("enum", [])
        positions += [{name: choice} for choice in choices if name in given and choice != given[name]]
    return positions


def reachable(reference: type, settings: dict[str, Any], position: dict[str, Any]) -> dict[str, Any] | None:
    """The settings with a switch in another position, and with a default where the position requires one."""
    given = defaults(reference)
    for changes in ({}, *({name: value} for name, value in given.items())):
        candidate = {**settings, **changes, **position}
        if fits(reference, candidate):
            return candidate
    return None


def perturbed(reference: type, settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each hyperparameter except `lr` with another value in its range; every element of a tuple separately."""
    for name, value in settings.items():
        if name == "lr" or isinstance(value, bool | str | None):
            continue
        for candidate in _others(value):
            if fits(reference, {**settings, name: candidate}):
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
    distances = {"minimum": -1, "exclusiveMinimum": 0, "maximum": 1, "exclusiveMaximum": 0}
    yield from (schema[end] + distance for end, distance in distances.items() if end in schema)


def fits(reference: type, settings: Mapping[str, Any]) -> bool:
    """Whether the reference accepts the settings, completed by its defaults."""
    return not list(complaints(reference, {**defaults(reference), **settings}, reference.__name__))


def hostile_value(schema: dict[str, Any], default: Any) -> Any:
    """A value in the range of a field that is not its default; None if none is found."""
    if "prefixItems" in schema:
        items = [hostile_value(item, None) for item in schema["prefixItems"]]
        if isinstance(default, tuple) and all(isinstance(item, float) for item in default):
            items = [0.9 * item for item in default]
        if all(_is_decay(item) for item in schema["prefixItems"]) and len(items) == len(HOSTILE_PAIR):
            return HOSTILE_PAIR
        return tuple(items) if all(item is not None for item in items) else None
    if schema.get("type") == "array":
        item = hostile_value(schema.get("items", {}), None)
        return None if item is None else (item, item + 4)
    if "enum" in schema and default is None:
        return schema["enum"][0]
    if _is_decay(schema):
        return 0.8
    if schema.get("type") == "integer":
        return (default or schema.get("minimum", 0)) + 2
    if schema.get("type") == "number":
        return default * 0.5 if default else 0.1 + max(schema.get("minimum", 0), schema.get("exclusiveMinimum", 0))
    return None


def decay_rates(reference: type) -> set[str]:
    """The hyperparameters that are decay rates of means, or pairs of them."""
    fields = json_schema(reference).get("properties", {}).items()
    return {name for name, schema in fields if all(map(_is_decay, schema.get("prefixItems", [schema])))}


def _is_decay(schema: dict[str, Any]) -> bool:
    return schema.get("minimum") == 0 and (schema.get("exclusiveMaximum") == 1 or schema.get("maximum") == 1)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as one line of text."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items()) or "no settings"
