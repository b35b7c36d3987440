"""Errors: they survive pickling, and hint at the closest word."""

import pickle

import pytest

import optreg
from optreg import PluginError, PluginWarning, Problem, SpecError, UnknownPluginError
from optreg.errors import did_you_mean, printable, raised


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
        ("muon", ["momentum", "torch.muon"], "; did you mean 'torch.muon'?"),
        ("x", ["a", "b"], "; choose from: a, b"),
    ],
)
def test_a_hint_is_the_closest_choice_or_all_of_them(word, choices, hint):
    assert did_you_mean(word, iter(choices)) == hint


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中 🙂 \u00a0space", "plain é 中 🙂 \u00a0space"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b31m \x7f \x00 \r", r"\x9b31m \x7f \x00 \r"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_would_command_a_terminal_is_shown_escaped(text, shown):
    assert printable(text) == shown
    assert str(PluginError(text)) == str(UnknownPluginError(text)) == str(PluginWarning(text)) == shown
    assert str(Problem(None, text)) == shown
    assert printable("a\nb\tc", keep="") == r"a\nb\tc"


def test_what_code_raises_is_told_by_type_and_message():
    assert raised(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"
    assert raised(SystemExit()) == "SystemExit"
