"""ScheduleLR: turns any pure function of the step into a torch `LRScheduler`."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from optreg.protocols import Schedule
from optreg.torch_internals import DirectScheduler


class ScheduleLR(DirectScheduler):
    """Drive every param group's learning rate by `base_lr * schedule(t)`.

    Update number t = 0, 1, 2, ... runs at `base_lr * schedule(t)`. Right after construction, t is 0 and the
    groups already hold that rate. Each `step()` adds one to t; `step(t)` sets it. The rate depends only on t,
    not on the previous rate, so resuming, repeating and jumping are exact. For the same reason it does not
    multiply with other schedulers in a `ChainedScheduler`: it sets the rate, and the last in the chain wins.

    A group's base learning rate is its `initial_lr`: the `lr` it had when the scheduler first saw it. A group
    added later is scheduled from the next `step()` on. A tensor `lr` is updated in place.

    Args:
        optimizer: the optimizer whose param groups are driven.
        schedule: the multiplier of the base learning rate as a function of the step.
        last_epoch: the number of the last update made, as torch counts; t continues one after it. The
            default, -1, starts at t = 0.

    Raises:
        KeyError: `last_epoch` is given, and a group has no `initial_lr`.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, last_epoch: int = -1) -> None:
        self.schedule = schedule
        super().__init__(optimizer, last_epoch)

    @property
    def base_lrs(self) -> list[float | Tensor]:
        """Each group's base learning rate. It is stored only in the group, as `initial_lr`."""
        return [float(group.get("initial_lr", group["lr"])) for group in self.optimizer.param_groups]

    @base_lrs.setter
    def base_lrs(self, values: Iterable[float | Tensor]) -> None:
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            group["initial_lr"] = float(value)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each group at the current step, computed by the schedule."""
        factor = self.schedule(self.last_epoch)
        return [base_lr * factor for base_lr in self.base_lrs]

    def get_last_lr(self) -> list[float | Tensor]:
        """The learning rate that each group holds; a tensor `lr` as a copy."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]

    def move_to(self, epoch: int) -> None:
        """Go to step `epoch`: set every group's learning rate to the schedule's value there."""
        self.last_epoch = epoch
        factor = self.schedule(self.last_epoch)
        for group in self.optimizer.param_groups:
            rate = group["lr"]
            if "initial_lr" not in group:
                group["initial_lr"] = float(rate)
            if isinstance(rate, Tensor):
                rate.fill_(group["initial_lr"] * factor)
            else:
                group["lr"] = float(group["initial_lr"] * factor)  # a schedule may compute with numpy

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data: the step, each group's base learning rate, the schedule's parameters."""
        return {"last_epoch": self.last_epoch, "base_lrs": self.base_lrs, "schedule": _parameters(self.schedule)}

    def load_state_dict(self, state_dict: dict[str, Any], *, keep_schedule: bool = False) -> None:
        """Resume from a checkpoint: set every group's learning rate to the schedule's value there.

        A scheduler whose turn in a `SequentialLR` has not come leaves the rates alone.

        Args:
            state_dict: what `state_dict()` returned.
            keep_schedule: keep this scheduler's schedule if the checkpoint's differs.

        Raises:
            ValueError: the checkpoint was written with a different schedule, say another `total_steps`; for a
                different number of param groups; or by another scheduler.
        """
        missing = {"last_epoch", "base_lrs", "schedule"} - state_dict.keys()
        if missing:
            raise ValueError(
                f"the checkpoint lacks {', '.join(sorted(missing))}, so a scheduler other than ScheduleLR wrote it; "
                "rebuild the scheduler with last_epoch set to the number of the last update"
            )
        theirs, ours = state_dict["schedule"], _parameters(self.schedule)
        if not keep_schedule and theirs != ours:
            raise ValueError(
                f"the checkpoint was written with the schedule {theirs}, but this scheduler runs {ours}; "
                "build it with the checkpoint's values, or load with keep_schedule=True to keep the new one"
            )
        groups = len(self.optimizer.param_groups)
        if len(state_dict["base_lrs"]) != groups:
            raise ValueError(
                f"the checkpoint schedules {len(state_dict['base_lrs'])} param groups, but this optimizer has "
                f"{groups}; give it the checkpoint's groups before loading"
            )
        self.base_lrs = state_dict["base_lrs"]
        self.last_epoch = state_dict["last_epoch"]
        if self.last_epoch >= 0:  # SequentialLR keeps schedulers at -1 until their turn
            self.move_to(self.last_epoch)


def _parameters(schedule: object) -> dict[str, Any] | None:
    """The parameters of a schedule as plain data; None for a bare function, which has none to compare."""
    if dataclasses.is_dataclass(schedule) and not isinstance(schedule, type):
        return {"name": type(schedule).__name__, **_plain(dataclasses.asdict(schedule))}
    return None


def _plain(value: Any) -> Any:
    """`value` with lists for tuples, as JSON returns it: a checkpoint may be stored as JSON."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
