"""Input that nobody means well by: it costs little, and ends in the project's own error, whose text can be printed."""

import enum
import os
import pty
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optreg
from optreg import OptregError, SpecError, load_spec
from optreg.yaml_reader import MAX_BYTES, Document, read_file, read_mapping, read_text

pytestmark = pytest.mark.timeout(20)

OPTIMIZER = {"name": "adamw"}
SCHEDULER = {"name": "warmup_cosine", "warmup_steps": 1, "total_steps": 10}


def short(value):
    """A test's id: the values themselves may be too long to print."""
    return value[:30] if isinstance(value, str) else type(value).__name__


def refused(source, overrides=()):
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides)
    str(caught.value).encode()
    return str(caught.value)


def test_a_lone_surrogate_can_still_be_printed():
    assert read_text('"\\uD800"', "x").data == "\ud800"
    assert "\\ud800" in refused({"optimizer": {"name": "\ud800"}, "scheduler": SCHEDULER})
    assert "\\udcff" in refused({"optimizer": {**OPTIMIZER, "\udcff": 1}, "scheduler": SCHEDULER})
    assert "\\udcff" in refused("no/\udcff.yaml")


def test_a_file_without_permission_is_told_so(tmp_path):
    (tmp_path / "secret").touch(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root reads everything; nobody does not
    try:
        with pytest.raises(SpecError, match="cannot be read: Permission denied"):
            read_file(tmp_path / "secret")
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("form", ["a pipe", "a pipe that somebody writes to", "a terminal", "/dev/zero", "/dev/null"])
def test_a_file_that_may_never_end_is_refused_and_not_waited_for(tmp_path, form):
    path, ends = tmp_path / "spec", []
    if form.startswith("a pipe"):
        os.mkfifo(path)
        ends = [os.open(path, os.O_RDWR)] if "writes" in form else []
    elif form == "a terminal":
        ends = pty.openpty()
        path = os.ttyname(ends[1])
    else:
        path = form
    command = [sys.executable, "-m", "optreg", "validate", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=15, stdin=subprocess.DEVNULL)
    for end in ends:
        os.close(end)
    assert result.returncode == 1
    assert result.stderr == f"{path}: is a pipe or a device, which may never end; write the spec to a file\n"


@pytest.mark.parametrize("source", [5, None, ["optimizer"], b"run.yaml"])
def test_a_source_that_is_none_is_the_projects_own_error(source):
    with pytest.raises(SpecError, match="a spec is the path of a YAML file, a mapping or a Spec, not "):
        load_spec(source)


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path):
    path = tmp_path / "spec"
    path.write_text("a: 1\n#" + "x" * (MAX_BYTES - 6))
    assert read_file(path).data == {"a": 1}
    with path.open("a") as file:
        file.write("x")
    with pytest.raises(SpecError, match="is larger than 256 KiB; a spec is about a page of text"):
        read_file(path)


def test_the_sixteenth_level_is_read():
    assert read_text("[" * 16 + "]" * 16, "x").problems == []


