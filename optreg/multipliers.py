"""Multipliers: the functions of the step that need no plugin, constant rates and a warm-up before another schedule."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

from optreg.conventions import CONVENTIONS, Convention
from optreg.formulas import factor
from optreg.phases import Phases, phases
from optreg.protocols import Schedule
from optreg.ranges import Steps
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.spec import Component, Pairs, Timeline


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
    """A linear warm-up before a schedule: `start` at t = 0, and the schedule's own value from t = W on.

    Args:
        warmup_steps: W, updates before the schedule, >= 0.
        implementation: what makes the schedule from its settings.
        pairs: the schedule's settings, as if nothing preceded it.
        end: the setting that names its last step, T >= W; None if there is none.
        start: the share of the base rate at which the warm-up begins; None for 0, or where the schedule's own begins.
        convention: a name in `CONVENTIONS`, if others count differently.

    A schedule with a warm-up of its own, the setting `warmup_steps`, keeps it; here only its line is drawn otherwise.
    """

    warmup_steps: int
    implementation: Callable[..., Schedule]
    pairs: Pairs
    end: str | None = None
    start: float | None = None
    convention: str | None = None
    _schedule: Schedule = field(init=False, repr=False, compare=False)
    _begin: int = field(init=False, repr=False, compare=False)
    _way: Convention | None = field(init=False, repr=False, compare=False)
    _low: float = field(init=False, repr=False, compare=False)
    _high: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        way = CONVENTIONS[self.convention] if self.convention else None
        settings, begin = dict(self.pairs), -self.warmup_steps
        if way and way.covers:
            settings, begin = {**settings, **({"warmup_steps": 0} if self._has_its_own else {})}, 0
        elif self._has_its_own:
            begin = 0
        else:
            settings, skipped = shortened(settings, self.end, self.warmup_steps)
            begin += skipped
        schedule = self.implementation(**settings)
        low, high = _own_line(schedule, settings, self.end) if settings.get("warmup_steps") else (0.0, 1.0)
        object.__setattr__(self, "_schedule", schedule)
        object.__setattr__(self, "_begin", begin)
        object.__setattr__(self, "_way", way)
        object.__setattr__(self, "_low", low if self.start is None else self.start)
        object.__setattr__(self, "_high", high)

    @property
    def _has_its_own(self) -> bool:
        return "warmup_steps" in dict(self.pairs)

    @property
    def parameters(self) -> dict[str, Any]:
        """The name of the schedule and its settings, with the warm-up, as a spec states them."""
        start = {} if self.start is None else {"warmup_from": self.start}
        convention = {"convention": self.convention} if self.convention else {}
        own = {"name": type(self._schedule).__name__, "warmup_steps": self.warmup_steps}
        return {**own, **start, **convention, **dict(self.pairs)}

    def replaced(self, **settings: Any) -> "WarmUp":
        """The same with other settings, as a spec states them."""
        ways = {"warmup_from": "start", "convention": "convention"}
        changed = {ways[key]: settings.pop(key) for key in ways if key in settings}
        warmup_steps = settings.get("warmup_steps", self.warmup_steps)
        own = {key: value for key, value in settings.items() if key != "warmup_steps" or self._has_its_own}
        return replace(self, warmup_steps=warmup_steps, pairs=tuple({**dict(self.pairs), **own}.items()), **changed)

    def __call__(self, step: int) -> float:
        """The line, then the schedule."""
        W, way = self.warmup_steps, self._way
        if way:
            step += way.early
        if step >= W:
            return self._schedule(step + self._begin)
        height = way.rising(step, W) if way else step / W
        return self._low + (self._high - self._low) * height


def _own_line(schedule: Schedule, settings: Mapping[str, Any], end: str | None) -> tuple[float, float]:
    """Where the line of a schedule's own warm-up begins, and where it leads."""
    W, low = settings["warmup_steps"], schedule(0)
    if last_step(settings, end) != W:
        return low, schedule(W)
    return low, low + (schedule(W - 1) - low) * W / (W - 1) if W > 1 else 1.0  # at W it has ended already


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
    assert isinstance(plugin, SchedulePlugin)
    own, convention, begins = component.settings, component.convention, component.warmup_from
    warmup_steps = component.warmup_steps
    if warmup_steps is None and (convention or begins):
        warmup_steps = own.get("warmup_steps")
    if not (warmup_steps or convention):
        return implementation(**own)
    start = None if begins is None or (plugin.takes_warmup and begins.value == 0) else begins.value
    return WarmUp(warmup_steps or 0, implementation, component.pairs, plugin.horizon, start, convention)


def rises_in_a_line(plugin: SchedulePlugin, settings: Mapping[str, Any]) -> bool:
    """Whether a schedule's own warm-up is a line, by its formula, as far as that is known."""
    W = settings.get("warmup_steps") or 0
    n = max(W - 1, 0)
    first, middle, last = (factor(plugin, settings, t) for t in (0, n // 2, n))
    if first is None or middle is None or last is None or n < 2:
        return True
    return math.isclose(middle, first + (last - first) * (n // 2) / n, rel_tol=1e-9, abs_tol=1e-12)


def curve(timeline: Timeline) -> Phases:
    """The function of the step of a timeline that leaves nothing open.

    Raises:
        PluginError: a schedule cannot be imported, or cannot go from one level to another.
    """
    return phases(timeline, lambda component: multiplier(component.registration.implementation(), component))


def parameters(schedule: object) -> dict[str, Any] | None:
    """The parameters of a schedule as plain data; None for a bare function, which has none to compare."""
    if isinstance(schedule, WarmUp | Phases):
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


def no_drives(name: str, keys: Sequence[str]) -> str:
    """Why single hyperparameters cannot follow schedules beside a scheduler of torch, in words."""
    return (
        f"{name} is an LRScheduler, which sets the rates alone, but {', '.join(keys)} of the optimizer "
        f"{'is' if len(keys) == 1 else 'are'} to follow a schedule; choose a schedule that is a function of the step"
    )
