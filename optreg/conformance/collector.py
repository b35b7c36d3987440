"""The collector: gathers the verdicts of a pytest run, in whichever of its processes they were found."""

import json
from typing import TYPE_CHECKING

from optreg.conformance.results.verdict import Verdict

if TYPE_CHECKING:
    import pytest


class Collector:
    """Gathers the verdicts of a run."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        """Take a verdict from a finished test."""
        if report.when == "call":
            self.verdicts += [Verdict.from_dict(json.loads(str(v))) for n, v in report.user_properties if n == "optreg"]
