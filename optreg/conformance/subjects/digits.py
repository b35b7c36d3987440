"""Digits: arithmetic of arbitrary precision, for formulas."""

import functools
from typing import Any


@functools.cache
def fifty_digits() -> Any:
    """An mpmath context with 50 digits, separate from the global one."""
    import mpmath

    context = mpmath.mp.clone()
    context.dps = 50
    return context
