"""Following: an optimizer and its reference side by side, compared after every update."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.harness.layouts import DENSE, Array, Layout, as_array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.subject import OptimizerSubject


def follow(
    subject: OptimizerSubject, problem: Problem, *, grad_layout: Layout = DENSE, states: bool = False, **settings: Any
) -> OptimizerRun:
    """Run a problem, and compare parameters (or states) with the reference after every update."""
    run, reference = side_by_side(subject, problem, **settings)
    for step in problem.steps:
        step_both(run, reference, step.grads, layout=grad_layout, states=states, lr=step.lr)
    return run


def side_by_side(
    subject: OptimizerSubject, problem: Problem, *, dtype: torch.dtype = torch.float64, **settings: Any
) -> tuple[OptimizerRun, ReferenceRun]:
    """An optimizer and its reference, both at the start of a problem."""
    run = OptimizerRun(subject, problem.starts, dtype=dtype, **settings)
    return run, ReferenceRun(subject, problem.starts, dtype, **settings)


def step_both(
    run: OptimizerRun,
    reference: ReferenceRun,
    grads: Sequence[Array | None],
    *,
    layout: Layout = DENSE,
    states: bool = False,
    **changes: Any,
) -> None:
    """Make one update in both, and compare."""
    run.step(grads, layout=layout, **changes)
    reference.step(grads, **changes)
    compare(run, reference, states=states)


def compare(run: OptimizerRun, reference: ReferenceRun, *, states: bool = False) -> None:
    """Assert that every parameter, or every state, is the reference's."""
    for index, expected in enumerate(reference.values()):
        if states:
            _compare_states(run, reference, index)
        else:
            bound, what = reference.bound(index), f"parameter {index}"
            run.assert_close(index, expected, bound, what, step=reference.t, reference=reference)


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
    """Why the state cannot be compared with the reference's: its form is declared its own, or it lacks keys.

    A class that is not a registered plugin may keep its state in any form; its state is compared only on request.
    """
    if subject.traits.state == "own" or (subject.traits.state is None and not subject.registered):
        return "its state has a form of its own; declare state=reference to have it compared with the reference's"
    if subject.traits.state == "reference":
        return None
    shape = (4, 3) if subject.ndim == 2 else (4,)
    apart = subject.apart()
    run, reference = OptimizerRun(apart, [np.ones(shape)]), ReferenceRun(apart, [np.ones(shape)], torch.float64)
    run.step([np.ones(shape)])
    missing = set(reference.step([np.ones(shape)]).now[0][1]) - set(run.state(0))
    return f"its state has no {', '.join(sorted(missing))}, which the reference's has" if missing else None


def undeclared_state(subject: OptimizerSubject) -> str | None:
    """Why the keys and the size of the state are not checked: no plugin declares them."""
    return no_common_state(subject) if subject.registered else "it is not a registered plugin, and declares no state"
