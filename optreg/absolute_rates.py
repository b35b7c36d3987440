"""Absolute rates: what schedules that set rates, and not multiples of each group's rate, make of a group's own."""

import math
from collections.abc import Mapping
from typing import Any

from optreg.multipliers import last_step
from optreg.records import SchedulePlugin
from optreg.spec import Component

POINTS = 200
"""At how many steps the rates of two groups are compared."""


class _Floats:
    """The arithmetic that a reference is handed, in floats: `mpf`, `pi`, `cos`, ... as in an mpmath context."""

    mpf = float

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)


def overridden(scheduler: Component, base_lr: float, group_lr: float) -> str | None:
    """How a schedule overrides the rate that a rule gives to its group, in words; None if it does not.

    Args:
        scheduler: the schedule.
        base_lr: the learning rate of the optimizer.
        group_lr: the learning rate that the rule states.
    """
    plugin = scheduler.registration.plugin
    if not isinstance(plugin, SchedulePlugin) or not hasattr(plugin.reference, "rate") or group_lr == base_lr:
        return None
    try:
        default, own = (_rates(plugin, scheduler.settings, lr) for lr in (base_lr, group_lr))
    except Exception:  # a formula that cannot be evaluated in floats says nothing about rules
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


def _rates(plugin: SchedulePlugin, settings: Mapping[str, Any], base_lr: float) -> list[float]:
    """The learning rates at steps up to the last one that the settings name."""
    reference: Any = plugin.reference
    formula = reference(**settings)
    last = last_step(settings, plugin.horizon) or max((n for n in settings.values() if type(n) is int), default=1000)
    return [float(formula.rate(base_lr, t, _Floats())) for t in {*range(0, last, max(1, last // POINTS)), last}]
