"""The door: every public name, documented, and none imported before it is used."""

import subprocess
import sys

import pytest

import optreg
from optreg import hyperparameters
from optreg.ranges import Fraction, NonNegative


@pytest.mark.parametrize("name", optreg.__all__)
def test_every_public_name_is_there(name):
    assert getattr(optreg, name) is not None
    assert name in dir(optreg)


@pytest.mark.parametrize("name", [name for name in optreg.__all__ if callable(getattr(optreg, name))])
def test_every_public_class_and_function_is_documented(name):
    doc = getattr(optreg, name).__doc__
    if name not in {"Decay", "Fraction", "NonNegative", "Positive", "PositiveSteps", "Steps"}:
        assert doc
        assert not doc.startswith(f"{name}(")


def test_the_tables_of_the_door_agree():
    assert sorted(optreg.__all__) == sorted(name for names in optreg._HOMES.values() for name in names)


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'optreg' has no attribute 'bild'"):
        _ = optreg.bild


def test_importing_optreg_imports_nothing_heavy_and_no_plugin():
    code = (
        "import sys, optreg\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'pluggy', 'click', 'rich', 'optreg_plugins'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_check_completes_with_defaults_and_refuses_what_is_wrong():
    from optreg_plugins.lion.reference import Lion

    assert optreg.check(Lion, {"lr": 1}) == {"lr": 1, "betas": (0.9, 0.99), "weight_decay": 0.0}
    with pytest.raises(ValueError, match="Lion: lr must be a valid number, not true"):
        optreg.check(Lion, {"lr": True})
    with pytest.raises(optreg.SpecError) as caught:
        optreg.check(Lion, {"lr": -1, "betas": (0.9,), "weight_dekay": 3}, "mine")
    assert len(caught.value.problems) == 3
    assert "mine has no parameter 'weight_dekay'; did you mean 'weight_decay'?" in str(caught.value)


def test_fields_are_described_for_people():
    import dataclasses
    from typing import Literal

    @dataclasses.dataclass
    class Reference:
        eta: NonNegative
        mode: Literal["a", "b"] = "a"
        pair: tuple[Fraction, NonNegative] = (0.5, 1.0)
        flag: bool | None = None

    assert [dataclasses.astuple(field) for field in hyperparameters.describe(Reference)] == [
        ("eta", "float", ">= 0", "required"),
        ("mode", "'a' | 'b'", "", "a"),
        ("pair", "(float, float)", "(>= 0, <= 1, >= 0)", "(0.5, 1.0)"),
        ("flag", "bool | null", "", "None"),
    ]
