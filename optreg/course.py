"""Course: which point of a schedule an update uses, after the schedule was branched off or stretched at a resume."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optreg.protocols import Schedule


@dataclass(frozen=True, slots=True)
class Course:
    """The way from the number of an update to a point of a schedule: s = t unless the run was resumed differently.

    Args:
        begins: the update at which the schedule began: s = t - begins.
        end: the schedule's parameter that names its last step, if it was stretched.
        stretches: for each stretch the step s at which it was made, the schedule's end then, and its new end. Beyond
            the first step, the new end takes the place of the old one, and the steps between lie evenly.
    """

    begins: int = 0
    end: str | None = None
    stretches: tuple[tuple[int, int, int], ...] = ()

    def factor(self, schedule: Schedule, t: int) -> float:
        """The multiplier of update `t`.

        Between the steps of a stretched schedule, the value lies on the straight line. So schedules are asked for whole
        steps alone, and the value is exact at both ends of the stretch.
        """
        s: float = max(t - self.begins, 0) if self.begins else t
        if not self.stretches:
            return schedule(int(s) if self.begins else t)
        assert self.end is not None
        original = changed(schedule, {self.end: self.stretches[0][1]})
        for at, old, new in reversed(self.stretches):
            if s > at:
                s = at + (s - at) * (old - at) / (new - at)
        below = int(s)
        part = s - below
        value: float = original(below)
        return value if not part else (1 - part) * value + part * original(below + 1)

    def stretched(self, t: int, end: str, old: int, new: int) -> "Course":
        """The course after a stretch at update `t`, from the old end of the schedule to the new one.

        Raises:
            ValueError: nothing is left to stretch, or the new end has passed.
        """
        at = max(t - self.begins, 0)
        if at >= old:
            raise ValueError(f"the schedule ended at step {old}, before step {at}, so that no part of it is left")
        if at >= new:
            raise ValueError(f"the new end, {new}, lies before step {at}")
        return replace(self, end=end, stretches=(*self.stretches, (at, old, new)))

    def as_dict(self) -> dict[str, Any]:
        """The course as plain data; empty if nothing was changed."""
        if self == Course():
            return {}
        return {"begins": self.begins, "end": self.end, "stretches": [list(stretch) for stretch in self.stretches]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Course":
        """The course that `as_dict` described."""
        stretches = tuple((at, old, new) for at, old, new in data.get("stretches", ()))
        return cls(data.get("begins", 0), data.get("end"), stretches)


def changed(schedule: Schedule, settings: Mapping[str, Any]) -> Schedule:
    """A schedule with other parameters: a dataclass, or what has a method `replaced` of its own."""
    made: Schedule = schedule.replaced(**settings) if hasattr(schedule, "replaced") else replace(schedule, **settings)  # type: ignore[type-var]
    return made