@pytest.mark.no_cover
@pytest.mark.parametrize("unit", ["x: 1\n", "- no\n", "*a : *a\n", "? [a]\n: 1\n", "&a !!b c: 1\n", "'", "a: b: ", "%"])
def test_a_file_full_of_faults_ends_in_a_short_error(tmp_path, unit):
    path = tmp_path / "spec"
    path.write_text(unit * (MAX_BYTES // len(unit)))
    assert refused(path).count("\n") <= 50


def test_thousands_of_unknown_parameters_are_told_in_time_and_cut_short(tmp_path):
    path = tmp_path / "spec"
    path.write_text("optimizer:\n  name: adamw\n" + "".join(f"  weight_deca{n}: 1\n" for n in range(11_000)))
    first, *_, last = lines = refused(path).splitlines()
    assert first.endswith("adamw has no parameter 'weight_deca0'; did you mean 'weight_decay'?")
    assert (len(lines), last) == (51, "... and 10950 more problems")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (5, "overrides are strings or a mapping, not int"),
        ([5], "an override is a string like 'optimizer.lr=1e-4', not 5"),
        ({5: 1}, "override '5': its path must be a string: 'optimizer.lr'"),
        ({None: 1}, "override 'None': its path must be a string"),
        ("optimizer.lr", "override 'optimizer.lr': has no '='; write 'optimizer.lr=1e-4'"),
        ("=3", "override '': needs a path and a value"),
        ("optimizer.lr=-1", "override 'optimizer.lr': adamw: lr must be greater than or equal to 0, not -1"),
        ("optimizer.betas=[0.9, 7]", "override 'optimizer.betas': adamw: betas[1] must be less than 1, not 7"),
        ("optimizer.rl=1", "override 'optimizer.rl': adamw has no parameter 'rl'"),
        ("optimizer.lr=no", "override 'optimizer.lr': 'no' is a boolean"),
        ("optimizer.lr=[", "override 'optimizer.lr':1:2: is not valid YAML"),
        ("groups.7.lr=1", "override 'groups.7.lr': '7' does not exist in a list of length 1"),
        ("groups.x.lr=1", "override 'groups.x.lr': 'x' does not exist in a list of length 1"),
        ("optimizer.0=1", "override 'optimizer.0': '0' does not exist in a mapping"),
        ("optimizer.name.x=1", "override 'optimizer.name.x': 'x' does not exist in a value"),
        ("groups." + "9" * 5000 + ".lr=1", "groups"),
        ("groups.999999999.lr=1", "'999999999' does not exist in a list of length 1"),
        ("a." * 5000 + "b=1", "is nested deeper than 16 levels"),
        (
            "optimizer.lr=",
            "override 'optimizer.lr': has no value after '='; write null for None, '' for an empty string",
        ),
        ("optimizer.lr=   ", "has no value after '='"),
        ("groups=[{match: *.bias}]", "quote a string that begins with '*'"),
        ('optimizer.name="\\U00110000"', "is not valid YAML: a number here is out of range"),
        ("optimizer.lr=!!float 1", "override 'optimizer.lr': tags (tag:yaml.org,2002:float) are not allowed"),
        ("optimizer..lr=1", "adamw has no parameter ''"),
        ("\ud800=1", "there is no section '\\ud800'"),
    ],
    ids=short,
)
def test_a_wrong_override_is_told_as_such(overrides, message):
    assert message in refused({"optimizer": OPTIMIZER, "groups": [{"ndim": 1}], "scheduler": SCHEDULER}, overrides)


class Text(str):
    """What some configuration libraries hand out."""


class Name(enum.StrEnum):
    ADAMW = "adamw"


@pytest.mark.parametrize("name", [Text("adamw"), Name.ADAMW, np.str_("adamw")])
def test_a_subclass_of_text_becomes_plain_text_in_keys_and_values(name):
    spec = load_spec({Text("optimizer"): {Text("name"): name, Text("lr"): 1.0}, "scheduler": SCHEDULER})
    assert type(spec.optimizer.name) is str
    assert {type(key) for key, _ in spec.optimizer.pairs} == {str}
    assert spec.optimizer.name == "adamw"


@pytest.mark.parametrize(("value", "plain"), [(np.True_, True), (np.bool_(False), False)])
def test_a_boolean_of_numpy_is_a_boolean(value, plain):
    spec = load_spec({"optimizer": {**OPTIMIZER, "maximize": value}, "scheduler": SCHEDULER})
    assert spec.optimizer.settings["maximize"] is plain
    assert "lr must be a valid number, not" in refused(
        {"optimizer": {**OPTIMIZER, "lr": value}, "scheduler": SCHEDULER}
    )


