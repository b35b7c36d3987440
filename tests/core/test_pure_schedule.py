"""PureSchedule: the class that a reference and a formula become."""

import copy
import dataclasses
import inspect
import pickle

import pytest

import optreg


@dataclasses.dataclass
class Paper:
    """f(t) = factor to the number of milestones that t has reached."""

    milestones: tuple[optreg.Steps, ...]
    factor: optreg.Fraction = 0.5

    def __post_init__(self):
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError("milestones must rise")


class Staircase(optreg.PureSchedule):
    reference = Paper

    @staticmethod
    def multiplier(t, *, milestones, factor):
        return factor ** sum(t >= milestone for milestone in milestones)


STAIRS = Staircase((2, 4))


def test_it_is_called_with_the_step_and_has_the_fields_and_defaults_of_its_reference():
    assert [STAIRS(t) for t in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert inspect.signature(Staircase) == inspect.signature(Paper)
    described = [[(each.name, each.type, each.default) for each in dataclasses.fields(c)] for c in (Staircase, Paper)]
    assert described[0] == described[1]
    assert dataclasses.asdict(STAIRS) == {"milestones": (2, 4), "factor": 0.5}
    assert repr(STAIRS) == "Staircase(milestones=(2, 4), factor=0.5)"


def test_equal_hyperparameters_make_equal_schedules():
    assert Staircase(milestones=[2, 4]) == STAIRS
    assert hash(STAIRS) == hash(Staircase([2, 4]))
    assert Staircase((2, 4), 0.25) != STAIRS


def test_it_can_be_copied_and_pickled_but_not_changed():
    assert copy.copy(STAIRS) == copy.deepcopy(STAIRS) == pickle.loads(pickle.dumps(STAIRS)) == STAIRS
    with pytest.raises(dataclasses.FrozenInstanceError):
        STAIRS.factor = 0.25


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"milestones": (2,), "factor": 1.5}, ValueError, "Staircase: factor must be less than or equal to 1, not 1.5"),
        ({"milestones": (-2,)}, ValueError, r"Staircase: milestones\[0\] must be greater than or equal to 0, not -2"),
        ({"milestones": (4, 2)}, ValueError, "Staircase: milestones must rise"),
        ({}, TypeError, "missing 1 required positional argument: 'milestones'"),
        ({"milestones": (2,), "height": 1}, TypeError, "unexpected keyword argument 'height'"),
    ],
)
def test_wrong_hyperparameters_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Staircase(**settings)


def test_a_default_that_is_made_anew_is_not_shared():
    @dataclasses.dataclass
    class Listed:
        milestones: list[int] = dataclasses.field(default_factory=lambda: [1, 2])

    class Steps(optreg.PureSchedule):
        reference = Listed

    assert Steps() == Steps()
    assert Steps().milestones == (1, 2)


def test_a_subclass_keeps_the_hyperparameters_and_may_change_the_formula():
    class Mirrored(Staircase):
        @staticmethod
        def multiplier(t, *, milestones, factor):
            return 1 - Staircase.multiplier(t, milestones=milestones, factor=factor)

    assert [Mirrored((2, 4))(t) for t in (0, 2, 4)] == [0.0, 0.5, 0.75]
