"""Subjects: what is judged, from the name it is asked for by to all that checks need to know of it."""
