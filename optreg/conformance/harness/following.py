"""Following: an optimizer and its reference side by side, compared after every update."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.harness.layouts import DENSE, Layout, as_array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.subject import OptimizerSubject


def follow(
    subject: OptimizerSubject,
    problem: Problem,
    *,
    dtype: torch.dtype = torch.float64,
    layout: Layout = DENSE,
    grad_layout: Layout = DENSE,
    states: bool = False,
    **settings: Any,
) -> OptimizerRun:
    """Run a problem, and compare parameters (or states) with the reference after every update."""
    run = OptimizerRun(subject, problem.starts, dtype=dtype, layout=layout, **settings)
    reference = ReferenceRun(subject, problem.starts, dtype, **settings)
    for step in problem.steps:
        run.step(step.grads, layout=grad_layout, lr=step.lr)
        reference.take(step)
        compare(run, reference, states=states)
    return run


def compare(run: OptimizerRun, reference: ReferenceRun, *, states: bool = False) -> None:
    """Every parameter, or every state, against the reference's."""
    for index in range(len(run.params)):
        if states:
            _compare_states(run, reference, index)
        else:
            run.assert_close(
                index,
                reference.values()[index],
                reference.bound(index),
                f"parameter {index}",
                step=reference.t,
                reference=reference,
            )


def _compare_states(run: OptimizerRun, reference: ReferenceRun, index: int) -> None:
    subject, found = run.subject, run.state(index)
    if not reference.started[index]:
        return
    for name, expected in reference.now[index][1].items():
        subject.assert_true(name in found, f"the state of parameter {index} has no '{name}'", step=reference.t)
        value = as_array(found[name]) if isinstance(found[name], Tensor) else np.asarray(found[name])
        expected = np.asarray(expected)
        value = value.reshape(expected.shape) if value.size == expected.size == 1 else value  # a count of any shape
        bound = reference.state_bound(index, name) if expected.dtype.kind == "f" else 0.0
        show = f"optimizer.state[params[{{i}}]][{name!r}]"
        with run.showing(index, expected.astype(np.float64), bound, show=show, reference=reference):
            subject.assert_close(value, expected, bound, f"{name} of parameter {index}", step=reference.t)


def no_common_state(subject: OptimizerSubject) -> str | None:
    """Why the state is not compared with the reference's: it is declared its own, or lacks the reference's keys.

    A class that is no registered plugin may keep its state in any form; it is compared where that is asked for.
    """
    if subject.traits.state == "own" or (subject.traits.state is None and not subject.registered):
        return "its state is its own; declare state=reference to have it compared with the reference's"
    if subject.traits.state == "reference":
        return None
    shape = (4, 3) if subject.ndim == 2 else (4,)
    apart = subject.apart()
    run, reference = OptimizerRun(apart, [np.ones(shape)]), ReferenceRun(apart, [np.ones(shape)], torch.float64)
    run.step([np.ones(shape)])
    lacking = set(reference.step([np.ones(shape)]).now[0][1]) - set(run.state(0))
    return f"its state has no {', '.join(sorted(lacking))}, which the reference's has" if lacking else None


def undeclared_state(subject: OptimizerSubject) -> str | None:
    """Why the extent of the state is not judged: nobody has declared it."""
    return no_common_state(subject) if subject.registered else "it is no registered plugin, and declares no state"
