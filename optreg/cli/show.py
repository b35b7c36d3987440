"""`optreg show`: a component as its reference describes it."""

import inspect

import click

from optreg.cli.output import table
from optreg.entries import Kind
from optreg.errors import UnknownPluginError
from optreg.hyperparameters import describe
from optreg.multipliers import WarmUpSettings
from optreg.records import OptimizerPlugin, Registration, SchedulePlugin
from optreg.registry import default_registry


@click.command("show")
@click.argument("name")
def command(name: str) -> None:
    """Show the hyperparameters, ranges, defaults, equations and paper of NAME, an optimizer or a schedule."""
    found = _found(name)
    for registration in found:
        entry, plugin = registration.entry, registration.plugin
        click.echo(f"{entry.kind} {entry.name}, from {entry.distribution} {entry.version} ({entry.module})\n")
        click.echo(inspect.getdoc(plugin.reference))
        _fields("hyperparameter", plugin.reference)
        if isinstance(plugin, OptimizerPlugin) and describe(plugin.options):
            click.echo(f"\n{inspect.getdoc(plugin.options)}")
            _fields("execution option", plugin.options)
        if isinstance(plugin, SchedulePlugin) and plugin.takes_warmup:
            click.echo(f"\n{inspect.getdoc(WarmUpSettings)}")
            _fields("warm-up", WarmUpSettings)


def _found(name: str) -> list[Registration[OptimizerPlugin] | Registration[SchedulePlugin]]:
    registry = default_registry()
    found: list[Registration[OptimizerPlugin] | Registration[SchedulePlugin]] = []
    errors: list[UnknownPluginError] = []
    for load in (registry.optimizer, registry.scheduler):
        try:
            found.append(load(name))
        except UnknownPluginError as error:
            errors.append(error)
    if not found:
        names = [entry.name for kind in (Kind.OPTIMIZER, Kind.SCHEDULER) for entry in registry.entries(kind)]
        most_specific = max(errors, key=lambda error: (bool(error.matches), error.closest is not None))
        if most_specific.matches or most_specific.closest:
            raise most_specific
        raise UnknownPluginError(f"there is no optimizer or scheduler '{name}'; choose from: {', '.join(names)}")
    return found


def _fields(what: str, reference: type) -> None:
    click.echo()
    rows = [(field.name, field.type, field.range, field.default) for field in describe(reference)]
    table((what, "type", "range", "default"), rows)
