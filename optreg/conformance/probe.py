"""Probes: an ordinary optimizer under the scheduler that is judged, which shows the rate that every update sees."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch.nn import Parameter

from optreg.conformance import programs, schedule_diagnosis
from optreg.conformance.problems import short, span
from optreg.conformance.subject import ScheduleSubject
from optreg.conformance.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL, rounding
from optreg.conformance.verdict import Finding

BASE_LRS = (0.5, 0.3)
"""One that is a power of two, and one that is not."""

STEP = "optimizer.step()\nscheduler.step()"
ANEW = "optimizer = <anew>"
"""Where the program makes its optimizer, by whichever groups it keeps."""


class Probe:
    """A scheduler on an optimizer of two groups, and the record of what was done to it.

    Args:
        subject: the schedule that is judged.
        settings: its hyperparameters.
        base_lrs: each group's base learning rate.
        tensor: whether the groups hold their rate in a tensor.
        saved: an optimizer's checkpoint that is loaded before the scheduler is made.
    """

    def __init__(
        self,
        subject: ScheduleSubject,
        settings: Mapping[str, Any],
        base_lrs: Sequence[float] = BASE_LRS,
        *,
        tensor: bool = False,
        saved: Any = None,
    ) -> None:
        self.subject, self.settings, self.base_lrs, self.tensor = subject, dict(settings), tuple(base_lrs), tensor
        self.made = tuple(base_lrs)
        self.t = 0
        self.lines = [ANEW]
        self.resumed_at: int | None = None
        self.peaks: dict[int, float] = {}
        """The largest rate that each group was to have so far."""
        judge = subject.judge
        judge.latest = self
        self.optimizer = make_optimizer(base_lrs, tensor=tensor)
        if saved is not None:
            self.optimizer.load_state_dict(copy.deepcopy(saved))
            self.lines.append("optimizer.load_state_dict(saved[0])")
        self.lines.append(_construction(subject, settings))
        self.scheduler = subject.make(self.optimizer, **settings)
        judge.level = judge.level is not False and _is_level(subject, settings)

    def step(self) -> None:
        """One update, and the scheduler's step after it."""
        self._do(STEP, self.t + 1, self.optimizer.step, self.scheduler.step)

    def jump(self, t: int) -> None:
        """Set the scheduler to step t."""
        self._do(f"scheduler.step({t})", t, lambda: self.scheduler.step(t))

    def update(self) -> None:
        """One update, without the scheduler's step."""
        self._do("optimizer.step()", self.t, self.optimizer.step)

    def advance(self) -> None:
        """The scheduler's step, without an update."""
        self._do("scheduler.step()", self.t + 1, self.scheduler.step)

    def _do(self, code: str, t: int, *acts: Callable[[], object]) -> None:
        judge, before = self.subject.judge, self.rates
        judge.latest = self
        self.lines.append(code)
        for act in acts:
            act()
        self.t = t
        judge.steps += 1
        if self.rates != before:
            judge.moved = True

    def run(self, steps: int) -> "Probe":
        """So many updates."""
        for _ in range(steps):
            self.step()
        return self

    @property
    def rates(self) -> list[float]:
        """The learning rate that each group holds."""
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
    ) -> "Probe":
        """A fresh probe, gone on from this one's checkpoints.

        Args:
            settings: what the fresh scheduler is constructed with; this one's, if not given.
            optimizer_first: whether the optimizer's checkpoint is loaded before the scheduler's.
            times: how often each is loaded.
            through_json: whether the scheduler's travels as JSON.
            base_lrs: the learning rates that the fresh optimizer is made with; this one's, if not given.
            loaded: whether the optimizer's checkpoint is loaded before the scheduler is made.
        """
        saved: tuple[Any, Any] = copy.deepcopy((self.optimizer.state_dict(), self.scheduler.state_dict()))
        lines = ["saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))"]
        if through_json:
            saved = (saved[0], json.loads(json.dumps(saved[1])))
            lines.append("saved = saved[0], json.loads(json.dumps(saved[1]))")
        made = self.base_lrs if base_lrs is None else base_lrs
        first = saved[0] if loaded else None
        fresh = Probe(self.subject, settings or self.settings, made, tensor=self.tensor, saved=first)
        loads: list[tuple[Callable[[], Any], str]] = [
            (lambda: fresh.optimizer.load_state_dict(saved[0]), "optimizer.load_state_dict(saved[0])"),
            (lambda: fresh.scheduler.load_state_dict(saved[1]), "scheduler.load_state_dict(saved[1])"),
        ]
        fresh.lines = [*self.lines, *lines, *fresh.lines]
        order = loads[1:] if loaded else loads if optimizer_first else loads[::-1]
        for load, line in order * times:
            fresh.lines.append(line)
            load()
        fresh.settings, fresh.t, fresh.resumed_at, fresh.base_lrs = self.settings, self.t, self.t, self.base_lrs
        return fresh

    def load(self, other: "Probe") -> None:
        """Go on, in this very optimizer and scheduler, from where another probe is."""
        saved: tuple[Any, Any] = copy.deepcopy((other.optimizer.state_dict(), other.scheduler.state_dict()))
        self.optimizer.load_state_dict(saved[0])
        self.scheduler.load_state_dict(saved[1])
        self.t = self.resumed_at = other.t

    def duplicate(self) -> "Probe":
        """A deepcopy of optimizer and scheduler."""
        other = copy.copy(self)
        other.optimizer, other.scheduler = copy.deepcopy((self.optimizer, self.scheduler))
        other.lines = [*self.lines, "optimizer, scheduler = copy.deepcopy((optimizer, scheduler))"]
        return other

    def constructed(self, last_epoch: int, steps: int) -> "Probe":
        """A fresh probe, its scheduler constructed with `last_epoch` on an optimizer as it was after some steps."""
        saved = copy.deepcopy(Probe(self.subject, self.settings, self.base_lrs).run(steps).optimizer.state_dict())
        fresh = copy.copy(self)
        fresh.optimizer = make_optimizer(self.base_lrs)
        fresh.optimizer.load_state_dict(saved)
        fresh.lines = [
            *(ANEW, _construction(self.subject, self.settings), *[STEP] * steps),
            *("saved = copy.deepcopy(optimizer.state_dict())", ANEW, "optimizer.load_state_dict(saved)"),
            _construction(self.subject, self.settings, last_epoch),
        ]
        fresh.t = last_epoch + 1
        fresh.scheduler = self.subject.make(fresh.optimizer, last_epoch=last_epoch, **self.settings)
        return fresh

    def expected(self, index: int, t: int | None = None) -> float:
        """The rate of a group now, or at step t, as the reference says it at 50 digits."""
        return self.subject.rate(self.settings, self.base_lrs[index], self.t if t is None else t)

    def judged(self, what: str = "the learning rate", *, rtol: float = SCHEDULE_RTOL) -> None:
        """Every group's rate against base_lr * f(t), as the reference says it at 50 digits."""
        for index, (rate, base_lr) in enumerate(zip(self.rates, self.base_lrs, strict=True)):
            expected = self.expected(index)
            self.peaks[index] = max(self.peaks.get(index, base_lr), abs(expected))
            peak = self.peaks[index]
            slack = SCHEDULE_ATOL if peak <= base_lr else rounding(torch.float64, self.t)  # a floor far above the base
            bound = rtol * abs(expected) + slack * peak
            self.close(index, rate, expected, bound, f"{what} of group {index} under {short(self.settings)}")

    def close(self, index: int, rate: float, expected: float, bound: float, what: str, *, of: str = "") -> None:
        """The rate that a group holds against what it should be."""
        with self.explaining(index, expected, bound):
            self.subject.judge.close(rate, expected, bound, what, step=self.t, of=of)

    def same(self, other: "Probe", what: str, *, of: str) -> None:
        """Every group's rate against another probe's, bit for bit."""
        for index, (rate, expected) in enumerate(zip(self.rates, other.rates, strict=True)):
            with self.explaining(index, expected, 0.0):
                self.subject.judge.equal(rate, expected, f"the rate of group {index}, {what},", step=self.t, of=of)

    @contextmanager
    def explaining(
        self, index: int, expected: float, bound: float, *, show: str = "optimizer.param_groups[{i}]['lr']"
    ) -> Iterator[None]:
        """Give a finding that is made inside its probable cause, and a program that shows it.

        Args:
            index: the group that is compared.
            expected: what is expected of what `show` shows.
            bound: how far from it is near enough.
            show: what the program prints, as code; `{i}` is the group's place.
        """

        def explain(finding: Finding, where: tuple[int, ...] | None) -> Finding:
            snippet = None
            alone = [[index]] if index < len(self.made) else []
            for groups in (*alone, range(len(self.made))):
                place = 0 if len(groups) == 1 else index
                lines, code = self._program(groups), show.format(i=place)
                program = programs.told(lines, f"float({code})", expected)
                if programs.differs(program, f"float({code})", expected, bound):
                    snippet = program
                    break
            cause = finding.likely or schedule_diagnosis.likely(self)
            return replace(finding, snippet=snippet, likely=cause, coordinate=f"group {index}")

        with self.subject.judge.explaining(explain):
            yield

    def raising(self, error: BaseException) -> str | None:
        """The program in which the scheduler raises an error of the same kind; None if it does not."""
        program = programs.imported(self._program([0]))
        return program if programs.raises(program, type(error)) else None

    def _program(self, groups: Sequence[int]) -> list[str]:
        """What was done, as code, with some of the groups."""
        lines = [programs.importing(self.subject)]
        if self.subject.pure:
            lines.append("from optreg import ScheduleLR")
        for line, repeats in groupby(self.lines):
            times = len(list(repeats))
            body = [self._anew(groups)] if line == ANEW else line.splitlines()
            lines += programs.repeated(body, times)
        return lines

    def _anew(self, groups: Sequence[int]) -> str:
        made = []
        for index in groups:
            own = "".join(
                f", {key!r}: {programs.literal(value)}"
                for key, value in _group(index, self.made[index], tensor=self.tensor).items()
            )
            made.append(f"{{'params': [torch.nn.Parameter(torch.ones(1))]{own}}}")
        return f"optimizer = torch.optim.SGD([{', '.join(made)}])"


