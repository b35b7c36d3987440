"""`parametrize_with_checks`, as a third party uses it: real pytest runs of small test files."""

import pytest

from optreg.conformance import Status, Target, Tier, Verdict
from optreg.conformance.cases import Case, Floor
from optreg.conformance.catalogue import FLOORS
from optreg.conformance.running.sandbox import Sandbox, sandbox

PASSED = Verdict(subject="constant", check="L02", status=Status.PASSED)
HEAD = """\
from optreg.conformance import parametrize_with_checks

@parametrize_with_checks({arguments})
def test_conformance(check):
    check()
"""


@pytest.fixture
def outcome(pytester, request):
    """Run a file that judges with the given arguments; returns pytest's counts and its output."""
    pytester.makeini(f"[pytest]\npythonpath = {request.config.rootpath / 'tests' / 'conformance'}")

    def run(arguments, *options):
        pytester.makepyfile(HEAD.format(arguments=arguments))
        result = pytester.runpytest_subprocess("-q", "-rA", "-p", "no:cacheprovider", *options)
        return result.parseoutcomes(), result.stdout.str()

    return run


def test_a_registered_plugin_is_judged_in_three_lines(outcome):
    counts, text = outcome("'linear'")
    assert counts["passed"] > 20
    assert "failed" not in counts
    assert "test_conformance[L01-every_step_follows_the_formula]" in text
    assert "test_conformance[floor]" in text


def test_a_class_is_judged_by_a_plugins_reference(outcome):
    counts, text = outcome("'broken.mathematics:CoupledDecay', like='adamw'", "-k", "M02 or M05")
    assert counts == {"failed": 2, "deselected": counts["deselected"]}
    assert "likely: matches decay coupled to the gradient" in text


def test_a_class_is_judged_by_a_reference_that_is_no_plugin(outcome):
    arguments = "'broken.mathematics:CoupledDecay', reference='optreg_plugins.adamw.reference:AdamW'"
    counts, text = outcome(arguments, "-k", "M02 or M05 or floor")
    assert (counts["failed"], counts["passed"]) == (2, 1)
    assert "likely: matches decay coupled to the gradient" in text


def test_a_class_is_judged_alone(outcome):
    counts, text = outcome("'broken.engineering:DecaysWithoutGradient'", "-k", "S02 or M02 or C03 or floor")
    assert (counts["failed"], counts["skipped"], counts["passed"]) == (1, 1, 2)
    assert "not applicable: needs a reference" in text


def test_expected_failures_are_strict(outcome):
    expected = "{'M05': 'known', 'M20': 'not so'}"
    arguments = f"'broken.mathematics:CoupledDecay', like='adamw', expected_failures={expected}"
    counts, text = outcome(arguments, "-k", "M05 or M20")
    assert (counts["xfailed"], counts["failed"]) == (1, 1)
    assert "[XPASS(strict)] not so" in text


def test_an_expected_failure_that_does_not_apply_is_red(outcome):
    counts, _ = outcome("'lion', expected_failures={'M09': 'no eps'}", "-k", "M09")
    assert counts["failed"] == 1


def test_an_expected_failure_that_is_no_check_is_an_error(outcome):
    _, text = outcome("'lion', expected_failures={'M99': 'a slip'}")
    assert "expected failures that are not checks of tier must: M99" in text


def test_where_too_little_applies_a_pass_is_none(monkeypatch):
    case = Floor(Target("linear"), "scheduler", Tier.MUST)
    case()
    monkeypatch.setitem(FLOORS["scheduler"], Tier.MUST, 1000)
    with pytest.raises(
        pytest.fail.Exception, match=r"linear: only \d+ checks of tier must apply; below 1000 their passing"
    ):
        case()


def test_the_floor_counts_what_is_judged_and_asks_for_the_rest(monkeypatch):
    target = Target("constant")
    Case(target, next(check for check in sandbox().checks if check.id == "L01"))()
    asked = []
    monkeypatch.setattr(Sandbox, "judge", lambda worker, *case, limit: asked.append(case) or PASSED)
    for floor, missing in ((1, 0), (3, 2)):
        monkeypatch.setitem(FLOORS["scheduler"], Tier.MUST, floor)
        Floor(target, "scheduler", Tier.MUST)()
        assert len(asked) == missing
