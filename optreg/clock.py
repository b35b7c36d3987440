"""Clock: the updates of a run beside the tokens, samples and epochs that they consume, in exact arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import Any

from optreg.quantities import TRAINER, Quantity, Size, Unit

FACTS = ("horizon", "batch", "epoch")
"""What a trainer may know and a spec may leave to it; each is a section of that name too."""


class OpenError(Exception):
    """A conversion needs a fact that is left to the trainer, and was not given yet."""

    def __init__(self, fact: str) -> None:
        super().__init__(fact)
        self.fact = fact


class LackingError(ValueError):
    """A conversion needs what the spec does not say; the message says what to add."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of the run in which every update consumes the same.

    Args:
        begin: its first update.
        size: what an update consumes.
        tokens: what all updates before it consumed; None where that is not known.
        samples: likewise.
    """

    begin: int
    size: Size
    tokens: int | None = 0
    samples: int | None = 0

    def consumed(self, t: int, unit: Unit) -> int | None:
        """What the updates before `t`, which lies in this stage, consumed of a unit; None if that is not known."""
        if unit is Unit.STEPS:
            return t
        before, each = self.tokens if unit is Unit.TOKENS else self.samples, self.size.of(unit)
        if before is None or t == self.begin:
            return before
        return None if each is None else before + (t - self.begin) * each


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the run: the first update at or after it, and where it lies exactly, in the unit it was given in."""

    update: int
    exact: tuple[Fraction, Unit] | None = None


START = Point(0)
"""The beginning of the run."""


