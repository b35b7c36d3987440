"""House rules: what our trainers expect of every optimizer."""

import numpy as np

from optreg.conformance import OptimizerRun, Tier, check, hostile_problem


@check("H01", Tier.SHOULD, hint="the update is not bounded by the learning rate")
def check_a_burst_moves_parameters_little(subject):
    """A gradient a million times as large as usual moves no element farther than ten learning rates."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem)
    before = run.values()
    run.step([1e6 * np.asarray(grad) for grad in problem.steps[0].grads], lr=0.01)
    for index, then in enumerate(before):
        run.assert_close(index, then, 0.1, f"parameter {index} after a burst", of="before it")