def _construction(subject: ScheduleSubject, settings: Mapping[str, Any], last_epoch: int = -1) -> str:
    more = "" if last_epoch == -1 else f", last_epoch={last_epoch}"
    if subject.pure:
        return f"scheduler = ScheduleLR(optimizer, {programs.call(subject, '', settings)}{more})"
    return f"scheduler = {programs.call(subject, 'optimizer', settings)[:-1]}{more})"


def make_optimizer(base_lrs: Sequence[float], *, tensor: bool = False) -> Any:
    """Gradient descent with momentum, which some schedules drive too; groups are unlike, the second is frozen."""
    groups = []
    for index, base_lr in enumerate(base_lrs):
        param = Parameter(torch.ones(1, dtype=torch.float64), requires_grad=index != 1)
        param.grad = torch.full_like(param, 0.25) if param.requires_grad else None
        groups.append({"params": [param], **_group(index, base_lr, tensor=tensor)})
    return torch.optim.SGD(groups, foreach=False)


def _group(index: int, base_lr: float, *, tensor: bool) -> dict[str, Any]:
    """What a group is made with."""
    lr = torch.tensor(base_lr, dtype=torch.float64) if tensor else base_lr
    return {"lr": lr, "momentum": round(0.9 - 0.05 * index, 2), "weight_decay": round(0.01 * (index + 1), 2)}


def _is_level(subject: ScheduleSubject, settings: Mapping[str, Any]) -> bool:
    """Whether the formula gives the same multiplier at every step."""
    first = subject.formula(settings, 0)
    return all(subject.formula(settings, t) == first for t in range(1, span(settings) + 2))
