"""Slots: what stands where among the tensors of an update: the parameter, its gradient, then its state."""

PARAM = 0
GRAD = 1
STATE = 2
"""The first state tensor."""


def written(count: int) -> tuple[int, ...]:
    """The slots, of so many, that an update writes to, in the order of a rule's results: all but the gradient's."""
    return tuple(slot for slot in range(count) if slot != GRAD)
