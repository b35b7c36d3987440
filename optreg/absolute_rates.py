"""Absolute rates: what schedules that set values, and not multiples of each group's rate, make of a group's own."""

from collections.abc import Iterator, Mapping
from typing import Any

from optreg.errors import PluginError, plugin_code
from optreg.formulas import FLOATS
from optreg.multipliers import last_step
from optreg.records import SchedulePlugin
from optreg.spec import Component

POINTS = 200
"""At how many steps the rates of two groups are compared."""


def overridden(scheduler: Component, settings: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of a rule that a schedule overrides: each key, and how it is overridden, in words.

    Args:
        scheduler: the schedule.
        settings: the settings of the optimizer.
        own: what the rule states.
    """
    plugin = scheduler.registration.plugin
    if not isinstance(plugin, SchedulePlugin):
        return
    if "lr" in own and (told := _overridden_rate(scheduler, plugin, settings.get("lr"), own["lr"])):
        yield "lr", told
    for driven in plugin.traits.drives:
        key = driven if driven in own or driven != "momentum" else "betas"  # torch's cycles drive the first of them
        theirs, ours = (_driven_part(key, values.get(key)) for values in (settings, own))
        if ours not in (None, theirs) and _drives(plugin, scheduler.settings, driven):
            which = "first of the betas" if key == "betas" else key
            told = (
                f"the {which} of this rule, {ours}, has no effect: {scheduler.name} sets it in every group; write the "
                f"optimizer's value, {theirs}, or choose a schedule that sets the rate alone"
            )
            yield key, told


def _overridden_rate(scheduler: Component, plugin: SchedulePlugin, base_lr: Any, group_lr: Any) -> str | None:
    """How a schedule overrides the rate of a rule, in words; None if it does not."""
    if not hasattr(plugin.reference, "rate") or base_lr in (None, group_lr):
        return None
    try:
        with plugin_code(f"the formula of {scheduler.name} fails"):
            default, own = (_rates(plugin, scheduler.settings, lr) for lr in (base_lr, group_lr))
    except PluginError:  # a formula that cannot be evaluated in floats says nothing about rules
        return None
    name, peak = scheduler.name, max(own)
    if own == default:
        return (
            f"the lr of this rule has no effect: {name} gives every group the same rates, up to {peak:g}; leave lr "
            "out, or choose a schedule that multiplies the rate of each group"
        )
    if peak > group_lr and peak * base_lr > max(default) * group_lr * (1 + 1e-9):
        return (
            f"{name} would raise the rate of this rule's group from {group_lr:g} to {peak:g}, since it sets rates, and "
            "not multiples of each group's; lower what it sets, or choose a schedule that multiplies the rate of each "
            "group"
        )
    return None


def _drives(plugin: SchedulePlugin, settings: Mapping[str, Any], key: str) -> bool:
    """Whether a schedule with these settings sets a key that it may drive; True if its formula does not say."""
    reference: Any = plugin.reference
    try:
        with plugin_code(f"the formula of '{key}' fails"):
            return getattr(reference(**settings), key)(0, FLOATS) is not None
    except PluginError:
        return True


def _driven_part(key: str, value: Any) -> Any:
    return value[0] if key == "betas" and value else value


def _rates(plugin: SchedulePlugin, settings: Mapping[str, Any], base_lr: float) -> list[float]:
    """The learning rates at steps up to the last one that the settings name."""
    reference: Any = plugin.reference
    formula = reference(**settings)
    last = last_step(settings, plugin.horizon) or max((n for n in settings.values() if type(n) is int), default=1000)
    return [float(formula.rate(base_lr, t, FLOATS)) for t in {*range(0, last, max(1, last // POINTS)), last}]
