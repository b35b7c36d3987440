"""Multipliers: the functions of the step that need no plugin, constant rates and a warm-up before another schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optreg.protocols import Schedule
from optreg.ranges import Steps
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.spec import Component


@dataclass(frozen=True)
class ConstantRate:
    """1 at every step: what runs if a spec names no schedule."""

    def __call__(self, step: int) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class WarmUpSettings:
    """A linear warm-up may precede the schedule, which then runs over the remaining steps; W = warmup_steps:

        0 <= t < W    t / W
        t >= W        f(t - W), where f is the schedule over T - W steps if T is its last one

    Every other number of steps in the schedule's settings is counted from W on. With W = T, the schedule's end
    follows the warm-up.
    """

    warmup_steps: Steps = 0


@dataclass(frozen=True)
class WarmUp:
    """A linear warm-up before a schedule: 0 at t = 0, and the schedule's own value from t = W on.

    Args:
        warmup_steps: W, updates before the schedule, >= 1.
        schedule: what follows.
        begin: the step of the schedule at t = W.
    """

    warmup_steps: int
    schedule: Schedule
    begin: int = 0

    def __call__(self, step: int) -> float:
        """The line, then the schedule."""
        W = self.warmup_steps
        return step / W if step < W else self.schedule(step - W + self.begin)


def parts(plugin: OptimizerPlugin | SchedulePlugin) -> list[type]:
    """The dataclasses whose fields are what a spec may set of a component."""
    if isinstance(plugin, OptimizerPlugin):
        return [plugin.reference, plugin.options]
    return [plugin.reference, *([WarmUpSettings] if plugin.takes_warmup else [])]


def shortened(plugin: SchedulePlugin, settings: dict[str, Any], warmup_steps: int) -> tuple[dict[str, Any], int]:
    """The settings of a schedule that follows a warm-up, and the step at which it begins.

    Its last step, if it has one, moves to T - W. If no step is left, it is a schedule of one step, begun at its end.
    """
    end = plugin.horizon
    if end is None or type(settings.get(end)) is not int:
        return settings, 0
    left = settings[end] - warmup_steps
    return {**settings, end: max(left, 1)}, 0 if left else 1


def multiplier(implementation: Callable[..., Schedule], component: Component) -> Schedule:
    """A component's pure schedule, after its warm-up if there is one."""
    plugin, settings, warmup_steps = component.registration.plugin, component.settings, component.warmup_steps
    if not warmup_steps or not isinstance(plugin, SchedulePlugin):
        return implementation(**settings)
    rest, begin = shortened(plugin, settings, warmup_steps)
    return WarmUp(warmup_steps, implementation(**rest), begin)


def no_warmup(name: str) -> str:
    """Why a schedule cannot follow a warm-up, in words."""
    return (
        f"{name} takes no warmup_steps: it is a scheduler with steps of its own, not a function of the step that could "
        "begin later; choose a schedule that is one"
    )
