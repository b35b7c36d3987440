"""What the suite says: findings that can be acted on, and verdicts that can be sent between processes."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    """The check did not come to its end: the process died, hung, or grew beyond its limit."""
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, where, by how much, and how to see it.

    Args:
        reason: one sentence.
        measured: the error found, in the units of the value compared.
        bound: the largest error that would have passed.
        step: the first update that differs, counted from 1; for a schedule, the step t.
        coordinate: the first element that differs.
        likely: one sentence on the probable cause.
        snippet: a program of about ten lines that shows it.
    """

    reason: str
    measured: float | None = None
    bound: float | None = None
    step: int | None = None
    coordinate: str | None = None
    likely: str | None = None
    snippet: str | None = None

    def __str__(self) -> str:
        lines = [self.reason]
        if self.measured is not None:
            lines.append(f"measured {self.measured:.6g}, bound {self.bound or 0:.6g}")
        coordinate = "" if self.coordinate and self.coordinate in self.reason else self.coordinate
        if self.step is not None or coordinate:
            lines.append(", ".join(part for part in (self._step, coordinate) if part))
        if self.likely:
            lines.append(f"likely: {self.likely}")
        if self.snippet:
            lines += ["", *(f"    {line}" for line in self.snippet.splitlines())]
        return "\n".join(lines)

    @property
    def _step(self) -> str:
        return "" if self.step is None else f"first at step {self.step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Two curves to draw over each other: what a schedule does, and what its reference says."""

    steps: list[int]
    actual: list[float]
    expected: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one check of one subject, as plain data.

    Args:
        subject: the name of what was judged.
        check: the check's id, `M02`.
        status: how it ended.
        finding: what is wrong, unless it passed.
        reason: why it does not apply.
        steps: how many updates were made.
        comparisons: how many values were compared.
        seconds: how long it took.
        output: the beginning of what the subject printed.
        curve: for schedules, what was compared.
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

    def as_dict(self) -> dict[str, Any]:
        """The verdict for JSON; `from_dict` takes it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Verdict":
        """A verdict from what `as_dict` returned."""
        finding = Finding(**data["finding"]) if data["finding"] else None
        curve = Curve(**data["curve"]) if data["curve"] else None
        return cls(**{**data, "status": Status(data["status"]), "finding": finding, "curve": curve})


class Failed(Exception):  # noqa: N818  # a check failed; nothing went wrong with the checking
    """Raised by a check that found something.

    Args:
        finding: what is wrong.
        where: the element that differs, where it is known.
    """

    def __init__(self, finding: Finding, where: tuple[int, ...] | None = None) -> None:
        super().__init__(finding.reason)
        self.finding = finding
        self.where = where
        self.evidence: object | None = None
        """What was done up to the finding, from which its cause can be found out and a program made."""


class NotApplicable(Exception):  # noqa: N818
    """Raised by a check that has nothing to say about its subject, with the reason."""


class CannotBeJudged(Exception):  # noqa: N818
    """The subject cannot be found, imported or made; the message says why."""
