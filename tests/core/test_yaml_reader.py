"""Strict YAML: what is read, what is refused, and where the fault is."""

import math
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from optreg import OptregError, SpecError
from optreg.yaml_reader import FAULTY, Document, read_file, read_mapping, read_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("+3", 3), ("0", 0), ("100_000", 100_000), ("1_000_000", 1_000_000),
        ("1e-3", 1e-3), ("1E5", 1e5), ("3.", 3.0), (".5", 0.5), ("-0.25", -0.25), ("1_0.5", 10.5), (".inf", math.inf),
        ("-.INF", -math.inf), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("'1'", "1"), ('"no"', "no"), ("lion", "lion"), ("1__0", "1__0"), ("_1", "_1"), ("1_", "1_"),
        ("2024-01-01", "2024-01-01"), ("[1, [2]]", (1, (2,))), ("{b: 1}", {"b": 1}),
        ("|\n  no", "no\n"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    document = read_text(f"a: {text}\n", "x")
    assert document.problems == []
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


def test_nan_is_read_and_left_to_the_schema():
    assert math.isnan(read_text("a: .nan", "x").data["a"])


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            "a: no",
            "x:1:4",
            "'no' is a boolean to some YAML readers and a string to others; write true or false, or quote",
        ),
        ("a: [1, On]", "x:1:8", "'On' is a boolean"),
        ("a: 010", "x:1:4", "'010' is read as octal, hexadecimal or decimal"),
        ("a: 1:30", "x:1:4", "'1:30' is a base-60 number to some YAML readers"),
        ("a: 0b1", "x:1:4", "'0b1' is read as octal"),
        ("a: 0x1F", "x:1:4", "'0x1F' is read as octal"),
        ("a: 1\nb: 2\na: 3", "x:3:1", "'a' is repeated; it is also on line 1, keep one"),
        ("a: !!python/object:os.system x", "x:1:4", "tags (tag:yaml.org,2002:python/object:os.sy...) are not allowed"),
        ("a: !x [1]", "x:1:4", "tags (!x) are not allowed; write a plain value"),
        ("a: &b 1", "x:1:4", "anchors (&b) are not allowed"),
        ("a: *b", "x:1:4", "aliases (*b) are not allowed; write the value out"),
        ("<<: {a: 1}", "x:1:1", "merge keys (<<) are not allowed"),
        ("? [1]\n: 2", "x:1:3", "a key must be a plain string"),
        ("!x a: 1", "x:1:1", "a key cannot have a tag or an anchor"),
        ("a: 1\n---\nb: 2", "x:2:1", "a second document begins"),
        ("%YAML 1.1\n---\na: 1", "x:1:1", "directives (%YAML, %TAG) are not allowed"),
        ("", "x:1:1", "is empty"),
        ("a: " + "1" * 200, "x:1:4", "a number of 200 digits is out of range"),
    ],
)
def test_what_readers_disagree_about_is_refused_with_its_place_and_the_remedy(text, place, message):
    problem, *_ = read_text(text, "x").problems
    assert str(problem.where) == place
    assert message in problem.message


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: [1", "x:1:6", "is not valid YAML"),
        ("a: b: c", "x:1:5", "mapping values are not allowed here"),
        ("a: '", "x:1:5", "is not valid YAML"),
        ("a: 1\nb: \x07", "x:2:4", "has a control character (U+0007)"),
        ("match: [*.bias]", "x:1:10", "; quote a string that begins with '*' or '&'"),
        ('a: 1\nb: "\\U00110000"', "x:2:7", "is not valid YAML: a number here is out of range"),
        ('a: "\\UFFFFFFFF"', "x:1:7", "is not valid YAML: a number here is out of range"),
        (f"%YAML {'9' * 5000}.1\n---\na: 1", "x:1:7", "is not valid YAML: a number here is out of range"),
        ("[" * 100_000, "x:1:17", "is nested deeper than 16 levels"),
        ("- " * 100_000, "x:1:33", "is nested deeper than 16 levels"),
        ("{a: " * 50_000, "x:1:65", "is nested deeper than 16 levels"),
        ("? " * 100_000, "x:1:33", "is nested deeper than 16 levels"),
        ("? - " * 60_000, "x:1:33", "is nested deeper than 16 levels"),
        ("[{a: " * 50_000, "x:1:41", "is nested deeper than 16 levels"),
        ("- ? - " * 30_000, "x:1:33", "is nested deeper than 16 levels"),
        ("".join(" " * depth + "a:\n" for depth in range(700)), "x:17:17", "is nested deeper than 16 levels"),
    ],
    ids=lambda value: value[:30],
)
@pytest.mark.timeout(20)
def test_text_that_cannot_be_read_is_one_error_with_its_place(text, place, message):
    with pytest.raises(SpecError) as caught:
        read_text(text, "x")
    (problem,) = caught.value.problems
    assert str(problem.where) == place
    assert message in problem.message


