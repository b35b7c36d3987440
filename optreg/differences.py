"""Differences: values of a checkpoint beside those of a spec, compared and put into words."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optreg.errors import SHOWN


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


def _shown(value: Any) -> str:
    text = str(plain(value)) if value is not None else "nothing"
    return text if len(text) <= 200 else f"{text[:197]}..."
