"""ScheduleLR: turns any pure function of the step into a torch `LRScheduler`."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from optreg.course import Course, changed
from optreg.differences import Difference, refusal
from optreg.drives import Drive
from optreg.errors import PluginError, plugin_code, raised
from optreg.freezing import is_frozen, separate_rate
from optreg.multipliers import has_setting, parameters
from optreg.on_resume import Schedule as OnChange
from optreg.protocols import Schedule
from optreg.resuming import Resumption
from optreg.spec import FREEZE_STEPS
from optreg.torch_internals import DirectScheduler
from optreg.watching import Watch, Watched

LAST_STEP = 2**53
"""The last step: up to here every step is exact in the float64 in which schedules compute."""


class ScheduleLR(Watched, DirectScheduler):
    """Drive every param group's learning rate by `base_lr * schedule(t)`.

    Update number t = 0, 1, 2, ... runs at `base_lr * schedule(t)`. Right after construction, t is 0 and the
    groups already hold that rate. Each `step()` adds one to t; `step(t)` sets it. The rate depends only on t,
    not on the previous rate, so resuming, repeating and jumping are exact. For the same reason it does not
    multiply with other schedulers in a `ChainedScheduler`: it sets the rate, and the last in the chain wins.

    Other hyperparameters may follow functions of the same step (`drives`); where one of them is a group's `lr`, the
    schedule leaves that rate alone. A group with `freeze_steps: N` has the rate 0 at the steps before N.

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
        on_resume: what becomes of a checkpoint of another schedule, for instance with another `total_steps`: the field
            `schedule` of `optreg.OnResume`.
        end: the schedule's parameter that names its last step, which `"stretch"` moves; None if there is none.
        drives: for each param group, in order, what follows a schedule of its own.

    Raises:
        KeyError: `last_epoch` is given, and a group has no `initial_lr`.
        TypeError: `last_epoch`, or later the step, is not an integer.
        ValueError: it is negative or too large; or `on_resume` is `"stretch"`, and the schedule has no end.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        last_epoch: int = -1,
        *,
        on_resume: OnChange = "refuse",
        end: str | None = "total_steps",
        drives: Sequence[Sequence[Drive]] = (),
    ) -> None:
        if on_resume == "stretch" and not (end and has_setting(schedule, end)):
            raise ValueError(f"{type(schedule).__name__} has no end that could be moved; choose follow or branch")
        self.schedule = schedule
        self.course = Course()
        self.on_resume = on_resume
        self.end = end
        self.drives = tuple(map(tuple, drives))
        self.settled = False
        last_epoch = last_epoch if type(last_epoch) is int and last_epoch == -1 else _step_number(last_epoch)
        if last_epoch == -1:
            Watch.of(optimizer).before_scheduler(optimizer)
        super().__init__(optimizer, last_epoch)
        self.watch()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_optreg_pace"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.watch()

    def before_update(self) -> None:
        """Schedule groups that were added since the last step, and count the update."""
        groups = self.optimizer.param_groups
        if "initial_lr" not in groups[-1] and self.last_epoch >= 0 and self.holds():
            self._set_rates([group for group in groups if "initial_lr" not in group])
        super().before_update()

    def own_rates(self) -> list[float | Tensor]:
        """The rates at the current step."""
        return self.get_lr()

    def differs(self, other: int) -> bool:
        """Whether the schedule has another value now than at step `other`, which may lie beyond its end."""
        if any(is_frozen(group, self.last_epoch) != is_frozen(group, other) for group in self.optimizer.param_groups):
            return True
        curves = [self.schedule, *(drive.curve for group in self.drives for drive in group)]
        try:
            return any(self._value(curve, self.last_epoch) != self._value(curve, other) for curve in curves)
        except Exception:  # a schedule may be undefined there
            return True

    def _factor(self, step: int) -> float:
        """The multiplier of an update."""
        return self._value(self.schedule, step)

    def _value(self, curve: Schedule, step: int) -> float:
        """The value of a curve at an update, on the course that the schedule has taken."""
        try:
            return self.course.factor(curve, step)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            kind = type(curve)
            what = f"the schedule {kind.__module__}.{kind.__qualname__} has no value at step {step}: {raised(error)}"
            raise PluginError(what) from error

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
        factor = self._factor(self.last_epoch)
        rates: list[float | Tensor] = [base_lr * factor for base_lr in self.base_lrs]
        for index, drives in enumerate(self.drives):
            for drive in drives:
                if drive.key == "lr":
                    rates[index] = self._value(drive.curve, self.last_epoch)
        frozen = [is_frozen(group, self.last_epoch) for group in self.optimizer.param_groups]
        return [0.0 if still else rate for still, rate in zip(frozen, rates, strict=True)]

    def get_last_lr(self) -> list[float | Tensor]:
        """The learning rate that each group holds; a tensor `lr` as a copy."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]

    def move_to(self, epoch: int) -> None:
        """Go to step `epoch`: set every group's learning rate to the schedule's value there."""
        if not (type(epoch) is int and 0 <= epoch <= LAST_STEP):
            epoch = _step_number(epoch)
        self.last_epoch = epoch
        self._set_rates(self.optimizer.param_groups)
        self._set_driven()
        if self._optreg_pace.move(epoch):
            self.judge_steps()

    def _set_rates(self, groups: Iterable[dict[str, Any]]) -> None:
        """Set the learning rates of groups to the schedule's value at the current step."""
        schedule = self._factor(self.last_epoch)
        for group in groups:
            if isinstance(group["lr"], Tensor):
                separate_rate(group, self.optimizer.param_groups)
            rate, factor = group["lr"], 0.0 if is_frozen(group, self.last_epoch) else schedule
            if "initial_lr" not in group:
                group["initial_lr"] = float(rate)
            if isinstance(rate, Tensor):
                rate.fill_(group["initial_lr"] * factor)
            else:
                group["lr"] = float(group["initial_lr"] * factor)  # a schedule may compute with numpy

    def _set_driven(self) -> None:
        """Set the hyperparameters that follow schedules of their own to their values at the current step."""
        for group, drives in zip(self.optimizer.param_groups, self.drives, strict=False):  # others were added later
            for drive in drives:
                is_off = drive.key == "lr" and is_frozen(group, self.last_epoch)
                value = 0.0 if is_off else self._value(drive.curve, self.last_epoch)
                if isinstance(group[drive.key], Tensor):
                    group[drive.key].fill_(value)
                else:
                    drive.put(group, value)

    def state_dict(self) -> dict[str, Any]:
        """The state as plain data: the step, each group's base learning rate, the schedule's parameters.

        A schedule that was branched off or stretched has its `course` too. If hyperparameters follow schedules of their
        own, `driven` has the parameters of these.
        """
        driven = {"driven": self._driven()} if any(self.drives) else {}
        course = {"course": taken} if (taken := self.course.as_dict()) else {}
        described = parameters(self.schedule)
        return {"last_epoch": self.last_epoch, "base_lrs": self.base_lrs, "schedule": described, **driven, **course}

    def _driven(self) -> list[list[dict[str, Any]]]:
        """What follows schedules of their own, for each group, as plain data."""
        return [[drive.as_dict() for drive in drives] for drives in self.drives]

    @plugin_code("the schedule's state cannot be loaded", Exception)
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint: set every group's learning rate to the schedule's value there.

        A scheduler whose turn in a `SequentialLR` has not come leaves the rates alone.

        Args:
            state_dict: what `state_dict()` returned.

        Raises:
            ResumeError: (a `ValueError`) the checkpoint was written with a different schedule, say another
                `total_steps`, and `on_resume` refuses it.
            ValueError: it was written for a different number of param groups, or by a scheduler that counts no steps.
        """
        missing = {"last_epoch", "base_lrs"} - state_dict.keys()
        if missing:
            raise ValueError(
                f"the checkpoint lacks {', '.join(sorted(missing))}, so its scheduler does not count steps; to go on "
                "with update number t, call step(t) instead of loading it"
            )
        schedule, course = self._resumed(state_dict)
        resumption, watch = Resumption.of(self.optimizer), Watch.of(self.optimizer)
        groups = len(self.optimizer.param_groups)
        if len(state_dict["base_lrs"]) != groups and not resumption:
            raise ValueError(
                f"the checkpoint schedules {len(state_dict['base_lrs'])} param groups, but this optimizer has "
                f"{groups}; give it the checkpoint's groups before loading"
            )
        saved = state_dict["base_lrs"]
        self.base_lrs = resumption.base_lrs(self.optimizer, self.base_lrs, saved) if resumption else saved
        if resumption and self.on_resume == "checkpoint":
            resumption.driven.adopt(parameters(schedule))
        as_saved = (state_dict.get("schedule"), state_dict.get("course", {}), saved)
        self.settled = (parameters(schedule), course.as_dict(), self.base_lrs) != as_saved
        self.schedule, self.course = schedule, course
        self.last_epoch = state_dict["last_epoch"]
        if self.last_epoch >= 0:  # SequentialLR keeps schedulers at -1 until their turn
            self.move_to(self.last_epoch)
        watch.scheduler_loaded = True

    def settle_rates(self) -> None:
        """Set again what was settled when this scheduler was loaded, since the optimizer's checkpoint came later."""
        may_freeze = any(FREEZE_STEPS in group for group in self.optimizer.param_groups)
        if (self.settled or may_freeze) and self.last_epoch >= 0:
            self.move_to(self.last_epoch)

    def _resumed(self, state_dict: dict[str, Any]) -> tuple[Schedule, Course]:
        """The schedule and its course after loading a checkpoint."""
        theirs: Any = state_dict.get("schedule", "another scheduler")
        ours: Any = parameters(self.schedule)
        course, t = Course.from_dict(state_dict.get("course", {})), max(state_dict["last_epoch"], 0)
        driven = _driven_differences(state_dict.get("driven", []), self._driven() if any(self.drives) else [])
        if theirs == ours and not driven:
            return self.schedule, course
        if self.on_resume == "follow":
            return self.schedule, Course(course.begins)
        if self.on_resume == "branch":
            return self.schedule, Course(t)
        same_name = isinstance(theirs, dict) and isinstance(ours, dict) and theirs["name"] == ours["name"]
        alike = same_name and theirs.keys() == ours.keys() and "phases" not in ours and not driven
        if alike and self.on_resume == "checkpoint":
            values = {key: tuple(v) if isinstance(v, list) else v for key, v in theirs.items() if key != "name"}
            return changed(self.schedule, values), course
        end = self.end if alike and [key for key in ours if theirs[key] != ours[key]] == [self.end] else None
        choices, reason = ["follow", "branch", *(["checkpoint"] if alike else [])], ""
        if end and self.on_resume == "stretch":
            try:
                return self.schedule, course.stretched(t, end, theirs[end], ours[end])
            except ValueError as error:
                reason = f"\nit cannot be stretched: {error}"
        elif end:
            choices.insert(1, "stretch")
        elif alike and self.on_resume == "stretch":
            reason = f"\nit cannot be stretched: more than '{self.end}' differs"
        elif self.on_resume != "refuse":
            reason = f"\non_resume: {self.on_resume} needs the same schedule"
        whole = [Difference("scheduler", theirs, ours)]
        found = [] if theirs == ours else _differences(theirs, ours) if same_name else whole
        raise refusal({"schedule": [*found, *driven]}, reason, choices)


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Difference]:
    """What differs between the parameters of two schedules of one name."""
    return [
        Difference(f"scheduler.{key}", theirs.get(key), ours.get(key))
        for key in {**ours, **theirs}
        if theirs.get(key) != ours.get(key)
    ]


def _driven_differences(theirs: Sequence[Any], ours: Sequence[Any]) -> list[Difference]:
    """What differs between the schedules of single hyperparameters; groups that are alike are told once."""
    differences: list[Difference] = []
    for index in range(max(len(theirs), len(ours))):
        saved, stated = (
            {each["hyperparameter"]: each["phases"] for each in (groups[index] if index < len(groups) else ())}
            for groups in (theirs, ours)
        )
        for name in {**stated, **saved}:
            difference = Difference(f"the schedule of {name}", saved.get(name), stated.get(name))
            if saved.get(name) != stated.get(name) and difference not in differences:
                differences.append(difference)
    return differences


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
