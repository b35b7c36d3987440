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
    stages,
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
    "stages",
    "usage",
]
