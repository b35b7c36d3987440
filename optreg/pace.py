"""Pace: the updates of an optimizer beside the steps of its scheduler, and whether their proportion can be meant."""

import math

from optreg.errors import StepWarning, warn_caller

SKIPPED = 32
"""Steps that may be ahead of the updates at any time.

A gradient scaler halves its scale at every update that it skips. From torch's first scale, 2^16, to 1 it skips 16 in a
row; twice that many leaves room for a larger first scale.
"""

AHEAD = 1.5
"""Steps for each update that may be made besides. Once a scaler has found its scale, it skips one update in thousands.
Gradients that are accumulated over two micro-batches, the fewest there are, make two steps for each update where the
scheduler is stepped once for each micro-batch."""

UNSTEPPED = 200
"""Updates that may be made without a step at any time."""

BEHIND = 50
"""Updates for each step that may be made besides. Alternating optimizers make some five updates of one for each of the
other, and a closure is called within one update. A scheduler that is stepped once an epoch makes hundreds."""

AGAIN = 1.5
"""An odd proportion that has done no harm so far is judged again when there are so many times the updates, or steps."""


class Pace:
    """Counts the updates since a scheduler's place was last set, beside the steps that it has made from there."""

    __slots__ = ("at", "due", "most", "silent", "start", "updates")

    def __init__(self) -> None:
        self.silent = False
        self.restart(0)

    def restart(self, step: int) -> None:
        """Begin to count at `step`, where the scheduler was put, by a checkpoint for instance."""
        self.start = self.at = step
        self.updates = 0
        self.most: float = math.inf if self.silent else step + SKIPPED
        """The furthest step for which this many updates are enough."""
        self.due: float = math.inf if self.silent else UNSTEPPED
        """The number of updates at which the steps are looked at."""

    @property
    def expected(self) -> int:
        """The step for the next update, if the scheduler had made one after each."""
        return self.start + self.updates

    def move(self, step: int) -> bool:
        """Note that the scheduler goes to `step`. Returns whether the number of updates has to be judged."""
        if step != self.at + 1:
            self.restart(step)
        self.at = step
        return step > self.most

    def count(self, step: int) -> bool:
        """Count an update, before it is made at `step`. Returns whether the number of steps has to be judged."""
        if step != self.at:
            self.restart(step)
        reached = self.updates >= self.due
        self.updates += 1
        self.most += AHEAD
        return reached

    def too_few(self) -> bool:
        """Whether the scheduler has made far fewer steps than updates were finished."""
        finished = self.updates - 1
        self.due = AGAIN * finished
        return finished >= UNSTEPPED + BEHIND * (self.at - self.start)

    def defer(self) -> None:
        """Judge the number of updates again, if the scheduler has made so many more steps."""
        self.most = self.at + (AGAIN - 1) * (self.at - self.start)

    def stop(self) -> None:
        """Tell nothing from now on."""
        self.silent = True
        self.most = self.due = math.inf

    def tell_too_many(self) -> None:
        """Warn that the scheduler is ahead, once."""
        self._tell(
            f"the scheduler has made {self.at - self.start} steps beside {self.updates} updates of the optimizer, so "
            f"update number {self.expected} would run at the rate of step {self.at}. Call scheduler.step() once after "
            "each optimizer.step(): not for each micro-batch of an accumulated gradient, and not for each process"
        )

    def tell_too_few(self) -> None:
        """Warn that the scheduler is behind, once."""
        self._tell(
            f"the optimizer has made {self.updates - 1} updates beside {self.at - self.start} steps of the scheduler, "
            f"so update number {self.expected - 1} runs at the rate of step {self.at}. Schedules are counted in "
            "updates: call scheduler.step() after each optimizer.step(), not after each epoch (in Lightning, return "
            "the scheduler with 'interval': 'step'). If the spec's steps are meant to be epochs, ignore "
            "optreg.StepWarning"
        )

    def _tell(self, message: str) -> None:
        self.stop()
        warn_caller(message, StepWarning)
