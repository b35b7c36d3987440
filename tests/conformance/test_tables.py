"""The pages of docs/ that are written from the suite are up to date."""

import re

import tables
from broken.zoo import FAULTS


def test_the_page_of_checks_is_what_the_suite_has():
    page = (tables.DOCS / "checks.md").read_text(encoding="utf-8")
    assert page == tables.checks_page(), "run: python tests/conformance/tables.py --checks"


def test_the_page_of_faults_has_a_row_for_every_broken_plugin():
    page = (tables.DOCS / "faults.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\w+) \|.*\| (\w+)(?: \(should\))? \| ([^|]*) \|[^|]*\|$", page, re.MULTILINE)
    rows = found[1:]  # the first is the head
    assert [(name, meant) for name, meant, _ in rows] == [(fault.name, fault.meant) for fault in FAULTS], "make tables"
    assert [name for name, meant, seen in rows if meant not in seen and "more" not in seen] == []
