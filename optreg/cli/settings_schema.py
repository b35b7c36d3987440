"""Settings schema: what a spec may set of one plugin, as JSON Schema. A plugin is described in quarantine."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from optreg.cli.output import description
from optreg.entries import Entry, Kind
from optreg.hyperparameters import counts, json_schema, numbers
from optreg.multipliers import parts
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.registry import Registry

Schema = dict[str, Any]

LENGTH: Final = "length"
AMOUNT: Final = "length.text"
LEVEL: Final = "level"
RISE: Final = "warmup_from"
CONVENTION: Final = "convention"
CURVE: Final = "curve"
WHOLE_CURVE: Final = "curve.whole"
"""Definitions that settings refer to: `optreg.cli.section_schemas` has them."""


def ref(*path: str) -> Schema:
    """A reference to a definition, or to a place in it."""
    return {"$ref": "/".join(["#/$defs", *(quote(part.replace("~", "~0").replace("/", "~1")) for part in path)])}


def key_of(entry: Entry) -> str:
    """The name of an entry's definition."""
    return f"{entry.kind}.{entry.distribution}.{entry.name}"


def describe(registry: Registry, entry: Entry) -> Schema:
    """The task in quarantine: all that the schema needs to know of a plugin, as plain data.

    `properties` and `required` are those of its settings in a section. If a schedule can be a phase, `in_phases`
    has those that it has there.
    """
    if entry.kind is Kind.OPTIMIZER:
        return _optimizer(entry, registry.optimizer(entry.qualified).plugin)
    return _schedule(entry, registry.scheduler(entry.qualified).plugin)


def _optimizer(entry: Entry, plugin: OptimizerPlugin) -> Schema:
    described = _described(entry, plugin, frozenset())
    lengths = numbers(plugin.reference)
    for name, count in lengths.items():
        wrap = _or_curve if count is None else _elements_or_curves
        described["properties"][name] = wrap(described["properties"][name])
    return {**described, "curves": [name for name, count in lengths.items() if count is None]}


def _schedule(entry: Entry, plugin: SchedulePlugin) -> Schema:
    described = _described(entry, plugin, frozenset(filter(None, (plugin.horizon, plugin.traits.peak))))
    own = described["properties"]
    if plugin.traits.pure is not False:
        described["in_phases"] = _in_phases(key_of(entry), plugin, described)
    ways = {"warmup_from": ref(RISE), "convention": ref(CONVENTION)} if "warmup_steps" in own else {}
    return {
        **described,
        "properties": own | {key: way for key, way in ways.items() if key not in own},
        "end": plugin.horizon,
    }


def _in_phases(key: str, plugin: SchedulePlugin, described: Schema) -> Schema:
    """What a phase may state of a schedule, and what it must."""
    end, levels = plugin.horizon, plugin.traits.levels
    elsewhere = {end, *(levels or ()), *(["warmup_steps"] if plugin.takes_warmup else [])}
    kept = [name for name in described["properties"] if name not in elsewhere]
    everywhere = ["name", "from", *(["to"] if levels is not None and end else []), "for", "until"]
    everywhere += ["warmup_steps"] if plugin.takes_warmup else []
    whole = {**ref(LENGTH), "description": "The same as 'for'; beside 'for' or 'until', the whole curve."}
    return {
        "properties": {
            **dict.fromkeys(everywhere, True),
            **({end: whole} if end else {}),
            **{name: ref(key, "properties", name) for name in kept},
        },
        "required": [name for name in described["required"] if name in kept],
        "warms_up": plugin.takes_warmup,
    }


def _described(entry: Entry, plugin: OptimizerPlugin | SchedulePlugin, also: frozenset[str]) -> Schema:
    """The settings of a plugin; types that they refer to are in `$defs`, under unique names.

    Args:
        entry: where it comes from.
        plugin: its record.
        also: settings that count updates, besides those that are marked.
    """
    properties: Schema = {}
    required: list[str] = []
    nested: Schema = {}
    for index, part in enumerate(parts(plugin)):
        prefix = f"{key_of(entry)}.{index}."
        schema = json_schema(part, prefix)
        counted = also.union(counts(part))
        own = schema.get("properties", {})
        properties |= {name: _or_amount(value) if name in counted else value for name, value in own.items()}
        required += schema.get("required", [])
        nested |= {prefix + name: value for name, value in schema.get("$defs", {}).items()}
    return {
        "name": plugin.name,
        "description": description(plugin.reference),
        "properties": properties,
        "required": required,
        "$defs": nested,
    }


def _or_amount(schema: Schema) -> Schema:
    """A number of updates, or a length in another unit; of a list, each."""
    if schema.get("type") in {"integer", "number"}:
        return _choice(schema, ref(AMOUNT))
    return _inside(schema, _or_amount)


def _or_curve(schema: Schema) -> Schema:
    return _choice(schema, ref(CURVE))


def _elements_or_curves(schema: Schema) -> Schema:
    """A tuple, each element of which may follow a schedule."""
    if "prefixItems" in schema:
        return {**schema, "prefixItems": [_choice(item, ref(WHOLE_CURVE)) for item in schema["prefixItems"]]}
    return _inside(schema, _elements_or_curves)


def _inside(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """The schema with what its choices and items are changed into."""
    changed: Schema = {}
    if "anyOf" in schema:
        changed["anyOf"] = [one for each in schema["anyOf"] for one in _choices(change(each))]
    if "prefixItems" in schema:
        changed["prefixItems"] = [change(each) for each in schema["prefixItems"]]
    if isinstance(schema.get("items"), dict):
        changed["items"] = change(schema["items"])
    return {**schema, **changed}


def _choice(schema: Schema, other: Schema) -> Schema:
    """One or the other; what is said about both stands beside."""
    both = {key: value for key, value in schema.items() if key in {"default", "description"}}
    own = {key: value for key, value in schema.items() if key not in both}
    return {**both, "anyOf": [*_choices(own), other]}


def _choices(schema: Schema) -> list[Schema]:
    return schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
