"""`optreg schema`: a JSON Schema of what is installed, so that editors can complete and check specs."""

import inspect
import json
from dataclasses import dataclass
from typing import Any

import click

from optreg.criteria import CRITERIA
from optreg.entries import Entry, Kind
from optreg.errors import PluginError
from optreg.hyperparameters import json_schema
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.registry import Registry, default_registry


@click.command("schema")
@click.option(
    "-o", "--output", type=click.File("w"), default="-", help="The file to write; by default, standard output."
)
def command(output: Any) -> None:
    """Print the JSON Schema (draft 2020-12) of specs that name what is installed here."""
    json.dump(make_schema(default_registry()), output, indent=2)
    output.write("\n")


def make_schema(registry: Registry) -> dict[str, Any]:
    """The schema; broken plugins are left out and reported on standard error."""
    optimizers = _described(registry, Kind.OPTIMIZER)
    schedulers = _described(registry, Kind.SCHEDULER)
    described = {**optimizers, **schedulers}.values()
    nested = {name: value for description in described for name, value in description.nested.items()}
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
        "allOf": [_rules_of(name, description) for name, description in optimizers.items()],
        **({"$defs": nested} if nested else {}),
    }


@dataclass(frozen=True)
class _Description:
    """The schema of one plugin."""

    text: str
    properties: dict[str, Any]
    required: list[str]
    nested: dict[str, Any]
    """The types that its properties refer to, by unique names."""


def _described(registry: Registry, kind: Kind) -> dict[str, _Description]:
    """The working plugins of a kind, under every name of theirs."""
    described: dict[str, _Description] = {}
    bare = registry.usable(kind)
    for entry in registry.entries(kind):
        if registry.hidden_by(entry):
            continue
        load = registry.optimizer if kind is Kind.OPTIMIZER else registry.scheduler
        try:
            description = _describe(entry, load(entry.qualified).plugin)
        except PluginError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        for name in (entry.name, entry.qualified) if entry in bare else (entry.qualified,):
            described[name] = description
    return described


def _describe(entry: Entry, plugin: OptimizerPlugin | SchedulePlugin) -> _Description:
    parts = [plugin.reference, plugin.options] if isinstance(plugin, OptimizerPlugin) else [plugin.reference]
    prefixes = [f"{entry.kind}.{entry.distribution}.{entry.name}.{index}." for index in range(len(parts))]
    schemas = [json_schema(part, prefix) for part, prefix in zip(parts, prefixes, strict=True)]
    return _Description(
        text=inspect.getdoc(plugin.reference) or "",
        properties={name: value for schema in schemas for name, value in schema.get("properties", {}).items()},
        required=[name for schema in schemas for name in schema.get("required", [])],
        nested={
            prefix + name: value
            for prefix, schema in zip(prefixes, schemas, strict=True)
            for name, value in schema.get("$defs", {}).items()
        },
    )


def _section(plugins: dict[str, _Description]) -> dict[str, Any]:
    """A component, whose name determines the other keys."""
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(plugins)}},
        "allOf": [{"if": _named(name), "then": _settings(description)} for name, description in plugins.items()],
    }


def _named(name: str) -> dict[str, Any]:
    return {"properties": {"name": {"const": name}}, "required": ["name"]}


def _settings(description: _Description) -> dict[str, Any]:
    return {
        "description": description.text,
        "properties": {"name": True, **description.properties},
        "required": ["name", *description.required],
        "additionalProperties": False,
    }


def _rules_of(name: str, description: _Description) -> dict[str, Any]:
    """What a rule may set under an optimizer."""
    criteria = {key: criterion.json_schema for key, criterion in CRITERIA.items()}
    rule = {"properties": criteria | description.properties, "additionalProperties": False}
    return {
        "if": {"properties": {"optimizer": _named(name)}, "required": ["optimizer"]},
        "then": {"properties": {"groups": {"items": rule}}},
    }
