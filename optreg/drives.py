"""Drives: the hyperparameters of a param group that follow schedules of their own, and how they are set."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from optreg.multipliers import curve
from optreg.phases import Phases
from optreg.spec import Timeline


@dataclass(frozen=True)
class Drive:
    """One hyperparameter, or one element of it, and its value as a function of the step.

    Args:
        key: its name in the group.
        index: the element of the tuple; None for the whole value.
        curve: the value at every step.
    """

    key: str
    index: int | None
    curve: Phases

    @property
    def name(self) -> str:
        """The hyperparameter in messages: `betas[0]`."""
        return self.key if self.index is None else f"{self.key}[{self.index}]"

    def put(self, group: MutableMapping[str, Any], value: float) -> None:
        """Set the value in a group."""
        if self.index is None:
            group[self.key] = value
        else:
            items = list(group[self.key])
            items[self.index] = value
            group[self.key] = type(group[self.key])(items)

    def as_dict(self) -> dict[str, Any]:
        """The drive as plain data."""
        return {"hyperparameter": self.name, "phases": self.curve.parameters["phases"]}


def drives(settings: Mapping[str, Any]) -> tuple[Drive, ...]:
    """What follows schedules among settings of a group.

    Raises:
        PluginError: a schedule cannot be imported, or cannot go from one level to another.
    """
    return tuple(Drive(key, index, curve(timeline)) for key, index, timeline in timelines(settings))


def timelines(settings: Mapping[str, Any]) -> Iterator[tuple[str, int | None, Timeline]]:
    """The timelines among settings: each with its hyperparameter, and the element of it or None for the whole."""
    for key, value in settings.items():
        if isinstance(value, Timeline):
            yield key, None, value
        elif isinstance(value, tuple):
            yield from ((key, index, item) for index, item in enumerate(value) if isinstance(item, Timeline))


def at_start(settings: Mapping[str, Any], made: Sequence[Drive]) -> dict[str, Any]:
    """The settings with the values at step 0 in the place of schedules."""
    begun = dict(settings)
    for drive in made:
        drive.put(begun, drive.curve(0))
    return begun
