"""`optreg show`: a component as its reference describes it."""

import click

from optreg.cli.output import description, plugins_print_to_stderr, table
from optreg.entries import Kind
from optreg.errors import UnknownPluginError, printable
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
        origin = f"{entry.kind} {entry.name}, from {entry.distribution} {entry.version} ({entry.module})"
        click.echo(f"{printable(origin)}\n\n{printable(description(plugin.reference))}")
        _fields("hyperparameter", plugin.reference)
        if isinstance(plugin, OptimizerPlugin) and _described(plugin.options):
            click.echo(f"\n{printable(description(plugin.options))}")
            _fields("execution option", plugin.options)
        if isinstance(plugin, SchedulePlugin) and plugin.takes_warmup:
            click.echo(f"\n{description(WarmUpSettings)}")
            _fields("warm-up", WarmUpSettings)


@plugins_print_to_stderr()
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
    table((what, "type", "range", "default"), _described(reference))


@plugins_print_to_stderr()
def _described(reference: type) -> list[tuple[str, str, str, str]]:
    return [(field.name, field.type, field.range, field.default) for field in describe(reference)]
