"""Why: where the settings of one parameter come from, and what they are."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import click

from optreg.cli.curve import refuse_open
from optreg.cli.plan import group_plan
from optreg.combining import Given
from optreg.groups import Group, fitting, partition
from optreg.members import Member, members_of
from optreg.origins import SCALES
from optreg.spec import FOR_GOOD, FREEZE_STEPS, Spec

Row = tuple[str, list[Any], str]
"""A setting, its value at each of some updates, and where it comes from."""


def why(spec: Spec, model: Any, name: str, updates: Sequence[int]) -> list[Row]:
    """The settings of a parameter, the optimizer first.

    Args:
        spec: the spec.
        model: the model.
        name: one of the names of the parameter.
        updates: the updates of which values are told.

    Raises:
        click.BadParameter: the model has no such parameter, or it is in no group.
        SpecError: the spec leaves to the trainer what its schedules need, or its rules do not fit the model.
    """
    refuse_open(spec)
    groups = partition(model, spec.groups, spec.optimizer)
    found = _found(groups, name)
    if found is None:
        raise click.BadParameter(_absent(model, name), param_hint="--why")
    group, member, given = found
    if _found(fitting(groups), name) is None:
        reason = f"{group.component.name} does not take it, and it is frozen"
        raise click.BadParameter(f"'{name}' is in no group: {reason}", param_hint="--why")
    return list(_rows(spec, group, member, given, updates))


def _found(groups: Sequence[Group], name: str) -> tuple[Group, Member, Given] | None:
    every = ((group, *each) for group in groups for each in group.parameters)
    return next((each for each in every if name in each[1].names), None)


def _absent(model: Any, name: str) -> str:
    names = [each for member in members_of(model) for each in member.names]
    if name in names:
        return f"'{name}' is in no group: it can never have a gradient"
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
    return f"the model has no parameter '{name}'; it has, for example, {', '.join(map(repr, close))}"


def _rows(spec: Spec, group: Group, member: Member, given: Given, updates: Sequence[int]) -> Iterator[Row]:
    plan = group_plan(spec, str(group), group.component, group.settings)
    section = _rule(spec, given, "optimizer") or "the section optimizer"
    yield "optimizer", [plan.optimizer for _ in updates], section
    steps = given.values.get("freeze", 0) if member.param.requires_grad else FOR_GOOD
    if steps:
        by = _rule(spec, given, "freeze") or "the model (requires_grad=False)"
        yield "trained", ["no" if t < steps else "yes" for t in updates], by
    values = [plan.at(t) for t in updates]
    options = {key: value for key, value in group.pairs if key not in plan.values and key != FREEZE_STEPS}
    for key in (*plan.values, *options):
        origin = _rule(spec, given, key) or section
        if key == "lr":
            scales = [scale for scale in SCALES if scale in given.values]
            factors = [f"{given.values[scale]:.6g} by {_rule(spec, given, scale)}" for scale in scales]
            origin = " times ".join([origin, *factors])
        if key in plan.scheduled and plan.scheduled[key] is spec.scheduler:
            origin += ", then the section scheduler"
        yield key, [options[key] if key in options else each[key] for each in values], origin


def _rule(spec: Spec, given: Given, key: str) -> str | None:
    """The rule that gave a setting, in words."""
    number = given.rules.get(key)
    return None if number is None else f"rule {number + 1} ({spec.groups[number]})"
