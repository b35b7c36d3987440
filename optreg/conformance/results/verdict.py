"""Verdicts: the outcomes of checks, as plain data, with findings that users can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    """The check did not finish: the process died, hung, or exceeded its memory limit."""
    NOT_APPLICABLE = "not applicable"


NEEDS_A_REFERENCE = "needs a reference"
"""How the reason begins why a check does not apply to a class that is judged alone, and would apply to another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, where, by how much, and how to reproduce it.

    Args:
        reason: one sentence.
        measured: the error, in the units of the value compared.
        bound: the largest error that would have passed.
        step: the first update that differs, counted from 1; for a schedule, the step t.
        coordinate: the first element that differs.
        likely: the likely cause, in one sentence.
        snippet: a program of about ten lines that reproduces it.
        causes: every known cause that explains it, as a sentence; one is the likely cause.
        together: no cause explains it alone, but all of them together.
        circumstances: what is special about the run that shows it, beside the plainest; None if no run does.
        raised: the subject has raised an exception, so that the check could not be finished.
    """

    reason: str
    measured: float | None = None
    bound: float | None = None
    step: int | None = None
    coordinate: str | None = None
    likely: str | None = None
    snippet: str | None = None
    causes: tuple[str, ...] = ()
    together: bool = False
    circumstances: tuple[str, ...] | None = None
    raised: bool = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Finding":
        """A finding from plain data, in which lists stand for tuples."""
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**given)

    def __str__(self) -> str:
        lines = [self.reason]
        if self.measured is not None:
            lines.append(f"measured {self.measured:.6g}, bound {self.bound or 0:.6g}")
        coordinate = "" if self.coordinate and self.coordinate in self.reason else self.coordinate
        if self.step is not None or coordinate:
            step = "" if self.step is None else f"first at step {self.step}"
            lines.append(", ".join(filter(None, (step, coordinate))))
        if self.likely:
            lines.append(f"likely: {self.likely}")
        if self.snippet:
            lines += ["", *(f"    {line}" for line in self.snippet.splitlines())]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The curve of a schedule, and that of its reference, to be drawn in one picture."""

    steps: list[int]
    actual: list[float]
    expected: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one check of one subject, as plain data.

    Args:
        subject: the name of the subject.
        check: the check's id, `M02`.
        status: how the check ended.
        finding: what is wrong, if it failed or crashed.
        reason: why it does not apply, if it does not.
        steps: the number of updates.
        comparisons: the number of comparisons.
        seconds: the duration.
        output: the beginning of what the subject printed.
        curve: the curves to draw, of a schedule.
    """

    subject: str
    check: str
    status: Status
    finding: Finding | None = None
    reason: str | None = None
    steps: int = 0
    comparisons: int = 0
    seconds: float = 0.0
    output: str = ""
    curve: Curve | None = None

    @property
    def unanswered(self) -> bool:
        """Whether the check asks what only a reference answers, and there was none."""
        return bool(self.reason) and str(self.reason).startswith(NEEDS_A_REFERENCE)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Verdict":
        """A verdict from plain data; the inverse of `as_dict`."""
        finding = Finding.from_dict(data["finding"]) if data["finding"] else None
        curve = Curve(**data["curve"]) if data["curve"] else None
        return cls(**{**data, "status": Status(data["status"]), "finding": finding, "curve": curve})


class Failed(Exception):  # noqa: N818  # the check failed, not the suite
    """Raised by a check with its finding, and the index of the element that differs, if known."""

    def __init__(self, finding: Finding, where: tuple[int, ...] | None = None) -> None:
        super().__init__(finding.reason)
        self.finding = finding
        self.where = where
        self.evidence: object | None = None
        """What was done before, from which the cause and a program are derived."""
        self.hint: str | None = None
        """What it most often means, if that is not what a failure of its check most often means."""


@contextmanager
def mostly_because(hint: str) -> Iterator[None]:
    """Say what a failure inside most often means, where it is not the hint of the check."""
    try:
        yield
    except Failed as failed:
        failed.hint = hint
        raise


@contextmanager
def under(*circumstances: str) -> Iterator[None]:
    """Say what is special about a run inside, where no recording tells it."""
    try:
        yield
    except Failed as failed:
        failed.finding = replace(failed.finding, circumstances=circumstances)
        raise


class NotApplicable(Exception):  # noqa: N818
    """Raised by a check that does not apply to its subject, with the reason."""


class CannotBeJudged(Exception):  # noqa: N818
    """The subject cannot be found, imported or constructed; the message states why."""
