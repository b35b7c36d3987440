"""All broken plugins."""

from broken import (
    FAULTS,
    corners,
    declarations,
    engineering,
    history,
    mathematics,
    metrics,
    precision,
    schedules,
    usage,
)

__all__ = [
    "FAULTS",
    "corners",
    "declarations",
    "engineering",
    "history",
    "mathematics",
    "metrics",
    "precision",
    "schedules",
    "usage",
]
