"""The catalogue: what a check is, how severe its failure is, and how many checks must apply."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

SuiteKind = Literal["optimizer", "scheduler"]


class Tier(StrEnum):
    """How severe a failure is: a plugin that fails a MUST is wrong, one that fails a SHOULD surprises its users."""

    MUST = "must"
    SHOULD = "should"
    INFO = "info"

    @property
    def included(self) -> tuple["Tier", ...]:
        """The tiers that a run of this tier includes."""
        order = tuple(Tier)
        return order[: order.index(self) + 1]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One claim about every subject of a kind, as plain data.

    Args:
        id: the chapter's letter and a number, `M02`; never reused for another check.
        name: the function's name, without `check_`.
        claim: the sentence that must be true of the subject.
        kind: the kind of its subjects.
        tier: the severity of a failure.
        chapter: the title of its chapter.
        distribution: the distribution that it belongs to.
    """

    id: str
    name: str
    claim: str
    kind: SuiteKind
    tier: Tier
    chapter: str
    distribution: str

    def __str__(self) -> str:
        return f"{self.id}-{self.name}"


@dataclass(frozen=True, kw_only=True)
class LiveCheck(Check):
    """A check that can be run.

    Args:
        function: `check_...(subject)`; asserts its claim through `subject.assert_...`.
        needs: returns why the check does not apply to a subject, or None.
        formula: the check judges by a formula, and so does not apply to a class that is judged alone.
        still: the check makes no update that changes a parameter.
        hint: the likely cause of a failure, used if none is found out.
    """

    function: Callable[[Any], None]
    needs: Callable[[Any], str | None]
    formula: bool
    still: bool
    hint: str | None

    def listed(self) -> dict[str, str]:
        """The check for JSON."""
        return {field.name: str(getattr(self, field.name)) for field in fields(Check)}


def check(
    id: str,
    tier: Tier = Tier.MUST,
    *,
    needs: Callable[[Any], str | None] = lambda subject: None,
    formula: bool = False,
    still: bool = False,
    hint: str | None = None,
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Mark a function `check_...(subject)` as a check.

    Args:
        id: the chapter's letter and a number.
        tier: the severity of a failure.
        needs: returns why the check does not apply to a subject, or None.
        formula: the check judges by a formula, and so does not apply to a class that is judged alone.
        still: the check makes no update that changes a parameter; without this, a subject that never moves fails it.
        hint: the likely cause of a failure, in one sentence, used if none is found out.
    """

    def mark(function: Callable[[Any], None]) -> Callable[[Any], None]:
        about = SimpleNamespace(id=id, tier=tier, needs=needs, formula=formula, still=still, hint=hint)
        function.about = about  # type: ignore[attr-defined]
        return function

    return mark


AnyCheck = TypeVar("AnyCheck", bound=Check)


def of_tier(among: Iterable[AnyCheck], tier: Tier, kind: SuiteKind | None = None) -> list[AnyCheck]:
    """The checks that a run of a tier includes, of one kind if given."""
    return [check for check in among if check.tier in tier.included and kind in (None, check.kind)]


FLOORS: dict[SuiteKind, dict[Tier, int]] = {
    "optimizer": {Tier.MUST: 50, Tier.SHOULD: 60, Tier.INFO: 60},
    "scheduler": {Tier.MUST: 20, Tier.SHOULD: 24, Tier.INFO: 25},
}
"""How many checks of a tier must at least apply to a subject: a run of fewer proves too little to be called a pass."""

FLOORS_ALONE: dict[SuiteKind, dict[Tier, int]] = {
    "optimizer": {Tier.MUST: 35, Tier.SHOULD: 45, Tier.INFO: 45},
    "scheduler": {Tier.MUST: 15, Tier.SHOULD: 18, Tier.INFO: 18},
}
"""The same for a class that is judged alone."""


def floor(kind: SuiteKind, tier: Tier, *, alone: bool) -> int:
    """How many checks must at least apply."""
    return (FLOORS_ALONE if alone else FLOORS)[kind][tier]