def test_faults_before_a_fatal_one_are_told_too():
    with pytest.raises(SpecError) as caught:
        read_text("a: no\nb: [1", "x")
    assert [str(problem.where) for problem in caught.value.problems] == ["x:1:4", "x:2:6"]


def test_a_faulty_value_stands_in_as_faulty():
    assert read_text("a: no\nb: 1", "x").data == {"a": FAULTY, "b": 1}
    assert repr(FAULTY) == "FAULTY"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: ä".encode("latin-1"), "spec:1:4: is not UTF-8 text (byte 0xe4); save it as UTF-8"),
        ("a: 1".encode("utf-16"), "spec:1:1: is UTF-16 text; save it as UTF-8"),
        (bytes(range(128, 256)), "spec:1:1: is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec").write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_file("spec")
    assert str(caught.value).startswith(message)


@pytest.mark.timeout(10)
def test_a_huge_file_is_refused_without_being_read(tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(SpecError, match="is larger than 256 KiB"):
        read_file(tmp_path / "huge")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no/such", "No such file"),
        (".", "Is a directory"),
        ("a\0b", "null"),
        (b"no/such", "^no/such: cannot be read: No such file or directory$"),
        ("x" * 5000, "too long"),
        ("/proc/self/mem", "cannot be read"),
    ],
)
def test_a_path_that_cannot_be_read_is_refused_with_the_reason(path, reason):
    with pytest.raises(SpecError, match=reason):
        read_file(path)


def test_a_byte_order_mark_is_no_harm(tmp_path):
    (tmp_path / "spec").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_file(tmp_path / "spec").data == {"a": 1}


def test_foreign_data_that_is_not_plain_is_refused_by_path():
    document = read_mapping({"a": {"b": [object()], 3: 4}})
    assert [problem.message for problem in document.problems] == [
        "a: the key 3 must be a string",
        "a.b.0: object is not a plain value",
    ]
    endless: dict = {}
    endless["a"] = endless
    with pytest.raises(SpecError, match="nested deeper than 16 levels"):
        read_mapping(endless)


def is_undisputed(text):
    """PyYAML leaves `0E0`, `08` and `y` without quotes; here they are a number, and faults."""
    return not re.match(r"[-+]?\.?\d|[yYnN]$", text) or yaml.safe_dump(text)[0] in "'\""


texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20).filter(is_undisputed)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdefgh", min_size=1), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def as_tuples(value):
    if isinstance(value, list):
        return tuple(as_tuples(item) for item in value)
    return {key: as_tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(plain)
@settings(derandomize=True, max_examples=200, deadline=None)
def test_what_pyyaml_writes_is_read_back(value):
    document = read_text(yaml.safe_dump({"a": value}, allow_unicode=True), "x")
    assert document.problems == []
    assert document.data == {"a": as_tuples(value)}


@given(st.binary())
@settings(derandomize=True, max_examples=200, deadline=None)
def test_any_file_is_a_document_or_the_projects_own_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(content)
    try:
        assert isinstance(read_file(path), Document)
    except OptregError as error:
        assert str(error)
