"""The learning rate of a spec as a function of the step, without a model."""

import functools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from optreg.errors import OptregError, plugin_code, raised
from optreg.multipliers import multiplier, no_warmup
from optreg.records import SchedulePlugin
from optreg.spec import Spec

DEFAULT_HORIZON = 1000
"""The number of updates to show if the schedule's settings name none."""


POINTS = 1000
"""How many points of a curve are looked at, besides its key steps."""


class StepError(OptregError):
    """A schedule has no learning rate at a step, because it raises there."""


@dataclass(frozen=True)
class Curve:
    """A spec's learning rate over the updates."""

    spec: Spec
    rate: Callable[[int], Any]

    @property
    def end(self) -> int:
        """The number of updates to show: the last step, or three times the longest phase, or a default."""
        named = self._named()
        total = max(named.get(self._horizon) or named.get("total_steps") or [], default=0)
        return total or 3 * max((step for steps in named.values() for step in steps), default=0) or DEFAULT_HORIZON

    @property
    def origin(self) -> str:
        """Where the schedule comes from, in words."""
        return self.spec.scheduler.entry.origin if self.spec.scheduler else "a spec without a schedule"

    @property
    def unit(self) -> str:
        """What the values are: learning rates, or multipliers if the optimizer has no setting `lr`."""
        return "learning rate" if _base_lr(self.spec) is not None else "multiplier"

    def at(self, t: int) -> float:
        """The learning rate of update t.

        Raises:
            StepError: the schedule fails there.
        """
        try:
            return float(self.rate(t))
        except KeyboardInterrupt:
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

    def points(self, last: int) -> list[int]:
        """Steps from 0 to `last` at which the curve is looked at, its key steps among them."""
        return sorted({*range(0, last + 1, max(1, last // POINTS)), *(t for t in self.key_steps() if t <= last), last})

    def key_steps(self) -> dict[int, str]:
        """The start, every step that a hyperparameter names, the middle, the end and a step after it, with names.

        Without a schedule, the start alone.
        """
        if self.spec.scheduler is None:
            return {0: "every update"}
        named: dict[int, list[str]] = {0: ["start"], 1: ["second update"]}
        for name, steps in self._named().items():
            for step in steps:
                named.setdefault(step, []).append(name)
        end = self.end
        for step, name in ((end // 2, "middle"), (end, "end"), (end + end // 10 + 1, "after the end")):
            named.setdefault(step, []).append(name)
        return {step: ", ".join(named[step]) for step in sorted(named)}

    @property
    def _horizon(self) -> str:
        """The hyperparameter that names the last step; empty if there is none."""
        plugin = self.spec.scheduler.registration.plugin if self.spec.scheduler else None
        return (plugin.horizon if isinstance(plugin, SchedulePlugin) else None) or ""

    def _named(self) -> dict[str, list[int]]:
        """The steps that hyperparameters name: `warmup_steps`, or each of a tuple of them."""
        found = {}
        stated = self.spec.scheduler.as_dict() if self.spec.scheduler else {}
        for name, value in stated.items():
            if name.endswith("_steps") or name == self._horizon:
                values = value if isinstance(value, list) else [value]
                found[name] = [item for item in values if type(item) is int and item >= 0]
        return found


def curve(spec: Spec, base_lr: float | None = None) -> Curve:
    """The learning rate of a group, by default of the spec's default group; for pure schedules, without torch.

    Args:
        spec: whose schedule it is.
        base_lr: the group's learning rate before the schedule.

    Raises:
        PluginError: the schedule cannot be built.
    """
    base_lr = _base_lr(spec) if base_lr is None else base_lr
    scale = 1.0 if base_lr is None else base_lr
    if spec.scheduler is None:
        return Curve(spec, lambda t: scale)
    implementation = spec.scheduler.registration.implementation()
    entry = spec.scheduler.entry
    with plugin_code(f"{entry.kind} '{entry.name}' of {entry.origin} cannot be built"):
        if _is_torch_scheduler(implementation):
            if spec.scheduler.warmup_steps:
                raise ValueError(no_warmup(spec.scheduler.name))
            return Curve(spec, _stepped(implementation, scale, spec.scheduler.settings))
        schedule = multiplier(implementation, spec.scheduler)
    return Curve(spec, lambda t: scale * schedule(t))


def _base_lr(spec: Spec) -> float | None:
    value = spec.optimizer.settings.get("lr")
    return float(value) if isinstance(value, int | float) else None


def _is_torch_scheduler(implementation: Any) -> bool:
    """Whether it is an LRScheduler; importing one has already imported torch."""
    schedulers = sys.modules.get("torch.optim.lr_scheduler")
    return bool(schedulers and isinstance(implementation, type) and issubclass(implementation, schedulers.LRScheduler))


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
