"""The language is closed: what optreg makes of a spec is itself a spec, of the same meaning."""

import random
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from drawn_specs import Draw
from test_schema import validator

import optreg
from optreg.cli import main

TABLE = "\nkind\tname\tdistribution\tversion\n"
"""What follows the spec that `optreg explain` prints."""


def right_ones(count: int) -> list[tuple[dict[str, Any], optreg.Spec]]:
    """Specs that are drawn, and what they are read as."""
    found = []
    for seed in range(count):
        spec = Draw(seed).spec()
        try:
            found.append((spec, optreg.load_spec(spec)))
        except optreg.SpecError:  # its settings do not suit each other
            continue
    assert len(found) > count * 0.8
    return found


@pytest.mark.no_cover
def test_a_spec_as_plain_data_is_read_as_the_same_spec():
    for spec, read in right_ones(800):
        again = optreg.load_spec(read.as_dict())
        assert again == read, spec
        assert again.notes == read.notes
        assert again.as_dict() == read.as_dict(), spec


@pytest.mark.no_cover
def test_what_explain_prints_of_a_spec_is_that_spec(tmp_path):
    file = tmp_path / "spec.yaml"
    for spec, read in right_ones(60):
        file.write_text(yaml.safe_dump(spec))
        result = CliRunner().invoke(main, ["explain", str(file)])
        if read.open:
            assert f"leaves the {min(read.open)} to the trainer" in result.stderr
            continue
        assert result.exit_code == 0, (result.output, spec)
        printed, table, _ = result.stdout.partition(TABLE)
        assert table
        file.write_text(printed)
        assert optreg.load_spec(file) == read, spec


def parted(value: dict[str, Any], pick: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """A mapping in two, which are it when one extends the other."""
    base: dict[str, Any] = {}
    over: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and pick.random() < 0.7:
            parts = zip((base, over), parted(inner, pick), strict=True)
            for mapping, part in parts:
                if part:
                    mapping[key] = part
        else:
            pick.choice([base, over])[key] = inner
    return base, over


@pytest.mark.no_cover
def test_a_spec_that_extends_a_part_of_itself_is_that_spec_and_right_in_an_editor(tmp_path):
    base_file, file = tmp_path / "base.yaml", tmp_path / "spec.yaml"
    for seed, (spec, read) in enumerate(right_ones(150)):
        base, over = parted(spec, random.Random(seed))
        over["extends"] = "base.yaml"
        base_file.write_text(yaml.safe_dump(base))
        file.write_text(yaml.safe_dump(over))
        assert optreg.load_spec(file) == read, spec
        validator().validate(over)
