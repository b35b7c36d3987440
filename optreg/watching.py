"""Watch: what happens to an optimizer beside its schedulers, and what seems to be forgotten."""

import math
import weakref
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from optreg.composite import members_of, places_of
from optreg.errors import ResumeWarning, warn_caller
from optreg.freezing import may_freeze, without_frozen
from optreg.pace import Pace
from optreg.torch_internals import has_stepped, makes_state

if TYPE_CHECKING:
    from collections.abc import Set

    from torch.optim.lr_scheduler import LRScheduler as _Scheduler
else:
    _Scheduler = object  # so that a class of torch can come after it

_PLACE = "_optreg_watch"

_FORGOTTEN = (
    "the optimizer goes on from a checkpoint, but its scheduler is at its first step, so the schedule begins again. "
    "Load the scheduler's state_dict too, in either order. If the schedule is meant to begin again, load it all the "
    "same, and choose on_resume: {schedule: branch} (docs/resuming.md)"
)


class Watch:
    """Follows one optimizer and its schedulers; `Watch.of(optimizer)` finds it.

    It is not part of the optimizer's state: a copy or a pickle of the optimizer alone has a watch of its own.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer_loaded = False
        """Whether the optimizer loaded a checkpoint, and has made no update since."""
        self.scheduler_loaded = False
        """Whether the scheduler loaded a checkpoint, and no update has been made since."""
        self.sees_updates = True
        """Whether the optimizer has hooks."""
        self._schedulers: list[weakref.ref[Watched]] = []
        self.doubt: str | None = None
        """What seems to be wrong with the scheduler that was made last, told at the next update."""
        self._begun = False
        self._rehearsed: Set[int] | None = None
        """Once torch's distributed functions have made state, the ids of the parameters that had state before."""
        try:
            optimizer.register_load_state_dict_post_hook(self._note_optimizer)
            optimizer.register_step_pre_hook(self._before_update)
            optimizer.register_state_dict_post_hook(self._after_saving)
        except AttributeError:  # a wrapper that is an Optimizer, but was not initialised as one
            self.sees_updates = False

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
        by_hand = bool(earlier) and all([float(rate) for rate in each.own_rates()] != now for each in earlier)
        if stale and (by_hand or has_made_updates(optimizer)):
            base_lr, rate = stale[0]
            self.doubt = (
                f"a second scheduler was made on an optimizer: it starts from initial_lr, {base_lr:g}, not from the "
                f"rate {rate:g} that the optimizer had. To start from that rate, remove 'initial_lr' from the param "
                "groups before you make the scheduler. To resume, load the scheduler's state_dict (docs/resuming.md)"
            )

    def follow(self, scheduler: "Watched") -> None:
        """Follow a scheduler of the optimizer."""
        self._schedulers.append(weakref.ref(scheduler))

    def _note_optimizer(self, optimizer: Optimizer) -> None:
        """The optimizer loaded a checkpoint. If the scheduler, loaded before, settled other rates, they hold."""
        self.optimizer_loaded = True
        self._rehearsed = None
        if self.scheduler_loaded:
            for scheduler in self._alive():
                scheduler.settle_rates()

    def _before_update(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The run goes on: forget a rehearsal, tell what seems to have been forgotten, leave out what is frozen."""
        compiling = torch.compiler.is_compiling()  # a traced step that changed this would be compiled anew
        if not (self._begun or compiling):
            if makes_state():
                self._rehearsed = frozenset(map(id, optimizer.state))
                return None
            self._begun = True
            if self._rehearsed is not None:
                for param in [param for param in optimizer.state if id(param) not in self._rehearsed]:
                    del optimizer.state[param]
                self._rehearsed = None
        for scheduler in self._alive():
            scheduler.before_update()
        if not compiling and (self.optimizer_loaded or self.scheduler_loaded or self.doubt):
            self._tell_doubts(optimizer)
        return without_frozen(optimizer, self._step, args, kwargs) if may_freeze(optimizer) else None

    @property
    def _step(self) -> int | None:
        """The number of the next update, by the scheduler that is furthest; None if there is none."""
        return max((scheduler.last_epoch for scheduler in self._alive()), default=None)

    def _tell_doubts(self, optimizer: Optimizer) -> None:
        doubt = None if self.scheduler_loaded else self.doubt
        if self.optimizer_loaded and not self.scheduler_loaded and has_made_updates(optimizer):
            schedulers = self._alive()
            if schedulers and all(scheduler.last_epoch <= 0 for scheduler in schedulers):
                doubt = _FORGOTTEN
        self.optimizer_loaded = self.scheduler_loaded = False
        self.doubt = None
        if doubt:
            warn_caller(doubt, ResumeWarning)

    def _after_saving(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any] | None:
        """After a rehearsal alone, the checkpoint of a class whose state starts at zero says that it has not begun."""
        if self._rehearsed is None:
            return None
        beginning = {
            param
            for place, group in zip(places_of(optimizer), state_dict["param_groups"], strict=False)
            if hasattr(members_of(optimizer)[place], "state_names")
            for param in group["params"]
        }
        states = {
            param: {key: _zero(value) for key, value in state.items()} if param in beginning else state
            for param, state in state_dict["state"].items()
        }
        return {**state_dict, "state": states}

    def _alive(self) -> list["Watched"]:
        return [scheduler for each in self._schedulers if (scheduler := each()) is not None]


class Watched(_Scheduler):
    """A scheduler whose steps are compared with the updates of its optimizer.

    Its pace is neither in its state nor in its pickles. A subclass calls `watch` when it is made or unpickled.
    """

    __slots__ = ()
    _optreg_pace: Pace

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Begin at a pace of its own, as copies do."""
        made = super().__new__(cls)
        made._optreg_pace = Pace()
        return made

    def watch(self) -> None:
        """See every update of the optimizer, a copy of which has no hooks."""
        watch = Watch.of(self.optimizer)
        watch.follow(self)
        if not watch.sees_updates:
            self._optreg_pace.stop()

    def before_update(self) -> None:
        """Count an update that will be made. A scheduler in a SequentialLR is at step -1 until its turn comes."""
        pace, step = self._optreg_pace, self.last_epoch
        if torch.compiler.is_compiling():
            pace.stop()
        elif step >= 0 and pace.count(step) and pace.too_few() and self.holds() and self.differs(pace.expected - 1):
            pace.tell_too_few()

    def judge_steps(self) -> None:
        """Tell if far too many steps were made, and an update would run at another rate for it."""
        pace = self._optreg_pace
        pace.defer()
        unseen = not pace.updates and has_stepped(self.optimizer)  # a wrapper that runs no hooks
        if not unseen and self.differs(pace.expected):
            pace.tell_too_many()

    def own_rates(self) -> list[float | Tensor]:
        """The rates that this scheduler has set, whatever the groups have now."""
        return self.get_last_lr()

    def holds(self) -> bool:
        """Whether the groups hold what this scheduler has set, and not another."""
        group, expected = self.optimizer.param_groups[0], self.own_rates()[0]
        return math.isclose(float(group["lr"]), float(expected), rel_tol=1e-6)  # a tensor may be of float32

    def differs(self, other: int) -> bool:
        """Whether the schedule sets other rates now than at step `other`."""
        raise NotImplementedError

    def settle_rates(self) -> None:
        """Set again what was settled when this scheduler was loaded, since the optimizer's checkpoint came later."""
        raise NotImplementedError


def has_made_updates(optimizer: Optimizer) -> bool:
    """Whether an optimizer's state says that it has made an update: a count above zero, or anything else if none."""
    for state in optimizer.state.values():
        values = [state["step"]] if "step" in state else [value for value in state.values() if value is not None]
        if any(bool(torch.count_nonzero(torch.as_tensor(value))) for value in values):
            return True
    return False


def _zero(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, torch.Tensor) else value
