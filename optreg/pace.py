"""Pace: the updates of an optimizer beside the steps of its scheduler, and whether their proportion can be meant."""

import math
import warnings

from optreg.errors import StepWarning

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

AGAIN = 100
"""Updates, or steps, after which an odd proportion that has done no harm so far is judged again."""


class Pace:
    """Counts the updates since a scheduler's place was last set, beside the steps that it has made from there.

    Args:
        start: the step at which the scheduler begins.
    """

    __slots__ = ("due", "most", "silent", "start", "updates")

    def __init__(self, start: int) -> None:
        self.silent = False
        self.restart(start)

    def restart(self, step: int) -> None:
        """Begin to count at `step`, where the scheduler was put, by a checkpoint for instance."""
        self.start, self.updates = step, 0
        self.most: float = math.inf if self.silent else step + SKIPPED
        """The furthest step for which this many updates are enough."""
        self.due: float = math.inf if self.silent else UNSTEPPED
        """The number of updates at which the steps are looked at."""

    @property
    def expected(self) -> int:
        """The step for the next update, if the scheduler had made one after each."""
        return self.start + self.updates

    def count(self) -> bool:
        """Count an update, before it is made. Returns whether the number of steps has to be judged."""
        reached = self.updates >= self.due
        self.updates += 1
        self.most += AHEAD
        return reached

    def too_few(self, step: int) -> bool:
        """Whether the scheduler, now at `step`, has made far fewer steps than updates were finished."""
        finished = self.updates - 1
        self.due = finished + AGAIN
        return finished >= UNSTEPPED + BEHIND * (step - self.start)

    def stop(self) -> None:
        """Tell nothing from now on."""
        self.silent = True
        self.most = self.due = math.inf

    def tell_too_many(self, step: int) -> None:
        """Warn that the scheduler is ahead, once."""
        self._tell(
            f"the scheduler has made {step - self.start} steps beside {self.updates} updates of the optimizer, so "
            f"update number {self.expected} would run at the rate of step {step}. Call scheduler.step() once after "
            "each optimizer.step(): not for each micro-batch of an accumulated gradient, and not for each process",
            frames=4,
        )

    def tell_too_few(self, step: int) -> None:
        """Warn that the scheduler is behind, once."""
        self._tell(
            f"the optimizer has made {self.updates - 1} updates beside {step - self.start} steps of the scheduler, so "
            f"update number {self.expected - 1} runs at the rate of step {step}. Schedules are counted in updates: "
            "call scheduler.step() after each optimizer.step(), not after each epoch (in Lightning, return the "
            "scheduler with 'interval': 'step'). If the spec's steps are meant to be epochs, ignore optreg.StepWarning",
            frames=5,  # two of them are torch's
        )

    def _tell(self, message: str, frames: int) -> None:
        """Warn where the user called `step`, some frames above who found it out."""
        self.stop()
        warnings.warn(message, StepWarning, stacklevel=frames + 2)
