"""`optreg schema`: a JSON Schema of what is installed, so that editors can complete and check specs."""

import inspect
import json
from typing import Any

import click

from optreg.criteria import CRITERIA
from optreg.entries import Entry, Kind
from optreg.errors import PluginError
from optreg.hyperparameters import json_schema
from optreg.on_resume import OnResume
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
            "on_resume": {"description": "What a run does where a checkpoint differs.", **json_schema(OnResume)},
        },
        "allOf": [_rules_of(name, described) for name, described in optimizers.items()],
        **({"$defs": nested} if nested else {}),
    }


def _described(registry: Registry, kind: Kind) -> dict[str, dict[str, Any]]:
    """The settings of the working plugins of a kind, under every name of each plugin."""
    described: dict[str, dict[str, Any]] = {}
    bare = registry.usable(kind)
    for entry in registry.entries(kind):
        if registry.hidden_by(entry):
            continue
        load = registry.optimizer if kind is Kind.OPTIMIZER else registry.scheduler
        try:
            settings = _describe(entry, load(entry.qualified).plugin)
        except PluginError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        for name in (entry.name, entry.qualified) if entry in bare else (entry.qualified,):
            described[name] = settings
    return described


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
    text = inspect.getdoc(plugin.reference) or ""
    return {"description": text, "properties": properties, "required": required, "$defs": nested}


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
