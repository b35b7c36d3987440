"""Counts: the numbers of updates, or of steps, in a checkpoint, found by comparing it with an earlier one."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from optreg.conformance.results.differences import first_difference


def recounted(earlier: Any, later: Any, recount: Callable[[Any], Any]) -> tuple[Any, dict[str, Any]]:
    """A checkpoint with every count replaced by `recount(count)`, and the counts that it had, by place.

    A count is a number, or a tensor of one, that is one more than in the checkpoint of the update before.
    """
    counts: dict[str, Any] = {}

    def replaced(was: Any, now: Any, place: str) -> Any:
        if now - was != 1:
            return now
        counts[place] = now
        return recount(now)

    return changed(earlier, later, replaced), counts


def changed(earlier: Any, later: Any, change: Callable[[Any, Any, str], Any], place: str = "") -> Any:
    """A checkpoint in which `change(was, now, place)` stands for each single number that differs from the earlier."""
    if isinstance(later, dict) and isinstance(earlier, dict):
        return {key: changed(earlier.get(key), value, change, f"{place}[{key!r}]") for key, value in later.items()}
    if isinstance(later, list | tuple) and isinstance(earlier, list | tuple) and len(later) == len(earlier):
        pairs = enumerate(zip(earlier, later, strict=True))
        return type(later)(changed(was, now, change, f"{place}[{i}]") for i, (was, now) in pairs)
    if _single(earlier) and _single(later) and first_difference(later, earlier, place):
        return change(earlier, later, place)
    return later


def _single(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, int | float)
