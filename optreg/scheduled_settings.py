"""Scheduled settings: the settings of an optimizer in which schedules stand in place of numbers."""

from collections.abc import Mapping
from typing import Any

from optreg.clock import Clock
from optreg.errors import Path, Problem
from optreg.hyperparameters import numbers
from optreg.phase_sections import Driven, timeline
from optreg.records import OptimizerPlugin
from optreg.registry import Registry
from optreg.remedies import CLASS_KEYS
from optreg.settings_checks import own_names
from optreg.yaml_reader import FAULTY, Document


def with_timelines(
    document: Document,
    path: Path,
    owner: str,
    plugin: OptimizerPlugin,
    settings: Mapping[str, Any],
    registry: Registry,
    clock: Clock,
) -> tuple[dict[str, Any], list[Problem]]:
    """The settings of an optimizer with timelines for schedules that stand in place of numbers."""
    read: dict[str, Any] = {}
    problems: list[Problem] = []
    lengths = numbers(plugin.reference)
    for key, value in settings.items():
        place = (*path, key)
        if key not in lengths or not _holds_a_mapping(value):
            read[key] = value
            if key in own_names(plugin) and _holds_a_mapping(value):
                problems.append(document.problem(place, f"{owner}: {key} is not a number that a schedule can set"))
                read[key] = FAULTY
            continue
        count = lengths[key]
        if count is not None and not isinstance(value, tuple):
            message = f"{owner}: {key} has {count} elements; write a list with a schedule in the place of one"
            problems.append(document.problem(place, message))
            read[key] = FAULTY
            continue
        if isinstance(value, dict) and not {"name", *CLASS_KEYS} & value.keys():
            message = f"{owner}: {key} must be a valid number, not a mapping; a schedule in its place has a 'name'"
            problems.append(document.problem(place, message))
            read[key] = FAULTY
            continue
        if count is None:
            found_, wrong = timeline(document, place, value, registry, clock, Driven(key))
            read[key] = FAULTY if found_ is None else found_
            problems += wrong
            continue
        items: list[Any] = []
        for index, item in enumerate(value):
            if _holds_a_mapping(item):
                at = (*place, index)
                found_, wrong = timeline(document, at, item, registry, clock, Driven(f"{key}[{index}]"))
                items.append(FAULTY if found_ is None else found_)
                problems += wrong
            else:
                items.append(item)
        read[key] = tuple(items)
    return read, problems


def _holds_a_mapping(value: Any) -> bool:
    """Whether a value is a mapping, or a list with one in it."""
    return isinstance(value, dict) or (isinstance(value, tuple) and any(map(_holds_a_mapping, value)))
