"""`optreg schema`: a JSON Schema of what is installed, so that editors can complete and check specs."""

import json
from typing import Any

import click

from optreg.cli.files import OutputFile, output_or_dash
from optreg.cli.output import description
from optreg.cli.quarantine import LIMIT, Failure, in_quarantine, limit_option
from optreg.criteria import CRITERIA
from optreg.entries import Entry, Kind
from optreg.errors import printable
from optreg.hyperparameters import json_schema
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.registry import Registry, default_registry


@click.command("schema")
@click.option(
    "-o",
    "--output",
    type=output_or_dash,
    metavar="FILE",
    default="-",
    help="The file to write; by default, standard output.",
)
@limit_option
def command(output: OutputFile | None, limit: float) -> None:
    """Print the JSON Schema (draft 2020-12) of specs that name what is installed here.

    Imports every plugin, each in a process of its own.
    """
    text = json.dumps(make_schema(default_registry(), limit=limit), indent=2)
    if output:
        output.write(text + "\n")
    else:
        click.echo(text)


def make_schema(registry: Registry, *, limit: float = LIMIT) -> dict[str, Any]:
    """The schema; broken plugins are left out and reported on standard error.

    Args:
        registry: the default registry.
        limit: seconds that a plugin may take to load.
    """
    optimizers, schedulers = _described(registry, limit)
    described = {**optimizers, **schedulers}.values()
    nested = {name: value for each in described for name, value in each["$defs"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optreg spec",
        "type": "object",
        "required": ["optimizer", "scheduler"],
        "additionalProperties": False,
        "properties": {
            "optimizer": _section(optimizers),
            "groups": {
                "type": "array",
                "description": "Rules of param groups; the first that matches a parameter wins.",
                "items": {"type": "object", "anyOf": [{"required": [name]} for name in CRITERIA]},
            },
            "scheduler": _section(schedulers),
        },
        "allOf": [_rules_of(name, described) for name, described in optimizers.items()],
        **({"$defs": nested} if nested else {}),
    }


def _described(registry: Registry, limit: float) -> tuple[dict[str, dict[str, Any]], ...]:
    """The settings of the working optimizers, and of the schedules, under every name of each."""
    kinds = (Kind.OPTIMIZER, Kind.SCHEDULER)
    entries = [entry for kind in kinds for entry in registry.entries(kind) if not registry.hidden_by(entry)]
    bare = {kind: registry.usable(kind) for kind in kinds}
    described: dict[Kind, dict[str, dict[str, Any]]] = {kind: {} for kind in kinds}
    for entry, settings in zip(entries, in_quarantine(describe, entries, limit=limit, imports=["numpy"]), strict=True):
        if isinstance(settings, Failure):
            click.echo(f"left out: {printable(settings)}", err=True)
            continue
        for name in (entry.name, entry.qualified) if entry in bare[entry.kind] else (entry.qualified,):
            described[entry.kind][name] = settings
    return tuple(described.values())


def describe(registry: Registry, entry: Entry) -> dict[str, Any]:
    """The task in quarantine: the schema of an entry's settings."""
    load = registry.optimizer if entry.kind is Kind.OPTIMIZER else registry.scheduler
    return _describe(entry, load(entry.qualified).plugin)


def _describe(entry: Entry, plugin: OptimizerPlugin | SchedulePlugin) -> dict[str, Any]:
    """The schema of a plugin's settings; the types that it refers to are in `$defs`, under unique names."""
    parts = [plugin.reference, plugin.options] if isinstance(plugin, OptimizerPlugin) else [plugin.reference]
    properties: dict[str, Any] = {}
    required: list[str] = []
    nested: dict[str, Any] = {}
    for index, part in enumerate(parts):
        prefix = f"{entry.kind}.{entry.distribution}.{entry.name}.{index}."
        schema = json_schema(part, prefix)
        properties |= schema.get("properties", {})
        required += schema.get("required", [])
        nested |= {prefix + name: value for name, value in schema.get("$defs", {}).items()}
    return {
        "description": description(plugin.reference),
        "properties": properties,
        "required": required,
        "$defs": nested,
    }


def _section(plugins: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A component, whose name determines the other keys."""
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(plugins)}},
        "allOf": [{"if": _named(name), "then": _settings(described)} for name, described in plugins.items()],
    }


def _named(name: str) -> dict[str, Any]:
    return {"properties": {"name": {"const": name}}, "required": ["name"]}


def _settings(described: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": described["description"],
        "properties": {"name": True, **described["properties"]},
        "required": ["name", *described["required"]],
        "additionalProperties": False,
    }


def _rules_of(name: str, described: dict[str, Any]) -> dict[str, Any]:
    """What a rule may set under an optimizer."""
    criteria = {key: criterion.json_schema for key, criterion in CRITERIA.items()}
    rule = {"properties": criteria | described["properties"], "additionalProperties": False}
    return {
        "if": {"properties": {"optimizer": _named(name)}, "required": ["optimizer"]},
        "then": {"properties": {"groups": {"items": rule}}},
    }
