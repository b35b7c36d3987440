"""Conformance: checks of any optimizer or schedule, by reference mathematics and the contract of torch's training loop.

    from optreg.conformance import parametrize_with_checks

    @parametrize_with_checks("lion")
    def test_conformance(check):
        check()

The command `optreg conform NAME...` runs the same checks. Both need the extra `optreg[conformance]`.

The names below are public: those of verdicts, and those for writing checks. Each is imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optreg.conformance.cases import parametrize_with_checks
    from optreg.conformance.catalogue import Tier, check
    from optreg.conformance.chapters import checks
    from optreg.conformance.harness.following import compare, follow
    from optreg.conformance.harness.optimizer_run import OptimizerRun
    from optreg.conformance.harness.problems import Problem, Step, hostile_problem
    from optreg.conformance.harness.reference_run import ReferenceRun
    from optreg.conformance.harness.schedule_corners import corners_for
    from optreg.conformance.harness.scheduler_run import SchedulerRun
    from optreg.conformance.results.tolerance import rounding
    from optreg.conformance.results.verdict import CannotBeJudged, Finding, NotApplicable, Status, Verdict
    from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject
    from optreg.conformance.subjects.target import Target

_HOMES = {
    "cases": ("parametrize_with_checks",),
    "catalogue": ("Tier", "check"),
    "chapters": ("checks",),
    "harness.following": ("compare", "follow"),
    "harness.optimizer_run": ("OptimizerRun",),
    "harness.problems": ("Problem", "Step", "hostile_problem"),
    "harness.reference_run": ("ReferenceRun",),
    "harness.schedule_corners": ("corners_for",),
    "harness.scheduler_run": ("SchedulerRun",),
    "results.tolerance": ("rounding",),
    "results.verdict": ("CannotBeJudged", "Finding", "NotApplicable", "Status", "Verdict"),
    "subjects.subject": ("OptimizerSubject", "ScheduleSubject"),
    "subjects.target": ("Target",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CannotBeJudged", "Finding", "NotApplicable", "OptimizerRun", "OptimizerSubject", "Problem", "ReferenceRun",
    "ScheduleSubject", "SchedulerRun", "Status", "Step", "Target", "Tier", "Verdict", "check", "checks", "compare",
    "corners_for", "follow", "hostile_problem", "parametrize_with_checks", "rounding",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optreg.conformance' has no attribute '{name}'")
    return getattr(import_module(f"optreg.conformance.{_HOME[name]}"), name)
