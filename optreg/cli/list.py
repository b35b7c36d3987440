"""`optreg list`: what is installed, according to metadata; with --check, whether it works."""

import json
from dataclasses import asdict

import click

from optreg.cli.output import table
from optreg.entries import Entry
from optreg.errors import PluginError
from optreg.registry import Registry, default_registry


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Import every plugin and report whether it works; exit 1 if one does not.")
@click.pass_context
def command(context: click.Context, as_json: bool, check: bool) -> None:
    """List the installed optimizers, schedules and hooks. Imports plugins only with --check."""
    registry = default_registry()
    rows = [(entry, _checked(registry, entry) if check else registry.state(entry)) for entry in registry.entries()]
    if as_json:
        click.echo(json.dumps([asdict(entry) | {"state": state} for entry, state in rows], indent=2))
    else:
        cells = [(entry.kind.value, entry.name, entry.distribution, entry.version, state) for entry, state in rows]
        table(("kind", "name", "distribution", "version", "state"), cells)
    context.exit(int(check and any(state.startswith("broken") for _, state in rows)))


def _checked(registry: Registry, entry: Entry) -> str:
    state = registry.state(entry)
    if state.startswith(("hidden", "not available", "broken")):
        return state
    try:
        registry.load(entry)
    except PluginError as error:
        return f"broken: {str(error).splitlines()[0]}"
    return "ok" if state == "available" else state
