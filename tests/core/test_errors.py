"""Errors: they survive pickling, and hint at the closest word."""

import pickle

import pytest

import optreg
from optreg import Problem, SpecError
from optreg.errors import did_you_mean


def test_errors_survive_pickling_as_data_loader_workers_do_it():
    with pytest.raises(SpecError) as caught:
        optreg.load_spec({"optimizer": {"name": "lion", "rl": 1}, "scheduler": {"name": "constant"}})
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert twin.problems == caught.value.problems == (Problem(None, str(caught.value)),)


@pytest.mark.parametrize(
    ("word", "choices", "hint"),
    [
        ("lr", [], ""),
        ("foreech", ["lr", "foreach"], "; did you mean 'foreach'?"),
        ("x", ["a", "b"], "; choose from: a, b"),
    ],
)
def test_a_hint_is_the_closest_choice_or_all_of_them(word, choices, hint):
    assert did_you_mean(word, iter(choices)) == hint
