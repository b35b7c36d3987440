"""Scheduled: what a scheduler may expect from the optimizer that it drives."""

import numpy as np

from optreg.conformance.catalogue import check
from optreg.conformance.chapters.promises import plain
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.subjects.own_fields import COMMON
from optreg.conformance.subjects.subject import OptimizerSubject


@check("X05", hint="the update writes the corrected or scheduled value back into the group")
def check_groups_are_read_and_not_written(subject: OptimizerSubject) -> None:
    """Updates do not change the hyperparameters of a group, above all its learning rate."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts)
    names = {*COMMON} & {*subject.editable} if subject.alone else subject.hostile.keys()
    kept = {name: value for name, value in subject.hostile.items() if name in names}
    for t, step in enumerate(problem.steps, start=1):
        run.take(step)
        expected = subject.group_arguments({**kept, "lr": step.lr})
        for group in run.optimizer.param_groups:
            for name, value in expected.items():
                if name not in group:
                    continue  # that is another finding
                with run.showing(0, np.array(value), show=f"optimizer.param_groups[0][{name!r}]"):
                    subject.assert_equal(plain(group[name]), plain(value), f"the group's '{name}'", step=t)
