"""Iterations amplify rounding: right ones pass in any order of operations, and faults are still caught."""

import numpy as np
import pytest
from iterations import FAULTY, RIGHT

from optreg.conformance import ReferenceRun, Status, Target
from optreg.conformance.chapters import find
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.running.check import judge
from optreg.conformance.subjects.resolving import resolve


def statuses(optimizer, like, checks):
    return {id: judge(Target(f"iterations:{optimizer.__name__}", like), find(id)).status for id in checks}


@pytest.mark.parametrize(("optimizer", "like"), RIGHT)
def test_a_right_iteration_passes_in_any_order_of_operations(optimizer, like):
    checks = ("M08", "M25", "M29", "G03", "D14")
    assert statuses(optimizer, like, checks) == dict.fromkeys(checks, Status.PASSED)


@pytest.mark.parametrize(("optimizer", "like"), FAULTY)
def test_a_faulty_iteration_is_still_caught(optimizer, like):
    assert Status.FAILED in statuses(optimizer, like, ("M02", "M25")).values()


def test_where_nothing_is_amplified_the_tolerance_is_as_it_was():
    subject = resolve(Target("adamw"))
    problem = hostile_problem(subject)
    reference = ReferenceRun(subject, problem.starts).run(problem)
    for index in range(len(problem.starts)):
        assert not np.any(reference.amplified(index))


@pytest.mark.parametrize("check", ["M02", "M04", "D02"])
def test_a_hyperparameter_that_is_named_epsilon_is_not_taken_for_the_dtypes(check):
    target = Target("iterations:Normalized", reference="iterations:NormalizedReference")
    assert judge(target, find(check)).status is Status.PASSED
