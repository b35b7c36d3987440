"""The pytest plugin behind `optreg conform`: targets from the command line, verdicts to the report."""

import json
from typing import Any

import pytest

from optreg.conformance.cases import Case, read_targets
from optreg.conformance.catalogue import Tier, of_tier
from optreg.conformance.isolation import LIMIT, isolation
from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.target import kind_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that the command passes on."""
    group = parser.getgroup("optreg")
    group.addoption("--optreg-targets", default="[]", help="what to judge, as JSON")
    group.addoption("--optreg-tier", default="must", help="must, should or info")
    group.addoption("--optreg-limit", type=float, default=LIMIT, help="seconds that a check may take")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for every check of every target."""
    if "optreg_case" not in metafunc.fixturenames:
        return
    config = metafunc.config
    cases = [
        Case(target, check, config.getoption("--optreg-limit"))
        for target in read_targets(config.getoption("--optreg-targets"))
        for check in of_tier(isolation().checks, Tier(config.getoption("--optreg-tier")), kind_of(target))
    ]
    metafunc.parametrize("optreg_case", cases, ids=[f"{case.target}-{case.check}" for case in cases])


def judged(case: Case, record_property: Any) -> None:
    """Run a case, and attach its verdict to the test's report, which workers of a parallel run send on."""
    try:
        verdict = case.verdict()
    except CannotBeJudged as error:
        pytest.fail(f"{case.target} cannot be judged: {error}", pytrace=False)
    record_property("optreg", json.dumps(verdict.as_dict()))
    case.told(verdict)
