"""SchedulerRun: a scheduler on an ordinary optimizer, with a recording of what was done to the two."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.nn import Parameter

from optreg.conformance.harness.code import call, on_device
from optreg.conformance.harness.counts import changed
from optreg.conformance.harness.recording import Feeding, Making, SchedulerEvidence, SchedulerRecording, Shown
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL, rounding
from optreg.conformance.results.verdict import Failed, NotApplicable
from optreg.conformance.subjects.metrics import code as metric_code
from optreg.conformance.subjects.settings import in_words
from optreg.conformance.subjects.subject import ScheduleSubject

BASE_LRS = (0.5, 0.3)
"""A power of two, and a number that is not."""

STEP = "optimizer.step()\nscheduler.step()"
SAVED = "saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))"
LOADED = ("optimizer.load_state_dict(saved[0])", "scheduler.load_state_dict(saved[1])")


class SchedulerRun:
    """A scheduler on an optimizer with one parameter in each group, and the recording of what was done to it.

    Args:
        subject: the schedule that is judged.
        settings: its hyperparameters; ordinary ones, if not given.
        base_lrs: each group's base learning rate.
        tensor: whether the groups hold their learning rate in a tensor.
        saved: an optimizer's checkpoint that is loaded before the scheduler is constructed.
    """

    def __init__(
        self,
        subject: ScheduleSubject,
        settings: Mapping[str, Any] | None = None,
        base_lrs: Sequence[float] = BASE_LRS,
        *,
        tensor: bool = False,
        saved: Any = None,
    ) -> None:
        self.subject = subject
        settings = subject.ordinary() if settings is None else settings
        made = tuple(base_lrs)
        self._keep(SchedulerRecording(subject, dict(settings), made, tensor, lines=[Making(made)]))
        self.t = 0
        self.peaks: dict[int, float] = {}
        """The largest learning rate that each group should have had so far."""
        self.optimizer = make_optimizer(subject, base_lrs, tensor=tensor)
        if saved is not None:
            self.optimizer.load_state_dict(copy.deepcopy(saved))
            self.note(LOADED[0])
        self.note(_construction(subject, settings))
        self.scheduler = subject.make(self.optimizer, **settings)
        subject.activity.constant = subject.activity.constant is not False

    def _keep(self, recording: SchedulerRecording) -> None:
        self.recording = self.subject.activity.recording = recording

    @property
    def settings(self) -> dict[str, Any]:
        """The hyperparameters that the learning rates are judged by."""
        return self.recording.settings

    @property
    def base_lrs(self) -> tuple[float, ...]:
        """Each group's base learning rate."""
        return self.recording.base_lrs

    def note(self, code: str | Feeding) -> None:
        """Record something that was done, as code or as a step that takes a metric."""
        self.recording.lines.append(code)

    def step(self) -> None:
        """One update, and the scheduler's step after it."""
        self._do(self._step(self.t + 1, STEP), self.t + 1, self.optimizer.step, self._advance)

    def jump(self, t: int) -> None:
        """Set the scheduler to step t."""
        self._do(f"scheduler.step({t})", t, lambda: self.scheduler.step(t))

    def update(self) -> None:
        """One update, without the scheduler's step."""
        self._do("optimizer.step()", self.t, self.optimizer.step)

    def advance(self) -> None:
        """The scheduler's step, without an update."""
        self._do(self._step(self.t + 1, "scheduler.step()"), self.t + 1, self._advance)

    def feed(self, metric: Any, code: str) -> None:
        """One update, and the scheduler's step after it with a metric, which `code` makes."""
        line = Feeding(code, update=True)
        self._do(line, self.t + 1, self.optimizer.step, lambda: self.scheduler.step(metric))

    def _advance(self) -> None:
        self.subject.advance(self.scheduler, self.t + 1)

    def _step(self, n: int, code: str) -> str | Feeding:
        """Step number n as it is recorded, with its metric if it takes one."""
        return Feeding(metric_code(n), update=code == STEP) if self.subject.fed else code

    def _do(self, code: str | Feeding, t: int, *acts: Callable[[], object]) -> None:
        activity, before = self.subject.activity, self.rates
        activity.recording = self.recording
        self.note(code)
        for act in acts:
            act()
        if activity.constant:
            formula = self.subject.formula
            activity.constant = formula(self.settings, t) == formula(self.settings, self.t)
        self.t = t
        activity.updates += 1
        if self.rates != before:
            activity.moved = True

    def run(self, steps: int) -> "SchedulerRun":
        """Make this many updates."""
        for _ in range(steps):
            self.step()
        return self

    def stepping(self, beyond: int = 5) -> Iterator[int]:
        """Each step from now to where it follows its formula, some beyond its end; it is stepped after each."""
        for t in range(self.t, self.subject.reach(self.settings, beyond)):
            yield t
            self.step()

    @property
    def rates(self) -> list[float]:
        """The learning rate in each group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def resumed(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        optimizer_first: bool = True,
        times: int = 1,
        through_json: bool = False,
        base_lrs: Sequence[float] | None = None,
        loaded: bool = False,
    ) -> "SchedulerRun":
        """A fresh run, resumed from this one's checkpoints.

        Args:
            settings: what the fresh scheduler is constructed with; this one's, if not given.
            optimizer_first: whether the optimizer's checkpoint is loaded before the scheduler's.
            times: how often each is loaded.
            through_json: whether the scheduler's checkpoint goes through JSON.
            base_lrs: the learning rates that the fresh optimizer is constructed with; this one's, if not given.
            loaded: whether the optimizer's checkpoint is loaded before the scheduler is constructed.
        """
        saved: tuple[Any, Any] = copy.deepcopy((self.optimizer.state_dict(), self.scheduler.state_dict()))
        lines = [SAVED]
        if through_json:
            saved = (saved[0], json.loads(json.dumps(saved[1])))
            lines.append("saved = saved[0], json.loads(json.dumps(saved[1]))")
        made = self.base_lrs if base_lrs is None else base_lrs
        first, tensor = saved[0] if loaded else None, self.recording.tensor_lr
        fresh = SchedulerRun(self.subject, settings or self.settings, made, tensor=tensor, saved=first)
        loads: list[tuple[Callable[[], Any], str]] = [
            (lambda: fresh.optimizer.load_state_dict(saved[0]), LOADED[0]),
            (lambda: fresh.scheduler.load_state_dict(saved[1]), LOADED[1]),
        ]
        fresh._keep(replace(fresh.recording, lines=[*self.recording.lines, *lines, *fresh.recording.lines]))
        order = loads[1:] if loaded else loads if optimizer_first else loads[::-1]
        for load, line in order * times:
            fresh.note(line)
            load()
        fresh.t = self.t
        fresh._keep(replace(fresh.recording, settings=self.settings, base_lrs=self.base_lrs, resumed_at=self.t))
        return fresh

    def load(self, other: "SchedulerRun") -> None:
        """Load another run's checkpoints into this same optimizer and scheduler."""
        saved: tuple[Any, Any] = copy.deepcopy((other.optimizer.state_dict(), other.scheduler.state_dict()))
        self.optimizer.load_state_dict(saved[0])
        self.scheduler.load_state_dict(saved[1])
        self.t = other.t
        lines = [*other.recording.lines, SAVED, *self.recording.lines, *LOADED]
        self._keep(replace(self.recording, resumed_at=other.t, lines=lines))

    def put_at(self, t: int, earlier: Any) -> None:
        """Load the checkpoints that it would have at step t, made of its own.

        Args:
            t: the step.
            earlier: the scheduler's state five steps ago. What differs by five since then counts steps, and what equals
                a learning rate is one.

        Raises:
            NotApplicable: something else has changed, so that its checkpoint at step t cannot be known.
        """
        now, rates = self.rates, [self.expected(index, t) for index in range(len(self.base_lrs))]

        def change(was: Any, is_now: Any, place: str) -> Any:
            if is_now in now:
                return rates[now.index(is_now)]
            if is_now - was != 5:
                raise NotApplicable(f"its state has more than steps and rates that change: {place}")
            return is_now + t - self.t

        optimizer, scheduler = copy.deepcopy((self.optimizer.state_dict(), self.scheduler.state_dict()))
        for group, rate in zip(optimizer["param_groups"], rates, strict=True):
            group["lr"] = rate
        scheduler = changed(earlier, scheduler, change)
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(scheduler)
        edits = [f"saved[0]['param_groups'][{index}]['lr'] = {rate!r}" for index, rate in enumerate(rates)]
        for line in (SAVED, *edits, f"saved[1].update({scheduler!r})", *LOADED):
            self.note(line)
        self.t = t

    def duplicate(self) -> "SchedulerRun":
        """A deepcopy of optimizer and scheduler."""
        other, line = copy.copy(self), "optimizer, scheduler = copy.deepcopy((optimizer, scheduler))"
        other._keep(replace(self.recording, lines=[*self.recording.lines, line]))
        other.optimizer, other.scheduler = copy.deepcopy((self.optimizer, self.scheduler))
        return other

    def constructed(self, last_epoch: int, steps: int) -> "SchedulerRun":
        """A fresh run: the scheduler constructed with `last_epoch` on the optimizer's checkpoint after some steps."""
        saved = SchedulerRun(self.subject, self.settings, self.base_lrs).run(steps).optimizer.state_dict()
        fresh = copy.copy(self)
        fresh.optimizer = make_optimizer(self.subject, self.base_lrs)
        fresh.optimizer.load_state_dict(copy.deepcopy(saved))
        making = Making(self.base_lrs)
        made = [self._step(n, STEP) for n in range(1, steps + 1)]
        lines: list[str | Making | Feeding] = [making, _construction(self.subject, self.settings), *made]
        lines += ["saved = copy.deepcopy(optimizer.state_dict())", making, "optimizer.load_state_dict(saved)"]
        lines += [_construction(self.subject, self.settings, last_epoch)]
        fresh._keep(replace(self.recording, lines=lines))
        fresh.t = last_epoch + 1
        fresh.scheduler = self.subject.make(fresh.optimizer, last_epoch=last_epoch, **self.settings)
        return fresh

    def judge_by(self, settings: Mapping[str, Any]) -> None:
        """Expect the learning rates of other hyperparameters from now on."""
        self._keep(replace(self.recording, settings=dict(settings)))

    def add_group(self, base_lr: float) -> None:
        """Add a group with one parameter to the optimizer."""
        self.optimizer.add_param_group({"params": [Parameter(self.subject.tensor([0.0]))], "lr": base_lr})
        made = f"torch.nn.Parameter(torch.zeros(1{on_device(self.subject)}))"
        self.note(f"optimizer.add_param_group({{'params': [{made}], 'lr': {base_lr}}})")
        self._keep(replace(self.recording, base_lrs=(*self.base_lrs, base_lr)))

    def expected(self, index: int, t: int | None = None) -> float:
        """A group's learning rate now, or at step t, by the reference at 50 digits."""
        return self.subject.rate(self.settings, self.base_lrs[index], self.t if t is None else t)

    def assert_rates(self, what: str = "the learning rate", *, rtol: float = SCHEDULE_RTOL) -> None:
        """Assert that every group's learning rate is base_lr * f(t), by the reference at 50 digits."""
        for index, (rate, base_lr) in enumerate(zip(self.rates, self.base_lrs, strict=True)):
            expected = self.expected(index)
            self.peaks[index] = max(self.peaks.get(index, base_lr), abs(expected))
            peak = self.peaks[index]
            slack = SCHEDULE_ATOL if peak <= base_lr else rounding(torch.float64, self.t)  # a floor far above the base
            bound = rtol * abs(expected) + slack * peak
            self.assert_close(index, rate, expected, bound, f"{what} of group {index} under {in_words(self.settings)}")

    def assert_close(self, index: int, rate: float, expected: float, bound: float, what: str, *, of: str = "") -> None:
        """Assert that a group's learning rate is within a bound of the expected one."""
        with self.showing(index, expected, bound):
            self.subject.assert_close(rate, expected, bound, what, step=self.t, of=of)

    def assert_last_lr(self, what: str) -> None:
        """Assert that `get_last_lr()` returns the groups' learning rates."""
        with self.showing(0, self.rates[0], 0.0, show="scheduler.get_last_lr()[{i}]"):
            returned = [float(rate) for rate in self.scheduler.get_last_lr()]
            self.subject.assert_equal(returned, self.rates, what, step=self.t, of="the groups hold")

    def assert_same(self, other: "SchedulerRun", what: str, *, of: str) -> None:
        """Assert that every group's learning rate is another run's, bit for bit."""
        for index, (rate, expected) in enumerate(zip(self.rates, other.rates, strict=True)):
            with self.showing(index, expected, 0.0):
                self.subject.assert_equal(rate, expected, f"the rate of group {index}, {what},", step=self.t, of=of)

    @contextmanager
    def showing(
        self, index: int, expected: float, bound: float, *, show: str = "optimizer.param_groups[{i}]['lr']"
    ) -> Iterator[None]:
        """Add to a finding that is raised inside the evidence from which its cause and a program are derived.

        `show` is what the program prints, as code, in which `{i}` is the group's index.
        """
        try:
            yield
        except Failed as failed:
            if failed.evidence is None:
                failed.evidence = SchedulerEvidence(self.recording, index, Shown(show, expected, bound), self.t)
            raise


