"""Conventions: how others count the updates of a warm-up and of the curve after it, by the name of their project."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Convention:
    """One way to count. W is the number of updates of the warm-up, T the last step of the schedule.

    Args:
        name: what a spec writes.
        says: one sentence.
        rising: the line of the warm-up: its height, of which 1 is the whole, at update t < W.
        early: by how many updates everything comes earlier.
        covers: the curve runs over all of T, and the warm-up covers its beginning; otherwise it runs over T - W.
    """

    name: str
    says: str
    rising: Callable[[int, int], float]
    early: int = 0
    covers: bool = False


def _from_zero(t: int, W: int) -> float:
    return t / W


def _from_one(t: int, W: int) -> float:
    return (t + 1) / W


CONVENTIONS = {
    each.name: each
    for each in (
        Convention("transformers", "t / W, then the curve over T - W: as optreg counts.", _from_zero),
        Convention("optax", "t / W, then the curve over T - W: as optreg counts.", _from_zero),
        Convention("nanogpt", "(t + 1) / (W + 1), then the curve over T - W.", lambda t, W: (t + 1) / (W + 1)),
        Convention("nanochat", "(t + 1) / W, then the curve over T - W.", _from_one),
        Convention("torchtitan", "(t + 1) / W, then the curve over T - W.", _from_one),
        Convention("olmo", "Everything one update earlier: (t + 1) / W, then the curve.", _from_zero, early=1),
        Convention("timm", "t / W over the beginning of a curve that runs over all of T.", _from_zero, covers=True),
    )
}
"""Every convention by its name."""
