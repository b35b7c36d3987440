"""Slots: the order of the tensors of an update: the parameter, its gradient, then its state."""

PARAM = 0
GRAD = 1
STATE = 2
"""The slot of the first state tensor."""


def written(count: int) -> tuple[int, ...]:
    """Of `count` slots, those that an update writes, in the order of a rule's results: all but the gradient."""
    return tuple(slot for slot in range(count) if slot != GRAD)
