"""The learning rate of a spec as a function of the step, without a model."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optreg.errors import OptregError, plugin_code, raised
from optreg.spec import Spec

DEFAULT_HORIZON = 1000
"""The number of updates to show if the schedule's settings name none."""


class StepError(OptregError):
    """A schedule has no learning rate at a step, because it raises there."""


@dataclass(frozen=True)
class Curve:
    """A spec's learning rate over the updates."""

    spec: Spec
    rate: Callable[[int], Any]

    @property
    def end(self) -> int:
        """The number of updates to show: `total_steps`, or three times the longest phase, or a default."""
        named = self._named()
        total = max(named.get("total_steps", []), default=0)
        return total or 3 * max((step for steps in named.values() for step in steps), default=0) or DEFAULT_HORIZON

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

    def key_steps(self) -> dict[int, str]:
        """The start, every step that a hyperparameter names, the middle, the end and a step after it, with names."""
        named: dict[int, list[str]] = {0: ["start"], 1: ["second update"]}
        for name, steps in self._named().items():
            for step in steps:
                named.setdefault(step, []).append(name)
        end = self.end
        for step, name in ((end // 2, "middle"), (end, "end"), (end + end // 10 + 1, "after the end")):
            named.setdefault(step, []).append(name)
        return {step: ", ".join(named[step]) for step in sorted(named)}

    def _named(self) -> dict[str, list[int]]:
        """The steps that hyperparameters name: `warmup_steps`, or each of a tuple of them."""
        found = {}
        for name, value in self.spec.scheduler.settings.items():
            if name.endswith("_steps"):
                values = value if isinstance(value, tuple) else (value,)
                found[name] = [item for item in values if type(item) is int and item >= 0]
        return found


def curve(spec: Spec) -> Curve:
    """The learning rate of the spec's default group; for pure schedules, without torch.

    Raises:
        PluginError: the schedule cannot be built.
    """
    base_lr = _base_lr(spec)
    implementation = spec.scheduler.registration.implementation()
    scale = 1.0 if base_lr is None else base_lr
    entry = spec.scheduler.entry
    with plugin_code(f"{entry.kind} '{entry.name}' of {entry.origin} cannot be built"):
        if _is_torch_scheduler(implementation):
            return Curve(spec, _stepped(implementation, scale, spec.scheduler.settings))
        schedule = implementation(**spec.scheduler.settings)
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
