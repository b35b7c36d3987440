"""Cases: checks of a subject as tests for pytest, in the test files of third parties."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from optreg.conformance.catalogue import FLOORS, Check, Tier, of_tier
from optreg.conformance.results.messages import finding_message, too_few_message
from optreg.conformance.results.verdict import CannotBeJudged, Status
from optreg.conformance.running.sandbox import LIMIT, sandbox
from optreg.conformance.subjects.target import Target, kind_of


@dataclass(frozen=True)
class Case:
    """One check of one subject: call it, and it fails, is skipped with a reason, or passes.

    Args:
        target: what is judged.
        check: the check.
        limit: seconds that it may take.
        expected: it is declared to fail.
    """

    target: Target
    check: Check
    limit: float = LIMIT
    expected: bool = False

    def __call__(self) -> None:
        """Run the check in a process of its own.

        Raises:
            pytest.fail.Exception: there is a finding, or the subject cannot be judged.
            pytest.skip.Exception: the check does not apply.
        """
        try:
            verdict = sandbox().judge(self.target, self.check.id, limit=self.limit)
        except CannotBeJudged as error:
            pytest.fail(f"{self.target} cannot be judged: {error}", pytrace=False)
        if verdict.status is Status.NOT_APPLICABLE and not self.expected:  # declared to fail, it has to
            pytest.skip(f"not applicable: {verdict.reason}")
        if verdict.finding:
            pytest.fail(f"{self.target}: {finding_message(self.check, verdict)}", pytrace=False)


@dataclass(frozen=True)
class Floor:
    """That enough checks of a tier apply to a subject for their passing to mean something.

    Args:
        target: what is judged.
        tier: the tier that was asked for.
        limit: seconds that a check may take.
    """

    target: Target
    tier: Tier
    limit: float = LIMIT

    def __call__(self) -> None:
        """Count the checks that apply, first those that this process has judged; others are judged as far as needed.

        Raises:
            pytest.fail.Exception: there are too few.
        """
        floor, worker = FLOORS[kind_of(self.target)][self.tier], sandbox()
        wanted = of_tier(worker.checks, self.tier, kind_of(self.target))
        applying = 0
        try:
            for check in sorted(wanted, key=lambda check: not worker.known(self.target, check.id)):
                verdict = worker.known(self.target, check.id) or worker.judge(self.target, check.id, limit=self.limit)
                applying += verdict.status is not Status.NOT_APPLICABLE
                if applying >= floor:
                    return
        except CannotBeJudged as error:
            pytest.fail(f"{self.target} cannot be judged: {error}", pytrace=False)
        pytest.fail(too_few_message(self.target.name, self.tier, applying, floor), pytrace=False)


def parametrize_with_checks(
    name: str | type,
    *,
    like: str | None = None,
    params: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    traits: Mapping[str, Any] | None = None,
    device: str = "cpu",
    tier: Tier | str = Tier.MUST,
    expected_failures: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> pytest.MarkDecorator:
    """Run every check of a tier as a test of its own.

        @parametrize_with_checks("signsgd")
        def test_conformance(check):
            check()

    Args:
        name: a registered plugin, or a class (or `package.module:Class`) with `like`.
        like: the registered plugin whose reference a class is judged by.
        params: what the class calls the reference's hyperparameters: `{"T_max": "total_steps"}`.
        settings: values of the reference's hyperparameters that the class does not have.
        traits: declarations that differ from the registered plugin's: `{"counter": "group"}`.
        device: where parameters are: `"cpu"`, `"cuda"`.
        tier: `"must"`, `"should"` or `"info"`; each comprises those before it.
        expected_failures: check ids with the reason why each fails. A check that passes all the same is red, and so
            is one that does not apply.
        limit: seconds that a check may take.

    Raises:
        ValueError: an expected failure is no check of the tier.
        CannotBeJudged: there is no such plugin.
    """
    expected = dict(expected_failures or {})
    target = Target(
        name if isinstance(name, str) else f"{name.__module__}:{name.__qualname__}",
        like,
        tuple((params or {}).items()),
        tuple((settings or {}).items()),
        tuple((traits or {}).items()),
        device,
    )
    wanted = of_tier(sandbox().checks, Tier(tier), kind_of(target))
    unknown = expected.keys() - {check.id for check in wanted}
    if unknown:
        raise ValueError(
            f"expected failures that are no checks of tier {Tier(tier).value}: {', '.join(sorted(unknown))}"
        )
    cases = [_param(target, check, limit, expected) for check in wanted]
    return pytest.mark.parametrize("check", [*cases, pytest.param(Floor(target, Tier(tier), limit), id="floor")])


def _param(target: Target, check: Check, limit: float, expected: Mapping[str, str]) -> Any:
    marks = [pytest.mark.xfail(reason=expected[check.id], strict=True)] if check.id in expected else []
    return pytest.param(Case(target, check, limit, check.id in expected), id=str(check), marks=marks)