@pytest.mark.parametrize("value", [np.float32(0.5), np.float16(0.5), Fraction(1, 2), np.float64(0.5)])
def test_a_real_number_of_any_kind_becomes_a_float(value):
    lr = load_spec({"optimizer": {**OPTIMIZER, "lr": value}, "scheduler": SCHEDULER}).optimizer.settings["lr"]
    assert (type(lr), lr) == (float, 0.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**99, None),
        (10**100, "optimizer.lr: a number of more than 100 digits is out of range"),
        (-(10**5000), "optimizer.lr: a number of more than 100 digits is out of range"),
        (Fraction(10**400, 3), "optimizer.lr: the number is out of range"),
        (Decimal("0.1"), "optimizer.lr: Decimal is not a plain value"),
        (1j, "optimizer.lr: complex is not a plain value"),
        (b"1", "optimizer.lr: bytes is not a plain value"),
        (np.ones(2), "optimizer.lr: ndarray is not a plain value"),
        (torch.ones(()), "optimizer.lr: Tensor is not a plain value"),
        ({1, 2}, "optimizer.lr: set is not a plain value"),
        (object, "optimizer.lr: type is not a plain value"),
    ],
    ids=short,
)
def test_a_value_that_yaml_could_not_hold_is_refused_by_path(value, message):
    data = {"optimizer": {**OPTIMIZER, "lr": value}, "scheduler": SCHEDULER}
    if message is None:
        assert load_spec(data).optimizer.settings["lr"] == value
    else:
        assert refused(data) == message


@pytest.mark.parametrize(
    "pattern", ["(" * 5000, "a{999999999999999999999}", "(?L)a", "[", "[[a]", "(?P<a>)(?P<a>)", "\\", "*"], ids=short
)
def test_a_pattern_that_cannot_be_compiled_is_refused_by_path(pattern):
    message = refused({"optimizer": OPTIMIZER, "scheduler": SCHEDULER, "groups": [{"regex": ["ok", pattern]}]})
    first, _, nothing_set = message.partition("\n")
    assert first.startswith("groups.0.regex.1: '")
    assert "' is not a regular expression: " in first or "... is not a regular expression: " in first
    assert len(first) < 300
    assert nothing_set == "groups.0: the rule sets nothing; add a setting, such as 'weight_decay: 0'"


def test_a_mapping_can_be_given_a_source_that_its_problems_are_placed_at():
    document = read_mapping({"a": 1}, "experiment 7")
    assert str(document.problem(("a",), "is wrong")) == "experiment 7: is wrong"


YAML = st.text("[]{}:,-&*!|>'\"%@`#?\n\t 01xoaneUu\\.~<_\ud800\ufeff\x85\x00é", max_size=40)


@given(
    st.lists(
        st.text() | YAML | st.sampled_from(["optimizer:", "\n  ", "name: adamw", "\nscheduler: ", "lr: "]), max_size=9
    )
)
@settings(derandomize=True, max_examples=800, deadline=None)
def test_any_pieces_of_yaml_are_a_document_or_a_printable_error(pieces):
    try:
        assert isinstance(read_text("".join(pieces), "x"), Document)
    except OptregError as error:
        assert str(error).encode()


@given(st.text(".=0123optimzerlgsu[]{}:*&!'\"-\\U\ud800 ", max_size=30) | st.text(max_size=10))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_override_is_taken_or_refused_with_a_printable_error(text):
    for override in (text, f"optimizer.lr={text}", f"groups={text}", f"optimizer.{text}=1"):
        try:
            load_spec({"optimizer": OPTIMIZER, "scheduler": SCHEDULER}, [override])
        except OptregError as error:
            assert str(error).encode()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(st.text("[](){}?*+.\\|^$aw0-9:<>=!P#Li&~", max_size=12), st.sampled_from(["match", "regex", "type"]))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_pattern_fits_the_model_or_is_refused(pattern, criterion):
    data = {"optimizer": OPTIMIZER, "groups": [{criterion: pattern}], "scheduler": SCHEDULER}
    try:
        assert optreg.build(data, torch.nn.Linear(2, 2)).optimizer.param_groups
    except OptregError as error:
        assert str(error).encode()
