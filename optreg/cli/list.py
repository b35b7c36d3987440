"""`optreg list`: what is installed, according to metadata; with --check, whether it works."""

import json
from dataclasses import asdict

import click

from optreg.cli.output import table
from optreg.cli.quarantine import Failure, in_quarantine, limit_option
from optreg.entries import Entry
from optreg.registry import Registry, default_registry

NEEDED = ("torch", "optreg.pointwise")
"""What implementations import."""


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Import every plugin and report whether it works; exit 1 if one does not.")
@limit_option
@click.pass_context
def command(context: click.Context, as_json: bool, check: bool, limit: float) -> None:
    """List the installed optimizers, schedules and hooks.

    Imports plugins only with --check, and each in a process of its own.
    """
    registry = default_registry()
    rows = [(entry, registry.state(entry)) for entry in registry.entries()]
    if check:
        rows = _checked(rows, limit)
    if as_json:
        click.echo(json.dumps([asdict(entry) | {"state": state} for entry, state in rows], indent=2))
    else:
        cells = [(entry.kind.value, entry.name, entry.distribution, entry.version, state) for entry, state in rows]
        table(("kind", "name", "distribution", "version", "state"), cells)
    context.exit(int(check and any(state.startswith("broken") for _, state in rows)))


def _checked(rows: list[tuple[Entry, str]], limit: float) -> list[tuple[Entry, str]]:
    """The rows with what loading tells about the entries that can be used."""
    usable = [entry for entry, state in rows if not state.startswith(("hidden", "not available", "broken"))]
    found = dict(zip(usable, in_quarantine(load, usable, limit=limit, imports=NEEDED), strict=True))
    checked = []
    for entry, state in rows:
        if isinstance(fault := found.get(entry), Failure):
            checked.append((entry, f"broken: {fault.splitlines()[0]}"))
        else:
            checked.append((entry, "ok" if state == "available" else state))
    return checked


def load(registry: Registry, entry: Entry) -> None:
    """The task in quarantine."""
    registry.load(entry)
