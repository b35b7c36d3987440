"""All broken plugins."""

from broken import FAULTS, declarations, engineering, mathematics, precision, schedules, usage

__all__ = ["FAULTS", "declarations", "engineering", "mathematics", "precision", "schedules", "usage"]
