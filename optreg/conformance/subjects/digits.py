"""Digits: arithmetic of arbitrary precision, in which formulas are told."""

import functools
from typing import Any


@functools.cache
def fifty_digits() -> Any:
    """An mpmath context of 50 digits, apart from the global one."""
    import mpmath

    context = mpmath.mp.clone()
    context.dps = 50
    return context