@dataclass(frozen=True)
class Clock:
    """Converts quantities into updates, and updates into everything that is known of them.

    A quantity q becomes the smallest t such that the updates 0 .. t - 1 consume at least q.

    Args:
        stages: the batch, stage by stage; none if nothing is known of it.
        epoch: the length of an epoch, in updates, tokens or samples.
        horizon: the length of the run, in any unit but shares.
        open: the facts that are left to the trainer, and not given yet.
        said: the sections as they were written, with the facts that were given.
    """

    stages: tuple[Stage, ...] = ()
    epoch: Quantity | None = None
    horizon: Quantity | None = None
    open: frozenset[str] = frozenset()
    said: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def end(self) -> int | None:
        """The number of updates of the whole run; None if it is not known.

        Raises:
            LackingError: the spec does not say what converts its unit.
            OpenError: that is left to the trainer.
        """
        if "horizon" in self.open:
            raise OpenError("horizon")
        return None if self.horizon is None else self.at(self.horizon).update

    def lacks(self, quantity: Quantity) -> str:
        """The fact that the trainer must give before a quantity can be converted; empty if none is missing."""
        try:
            self.at(quantity)
        except OpenError as error:
            return error.fact
        return ""

    def at(self, quantity: Quantity) -> Point:
        """The point of the run at a quantity counted from its beginning; errors as in `after`."""
        return self.after(START, quantity)

    def after(self, begin: Point, quantity: Quantity) -> Point:
        """The point that lies a quantity after another.

        Where both were given in the same unit, nothing is rounded between them.

        Raises:
            LackingError: the spec does not say what converts the quantity.
            OpenError: that is left to the trainer.
        """
        amount, unit = self._reduced(quantity)
        if begin.exact and begin.exact[1] is unit:
            total = begin.exact[0] + amount
        else:
            total = self._known(begin.update, unit, quantity) + amount
        return Point(self._first_at(total, unit, quantity), (total, unit))

    def between(self, begin: Point, quantity: Quantity) -> int:
        """The number of updates of a quantity that is counted from a point; errors as in `after`."""
        return self.after(begin, quantity).update - begin.update

    def back_from(self, end: Point, quantity: Quantity) -> int:
        """The number of updates of a quantity that is counted back from a point.

        Raises:
            LackingError: the spec does not say what converts it, or it reaches back beyond the beginning of the run.
            OpenError: that is left to the trainer.
        """
        amount, unit = self._reduced(quantity)
        if unit is Unit.STEPS:
            return ceil(amount)
        whole = end.exact[0] if end.exact and end.exact[1] is unit else self._known(end.update, unit, quantity)
        if amount > whole:
            raise LackingError(f"'{quantity}' reaches back beyond the beginning of the run")
        return end.update - self._first_at(Fraction(whole - amount), unit, quantity)

    def consumed(self, t: int, unit: Unit) -> Fraction | None:
        """What the updates before `t` consumed of a unit, or their share in percent; None if that is not known."""
        if unit is Unit.EPOCHS:
            part = None if self.epoch is None else self.consumed(t, self.epoch.unit)
            return None if part is None or self.epoch is None else part / self.epoch.amount
        if unit is Unit.SHARE:
            try:
                whole, counted = self._reduced(self.horizon) if self.horizon else (0, Unit.STEPS)
            except (OpenError, LackingError):
                return None
            part = self.consumed(t, counted)
            return None if part is None or not whole else 100 * part / whole
        if unit is Unit.STEPS:
            return Fraction(t)
        found = self._stage(t).consumed(t, unit) if self.stages else None
        return None if found is None else Fraction(found)

    def _reduced(self, quantity: Quantity) -> tuple[Fraction, Unit]:
        """The amount in updates, tokens or samples."""
        if quantity.unit is Unit.SHARE:
            if "horizon" in self.open:
                raise OpenError("horizon")
            if self.horizon is None:
                raise LackingError(
                    f"'{quantity}' is a share of the whole run, whose length is not stated; add 'horizon: 100_000', or "
                    f"'horizon: {TRAINER}' if only the trainer knows it"
                )
            whole, unit = self._reduced(self.horizon)
            return whole * quantity.amount / 100, unit
        if quantity.unit is Unit.EPOCHS:
            if "epoch" in self.open:
                raise OpenError("epoch")
            if self.epoch is None:
                raise LackingError(
                    f"'{quantity}' needs the length of an epoch; add 'epoch: 1_281_167 samples', 'epoch: 312 steps', "
                    f"or 'epoch: {TRAINER}' if only the trainer knows it"
                )
            return quantity.amount * self.epoch.amount, self.epoch.unit
        return quantity.amount, quantity.unit

    def _known(self, t: int, unit: Unit, quantity: Quantity) -> int:
        """What the updates before `t` consumed of a unit."""
        if unit is Unit.STEPS:
            return t
        if "batch" in self.open:
            raise OpenError("batch")
        stage = self._stage(t) if self.stages else None
        found = stage.consumed(t, unit) if stage else None
        if found is None:
            raise self._lacking(unit, quantity, stage)
        return found

    def _lacking(self, unit: Unit, quantity: Quantity, stage: Stage | None) -> LackingError:
        """Why a quantity cannot be converted, and what to add."""
        stated, remedy = "the batch is not stated", f"add 'batch: {'4M' if unit is Unit.TOKENS else '1024'} {unit}'"
        if stage:
            stated = f"'batch' says '{stage.size.text}'"
            remedy = "write '1024 samples of 4096 tokens' there"
        return LackingError(
            f"'{quantity}' needs the {unit} of an update, but {stated}; {remedy}, or 'batch: {TRAINER}' if only the "
            "trainer knows it"
        )

    def _first_at(self, total: Fraction, unit: Unit, quantity: Quantity) -> int:
        """The smallest t such that the updates before it consume at least `total`."""
        if unit is Unit.STEPS:
            return ceil(total)
        stage = self._stage(0) if self.stages else None
        before = self._known(0, unit, quantity)
        for following in self.stages[1:]:
            reached = stage.consumed(following.begin, unit) if stage else None
            if reached is None or total <= reached:
                break
            stage, before = following, reached
        each = stage.size.of(unit) if stage else None
        if stage is None or each is None:
            raise self._lacking(unit, quantity, stage)
        return stage.begin + max(0, ceil((total - before) / each))

    def _stage(self, t: int) -> Stage:
        """The stage of update `t`; at the joint of two, the later."""
        return next(stage for stage in reversed(self.stages) if stage.begin <= t)


def begun(clock: Clock, size: Size, begin: int = 0) -> Clock:
    """The clock with one more stage of its batch; the first begins at update 0."""
    stage = Stage(begin, size)
    if clock.stages:
        last = clock.stages[-1]
        stage = Stage(begin, size, last.consumed(begin, Unit.TOKENS), last.consumed(begin, Unit.SAMPLES))
    return replace(clock, stages=(*clock.stages, stage))
