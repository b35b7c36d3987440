"""`optreg schema`: a JSON Schema of what is installed, so that editors can complete and check specs."""

import inspect
import json
import re
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
    nested = {name: value for each in (*optimizers, *schedulers) for name, value in each.settings["$defs"].items()}
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
        "allOf": [_rules_of(described) for described in optimizers],
        **({"$defs": nested} if nested else {}),
    }


@dataclass(frozen=True)
class Described:
    """A plugin in the schema."""

    names: list[str]
    """The spellings that an editor offers: the author's, bare if that leads here, and qualified."""
    pattern: str
    """What every spelling matches that leads here."""
    settings: dict[str, Any]

    @property
    def named(self) -> dict[str, Any]:
        """A component that has one of the plugin's names."""
        return {"properties": {"name": {"pattern": self.pattern}}, "required": ["name"]}


def _described(registry: Registry, kind: Kind) -> list[Described]:
    """The working plugins of a kind."""
    described: list[Described] = []
    bare = registry.usable(kind)
    for entry in registry.entries(kind):
        if registry.hidden_by(entry):
            continue
        load = registry.optimizer if kind is Kind.OPTIMIZER else registry.scheduler
        try:
            plugin = load(entry.qualified).plugin
            settings = _describe(entry, plugin)
        except PluginError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        qualified = f"{entry.distribution}/{plugin.name}"
        names = [plugin.name, qualified] if entry in bare else [qualified]
        described.append(Described(names, _pattern(entry, may_be_bare=entry in bare), settings))
    return described


def _pattern(entry: Entry, *, may_be_bare: bool) -> str:
    """A regular expression of every spelling that `Entries.find` takes for an entry: `Warmup-Cosine`."""
    distribution = _spellings(entry.distribution, {"-": "[-_.]+"})
    name = _spellings(entry.name, {"_": r"[-_\s]+"})
    return rf"^({distribution}/){'?' if may_be_bare else ''}\s*{name}\s*$"


def _spellings(text: str, separators: dict[str, str]) -> str:
    """A regular expression of a text in capitals and small letters, and with any form of its separators."""
    return "".join(
        separators.get(letter) or (f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else re.escape(letter))
        for letter in text
    )


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


def _section(plugins: list[Described]) -> dict[str, Any]:
    """A component, whose name determines the other keys."""
    names = [name for described in plugins for name in described.names]
    return {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"anyOf": [{"enum": names}, *({"pattern": each.pattern} for each in plugins)]}},
        "allOf": [{"if": described.named, "then": _settings(described.settings)} for described in plugins],
    }


def _settings(described: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": described["description"],
        "properties": {"name": True, **described["properties"]},
        "required": ["name", *described["required"]],
        "additionalProperties": False,
    }


def _rules_of(described: Described) -> dict[str, Any]:
    """What a rule may set under an optimizer."""
    criteria = {key: criterion.json_schema for key, criterion in CRITERIA.items()}
    rule = {"properties": criteria | described.settings["properties"], "additionalProperties": False}
    return {
        "if": {"properties": {"optimizer": described.named}, "required": ["optimizer"]},
        "then": {"properties": {"groups": {"items": rule}}},
    }
