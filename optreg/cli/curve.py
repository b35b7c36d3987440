"""The learning rate of a spec as a function of the step, without a model."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from optreg.spec import Spec


def learning_rate(spec: Spec) -> Callable[[int], float]:
    """The default group's learning rate at step t; pure schedules need no torch for it."""
    base_lr = spec.optimizer.settings["lr"]
    implementation = spec.scheduler.registration.implementation()
    if _is_torch_scheduler(implementation):
        return _stepped(implementation, base_lr, spec.scheduler.settings)
    schedule = implementation(**spec.scheduler.settings)
    return lambda t: base_lr * schedule(t)


def horizon(spec: Spec, default: int = 1000) -> int:
    """How many updates the schedule spans: its `total_steps`, or a multiple of its warm-up, or the default."""
    settings = spec.scheduler.settings
    return int(settings.get("total_steps") or 3 * settings.get("warmup_steps", 0) or default)


def telling_steps(spec: Spec) -> list[int]:
    """The start, every step that a hyperparameter names, the middle, the end, and after it."""
    end = horizon(spec)
    named = {value for name, value in spec.scheduler.settings.items() if name.endswith("_steps")}
    return sorted({0, 1, end // 2, end, end + end // 10 + 1, *named})


def _is_torch_scheduler(implementation: Any) -> bool:
    """Whether it is an LRScheduler: importing one has imported torch."""
    schedulers = sys.modules.get("torch.optim.lr_scheduler")
    return bool(schedulers and isinstance(implementation, type) and issubclass(implementation, schedulers.LRScheduler))


def _stepped(implementation: Any, base_lr: float, settings: dict[str, Any]) -> Callable[[int], float]:
    """A ready scheduler has no formula: step one on an optimizer of its own, as far as is asked."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base_lr)
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
