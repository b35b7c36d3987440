"""Cases: checks as pytest tests, for the test files of third parties."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from optreg.conformance.catalogue import Check, SuiteKind, Tier, floor, of_tier
from optreg.conformance.results.messages import finding_message, too_few_message
from optreg.conformance.results.verdict import CannotBeJudged, Status
from optreg.conformance.running.sandbox import LIMIT, sandbox
from optreg.conformance.subjects.target import Target, kind_of


@dataclass(frozen=True)
class Case:
    """One check of one subject, within a limit: a call passes, fails, or is skipped with a reason."""

    target: Target
    check: Check
    limit: float = LIMIT
    expected: bool = False
    """The check is declared to fail."""

    def __call__(self) -> None:
        """Run the check in a process of its own."""
        try:
            verdict = sandbox().judge(self.target, self.check.id, limit=self.limit)
        except CannotBeJudged as error:
            pytest.fail(f"{self.target} cannot be judged: {error}", pytrace=False)
        if verdict.status is Status.NOT_APPLICABLE and not self.expected:  # if it is declared to fail, it must
            pytest.skip(f"not applicable: {verdict.reason}")
        if verdict.finding:
            pytest.fail(f"{self.target}: {finding_message(self.check, verdict)}", pytrace=False)


@dataclass(frozen=True)
class Floor:
    """A test that enough checks of a tier apply to a subject."""

    target: Target
    kind: SuiteKind
    tier: Tier
    limit: float = LIMIT

    def __call__(self) -> None:
        """Count the checks that apply: first those that were judged already, then others as far as needed."""
        least, worker = floor(self.kind, self.tier, alone=self.target.alone), sandbox()
        wanted = of_tier(worker.checks, self.tier, self.kind)
        applying = 0
        try:
            for check in sorted(wanted, key=lambda check: not worker.known(self.target, check.id)):
                verdict = worker.known(self.target, check.id) or worker.judge(self.target, check.id, limit=self.limit)
                applying += verdict.status is not Status.NOT_APPLICABLE
                if applying >= least:
                    return
        except CannotBeJudged as error:
            pytest.fail(f"{self.target} cannot be judged: {error}", pytrace=False)
        pytest.fail(too_few_message(self.target.name, self.tier, applying, least), pytrace=False)


def parametrize_with_checks(
    name: str | type,
    *,
    like: str | None = None,
    reference: str | type | None = None,
    params: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    traits: Mapping[str, Any] | None = None,
    device: str = "cpu",
    tier: Tier | str = Tier.MUST,
    expected_failures: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> pytest.MarkDecorator:
    """Run every check of a tier as a separate test.

        @parametrize_with_checks("signsgd")
        def test_conformance(check):
            check()

    Args:
        name: a registered plugin, or a class (or `package.module:Class`).
        like: the registered plugin by whose reference a class is judged.
        reference: the reference that is no plugin's, a dataclass (or `package.module:Dataclass`), by which a class is
            judged. A class with neither is judged alone.
        params: the class's names for the reference's hyperparameters: `{"T_max": "total_steps"}`.
        settings: values of the reference's hyperparameters that the class does not have.
        traits: declarations that differ from the registered plugin's: `{"counter": "group"}`.
        device: the device of the parameters: `"cpu"`, `"cuda"`.
        tier: `"must"`, `"should"` or `"info"`; each includes the ones before it.
        expected_failures: ids of checks, with the reason why each fails. The test of such a check fails if the check
            passes or does not apply.
        limit: seconds of processor time that a check may use, and also the seconds in which it may stand still.

    Raises:
        ValueError: an expected failure is not a check of the tier.
        CannotBeJudged: there is no such plugin, or the class cannot be judged.
    """
    expected = dict(expected_failures or {})
    target = Target(
        _place(name),
        like,
        tuple((params or {}).items()),
        tuple((settings or {}).items()),
        tuple((traits or {}).items()),
        device,
        _place(reference) if reference else None,
    )
    if target.alone or target.reference:
        described = sandbox().describe(target)
        kind: SuiteKind = described["kind"]
        target = replace(target, found=described["found"])
    else:
        kind = kind_of(target)
    wanted = of_tier(sandbox().checks, Tier(tier), kind)
    unknown = expected.keys() - {check.id for check in wanted}
    if unknown:
        listed = ", ".join(sorted(unknown))
        raise ValueError(f"expected failures that are not checks of tier {Tier(tier).value}: {listed}")
    cases = []
    for check in wanted:
        marks = [pytest.mark.xfail(reason=expected[check.id], strict=True)] if check.id in expected else []
        cases.append(pytest.param(Case(target, check, limit, check.id in expected), id=str(check), marks=marks))
    return pytest.mark.parametrize("check", [*cases, pytest.param(Floor(target, kind, Tier(tier), limit), id="floor")])


def _place(named: str | type) -> str:
    """A class as `package.module:Class`, or whatever else was named."""
    return named if isinstance(named, str) else f"{named.__module__}:{named.__qualname__}"
