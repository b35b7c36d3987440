"""`optreg schema`: a JSON Schema of what is installed, so that editors can complete and check specs."""

import json
import re

import click

from optreg.cli.component_schemas import (
    Described,
    ended_scheduler,
    optimizer,
    phases,
    scheduler,
    whole_optimizer,
    whole_scheduler,
)
from optreg.cli.files import OutputFile, output_or_dash
from optreg.cli.quarantine import LIMIT, Failure, in_quarantine, limit_option
from optreg.cli.rule_schemas import groups, rules, rules_under
from optreg.cli.section_schemas import definitions, plain_sections
from optreg.cli.settings_schema import Schema, describe, key_of, ref
from optreg.entries import Entry, Kind
from optreg.errors import printable
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


def make_schema(registry: Registry, *, limit: float = LIMIT) -> Schema:
    """The schema; broken plugins are left out and reported on standard error.

    A spec that extends another may lack whatever this sets. So what a spec needs stands by itself, in `else`.

    Args:
        registry: the default registry.
        limit: seconds of processor time that a plugin may use to load.
    """
    optimizers, schedules = _described(registry, limit)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optreg spec",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "optimizer": optimizer(optimizers),
            "groups": groups(),
            "scheduler": scheduler(schedules),
            **plain_sections(),
        },
        **rules_under(optimizers),
        "if": {"required": ["extends"]},
        "else": {
            "required": ["optimizer"],
            "properties": {"optimizer": ref("optimizer.whole"), "scheduler": whole_scheduler(schedules)},
            "if": {"not": {"required": ["horizon"]}},
            "then": {"properties": {"scheduler": ended_scheduler(schedules)}},
        },
        "$defs": {
            **definitions(),
            "optimizer.whole": whole_optimizer(optimizers),
            **rules(optimizers),
            **phases(schedules),
            **{key: value for each in (*optimizers, *schedules) for key, value in each.definitions().items()},
        },
    }


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
        may_be_bare = entry in bare[entry.kind]
        names = [*([found["name"]] if may_be_bare else []), f"{entry.distribution}/{found['name']}"]
        pattern = _pattern(entry, may_be_bare=may_be_bare)
        described[entry.kind].append(Described(key_of(entry), names, pattern, found))
    return tuple(described.values())


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
