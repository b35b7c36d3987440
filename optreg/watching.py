"""Watch: what was loaded into an optimizer and its scheduler, and what seems to have been forgotten."""

import warnings
import weakref
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optreg.errors import ResumeWarning
from optreg.torch_internals import DirectScheduler

_PLACE = "_optreg_watch"

_FORGOTTEN = (
    "the optimizer goes on from a checkpoint, but its scheduler is at its first step, so the schedule begins again. "
    "Load the scheduler's state_dict too, in either order. If the schedule is meant to begin again, load it all the "
    "same, and choose on_resume: {schedule: branch} (docs/resuming.md)"
)


class Watch:
    """Follows one optimizer from its first scheduler on; `Watch.of(optimizer)` finds it.

    It is not part of the optimizer's state: a copy or a pickle of the optimizer alone has a watch of its own.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer_loaded = False
        """Whether the optimizer loaded a checkpoint, and has made no update since."""
        self.scheduler_loaded = False
        """Whether the scheduler loaded a checkpoint, and no update has been made since."""
        self._schedulers: list[weakref.ref[LRScheduler]] = []
        self._doubt: str | None = None
        self._begun = False
        self._rehearsed = False
        try:
            optimizer.register_load_state_dict_post_hook(self._note_optimizer)
            optimizer.register_step_pre_hook(self._before_update)
            optimizer.register_state_dict_post_hook(self._after_saving)
        except AttributeError:  # a wrapper that is an Optimizer, but was not initialised as one
            return

    @classmethod
    def of(cls, optimizer: Optimizer) -> "Watch":
        """The watch of an optimizer, made if there is none."""
        watch = getattr(optimizer, _PLACE, None)
        if not isinstance(watch, cls):
            watch = cls(optimizer)
            setattr(optimizer, _PLACE, watch)
        return watch

    def before_scheduler(self, optimizer: Optimizer) -> None:
        """A scheduler will be made that begins at its first step: note if it will start from a stale rate."""
        stale = [
            (float(group["initial_lr"]), float(group["lr"]))
            for group in optimizer.param_groups
            if "initial_lr" in group and float(group["initial_lr"]) != float(group["lr"])
        ]
        now = [float(group["lr"]) for group in optimizer.param_groups]
        earlier = self._alive()
        by_hand = bool(earlier) and all(_rates(scheduler) != now for scheduler in earlier)
        if stale and (by_hand or has_made_updates(optimizer)):
            base_lr, rate = stale[0]
            self._doubt = (
                f"a second scheduler was made on an optimizer: it starts from initial_lr, {base_lr:g}, not from the "
                f"rate {rate:g} that the optimizer had. To start from that rate, remove 'initial_lr' from the param "
                "groups before you make the scheduler. To resume, load the scheduler's state_dict (docs/resuming.md)"
            )

    def follow(self, scheduler: LRScheduler) -> None:
        """Follow a scheduler of the optimizer."""
        if scheduler not in self._alive():
            self._schedulers.append(weakref.ref(scheduler))

    def note_scheduler(self, scheduler: LRScheduler) -> None:
        """A scheduler loaded a checkpoint."""
        self.follow(scheduler)
        self.scheduler_loaded = True

    def _note_optimizer(self, optimizer: Optimizer) -> None:
        """The optimizer loaded a checkpoint. If the scheduler, loaded before, settled other rates, they hold."""
        self.optimizer_loaded = True
        self._rehearsed = False
        if self.scheduler_loaded:
            for scheduler in self._alive():
                getattr(scheduler, "settle_rates", lambda: None)()

    def _before_update(self, optimizer: Optimizer, *_: Any) -> None:
        """The run goes on: forget a rehearsal, and tell what seems to have been forgotten."""
        if torch.compiler.is_compiling():  # a traced step that changes attributes would be compiled anew
            return
        if not self._begun:
            if is_rehearsal(optimizer):
                self._rehearsed = True
                return
            self._begun = True
            if self._rehearsed:
                self._rehearsed = False
                optimizer.state.clear()
        if not (self.optimizer_loaded or self.scheduler_loaded or self._doubt):
            return
        doubt = None if self.scheduler_loaded else self._doubt
        if self.optimizer_loaded and not self.scheduler_loaded and has_made_updates(optimizer):
            schedulers = self._alive()
            if schedulers and all(scheduler.last_epoch <= 0 for scheduler in schedulers):
                doubt = _FORGOTTEN
        self.optimizer_loaded = self.scheduler_loaded = False
        self._doubt = None
        if doubt:
            warnings.warn(doubt, ResumeWarning, stacklevel=4)

    def _after_saving(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any] | None:
        """After a rehearsal alone, the checkpoint of a class whose state starts at zero says that it has not begun."""
        if not self._rehearsed or not hasattr(optimizer, "state_names"):
            return None
        fresh = {
            param: {key: _zero(value) for key, value in state.items()} for param, state in state_dict["state"].items()
        }
        return {**state_dict, "state": fresh}

    def _alive(self) -> list[LRScheduler]:
        return [scheduler for each in self._schedulers if (scheduler := each()) is not None]


def is_rehearsal(optimizer: Optimizer) -> bool:
    """Whether the update that begins is not a real one: the first one, with all rates and gradients zero.

    torch.distributed.checkpoint makes it, so that an optimizer creates its state.
    """
    return not optimizer.state and all(
        float(group.get("lr", 1.0)) == 0.0
        and all(param.grad is None or _is_zero(param.grad) for param in group["params"])
        for group in optimizer.param_groups
    )


def has_made_updates(optimizer: Optimizer) -> bool:
    """Whether an optimizer's state says that it has made an update: a count above zero, or anything else if none."""
    for state in optimizer.state.values():
        values = [state["step"]] if "step" in state else [value for value in state.values() if value is not None]
        if any(bool(torch.count_nonzero(torch.as_tensor(value))) for value in values):
            return True
    return False


def _is_zero(grad: torch.Tensor) -> bool:
    """Whether a gradient is zero; of a distributed one, its part on this device."""
    local = getattr(grad, "to_local", lambda: grad)()
    return local.layout is torch.strided and not torch.count_nonzero(local)


def _zero(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, torch.Tensor) else value


def _rates(scheduler: LRScheduler) -> list[float]:
    """The rates that a scheduler has set."""
    rates = scheduler.get_lr() if isinstance(scheduler, DirectScheduler) else scheduler.get_last_lr()
    return [float(rate) for rate in rates]
