"""All broken plugins."""

from broken import FAULTS, declarations, engineering, mathematics, schedules, usage

__all__ = ["FAULTS", "declarations", "engineering", "mathematics", "schedules", "usage"]
