"""The command line: one file per command, each imported when it is called, so that none pays for another."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

import click

from optreg.errors import OptregError

COMMANDS = {
    "conform": "Judge optimizers and schedules by their reference mathematics.",
    "explain": "Resolved values, param groups, and the learning rate at the telling steps.",
    "list": "The installed optimizers, schedules and hooks.",
    "plot": "Draw the learning-rate curves of specs.",
    "schema": "A JSON Schema of what is installed, for editors.",
    "show": "Hyperparameters, ranges, defaults, equations and paper of a component.",
    "validate": "Check specs; exit 1 when any is wrong.",
}


class _Commands(click.Group):
    """Imports a command when it is asked for, and tells the project's own errors without a traceback."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is a command's module here, once that is imported

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"optreg.cli.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except OptregError as error:
            click.echo(f"error: {error}", err=True)
            context.exit(1)


@click.group(cls=_Commands)
@click.version_option(version("optreg"), prog_name="optreg")
def main() -> None:
    """Optimizers and learning-rate schedules for PyTorch, as plugins, from YAML."""
