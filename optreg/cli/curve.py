"""Curves: the values of a spec's hyperparameters over the updates, without a model."""

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from optreg.errors import OptregError, PluginError, Position, Problem, SpecError, plugin_code, raised
from optreg.hyperparameters import counts
from optreg.multipliers import curve as curve_of_timeline
from optreg.multipliers import multiplier, no_warmup
from optreg.records import SchedulePlugin
from optreg.spec import Component, Spec, Timeline

REST = "(all others)"
"""The group of the parameters that no rule matches."""

DEFAULT_HORIZON = 1000
"""The number of updates to show if the schedule's settings name none."""


POINTS = 1000
"""How many points of a curve are looked at, besides its key steps."""


class StepError(OptregError):
    """A schedule has no value at a step, because it raises there."""


@dataclass(frozen=True)
class Curve:
    """One hyperparameter of a spec over the updates, as a rule the learning rate.

    Args:
        spec: the spec.
        rate: its value at an update.
        follows: the schedule that it follows; None if it is constant.
        unit: what the values are.
    """

    spec: Spec
    rate: Callable[[int], Any]
    follows: Component | Timeline | None
    unit: str

    @property
    def end(self) -> int:
        """The number of updates to show: the last step, or three times the longest phase, or a default."""
        if isinstance(self.follows, Timeline):
            ends = [phase.end for phase in self.follows.phases if phase.end is not None]
            last = self.follows.phases[-1]
            beyond = 0 if last.end is not None else 2 * last.begin or DEFAULT_HORIZON
            return max(self._whole or 0, *ends, beyond, 1)
        named = self._named()
        total = max(named.get(self._horizon) or named.get("total_steps") or [], default=0)
        longest = max((step for steps in named.values() for step in steps), default=0)
        return total or self._whole or 3 * longest or DEFAULT_HORIZON

    @property
    def _whole(self) -> int | None:
        """The length of the run, if the spec states it."""
        clock = self.spec.clock
        return None if clock.open or clock.horizon is None else clock.end

    @property
    def origin(self) -> str:
        """Where the schedule comes from, in words."""
        if self.follows is None:
            return "a spec without a schedule"
        part = self.follows.components[0] if isinstance(self.follows, Timeline) else self.follows
        return part.entry.origin

    def at(self, t: int) -> float:
        """The learning rate of update t.

        Raises:
            StepError: the schedule fails there.
        """
        try:
            return float(self.rate(t))
        except (KeyboardInterrupt, StepError):
            raise
        except BaseException as error:
            raise StepError(raised(error)) from error

    def values(self, steps: Iterable[int]) -> list[float]:
        """The learning rates at steps, up to the first step without one."""
        found: list[float] = []
        for t in steps:
            try:
                found.append(self.at(t))
            except StepError:
                break
        return found

    def sampled(self, last: int | None = None) -> tuple[list[int], list[float]]:
        """The steps to draw, by default to a little beyond the end, and the value at each, up to the first without one.

        Raises:
            PluginError: the schedule fails at once.
        """
        last = last or self.end + self.end // 20 + 1
        steps = sorted({*self.points(last), *(t for t in self.joints if t <= last)})
        try:
            self.at(0)
        except StepError as error:
            raise PluginError(f"{self.origin} fails at step 0: {error}") from error
        values = self.values(steps)
        return steps[: len(values)], values

    def points(self, last: int) -> list[int]:
        """Steps from 0 to `last` at which the curve is looked at, its key steps among them."""
        return sorted({*range(0, last + 1, max(1, last // POINTS)), *(t for t in self.key_steps() if t <= last), last})

    @property
    def joints(self) -> list[int]:
        """The updates after the first at which the curve may bend: joints of phases, and what hyperparameters name."""
        if self.follows is None:
            return []
        ends = [phase.end for phase in self.follows.phases if phase.end] if isinstance(self.follows, Timeline) else []
        return sorted({*ends, *(t for steps in self._named().values() for t in steps if t > 0)})

    def key_steps(self) -> dict[int, str]:
        """The start, every step that a hyperparameter names, the joints of phases, the middle, the end and a step after
        it, with names.

        Without a schedule, the start alone.
        """
        if self.follows is None:
            return {0: "every update"}
        if self.by_metric:
            return {0: "start; a metric says how it goes on"}
        named: dict[int, list[str]] = {0: ["start"], 1: ["second update"]}
        for name, steps in self._named().items():
            for step in steps:
                named.setdefault(step, []).append(name)
        end = self.end
        for step, name in ((end // 2, "middle"), (end, "end"), (end + end // 10 + 1, "after the end")):
            named.setdefault(step, []).append(name)
        return {step: ", ".join(named[step]) for step in sorted(named)}

    @property
    def by_metric(self) -> bool:
        """Whether a metric drives it, so that only its start is known."""
        return isinstance(self.follows, Component) and self.follows.by_metric

    @property
    def _horizon(self) -> str:
        """The hyperparameter that names the last step; empty if there is none."""
        plugin = self.follows.registration.plugin if isinstance(self.follows, Component) else None
        return (plugin.horizon if isinstance(plugin, SchedulePlugin) else None) or ""

    def _named(self) -> dict[str, list[int]]:
        """The steps that hyperparameters name: `warmup_steps`, or each of a tuple of them; or the joints of phases."""
        if isinstance(self.follows, Timeline):
            return _joints(self.follows)
        found = {}
        stated = self.follows.as_dict() if self.follows else {}
        counted = counts(self.follows.registration.plugin.reference) if self.follows else ()
        for name, value in stated.items():
            if name.endswith("_steps") or name in counted:
                values = value if isinstance(value, list) else [value]
                found[name] = [item for item in values if type(item) is int and item >= 0]
        for name in self._tail:
            last = found.get(self._horizon) or [0]
            begins = [last[0] - item for item in found.pop(name, []) if 0 < item <= last[0]]
            if begins:
                found[f"{name} begin"] = begins
        return found

    @property
    def _tail(self) -> tuple[str, ...]:
        """The settings that count updates back from the end."""
        plugin = self.follows.registration.plugin if isinstance(self.follows, Component) else None
        return plugin.traits.tail if isinstance(plugin, SchedulePlugin) else ()


def _joints(timeline: Timeline) -> dict[str, list[int]]:
    """The first update of each phase but the first, by its name."""
    found: dict[str, list[int]] = {}
    for phase in timeline.phases[1:]:
        name = phase.component.name if phase.component else "warm-up"
        found.setdefault(f"{name} begins", []).append(phase.begin)
    return found


def curve(spec: Spec, base_lr: float | None = None) -> Curve:
    """The learning rate of a group, by default of the spec's default group; for pure schedules, without torch.

    Args:
        spec: whose schedule it is.
        base_lr: the group's learning rate before the schedule.

    Raises:
        PluginError: the schedule cannot be built.
        SpecError: the spec leaves to the trainer what the schedule needs.
    """
    own = spec.optimizer.settings.get("lr")
    if base_lr is None and isinstance(own, Timeline):
        return of_timeline(spec, own, "learning rate")
    base_lr = _base_lr(spec) if base_lr is None else base_lr
    scale, unit = (1.0, "multiplier") if base_lr is None else (base_lr, "learning rate")
    schedule = factor(spec, scale)
    return Curve(spec, schedule, spec.scheduler, unit)


def of_timeline(spec: Spec, timeline: Timeline, unit: str) -> Curve:
    """The curve of a hyperparameter that follows a schedule of its own; errors as in `curve`."""
    refuse_open(spec)
    with plugin_code(f"the schedule of {unit} cannot be built"):
        return Curve(spec, curve_of_timeline(timeline), timeline, unit)


def factor(spec: Spec, base_lr: float) -> Callable[[int], float]:
    """The learning rate of a group with this base rate, under the section `scheduler`; errors as in `curve`."""
    refuse_open(spec)
    if spec.scheduler is None:
        return lambda t: base_lr
    if isinstance(spec.scheduler, Timeline):
        with plugin_code("the phases of the schedule cannot be built"):
            phases = curve_of_timeline(spec.scheduler)
        return lambda t: base_lr * phases(t)
    implementation = spec.scheduler.registration.implementation()
    entry = spec.scheduler.entry
    with plugin_code(f"{entry.kind} '{entry.name}' of {entry.origin} cannot be built"):
        if _is_torch_scheduler(implementation):
            if spec.scheduler.warmup_steps:
                raise ValueError(no_warmup(spec.scheduler.name))
            if spec.scheduler.by_metric:
                return _begun(base_lr)
            return _stepped(implementation, base_lr, spec.scheduler.settings)
        schedule = multiplier(implementation, spec.scheduler)
    return lambda t: base_lr * schedule(t)


def refuse_open(spec: Spec, file: str | None = None) -> None:
    """Raise SpecError if the spec, of a file, leaves to the trainer what its curves need."""
    if spec.open:
        where = Position(file) if file else None
        raise SpecError([Problem(where, left_open(fact)) for fact in sorted(spec.open)])


def left_open(fact: str) -> str:
    """What to do on the command line about a fact that is left to the trainer."""
    examples = {"horizon": "horizon=10_000", "batch": "'batch=4M tokens'", "epoch": "'epoch=312 steps'"}
    return f"the {fact} is left to the trainer; to see the run, add for example --set {examples[fact]}"


def _base_lr(spec: Spec) -> float | None:
    value = spec.optimizer.settings.get("lr")
    return float(value) if isinstance(value, int | float) else None


def _is_torch_scheduler(implementation: Any) -> bool:
    """Whether it is an LRScheduler; importing one has already imported torch."""
    schedulers = sys.modules.get("torch.optim.lr_scheduler")
    return bool(schedulers and isinstance(implementation, type) and issubclass(implementation, schedulers.LRScheduler))


def _begun(base_lr: float) -> Callable[[int], float]:
    """The rate that a metric will lower: known at the start alone."""

    def at(t: int) -> float:
        if t:
            raise StepError("its rate depends on a metric, and is not known before the run")
        return base_lr

    return at


def _stepped(implementation: Any, base_lr: float, settings: dict[str, Any]) -> Callable[[int], float]:
    """The rate of a torch scheduler, which has no formula: step one on its own optimizer as far as needed."""
    import torch

    # with momentum, since some schedulers set that too
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base_lr, momentum=0.9)
    scheduler = implementation(optimizer, **settings)
    rates = [float(optimizer.param_groups[0]["lr"])]

    @functools.cache
    def at(t: int) -> float:
        while len(rates) <= t:
            optimizer.step()
            scheduler.step()
            rates.append(float(optimizer.param_groups[0]["lr"]))
        return rates[t]

    return at
