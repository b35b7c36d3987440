"""Differences: values of a checkpoint beside those of a spec, compared and put into words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optreg.errors import SHOWN, ResumeError

REMEDIES = {
    "parameters": "on_resume: {parameters: fresh} gives new parameters fresh state and drops state without a parameter",
    "settings": "on_resume: {settings: spec} takes the spec's, {settings: checkpoint} the checkpoint's",
    "schedule": "on_resume: {schedule: ...} takes ",
}
"""What to write where a checkpoint differs; after the last, the choices that can be taken."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that a checkpoint and a spec state differently."""

    what: str
    saved: Any
    stated: Any

    def __str__(self) -> str:
        return f"{self.what}: {_shown(self.saved)} in the checkpoint, {_shown(self.stated)} in the spec"


def plain(value: Any) -> Any:
    """`value` as plain data that can be compared: numbers for tensors of one element, lists for sequences.

    A checkpoint may have been stored as JSON, which knows no tuples.
    """
    if isinstance(value, Counter):  # torch's MultiStepLR
        return sorted(value.elements())
    if hasattr(value, "numel"):
        return value.item() if value.numel() == 1 else value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def listed(lines: Iterable[str]) -> str:
    """The lines below each other, indented; those beyond the first fifty are counted."""
    lines = list(lines)
    more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:SHOWN], *more])


def as_setting(value: Any) -> Any:
    """A value of a checkpoint as a spec has it."""
    value = plain(value)
    return tuple(value) if isinstance(value, list) else value


def copied(value: Any) -> Any:
    """`value`; a tensor as a copy."""
    return value.clone() if hasattr(value, "clone") else value


def refusal(
    found: Mapping[str, Sequence[object]], reason: str = "", choices: Sequence[str] = ("follow", "branch", "checkpoint")
) -> ResumeError:
    """One error that tells all differences.

    Args:
        found: the differences, by the field of `OnResume` that decides about them.
        reason: a line of its own, which says why a choice that was made does not help.
        choices: what the field `schedule` can be here.
    """
    lines = listed(str(difference) for differences in found.values() for difference in differences)
    words = {"schedule": f"{', '.join(choices[:-1])} or {choices[-1]}"}
    remedies = listed(REMEDIES[field] + words.get(field, "") for field, differences in found.items() if differences)
    return ResumeError(
        f"the checkpoint differs from this run:{lines}{reason}\nsay what is meant, in the spec or in "
        f"optreg.build(..., on_resume={{...}}):{remedies}\n(docs/resuming.md)"
    )


def _shown(value: Any) -> str:
    text = str(plain(value)) if value is not None else "nothing"
    return text if len(text) <= 200 else f"{text[:197]}..."
