"""Hyperparameters: values against the typed, bounded fields of a reference; the same fields for people and tools."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Annotated, Literal

import jsonschema
import numpy as np
import pytest
import torch
from annotated_types import Ge, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st

from optreg import Decay, Fraction, NonNegative, OptregError, PluginError, Positive, SpecError, Steps
from optreg import check_hyperparameters as check
from optreg.hyperparameters import complaints, defaults, describe, json_schema, names, taken


@dataclass
class Paper:
    """A reference with every kind of field."""

    eta: Positive
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    floor: NonNegative | None = None
    start: Steps = 0
    nesterov: bool = False
    mode: Literal["max", "sum"] = "max"

    def __post_init__(self):
        if self.floor is not None and self.floor > self.eta:
            raise ValueError(f"floor ({self.floor}) must not be more than eta ({self.eta})")


def told(values, owner=None, reference=Paper):
    with pytest.raises(SpecError) as caught:
        check(reference, values, owner)
    return [str(problem) for problem in caught.value.problems]


def test_names_and_defaults_follow_the_declaration():
    assert names(Paper) == ["eta", "betas", "floor", "start", "nesterov", "mode"]
    assert defaults(Paper) == {
        "betas": (0.9, 0.99), "floor": None, "start": 0, "nesterov": False, "mode": "max",
    }  # fmt: skip


def test_what_is_given_is_completed_with_the_defaults():
    assert check(Paper, {"eta": 0.5, "start": 3}) == {**defaults(Paper), "eta": 0.5, "start": 3}


def test_an_int_will_do_for_a_float_and_comes_back_as_it_is():
    eta = check(Paper, {"eta": 2})["eta"]
    assert (type(eta), eta) == (int, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "Paper needs 'eta', which has no default; add it"),
        ({"eta": True}, "Paper: eta must be a valid number, not true"),
        ({"eta": None}, "Paper: eta must be a valid number, not null"),
        ({"eta": "0.5"}, "Paper: eta must be a valid number, not '0.5'; remove the quotes"),
        ({"eta": "fast"}, "Paper: eta must be a valid number, not 'fast'"),
        ({"eta": "x" * 100}, f"Paper: eta must be a valid number, not '{'x' * 56}..."),
        ({"eta": {}}, "Paper: eta must be a valid number, not a mapping"),
        ({"eta": OrderedDict(a=1)}, "Paper: eta must be a valid number, not a mapping"),
        ({"eta": [1.0]}, "Paper: eta must be a valid number, not a list of 1"),
        ({"eta": 0}, "Paper: eta must be greater than 0, not 0"),
        ({"eta": float("nan")}, "Paper: eta must be a finite number, not nan"),
        ({"eta": float("inf")}, "Paper: eta must be a finite number, not inf"),
        ({"eta": 10**400}, "Paper: eta must be a valid number, not a number of 1329 bits"),
        ({"eta": 10**5000}, "Paper: eta must be a valid number, not a number of 16610 bits"),
        ({"eta": 1, "start": 1.5}, "Paper: start must be a valid integer, not 1.5"),
        ({"eta": 1, "start": True}, "Paper: start must be a valid integer, not true"),
        ({"eta": 1, "start": "7"}, "Paper: start must be a valid integer, not '7'; remove the quotes"),
        ({"eta": 1, "start": -1}, "Paper: start must be greater than or equal to 0, not -1"),
        ({"eta": 1, "nesterov": 1}, "Paper: nesterov must be a valid boolean, not 1"),
        ({"eta": 1, "mode": "min"}, "Paper: mode must be 'max' or 'sum', not 'min'"),
        ({"eta": 1, "betas": (0.9, 1)}, "Paper: betas[1] must be less than 1, not 1"),
        ({"eta": 1, "floor": 2}, "Paper: floor (2) must not be more than eta (1)"),
        ({"eta": torch.tensor(-1.0)}, "Paper: eta must be greater than 0, not -1.0"),
        ({"eta": torch.tensor(True)}, "Paper: eta must be a valid number, not true"),
        ({"eta": 1, "betas": (0.5, torch.tensor(1.5))}, "Paper: betas[1] must be less than 1, not 1.5"),
        ({"eta": 1, "etaa": 1}, "Paper has no parameter 'etaa'; did you mean 'eta'?"),
    ],
)
def test_each_wrong_value_is_told_by_name_with_what_it_must_be(values, expected):
    assert told(values) == [expected]


def test_everything_wrong_is_told_at_once_in_the_owners_name():
    problems = told({"eta": -1, "betas": (0.9, True), "zeta": 1}, owner="mine")
    assert len(problems) == 3
    assert all(problem.startswith("mine") for problem in problems)


@pytest.mark.parametrize("one", [torch.tensor(0.5), torch.tensor([0.5]), np.float64(0.5), np.array(0.5), np.float32(1)])
def test_a_one_element_tensor_is_checked_as_its_number_and_returned_as_it_is(one):
    assert check(Paper, {"eta": one})["eta"] is one
    for pair in ([0.5, torch.tensor(0.75)], (np.float64(0.5), 0.75)):
        first, second = check(Paper, {"eta": 1, "betas": pair})["betas"]
        assert (first is pair[0], second is pair[1]) == (True, True)


@pytest.mark.parametrize("several", [torch.ones(2), torch.ones(0), np.ones(3), np.ones(0)])
def test_an_array_that_is_not_one_number_is_refused(several):
    (problem,) = told({"eta": several})
    assert problem.startswith("Paper: eta must be a valid number, not ")


def test_arithmetic_that_fails_in_a_joint_condition_is_a_complaint():
    @dataclass
    class Divides:
        total: int = 1

        def __post_init__(self):
            _ = 1 / self.total

    assert told({"total": 0}, reference=Divides) == ["Divides: division by zero"]


def test_the_path_of_a_complaint_leads_to_the_value():
    found = {complaint.path for complaint in complaints(Paper, {"eta": 0, "betas": (2.0, 0.5), "x": 1}, "paper")}
    assert found == {("eta",), ("betas", 0), ("x",)}


def test_a_reference_whose_types_cannot_be_read_is_the_plugins_fault():
    @dataclass
    class Unresolved:
        lr: "NoSuchType" = 1.0  # noqa: F821

    @dataclass
    class Foreign:
        lr: torch.nn.Module = None

    for reference, cause in ((Unresolved, NameError), (Foreign, Exception)):
        for use in (lambda reference: check(reference, {}), describe):
            with pytest.raises(PluginError, match=f"the fields of '.*{reference.__name__}'") as caught:
                use(reference)
            assert isinstance(caught.value.__cause__, cause)


def test_fields_are_described_with_type_range_and_default():
    assert [tuple(field) for field in describe(Paper)] == [
        ("eta", "float", "> 0", "required"),
        ("betas", "(float, float)", "each >= 0, < 1", "(0.9, 0.99)"),
        ("floor", "float | null", "", "None"),
        ("start", "int", ">= 0", "0"),
        ("nesterov", "bool", "", "False"),
        ("mode", "'max' | 'sum'", "", "max"),
    ]

    @dataclass
    class Mixed:
        pair: tuple[Fraction, NonNegative] = (0.5, 1.0)

    assert describe(Mixed)[0].range == "(>= 0, <= 1, >= 0)"


def test_the_json_schema_is_one_and_agrees_with_the_check():
    schema = json_schema(Paper)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["eta"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["eta"] == {"exclusiveMinimum": 0, "type": "number"}
    accepts = jsonschema.Draft202012Validator(schema).is_valid
    assert accepts({"eta": 1, "betas": [0.1, 0.2], "floor": None})
    for wrong in ({}, {"eta": 0}, {"eta": True}, {"eta": 1, "betas": [0.5]}, {"eta": 1, "x": 1}, {"eta": 1, "mode": 3}):
        assert not accepts(wrong)
        with pytest.raises(SpecError):
            check(Paper, wrong)


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**4000)


@given(st.dictionaries(st.sampled_from([*names(Paper), "x"]), values | st.lists(values, max_size=3), max_size=6))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_values_are_accepted_or_refused_with_a_message_that_can_be_printed(given_values):
    try:
        assert Paper(**check(Paper, given_values))
    except OptregError as error:
        assert str(error).encode()


@dataclass
class Whole:
    """Integers, in every place where a type can hold one, and what is none."""

    steps: Steps = 1
    optional: Annotated[int, Ge(1)] | None = None
    milestones: list[Steps] | None = None
    window: tuple[int, float] = (1, 1.0)
    ratio: int | float = 1
    rate: float = 1.0
    flag: bool = False


def test_a_float_with_a_whole_value_becomes_an_integer_where_one_is_wanted():
    wanted = {"steps": 10_000, "optional": 3, "milestones": (1, 2), "window": (2, 2.0), "ratio": 2.0, "rate": 2.0}
    given = {"steps": 1e4, "optional": 3.0, "milestones": [1.0, 2], "window": (2.0, 2.0), "ratio": 2.0, "rate": 2.0}
    found = taken(Whole, given)
    assert repr(found) == repr(wanted)
    assert check(Whole, {"steps": 1e4, "rate": 1e4}) == {**defaults(Whole), "steps": 10_000, "rate": 1e4}
    assert taken(Whole, {"steps": 1e16, "flag": 1.0, "x": 1.0}) == {"steps": 1e16, "flag": 1.0, "x": 1.0}
    assert told({"steps": 1e16}, reference=Whole) == ["Whole: steps must be a valid integer, not 1e+16"]
    assert told({"flag": 1.0}, reference=Whole) == ["Whole: flag must be a valid boolean, not 1.0"]


@dataclass
class Listed:
    """Lists, in every place where a type can hold one."""

    steps: list[int] = field(default_factory=lambda: [3, 5])
    rates: Annotated[list[NonNegative], MinLen(1)] | None = None
    nested: tuple[list[int], ...] = ((1,), (2, 3))


def test_a_field_that_is_typed_as_a_list_takes_one_and_has_its_default():
    assert check(Listed, {}) == {"steps": (3, 5), "rates": None, "nested": ((1,), (2, 3))}
    assert check(Listed, {"steps": [7], "rates": (1.0, 2.0), "nested": [[4]]})["steps"] == (7,)
    for wrong in ({"steps": [1.5]}, {"rates": []}, {"rates": [-1.0]}, {"nested": [["a"]]}):
        with pytest.raises(SpecError):
            check(Listed, wrong)
    assert {field.name: field.default for field in describe(Listed)}["steps"] == "(3, 5)"


def test_a_reference_that_fails_at_values_in_range_is_a_broken_plugin():
    @dataclass
    class Fails:
        lr: NonNegative = 0.1

        def __post_init__(self):
            raise TypeError("forgot something")

    with pytest.raises(PluginError, match=r"Fails' cannot be created from values that are in range: TypeError: forgot"):
        check(Fails, {})
