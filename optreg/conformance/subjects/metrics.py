"""Metrics: what a schedule that is driven by a metric is fed with, step by step."""

import math

PATTERN = (
    4.0, 3.5, 3.5, 3.375, 3.5, 3.625, 4.5, 3.5, 3.75, 3.5, 3.4375, 3.5, 3.625, 3.5, math.nan, 3.5, 2.5, 2.5, 2.75,
    2.625, 2.5, 3.0, 5.0, 2.5, 2.75, math.inf, 2.625, 2.5, 2.75, 6.0, 2.5, 2.4375, 2.5, 2.0,
)  # fmt: skip
"""Falls and rises, large and small; what is equal to the best, what stands still for long, and what is no number."""


def metric(n: int) -> float:
    """The metric of step n = 1, 2, 3, ...: the pattern, and then again and again, each time lower by an eighth."""
    times, place = divmod(n - 1, len(PATTERN))
    return PATTERN[place] * 0.875**times


def code(n: int) -> str:
    """The metric of step n as code."""
    value = metric(n)
    return repr(value) if math.isfinite(value) else f"float('{value}')"
