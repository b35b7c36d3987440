"""Replaying: torch's own schedulers, guarded against checkpoints that differ from the spec.

Such a scheduler computes each rate from the last one. Where it has to follow other settings, a twin of it takes all the
steps again, from the base rates, on an optimizer that does nothing.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from optreg.differences import Difference, as_setting, copied, plain, refusal
from optreg.errors import PluginError, plugin_code, raised
from optreg.on_resume import Schedule
from optreg.resuming import Resumption
from optreg.watching import Watch, Watched

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
        running: the settings under which it runs, which a checkpoint may have brought.
        by_metric: its steps take a metric, and so it cannot take them again.
        replayed: whether it took its steps again under these settings.
    """

    settings: Mapping[str, Any]
    choice: Schedule
    running: Mapping[str, Any]
    by_metric: bool = False
    replayed: bool = False


class Guarded(Watched):
    """A scheduler of torch whose `load_state_dict` compares the checkpoint with the spec.

    Its own attributes, and so its `state_dict`, are those of torch's class: the plan and the pace stand in slots.
    """

    __slots__ = ()
    _optreg_plan: Plan

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the step that is being made. torch's other schedulers make steps of this one in several ways."""
        in_a_step = getattr(self, "_get_lr_called_within_step", True)
        if in_a_step and self._optreg_pace.move(self.last_epoch):
            self.judge_steps()
        try:
            return self._torch().get_lr(self)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            kind = self._torch()
            what = f"{kind.__module__}.{kind.__qualname__} has no rate at step {self.last_epoch}: {raised(error)}"
            raise PluginError(what) from error

    def differs(self, other: int) -> bool:
        """Whether it sets other rates now than at step `other`; False if that is unknown."""
        rates, settings = _rates(self.optimizer), self._optreg_plan.running
        try:
            now, then = (self._twin(settings, rates, step).get_last_lr() for step in (self.last_epoch, other))
        except Exception:  # it ends before, or steps by more than a count
            return False
        return now != then

    @plugin_code("the scheduler's state cannot be loaded", Exception)
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint, and settle what differs from the spec.

        Raises:
            ResumeError: it differs in a way that is refused.
        """
        plan = self._optreg_plan
        resumption = Resumption.of(self.optimizer)
        saved_rates = [float(rate) for rate in state_dict.get("base_lrs", _rates(self.optimizer))]
        rates = resumption.base_lrs(self.optimizer, _rates(self.optimizer), saved_rates) if resumption else saved_rates
        settings, steps = plan.settings, state_dict.get("last_epoch", 0)
        theirs, unnamed = self._changed(state_dict, rates)
        if theirs or unnamed:
            found = [Difference(f"scheduler.{key}", value, settings[key]) for key, value in theirs.items()]
            found += unnamed
            if plan.choice == "refuse" or (unnamed and plan.choice == "checkpoint"):
                raise refusal({"schedule": found}, choices=["follow", "branch", *([] if unnamed else ["checkpoint"])])
            if plan.choice == "checkpoint":
                settings = {**settings, **theirs}
            elif plan.choice == "branch":
                steps = 0
        if resumption and plan.choice == "checkpoint":
            resumption.driven.adopt({key: settings[key] for key in settings.keys() & state_dict.keys()})
        changed = (theirs or unnamed) and plan.choice != "checkpoint"
        if changed and plan.by_metric and plan.choice == "follow":
            ours = {key: value for key, value in self._twin(settings, rates, 0).state_dict().items() if key in settings}
            self._torch().load_state_dict(self, {**state_dict, **ours})
            self._optreg_plan = replace(plan, running=settings, replayed=False)
        elif changed or sorted(rates) != sorted(saved_rates):
            self._replay(settings, steps, rates, state_dict.get("_step_count"))
            self._optreg_plan = replace(plan, running=settings, replayed=True)
        else:
            self._torch().load_state_dict(self, state_dict)
            self._optreg_plan = replace(plan, running=settings, replayed=False)
            if saved_rates != rates:  # the same groups, in the optimizer's order
                self.base_lrs = [*rates]
                self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]
        Watch.of(self.optimizer).scheduler_loaded = True

    def settle_rates(self) -> None:
        """Set again what was settled when this scheduler was loaded, since the optimizer's checkpoint came later."""
        if self._optreg_plan.replayed:
            count = getattr(self, "_step_count", None)
            self._replay(self._optreg_plan.running, self.last_epoch, _rates(self.optimizer), count)

    @classmethod
    def _torch(cls) -> type[LRScheduler]:
        """The class that is guarded."""
        base: type[LRScheduler] = cls.__bases__[1]
        return base

    def _changed(self, saved: Mapping[str, Any], rates: Sequence[float]) -> tuple[dict[str, Any], list[Difference]]:
        """The settings of a checkpoint that differ, by name, and what else differs that never changes in a run."""
        settings = self._optreg_plan.settings
        fresh = self._twin(settings, rates, 0).state_dict()
        differing = [key for key in fresh.keys() & saved.keys() - _MOVING if plain(fresh[key]) != plain(saved[key])]
        theirs = {key: as_setting(saved[key]) for key in sorted(differing) if key in settings}
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
            for group, rate in zip(_scheduled(self.optimizer), rates, strict=True)
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
        for group, of_twin in zip(_scheduled(self.optimizer), twin.optimizer.param_groups, strict=True):
            for key, value in of_twin.items():
                if key == "params":
                    continue
                if isinstance(group.get(key), Tensor):
                    group[key].fill_(value)
                else:
                    group[key] = value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _remake, (self._torch(), self._optreg_plan), dict(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.watch()


class _Idle(Optimizer):
    """An optimizer that does nothing."""

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Nothing, but torch notes that it was called."""


def guarded(
    implementation: type[LRScheduler],
    optimizer: Optimizer,
    settings: Mapping[str, Any],
    choice: Schedule,
    *,
    by_metric: bool = False,
) -> LRScheduler:
    """Make a scheduler of torch, guarded; `by_metric` says that its steps take a metric."""
    watch = Watch.of(optimizer)
    watch.before_scheduler(optimizer)
    held = [float(group["lr"]) for group in optimizer.param_groups]
    scheduler: Guarded = _guarded_class(implementation)(optimizer, **settings)  # type: ignore[arg-type]  # a class is hashable
    scheduler._optreg_plan = Plan(settings, choice, settings, by_metric)
    if watch.doubt and scheduler._twin(settings, held, 0).get_last_lr() == scheduler.get_last_lr():
        watch.doubt = None  # it starts from the rate that the optimizer had
    scheduler.watch()
    return scheduler


@functools.cache
def _guarded_class(implementation: Any) -> Any:
    """The guarded class of a scheduler's class, under its name."""
    names = ("__module__", "__qualname__", "__doc__")
    body = {"__slots__": ("_optreg_pace", "_optreg_plan"), **{name: getattr(implementation, name) for name in names}}
    for name in ("step", "state_dict"):
        if (method := getattr(implementation, name)) is not getattr(LRScheduler, name):  # torch's own never exit
            body[name] = plugin_code(f"{name} of {implementation.__qualname__} fails", Exception)(method)
    return type(implementation.__name__, (Guarded, implementation), body)


def _remake(implementation: type[LRScheduler], plan: Plan) -> LRScheduler:
    """A guarded scheduler without its attributes, for copies and pickles."""
    guarded_class = _guarded_class(implementation)  # type: ignore[arg-type]  # a class is hashable
    made: Guarded = guarded_class.__new__(guarded_class)
    made._optreg_plan = plan
    return made


def _scheduled(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The groups that a scheduler was made for; to one that was added later, torch's schedulers give no base rate."""
    return [group for group in optimizer.param_groups if "initial_lr" in group] or optimizer.param_groups


def _rates(optimizer: Optimizer) -> list[float]:
    """The base learning rate of each group that was scheduled from the beginning."""
    return [float(group.get("initial_lr", group["lr"])) for group in _scheduled(optimizer)]
