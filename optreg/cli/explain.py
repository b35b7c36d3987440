"""`optreg explain`: what a spec resolves to."""

import functools
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import yaml

from optreg.cli.curve import REST, Curve, StepError, curve, left_open
from optreg.cli.output import overrides_option, plugins_print_to_stderr, table
from optreg.cli.plan import (
    GroupPlan,
    first_and_last,
    places,
    plan,
    plan_of,
    point,
    short,
    stretches,
    units,
)
from optreg.cli.why import why
from optreg.clock import OpenError
from optreg.errors import Problem, SpecError
from optreg.groups import Group, fitting, partition
from optreg.loading import load_spec
from optreg.spec import Spec, Timeline


@click.command("explain")
@click.argument("spec")
@overrides_option
@click.option(
    "--model", metavar="PACKAGE.MODULE:FACTORY", help="A model or a factory of one, to print its param groups."
)
@click.option(
    "--at",
    "points",
    multiple=True,
    metavar="POINT",
    help="Print every hyperparameter of every group at update 2000, or at '10T tokens'. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what --at asks for as JSON.")
@click.option(
    "--why",
    "names",
    multiple=True,
    metavar="NAME",
    help="Print the settings of a parameter of the model, at the points of --at, and what gave them. Repeatable.",
)
def command(
    spec: str,
    overrides: tuple[str, ...],
    model: str | None,
    points: tuple[str, ...],
    as_json: bool,
    names: tuple[str, ...],
) -> None:
    """Print the resolved values of SPEC, its phases, its param groups, and the learning rate at key steps."""
    if as_json and not points:
        raise click.UsageError("--json prints what --at asks for; add for example --at 0")
    if names and (as_json or not model):
        raise click.UsageError("--why prints tables, of a parameter of a model; add --model, and leave --json out")
    with plugins_print_to_stderr():
        resolved = load_spec(spec, overrides)
    if names:
        _tell_why(resolved, model or "", names, points or ("0",))
        return
    if points:
        _tell_points(resolved, points, model, as_json=as_json)
        return
    if resolved.open and not model:
        _tell_spec(resolved)
        click.echo()
        for fact in sorted(resolved.open):
            click.echo(left_open(fact))
        return
    with plugins_print_to_stderr():
        rates = curve(resolved)
        steps = [(f"{t:,}", *_elsewhere(resolved, t), _rate(rates, t), why) for t, why in rates.key_steps().items()]
        by_group = _rates_by_group(resolved, rates)
        groups = _groups(resolved, _load_model(model)) if model else []
    _tell_spec(resolved)
    others = [unit.value for unit in units(resolved.clock)]
    stretched = [(each.of, each.name, *first_and_last(resolved, each), each.levels) for each in stretches(resolved)]
    if stretched:
        click.echo()
        table(("of", "phase", "first update", "last update", *others, "levels"), stretched)
    click.echo()
    table(("step", *others, rates.unit, "which is"), steps)
    if len(by_group) > 1:
        click.echo()
        table((f"{rates.unit} of group", "first", "peak", "last"), by_group)
    if model:
        click.echo()
        table(("group", "tensors", "parameters", "settings"), groups)


def _tell_spec(spec: Spec) -> None:
    """Print the resolved values as a spec, and the plugins."""
    click.echo(yaml.safe_dump(spec.as_dict(), sort_keys=False, default_flow_style=None).rstrip())
    click.echo()
    entries = dict.fromkeys(component.entry for component in spec.components)
    rows = [(entry.kind.value, entry.name, entry.distribution, entry.version) for entry in entries]
    if spec.scheduler is None:
        rows.append(("scheduler", "none: all rates are constant", "", ""))
    table(("kind", "name", "distribution", "version"), rows)


def _tell_points(spec: Spec, points: Sequence[str], model: str | None, *, as_json: bool) -> None:
    """Print every hyperparameter of every group at points of the run."""
    updates = [_update(spec, text) for text in points]
    with plugins_print_to_stderr():
        groups = plan_of(spec, _partition(spec, _load_model(model))) if model else plan(spec)
        told = [{**places(spec.clock, t), "groups": [_values(group, t) for group in groups]} for t in updates]
    if as_json:
        click.echo(json.dumps({"at": told}, indent=2))
        return
    for each in told:
        click.echo(", ".join(f"{unit} {amount:,}" for unit, amount in each.items() if unit != "groups"))
        keys = list(dict.fromkeys(key for group in each["groups"] for key in group))
        table(keys, [[_cell(group.get(key, "")) for key in keys] for group in each["groups"]])


def _tell_why(spec: Spec, place: str, names: Sequence[str], points: Sequence[str]) -> None:
    """Print the settings of parameters of a model at points of the run, and where they come from."""
    updates = [_update(spec, text) for text in points]
    with plugins_print_to_stderr():
        model = _load_model(place)
        told = {name: why(spec, model, name, updates) for name in names}
    for index, (name, rows) in enumerate(told.items()):
        if index:
            click.echo()
        cells = [(key, *map(_cell, values), origin) for key, values, origin in rows]
        table((name, *(f"update {t:,}" for t in updates), "given by"), cells)


