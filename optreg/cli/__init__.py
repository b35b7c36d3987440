"""The command line: one module for each command, imported only when that command runs."""

import os
import warnings
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import click

from optreg.cli.endings import open_closed_streams, told
from optreg.cli.output import DROPPED
from optreg.errors import OptregError, PluginWarning

COMMANDS = {
    "conform": "Judge optimizers and schedules by their reference mathematics.",
    "diff": "What two specs do differently; exit 1 if anything.",
    "explain": "Resolved values, param groups, and the learning rate at key steps.",
    "list": "The installed optimizers, schedules and hooks.",
    "plot": "Draw the learning-rate curves of specs.",
    "schema": "A JSON Schema of what is installed, for editors.",
    "show": "Hyperparameters, ranges, defaults, equations and paper of an optimizer or schedule.",
    "validate": "Check specs; exit 1 if any is wrong.",
}


class _Commands(click.Group):
    """Imports a command when it runs, and reports errors, warnings, signals and full outputs in a line each."""

    def main(self, *args: Any, **extra: Any) -> Any:
        open_closed_streams()
        return super().main(*args, **extra)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with told():
            return super().make_context(*args, **extra)

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS]  # after `optreg list`, the name `list` is that command's module

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"optreg.cli.{name}").command
        command.help = command.help or f"{COMMANDS[name]} {DROPPED}"
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def invoke(self, context: click.Context) -> Any:
        with told(), warnings.catch_warnings():
            warnings.simplefilter("always", PluginWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(context)
            except OptregError as error:
                click.echo(f"error: {error}", err=True)
                context.exit(1)


_show_other_warning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    if issubclass(category, PluginWarning):
        click.echo(f"warning: {message}", err=True)
        _keep_torch_importable()
    else:
        _show_other_warning(message, category, *where, **more)


def _keep_torch_importable() -> None:
    """Switch off torch's search for further devices if it would fail.

    When torch is imported, it reads the entry points of all that is installed, and does not start if any is damaged.
    """
    try:
        entry_points()
    except Exception:
        os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")


@click.group(cls=_Commands)
@click.version_option(package_name="optreg", prog_name="optreg")
def main() -> None:
    """Optimizers and learning-rate schedules for PyTorch, as plugins, from YAML."""
