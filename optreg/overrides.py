"""Overrides: values set in a document by dotted path, before it is checked."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from optreg.errors import Path, Position, Problem, SpecError
from optreg.yaml_reader import Document, read_mapping, read_text

Overrides = Iterable[str] | Mapping[str, Any]
"""`["scheduler.total_steps=5000"]` or `{"scheduler.total_steps": 5000}`."""


def override(document: Document, overrides: Overrides) -> Document:
    """The document with every override applied, in order.

    Raises:
        SpecError: an override has no path or no value, or its path does not exist.
    """
    if isinstance(overrides, str):
        overrides = [overrides]
    if not isinstance(overrides, Iterable):
        raise SpecError([Problem(None, f"overrides are strings or a mapping, not {type(overrides).__name__}")])
    plain = isinstance(overrides, Mapping)
    items: Iterable[tuple[Any, Any]] = overrides.items() if isinstance(overrides, Mapping) else map(_split, overrides)
    for dotted_path, value in items:
        where = Position(f"override '{dotted_path}'")
        if not isinstance(dotted_path, str):
            raise SpecError([Problem(where, "its path must be a string: 'optimizer.lr'")])
        if not dotted_path.strip():
            raise SpecError([Problem(where, "needs a path and a value: 'optimizer.lr=1e-4'")])
        path: Path = tuple(map(_step, dotted_path.strip().split(".")))
        if plain:
            read = read_mapping({"value": value})
            data = read.data["value"]
        else:
            if not value.strip():
                raise SpecError([Problem(where, "has no value after '='; write null for None, '' for an empty string")])
            read = read_text(value, str(where))
            data = read.data
        problems = [*document.problems, *(Problem(where, problem.message) for problem in read.problems)]
        document = replace(document.put(path, data, where), problems=problems)
    return document


def _step(part: str) -> str | int:
    """One step of a dotted path: a list index or a key."""
    return int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part


def _split(text: Any) -> tuple[str, str]:
    """The path and the value, as typed, of an override."""
    if not isinstance(text, str):
        raise SpecError([Problem(None, f"an override is a string like 'optimizer.lr=1e-4', not {text!r}")])
    path, equals, value = text.partition("=")
    if not equals:
        raise SpecError([Problem(Position(f"override '{text}'"), "has no '='; write 'optimizer.lr=1e-4'")])
    return path, value
