"""All broken plugins."""

from broken import FAULTS, declarations, engineering, history, mathematics, precision, schedules, usage

__all__ = ["FAULTS", "declarations", "engineering", "history", "mathematics", "precision", "schedules", "usage"]
