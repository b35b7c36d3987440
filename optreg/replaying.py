"""Replaying: torch's own schedulers, guarded against checkpoints that differ from the spec.

Such a scheduler computes each rate from the last one. Where it has to follow other settings, a twin of it takes all the
steps again, from the base rates, on an optimizer that does nothing.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optreg.differences import Difference, plain
from optreg.on_resume import Schedule
from optreg.resuming import Resumption, refusal
from optreg.watching import Watch

if TYPE_CHECKING:
    _Scheduler = LRScheduler
else:
    _Scheduler = object  # so that slots work; the class of torch comes with each guarded class

_MOVING = frozenset(
    {"last_epoch", "base_lrs", "verbose", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"}
)
"""What every LRScheduler of torch keeps besides its settings."""


@dataclass
class Plan:
    """How a scheduler was made, and what becomes of a checkpoint that differs.

    Args:
        settings: the arguments of its constructor besides the optimizer.
        choice: the field `schedule` of `OnResume`.
        replayed: the settings under which it took its steps again; None if it did not.
    """

    settings: Mapping[str, Any]
    choice: Schedule = "refuse"
    replayed: Mapping[str, Any] | None = field(default=None, compare=False)


class Guarded(_Scheduler):
    """A scheduler of torch whose `load_state_dict` compares the checkpoint with the spec.

    Its own attributes, and so its `state_dict`, are those of torch's class: the plan stands in a slot.
    """

    __slots__ = ()
    _optreg_plan: Plan

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint, and settle what differs from the spec.

        Raises:
            ResumeError: it differs in a way that is refused.
        """
        plan, watch = self._optreg_plan, Watch.of(self.optimizer)
        resumption = Resumption.of(self.optimizer)
        saved_rates = [float(rate) for rate in state_dict.get("base_lrs", _rates(self.optimizer))]
        rates = resumption.base_lrs(self.optimizer, saved_rates) if resumption else saved_rates
        settings, steps = plan.settings, state_dict.get("last_epoch", 0)
        theirs, unnamed = self._changed(state_dict, rates)
        if theirs or unnamed:
            found = [Difference(f"scheduler.{key}", value, settings[key]) for key, value in theirs.items()]
            found += unnamed
            if plan.choice == "refuse":
                raise refusal({"schedule": found})
            if plan.choice == "checkpoint":
                if unnamed:
                    raise refusal({"schedule": found})
                settings = {**settings, **theirs}
            elif plan.choice == "branch":
                steps = 0
        if resumption and plan.choice == "checkpoint":
            resumption.adopt_schedule({key: settings[key] for key in settings.keys() & state_dict.keys()})
        changed = (theirs or unnamed) and plan.choice != "checkpoint"
        if changed or sorted(rates) != sorted(saved_rates):
            self._replay(settings, steps, rates, state_dict.get("_step_count"))
            self._optreg_plan = replace(plan, replayed=settings)
        else:
            self._torch().load_state_dict(self, state_dict)
            self._optreg_plan = replace(plan, replayed=None)
            if saved_rates != rates:  # the same groups, in the optimizer's order
                self.base_lrs = [*rates]
                self._last_lr = [_copy(group["lr"]) for group in self.optimizer.param_groups]
        watch.note_scheduler(self)

    def settle_rates(self) -> None:
        """Set again what was settled when this scheduler was loaded, since the optimizer's checkpoint came later."""
        settings = self._optreg_plan.replayed
        if settings is not None:
            self._replay(settings, self.last_epoch, _rates(self.optimizer), getattr(self, "_step_count", None))

    @classmethod
    def _torch(cls) -> type[LRScheduler]:
        """The class that is guarded."""
        base: type[LRScheduler] = cls.__mro__[2]
        return base

    def _changed(self, saved: Mapping[str, Any], rates: Sequence[float]) -> tuple[dict[str, Any], list[Difference]]:
        """The settings of a checkpoint that differ, by name, and what else differs that never changes in a run."""
        settings = self._optreg_plan.settings
        fresh = self._twin(settings, rates, 0).state_dict()
        differing = [key for key in fresh.keys() & saved.keys() - _MOVING if plain(fresh[key]) != plain(saved[key])]
        theirs = {key: _argument(saved[key]) for key in sorted(differing) if key in settings}
        lacking = [
            Difference(f"scheduler.{key}", None, settings[key]) for key in settings.keys() & fresh.keys() - saved.keys()
        ]
        others = [key for key in sorted(differing) if key not in settings]
        if not others or lacking:
            return theirs, lacking
        try:
            explained = self._twin({**settings, **theirs}, rates, 0).state_dict()
            others = [key for key in others if plain(explained[key]) != plain(saved[key])]
            later = self._twin({**settings, **theirs}, rates, saved.get("last_epoch", 0)).state_dict() if others else {}
        except Exception:  # it steps by more than a count, as ReduceLROnPlateau does: nothing is known of these
            return theirs, []
        constant = [key for key in others if plain(later[key]) == plain(explained[key])]
        return theirs, [Difference(f"scheduler.{key}", saved[key], fresh[key]) for key in constant]

    def _twin(self, settings: Mapping[str, Any], rates: Sequence[float], steps: int) -> LRScheduler:
        """A scheduler with these settings after some steps, on an optimizer without parameters of its own."""
        groups = [
            {
                **{key: value for key, value in group.items() if key not in {"params", "param_names", "initial_lr"}},
                "params": [torch.nn.Parameter(torch.zeros(()))],
                "lr": rate,
            }
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True)
        ]
        optimizer = _Idle(groups, dict(self.optimizer.defaults))
        twin = self._torch()(optimizer, **settings)
        for _ in range(steps):
            optimizer.step()
            twin.step()
        return twin

    def _replay(self, settings: Mapping[str, Any], steps: int, rates: Sequence[float], count: Any) -> None:
        """Go to a step as if all steps had been taken under these settings and base rates."""
        twin = self._twin(settings, rates, steps)
        counted = {} if count is None else {"_step_count": count}
        self._torch().load_state_dict(self, {**twin.state_dict(), **counted})
        for group, of_twin in zip(self.optimizer.param_groups, twin.optimizer.param_groups, strict=True):
            for key, value in of_twin.items():
                if key == "params":
                    continue
                if isinstance(group.get(key), Tensor):
                    group[key].fill_(value)
                else:
                    group[key] = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _remake, (self._torch(), self._optreg_plan), dict(vars(self))


