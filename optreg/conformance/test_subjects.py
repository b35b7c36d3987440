"""What `optreg conform` has pytest collect: one test for every check of every subject."""

from typing import Any

from optreg.conformance.cases import Case
from optreg.conformance.plugin import judged


def test_conformance(optreg_case: Case, record_property: Any) -> None:
    """One check of one subject."""
    judged(optreg_case, record_property)
