"""ScheduleLR: turns any pure function of the step into a torch `LRScheduler`."""

import dataclasses
import math
import operator
import weakref
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from optreg.multipliers import WarmUp
from optreg.pace import AGAIN, Pace
from optreg.protocols import Schedule
from optreg.torch_internals import DirectScheduler, has_stepped

LAST_STEP = 2**53
"""The last step: up to here every step is exact in the float64 in which schedules compute."""


class ScheduleLR(DirectScheduler):
    """Drive every param group's learning rate by `base_lr * schedule(t)`.

    Update number t = 0, 1, 2, ... runs at `base_lr * schedule(t)`. Right after construction, t is 0 and the
    groups already hold that rate. Each `step()` adds one to t; `step(t)` sets it. The rate depends only on t,
    not on the previous rate, so resuming, repeating and jumping are exact. For the same reason it does not
    multiply with other schedulers in a `ChainedScheduler`: it sets the rate, and the last in the chain wins.

    A group's base learning rate is its `initial_lr`: the `lr` it had when the scheduler first saw it. A group
    added later is scheduled from its first update on. A tensor `lr` is updated in place.

    Steps are integers from 0 to 2^53, numpy's among them. Everything else is refused: a float even if its value is a
    whole number, a boolean, a tensor. If the steps and the updates are out of proportion, a `StepWarning` says so once;
    `optreg.pace` has the numbers.

    Args:
        optimizer: the optimizer whose param groups are driven.
        schedule: the multiplier of the base learning rate as a function of the step.
        last_epoch: the number of the last update made, as torch counts; t continues one after it. The
            default, -1, starts at t = 0.

    Raises:
        KeyError: `last_epoch` is given, and a group has no `initial_lr`.
        TypeError: `last_epoch`, or later the step, is not an integer.
        ValueError: it is negative or too large.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, last_epoch: int = -1) -> None:
        self.schedule = schedule
        last_epoch = last_epoch if type(last_epoch) is int and last_epoch == -1 else _step_number(last_epoch)
        self._pace = Pace(last_epoch + 1)
        super().__init__(optimizer, last_epoch)
        self._watch()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pace = Pace(max(self.last_epoch, 0))
        self._watch()  # copies of an optimizer have no hooks

    def _watch(self) -> None:
        """See every update of the optimizer before it is made, for as long as this scheduler lives."""
        scheduler = weakref.ref(self)

        def before_update(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            watching = scheduler()
            if watching is not None:
                watching._before_update()

        try:
            self.optimizer.register_step_pre_hook(before_update)
        except AttributeError:  # a wrapper that is an Optimizer, but was not initialised as one
            self._pace.stop()

    def _before_update(self) -> None:
        """Schedule groups that were added since the last step, and count the update.

        A scheduler in a SequentialLR is at step -1 until its turn comes.
        """
        groups = self.optimizer.param_groups
        if "initial_lr" not in groups[-1] and self.last_epoch >= 0 and self._holds():
            self._set_rates([group for group in groups if "initial_lr" not in group])
        pace = self._pace
        if torch.compiler.is_compiling():  # a traced step that counts would be compiled anew for every count
            pace.stop()
        elif self.last_epoch >= 0 and pace.count() and self._is_behind():
            pace.tell_too_few(self.last_epoch)

    def _is_behind(self) -> bool:
        """Whether far too few steps were made, and the update that comes runs at another rate for it."""
        pace, step = self._pace, self.last_epoch
        return pace.too_few(step) and self._holds() and self._differs(step, pace.expected - 1)

    def _holds(self) -> bool:
        """Whether the groups hold what this scheduler has set, and not another."""
        group, expected = self.optimizer.param_groups[0], self.get_lr()[0]
        return math.isclose(float(group["lr"]), float(expected), rel_tol=1e-6)  # a tensor may be of float32

    def _differs(self, step: int, other: int) -> bool:
        """Whether the schedule has different values at two steps, of which the other may lie beyond its end."""
        try:
            return self.schedule(step) != self.schedule(other)
        except Exception:  # a schedule may be undefined there
            return True

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
        if not (type(epoch) is int and 0 <= epoch <= LAST_STEP):
            epoch = _step_number(epoch)
        pace = self._pace
        if epoch != self.last_epoch + 1:
            pace.restart(epoch)
        self.last_epoch = epoch
        self._set_rates(self.optimizer.param_groups)
        if epoch > pace.most:
            pace.most = epoch + AGAIN
            unseen = not pace.updates and has_stepped(self.optimizer)  # a wrapper that runs no hooks
            if not unseen and self._differs(epoch, pace.expected):
                pace.tell_too_many(epoch)

    def _set_rates(self, groups: Iterable[dict[str, Any]]) -> None:
        """Set the learning rates of groups to the schedule's value at the current step."""
        factor = self.schedule(self.last_epoch)
        for group in groups:
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


def _step_number(step: object) -> int:
    """The step as a Python integer.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative, or too large to be exact.
    """
    if isinstance(step, bool) or not isinstance(step, Integral):
        raise TypeError(f"a step is a non-negative integer, not {step!r} ({type(step).__name__})")
    number = operator.index(step)
    if number > LAST_STEP:
        raise ValueError(f"a step is at most 2^53, to be exact in float64, not a number of {number.bit_length()} bits")
    if number < 0:
        raise ValueError(f"a step is a non-negative integer, not {number}")
    return number


def _parameters(schedule: object) -> dict[str, Any] | None:
    """The parameters of a schedule as plain data; None for a bare function, which has none to compare."""
    if isinstance(schedule, WarmUp):
        return {key: _plain(value) for key, value in schedule.parameters.items()}
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