class _Idle(Optimizer):
    """An optimizer that does nothing."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Nothing, but torch notes that it was called."""


def guarded(
    implementation: type[LRScheduler], optimizer: Optimizer, settings: Mapping[str, Any], choice: Schedule
) -> LRScheduler:
    """Make a scheduler of torch, guarded."""
    watch = Watch.of(optimizer)
    watch.before_scheduler(optimizer)
    scheduler: Guarded = _guarded_class(implementation)(optimizer, **settings)  # type: ignore[arg-type]  # a class is hashable
    scheduler._optreg_plan = Plan(dict(settings), choice)
    watch.follow(scheduler)
    return scheduler


@functools.cache
def _guarded_class(implementation: Any) -> Any:
    """The guarded class of a scheduler's class, under its name."""
    names = ("__module__", "__qualname__", "__doc__")
    body = {"__slots__": ("_optreg_plan",), **{name: getattr(implementation, name) for name in names}}
    return type(implementation.__name__, (Guarded, implementation), body)


def _remake(implementation: type[LRScheduler], plan: Plan) -> LRScheduler:
    """A guarded scheduler without its attributes, for copies and pickles."""
    guarded_class = _guarded_class(implementation)  # type: ignore[arg-type]  # a class is hashable
    made: Guarded = guarded_class.__new__(guarded_class)
    made._optreg_plan = plan
    return made


def _rates(optimizer: Optimizer) -> list[float]:
    """Each group's base learning rate."""
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def _argument(value: Any) -> Any:
    """A value of a checkpoint as an argument of the constructor."""
    value = plain(value)
    return tuple(value) if isinstance(value, list) else value


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