def _construction(subject: ScheduleSubject, settings: Mapping[str, Any], last_epoch: int = -1) -> str:
    more = "" if last_epoch == -1 else f", last_epoch={last_epoch}"
    if subject.pure:
        return f"scheduler = ScheduleLR(optimizer, {call(subject, '', settings)}{more})"
    return f"scheduler = {call(subject, 'optimizer', settings)[:-1]}{more})"


def make_optimizer(subject: ScheduleSubject, base_lrs: Sequence[float] = BASE_LRS, *, tensor: bool = False) -> Any:
    """SGD with momentum, which some schedules drive too. The groups differ; the second one's parameter is frozen."""
    groups = []
    for index, base_lr in enumerate(base_lrs):
        param = Parameter(subject.tensor([1.0]), requires_grad=index != 1)
        param.grad = torch.full_like(param, 0.25) if param.requires_grad else None
        groups.append({"params": [param], **group_options(subject, index, base_lr, tensor=tensor)})
    return torch.optim.SGD(groups, foreach=False)


def group_options(subject: ScheduleSubject, index: int, base_lr: float, *, tensor: bool) -> dict[str, Any]:
    """The options that a group is constructed with."""
    lr = subject.tensor(base_lr) if tensor else base_lr
    return {"lr": lr, "momentum": round(0.9 - 0.05 * index, 2), "weight_decay": round(0.01 * (index + 1), 2)}
