"""`optreg schema`: a JSON Schema of what is installed, so that editors can complete and check specs."""

import json
import re
from dataclasses import dataclass
from typing import Any

import click

from optreg.cli.files import OutputFile, output_or_dash
from optreg.cli.output import description
from optreg.cli.quarantine import LIMIT, Failure, in_quarantine, limit_option
from optreg.criteria import CRITERIA
from optreg.entries import Entry, Kind
from optreg.errors import printable
from optreg.hyperparameters import json_schema
from optreg.multipliers import parts
from optreg.on_resume import OnResume
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
        limit: seconds of processor time that a plugin may use to load.
    """
    optimizers, schedulers = _described(registry, limit)
    nested = {name: value for each in (*optimizers, *schedulers) for name, value in each.settings["$defs"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optreg spec",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "extends": {
                "type": "string",
                "description": "A file within the project whose values hold unless this sets them.",
            },
            "notes": {"description": "Plain data of the author's: shown by explain, and nothing is made of it."},
            "optimizer": _section(optimizers),
            "groups": {
                "type": "array",
                "description": "Rules of param groups; of each setting, the first that matches and states it wins.",
                "items": {"type": "object", "anyOf": [{"required": [name]} for name in CRITERIA]},
            },
            "scheduler": _section(schedulers),
            "on_resume": {"description": "What a run does where a checkpoint differs.", **json_schema(OnResume)},
        },
        "allOf": [_rules_of(described) for described in optimizers],
        "if": {"not": {"required": ["extends"]}},
        "then": {
            "required": ["optimizer"],
            "properties": {"optimizer": _complete(optimizers), "scheduler": _complete(schedulers)},
        },
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


def _described(registry: Registry, limit: float) -> tuple[list[Described], ...]:
    """The working optimizers, and the working schedules."""
    kinds = (Kind.OPTIMIZER, Kind.SCHEDULER)
    entries = [entry for kind in kinds for entry in registry.entries(kind) if not registry.hidden_by(entry)]
    bare = {kind: registry.usable(kind) for kind in kinds}
    described: dict[Kind, list[Described]] = {kind: [] for kind in kinds}
    for entry, found in zip(entries, in_quarantine(describe, entries, limit=limit, imports=["numpy"]), strict=True):
        if isinstance(found, Failure):
            click.echo(f"left out: {printable(found)}", err=True)
            continue
        name, settings = found
        may_be_bare = entry in bare[entry.kind]
        names = [*([name] if may_be_bare else []), f"{entry.distribution}/{name}"]
        described[entry.kind].append(Described(names, _pattern(entry, may_be_bare=may_be_bare), settings))
    return tuple(described.values())


def describe(registry: Registry, entry: Entry) -> tuple[str, dict[str, Any]]:
    """The task in quarantine: an entry's name as its author spells it, and the schema of its settings."""
    load = registry.optimizer if entry.kind is Kind.OPTIMIZER else registry.scheduler
    plugin = load(entry.qualified).plugin
    return plugin.name, _describe(entry, plugin)


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
    properties: dict[str, Any] = {}
    required: list[str] = []
    nested: dict[str, Any] = {}
    for index, part in enumerate(parts(plugin)):
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


def _section(plugins: list[Described]) -> dict[str, Any]:
    """A component, whose name determines the other keys; it may lack what it inherits."""
    names = [name for described in plugins for name in described.names]
    return {
        "type": "object",
        "properties": {"name": {"anyOf": [{"enum": names}, *({"pattern": each.pattern} for each in plugins)]}},
        "allOf": [{"if": described.named, "then": _settings(described.settings)} for described in plugins],
    }


def _settings(described: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": described["description"],
        "properties": {"name": True, **described["properties"]},
        "additionalProperties": False,
    }


def _complete(plugins: list[Described]) -> dict[str, Any]:
    """A component that has its name and all that this needs."""
    needy = [described for described in plugins if described.settings["required"]]
    needs = [{"if": each.named, "then": {"required": each.settings["required"]}} for each in needy]
    return {"required": ["name"], **({"allOf": needs} if needs else {})}


def _rules_of(described: Described) -> dict[str, Any]:
    """What a rule may set under an optimizer."""
    criteria = {key: criterion.json_schema for key, criterion in CRITERIA.items()}
    rule = {"properties": criteria | described.settings["properties"], "additionalProperties": False}
    return {
        "if": {"properties": {"optimizer": described.named}, "required": ["optimizer"]},
        "then": {"properties": {"groups": {"items": rule}}},
    }
