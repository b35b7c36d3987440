"""Conformance: judges any optimizer or schedule by reference mathematics and the contract of torch's training loop.

    from optreg.conformance import parametrize_with_checks

    @parametrize_with_checks("signsgd")
    def test_conformance(check):
        check()

The command `optreg conform NAME...` runs the same checks. Both need the extra `optreg[conformance]`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optreg.conformance.cases import parametrize_with_checks
    from optreg.conformance.catalogue import Tier, check
    from optreg.conformance.chapters import checks
    from optreg.conformance.results.verdict import CannotBeJudged, Finding, NotApplicable, Status, Verdict
    from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject
    from optreg.conformance.subjects.target import Target

_HOMES = {
    "cases": ("parametrize_with_checks",),
    "catalogue": ("Tier", "check"),
    "chapters": ("checks",),
    "results.verdict": ("CannotBeJudged", "Finding", "NotApplicable", "Status", "Verdict"),
    "subjects.subject": ("OptimizerSubject", "ScheduleSubject"),
    "subjects.target": ("Target",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CannotBeJudged",
    "Finding",
    "NotApplicable",
    "OptimizerSubject",
    "ScheduleSubject",
    "Status",
    "Target",
    "Tier",
    "Verdict",
    "check",
    "checks",
    "parametrize_with_checks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optreg.conformance' has no attribute '{name}'")
    return getattr(import_module(f"optreg.conformance.{_HOME[name]}"), name)