def _values(group: GroupPlan, t: int) -> dict[str, Any]:
    try:
        return group.at(t)
    except StepError as error:
        raise click.ClickException(f"at update {t:,}, the group '{group.name}' has no values: {error}") from error


def _update(spec: Spec, text: str) -> int:
    try:
        return point(spec.clock, text)
    except OpenError as error:
        raise SpecError([Problem(None, left_open(error.fact))]) from error
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}", param_hint="--at") from error


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _setting(value: Any) -> str:
    """A setting of a group; of what follows a schedule, the names of the phases."""
    if isinstance(value, Timeline):
        return "->".join(component.name for component in value.components)
    if isinstance(value, tuple) and any(isinstance(item, Timeline) for item in value):
        return f"({', '.join(map(_setting, value))})"
    return f"{value:.6g}" if isinstance(value, float) and len(str(value)) > 10 else str(value)


def _elsewhere(spec: Spec, t: int) -> list[str]:
    """Where an update lies in every unit besides updates that is known."""
    return [short(spec.clock.consumed(t, unit)) for unit in units(spec.clock)]


def _rate(rates: Curve, t: int) -> str:
    try:
        return f"{rates.at(t):.6g}"
    except StepError as error:
        return f"none: {error}"


def _rates_by_group(spec: Spec, default: Curve) -> list[tuple[object, ...]]:
    """The first, largest and last rate of the default group and of each rule that changes the rate, as rows."""
    curves: list[tuple[object, Curve]] = [(REST, default)]
    for rule, group in zip(spec.groups, plan(spec)[1:], strict=True):
        if _RATES & rule.settings.keys() and "lr" in group.values:
            curves.append((rule, Curve(spec, group.values["lr"], group.scheduled.get("lr"), "learning rate")))
    rows: list[tuple[object, ...]] = []
    for name, rates in curves:
        values = rates.values(rates.points(rates.end))
        if rates.by_metric:
            rows.append((name, f"{values[0]:.6g}", "by a metric", "by a metric"))
            continue
        told = (values[0], max(values), values[-1]) if values else ()
        rows.append((name, *[f"{value:.6g}" for value in told]) if told else (name, "none", "none", "none"))
    return rows


_RATES = frozenset({"lr", "lr_scale", "freeze", "optimizer"})
"""What changes the rate of a rule's parameters, whatever their layers."""


def _groups(spec: Spec, model: Any) -> list[tuple[object, ...]]:
    """The param groups of a model as rows: rule, tensors and parameters that are trained, settings."""
    rows: list[tuple[object, ...]] = []
    frozen: list[Any] = []
    for group in _partition(spec, model):
        trained = [member.param for member in group.members if member.is_trained]
        own = [("optimizer", group.component.name)] if group.component is not spec.optimizer else []
        settings = ", ".join(f"{key}={_setting(value)}" for key, value in (*own, *group.pairs))
        rows.append((group, *_sizes(trained), settings or "(the defaults)"))
        frozen += [member.param for member in group.members if member.is_frozen]
    known = {id(param) for param in frozen}
    frozen += [param for param in model.parameters() if not param.requires_grad and id(param) not in known]
    if frozen:
        rows.append(("(frozen)", *_sizes(frozen), "not trained"))
    return rows


def _partition(spec: Spec, model: Any) -> list[Group]:
    return fitting(partition(model, spec.groups, spec.optimizer))


def _sizes(params: list[Any]) -> tuple[object, ...]:
    """How many tensors there are, and how many numbers in them."""
    return len(params), f"{sum(param.numel() for param in params):,}"


def _load_model(place: str) -> Any:
    """The module that `package.module:factory` returns, or is."""
    from torch.nn import Module
    from torch.nn.parameter import is_lazy

    name, colon, attribute = place.partition(":")
    if not colon:
        raise click.BadParameter(f"'{place}' is not of the form package.module:factory", param_hint="--model")
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        made: Any = functools.reduce(getattr, attribute.split("."), importlib.import_module(name))
        model = made if isinstance(made, Module) else made()
    except (Exception, SystemExit) as error:
        raise click.BadParameter(f"'{place}' failed: {type(error).__name__}: {error}", param_hint="--model") from error
    finally:
        sys.path[:] = path
    if not isinstance(model, Module):
        raise click.BadParameter(
            f"'{place}' returned {type(model).__name__}, not a torch.nn.Module", param_hint="--model"
        )
    lazy = [name for name, param in model.named_parameters() if is_lazy(param)]  # type: ignore[redundant-expr]
    if lazy:
        raise click.BadParameter(
            f"'{place}' returned a model whose parameters have no shape yet: {', '.join(lazy[:3])}; "
            "run it once in the factory before returning it",
            param_hint="--model",
        )
    return model
