"""The settings at which schedules are judged: every phase is there, every choice is made, ends are there and are not."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import MinLen

from optreg import PositiveSteps, Steps
from optreg.conformance.subjects.schedule_settings import corners, typical


@dataclass
class Phased:
    shape: Literal["line", "curve"]
    total_steps: PositiveSteps | None = None
    warmup_steps: Steps = 0
    patience: int = 10


@dataclass
class Marked:
    marks: Annotated[tuple[PositiveSteps, ...], MinLen(1)]
    rest_steps: Steps

    def __post_init__(self) -> None:
        if self.marks[0] < self.rest_steps:
            raise ValueError("no room")


class Fed(Phased):
    def rates(self, base_lr, mp):
        raise NotImplementedError


def test_optional_phases_and_ends_are_there_and_a_choice_without_a_default_is_made():
    assert typical(Phased) == {"shape": "line", "total_steps": 20, "warmup_steps": 2, "patience": 10}


def test_numbers_of_steps_are_replaced_in_long_runs():
    long = typical(Phased, total_steps=1000, warmup_steps=30)
    assert (long["total_steps"], long["warmup_steps"]) == (1000, 30)
    assert typical(Marked, total_steps=1000)["marks"] == (400, 700)


def test_a_list_of_steps_is_early_if_it_may_be():
    assert typical(Marked) == {"marks": (8, 14), "rest_steps": 5}
    assert typical(dataclass(type("Free", (), {"__annotations__": {"marks": tuple[PositiveSteps, ...]}})))["marks"] == (
        3,
        7,
    )


def test_what_metrics_drive_has_little_patience():
    assert typical(Fed)["patience"] == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"total_steps": None},
        {"total_steps": 19},
        {"warmup_steps": 0},
        {"shape": "curve"},
        {"shape": "curve", "total_steps": 1, "warmup_steps": 20},
    ],
)
def test_corners_have_every_choice_and_no_end_too(settings):
    assert any(corner.items() >= settings.items() for corner in corners(Phased))
