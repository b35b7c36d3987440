"""`optreg schema`: a JSON Schema of what is installed, with which an editor completes and checks specs."""

import inspect
import json
from typing import Any

import click

from optreg.errors import PluginError
from optreg.hookspecs import OptimizerPlugin, SchedulePlugin
from optreg.hyperparameters import json_schema
from optreg.registry import Kind, Registration, Registry, default_registry

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_NUMBERS = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}]}

CRITERIA = {
    "match": _TEXTS | {"description": "Globs on the parameter's name; one must match. * crosses dots."},
    "regex": _TEXTS | {"description": "Regular expressions; one must be found in the parameter's name."},
    "ndim": _NUMBERS | {"description": "Numbers of dimensions; one must be the parameter's."},
    "type": _TEXTS | {"description": "Globs on the class name of the module that holds the parameter, or of a base."},
}


@click.command("schema")
@click.option("-o", "--output", type=click.File("w"), default="-", help="Where to write it; by default, the terminal.")
def command(output: Any) -> None:
    """Print the JSON Schema (draft 2020-12) of specs that name what is installed here."""
    json.dump(make_schema(default_registry()), output, indent=2)
    output.write("\n")


def make_schema(registry: Registry) -> dict[str, Any]:
    """The schema; plugins that are broken are left out, with a word on standard error."""
    optimizers = _loaded(registry, Kind.OPTIMIZER)
    schedulers = _loaded(registry, Kind.SCHEDULER)
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
                "description": "Rules for param groups; the first that matches a parameter wins.",
                "items": {"type": "object", "anyOf": [{"required": [name]} for name in CRITERIA]},
            },
            "scheduler": _section(schedulers),
        },
        "allOf": [_rules_of(name, registration) for name, registration in optimizers.items()],
    }


def _loaded(registry: Registry, kind: Kind) -> dict[str, Registration[Any]]:
    """The working plugins of a kind under every name that leads to them."""
    loaded: dict[str, Registration[Any]] = {}
    bare = registry.usable(kind)
    for entry in registry.entries(kind):
        if registry.hidden_by(entry):
            continue
        load = registry.optimizer if kind is Kind.OPTIMIZER else registry.scheduler
        try:
            registration = load(entry.qualified)
        except PluginError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        for name in (entry.name, entry.qualified) if entry in bare else (entry.qualified,):
            loaded[name] = registration
    return loaded


def _section(plugins: dict[str, Registration[Any]]) -> dict[str, Any]:
    """A component: its name decides which other keys there may be."""
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(plugins)}},
        "allOf": [
            {"if": _named(name), "then": _settings(registration.plugin)} for name, registration in plugins.items()
        ],
    }


def _named(name: str) -> dict[str, Any]:
    return {"properties": {"name": {"const": name}}, "required": ["name"]}


def _settings(plugin: OptimizerPlugin | SchedulePlugin) -> dict[str, Any]:
    schema = json_schema(plugin.reference)
    return {
        "description": inspect.getdoc(plugin.reference),
        "properties": {"name": True, **_properties(plugin)},
        "required": ["name", *schema.get("required", [])],
        "additionalProperties": False,
    }


def _properties(plugin: OptimizerPlugin | SchedulePlugin) -> dict[str, Any]:
    parts = [plugin.reference, plugin.options] if isinstance(plugin, OptimizerPlugin) else [plugin.reference]
    return {name: value for part in parts for name, value in json_schema(part).get("properties", {}).items()}


def _rules_of(name: str, registration: Registration[OptimizerPlugin]) -> dict[str, Any]:
    """What a rule may set under an optimizer."""
    rule = {"properties": {**CRITERIA, **_properties(registration.plugin)}, "additionalProperties": False}
    return {
        "if": {"properties": {"optimizer": _named(name)}, "required": ["optimizer"]},
        "then": {"properties": {"groups": {"items": rule}}},
    }
