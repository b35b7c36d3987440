"""Multipliers: the functions of the step that need no plugin, constant rates and a warm-up before another schedule."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

from optreg.protocols import Schedule
from optreg.ranges import Steps
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.spec import Component, Pairs


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
        implementation: what makes the schedule from its settings.
        pairs: the schedule's settings, as if nothing preceded it.
        end: the setting that names its last step, T >= W; None if there is none.
    """

    warmup_steps: int
    implementation: Callable[..., Schedule]
    pairs: Pairs
    end: str | None = None
    _schedule: Schedule = field(init=False, repr=False, compare=False)
    _begin: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rest, begin = shortened(dict(self.pairs), self.end, self.warmup_steps)
        object.__setattr__(self, "_schedule", self.implementation(**rest))
        object.__setattr__(self, "_begin", begin)

    @property
    def parameters(self) -> dict[str, Any]:
        """The name of the schedule and its settings, with the warm-up, as a spec states them."""
        return {"name": type(self._schedule).__name__, "warmup_steps": self.warmup_steps, **dict(self.pairs)}

    def replaced(self, **settings: Any) -> "WarmUp":
        """The same with other settings, as a spec states them."""
        warmup_steps = settings.pop("warmup_steps", self.warmup_steps)
        return replace(self, warmup_steps=warmup_steps, pairs=tuple({**dict(self.pairs), **settings}.items()))

    def __call__(self, step: int) -> float:
        """The line, then the schedule."""
        W = self.warmup_steps
        return step / W if step < W else self._schedule(step - W + self._begin)


def parts(plugin: OptimizerPlugin | SchedulePlugin) -> list[type]:
    """The dataclasses whose fields are what a spec may set of a component."""
    if isinstance(plugin, OptimizerPlugin):
        return [plugin.reference, plugin.options]
    return [plugin.reference, *([WarmUpSettings] if plugin.takes_warmup else [])]


def shortened(settings: dict[str, Any], end: str | None, warmup_steps: int) -> tuple[dict[str, Any], int]:
    """The settings of a schedule that follows a warm-up, and the step at which it begins.

    Its last step, the setting `end` if it has one, moves to T - W. If no step is left, it is a schedule of one step,
    begun at its end.
    """
    last = last_step(settings, end)
    if last is None:
        return settings, 0
    left = last - warmup_steps
    return {**settings, str(end): max(left, 1)}, 0 if left else 1


def last_step(settings: Mapping[str, Any], end: str | None) -> int | None:
    """The value of the setting that names a schedule's last step; None if there is none."""
    last = settings.get(end) if end else None
    return last if isinstance(last, int) else None


def multiplier(implementation: Callable[..., Schedule], component: Component) -> Schedule:
    """A component's pure schedule, after its warm-up if there is one."""
    plugin = component.registration.plugin
    if not component.warmup_steps or not isinstance(plugin, SchedulePlugin):
        return implementation(**component.settings)
    return WarmUp(component.warmup_steps, implementation, component.pairs, plugin.horizon)


def parameters(schedule: object) -> dict[str, Any] | None:
    """The parameters of a schedule as plain data; None for a bare function, which has none to compare."""
    if isinstance(schedule, WarmUp):
        return {key: _plain(value) for key, value in schedule.parameters.items()}
    if is_dataclass(schedule) and not isinstance(schedule, type):
        return {"name": type(schedule).__name__, **_plain(asdict(schedule))}
    return None


def has_setting(schedule: object, name: str) -> bool:
    """Whether a schedule has a parameter of this name."""
    return name in (parameters(schedule) or {})


def _plain(value: Any) -> Any:
    """`value` with lists for tuples, as JSON returns it: a checkpoint may be stored as JSON."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def no_warmup(name: str) -> str:
    """Why a schedule cannot follow a warm-up, in words."""
    return (
        f"{name} takes no warmup_steps: it is an LRScheduler, and only a function of the step can begin later; choose "
        "another schedule, or leave warmup_steps out"
    )
