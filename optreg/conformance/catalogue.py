"""The catalogue: what a check is, how much each weighs, and how many must apply."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Literal, TypeVar

SuiteKind = Literal["optimizer", "scheduler"]


class Tier(StrEnum):
    """How much a check weighs: a plugin that breaks a MUST is wrong, one that breaks a SHOULD surprises."""

    MUST = "must"
    SHOULD = "should"
    INFO = "info"

    @property
    def included(self) -> tuple["Tier", ...]:
        """The tiers that a run of this tier comprises."""
        order = tuple(Tier)
        return order[: order.index(self) + 1]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One claim about every subject of a kind, as plain data.

    Args:
        id: the chapter's letter and a number, `M02`; never used again for another check.
        name: the function's name, without `check_`.
        claim: the sentence that the check holds its subject to.
        kind: what it is a claim about.
        tier: how much it weighs.
        chapter: the title of its chapter.
        distribution: where it came from.
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
        function: `check_...(subject)`; asserts its claim by `subject.assert_...`.
        needs: says why the check does not apply to a subject, or None.
        still: the check makes no update that moves anything.
        hint: one sentence on what is likely wrong where the check fails and nothing tells more.
    """

    function: Callable[[Any], None]
    needs: Callable[[Any], str | None]
    still: bool
    hint: str | None

    def listed(self) -> dict[str, str]:
        """The check as JSON has it."""
        return {field.name: str(getattr(self, field.name)) for field in fields(Check)}


@dataclass(frozen=True, slots=True)
class About:
    """What a check function says of itself."""

    id: str
    tier: Tier
    needs: Callable[[Any], str | None]
    still: bool
    hint: str | None


def _nothing(subject: Any) -> str | None:
    return None


def check(
    id: str,
    tier: Tier = Tier.MUST,
    *,
    needs: Callable[[Any], str | None] = _nothing,
    still: bool = False,
    hint: str | None = None,
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Make a plain function `check_...(subject)` a check.

    Args:
        id: the chapter's letter and a number.
        tier: how much it weighs.
        needs: says why the check does not apply to a subject, or None.
        still: the check makes no update that moves anything; without this, a subject that never moves fails it.
        hint: one sentence on what is likely wrong where the check fails and nothing tells more.
    """

    def mark(function: Callable[[Any], None]) -> Callable[[Any], None]:
        function.about = About(id, tier, needs, still, hint)  # type: ignore[attr-defined]
        return function

    return mark


AnyCheck = TypeVar("AnyCheck", bound=Check)


def of_tier(among: Iterable[AnyCheck], tier: Tier, kind: SuiteKind | None = None) -> list[AnyCheck]:
    """The checks that a run of a tier comprises, of one kind where it is told."""
    return [check for check in among if check.tier in tier.included and kind in (None, check.kind)]


FLOORS: dict[SuiteKind, dict[Tier, int]] = {
    "optimizer": {Tier.MUST: 50, Tier.SHOULD: 60, Tier.INFO: 60},
    "scheduler": {Tier.MUST: 20, Tier.SHOULD: 24, Tier.INFO: 25},
}
"""How many checks of a tier must at least apply to a subject: a run of fewer proves too little to be called a pass."""
