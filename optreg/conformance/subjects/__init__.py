"""Subjects: what is judged, from its name to everything that checks need to know about it."""
