"""`optreg explain`: what a spec comes to."""

import importlib
import os
import sys
from typing import Any

import click
import yaml

from optreg.cli.curve import learning_rate, telling_steps
from optreg.cli.output import overrides_option, table
from optreg.spec import Spec, load_spec


@click.command("explain")
@click.argument("spec")
@overrides_option
@click.option("--model", metavar="PACKAGE.MODULE:FACTORY", help="A model, or what makes one: adds the param groups.")
def command(spec: str, overrides: tuple[str, ...], model: str | None) -> None:
    """Print the resolved values of SPEC, its param groups, and the learning rate at the telling steps."""
    resolved = load_spec(spec, overrides)
    click.echo(yaml.safe_dump(resolved.as_dict(), sort_keys=False, default_flow_style=None).rstrip())
    click.echo()
    entries = [resolved.optimizer.entry, resolved.scheduler.entry]
    table(
        ("kind", "name", "distribution", "version"),
        [(entry.kind.value, entry.name, entry.distribution, entry.version) for entry in entries],
    )
    click.echo()
    rate = learning_rate(resolved)
    table(("step", "learning rate"), [(t, f"{rate(t):.6g}") for t in telling_steps(resolved)])
    if model:
        click.echo()
        _groups(resolved, _made(model))


def _groups(spec: Spec, model: Any) -> None:
    from optreg.groups import partition

    rows = []
    for group in partition(model, spec.groups):
        count = sum(member.param.numel() for member in group.members)
        settings = ", ".join(f"{key}={value}" for key, value in group.rule.settings.items()) if group.rule else ""
        rows.append((group.rule or "(all others)", len(group.members), f"{count:,}", settings or "(the defaults)"))
    frozen = [param for param in model.parameters() if not param.requires_grad]
    if frozen:
        rows.append(("(frozen)", len(frozen), f"{sum(param.numel() for param in frozen):,}", "not trained"))
    table(("group", "tensors", "parameters", "settings"), rows)


def _made(place: str) -> Any:
    """The module that `package.module:factory` makes, or is."""
    from torch.nn import Module

    name, colon, attribute = place.partition(":")
    if not colon:
        raise click.BadParameter(f"'{place}' is not of the form package.module:factory", param_hint="--model")
    sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(name), attribute)
        model = made if isinstance(made, Module) else made()
    except Exception as error:
        raise click.BadParameter(f"'{place}' failed: {type(error).__name__}: {error}", param_hint="--model") from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(model, Module):
        raise click.BadParameter(f"'{place}' made a {type(model).__name__}, no torch.nn.Module", param_hint="--model")
    return model
