"""Probes: an ordinary optimizer under the scheduler that is judged, which shows the rate that every update sees."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import Parameter

from optreg.conformance.subject import ScheduleSubject
from optreg.conformance.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL

BASE_LRS = (0.5, 0.3)
"""One that is a power of two, and one that is not."""


class Probe:
    """A scheduler on an optimizer of two groups.

    Args:
        subject: the schedule that is judged.
        settings: its hyperparameters.
        base_lrs: each group's base learning rate.
        tensor: whether the groups hold their rate in a tensor.
    """

    def __init__(
        self,
        subject: ScheduleSubject,
        settings: Mapping[str, Any],
        base_lrs: Sequence[float] = BASE_LRS,
        *,
        tensor: bool = False,
    ) -> None:
        self.subject, self.settings, self.base_lrs = subject, dict(settings), tuple(base_lrs)
        self.optimizer = make_optimizer(base_lrs, tensor=tensor)
        self.scheduler = subject.make(self.optimizer, **settings)
        self.t = 0
        judge = subject.judge
        judge.level = judge.level is not False and _is_level(subject, settings)

    def step(self) -> None:
        """One update, and the scheduler's step after it."""
        before = self.rates
        self.optimizer.step()
        self.scheduler.step()
        self._stepped(self.t + 1, before)

    def jump(self, t: int) -> None:
        """Set the scheduler to step t."""
        before = self.rates
        self.scheduler.step(t)
        self._stepped(t, before)

    def _stepped(self, t: int, before: list[float]) -> None:
        self.t = t
        self.subject.judge.steps += 1
        if self.rates != before:
            self.subject.judge.moved = True

    def run(self, steps: int) -> "Probe":
        """So many updates."""
        for _ in range(steps):
            self.step()
        return self

    @property
    def rates(self) -> list[float]:
        """The learning rate that each group holds."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def saved(self) -> tuple[Any, Any]:
        """The state dicts of the optimizer and of the scheduler."""
        return self.optimizer.state_dict(), self.scheduler.state_dict()

    def judged(self, what: str = "the learning rate") -> None:
        """Every group's rate against base_lr * f(t), as the reference says it at 50 digits."""
        for index, (rate, base_lr) in enumerate(zip(self.rates, self.base_lrs, strict=True)):
            expected = self.subject.rate(self.settings, base_lr, self.t)
            bound = SCHEDULE_RTOL * abs(expected) + SCHEDULE_ATOL * base_lr
            self.subject.judge.close(
                rate, expected, bound, f"{what} of group {index} under {short(self.settings)}", step=self.t
            )


def make_optimizer(base_lrs: Sequence[float], *, tensor: bool = False) -> Any:
    """Gradient descent with momentum (some schedules drive that too), one parameter a group, gradients of zero."""
    groups = []
    for base_lr in base_lrs:
        param = Parameter(torch.zeros(1, dtype=torch.float64))
        param.grad = torch.zeros_like(param)
        lr = torch.tensor(base_lr, dtype=torch.float64) if tensor else base_lr
        groups.append({"params": [param], "lr": lr})
    return torch.optim.SGD(groups, lr=base_lrs[0], momentum=0.9, foreach=False)


def _is_level(subject: ScheduleSubject, settings: Mapping[str, Any]) -> bool:
    """Whether the formula gives the same multiplier at every step."""
    return len({subject.formula(settings, t) for t in range(span(settings) + 2)}) == 1


def span(settings: Mapping[str, Any]) -> int:
    """The last step that settings name, or 20."""
    return max((value for value in settings.values() if type(value) is int), default=20)


def short(settings: Mapping[str, Any]) -> str:
    """Settings as a line."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items()) or "no settings"
