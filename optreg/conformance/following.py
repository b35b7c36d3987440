"""Following: an optimizer and its reference side by side, compared after every update."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.judge import Judge
from optreg.conformance.problems import SHAPES, Problem, Shape, hostile
from optreg.conformance.record import DENSE, Layout, as_array
from optreg.conformance.rig import Rig
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.twin import Twin

MATRICES: tuple[Shape, ...] = ((4, 3), (3, 5), (6, 2))
"""What stands for other shapes where matrices alone are taken."""


def shapes_for(subject: OptimizerSubject, shapes: Sequence[Shape] = SHAPES) -> list[Shape]:
    """The shapes, with matrices in place of those that the subject does not take."""
    taken = subject.traits.ndim
    return [
        shape if not taken or len(shape) in taken else MATRICES[index % len(MATRICES)]
        for index, shape in enumerate(shapes)
    ]


def hostile_for(subject: OptimizerSubject, shapes: Sequence[Shape] = SHAPES, **options: Any) -> Problem:
    """The hostile problem in the shapes that the subject takes; no gradient is missing where groups count together."""
    options.setdefault("missing", subject.traits.counter == "parameter")
    return hostile(shapes_for(subject, shapes), **options)


def follow(
    subject: OptimizerSubject,
    problem: Problem,
    *,
    dtype: torch.dtype = torch.float64,
    layout: Layout = DENSE,
    grad_layout: Layout = DENSE,
    states: bool = False,
    **settings: Any,
) -> Rig:
    """Run a problem, and compare parameters (or states) with the reference after every update."""
    rig = Rig(subject, problem.starts, dtype=dtype, layout=layout, **settings)
    twin = Twin(subject, problem.starts, dtype, **settings)
    for step in problem.steps:
        rig.step(step.grads, layout=grad_layout, lr=step.lr)
        twin.take(step)
        compare(rig, twin, states=states)
    return rig


def compare(rig: Rig, twin: Twin, *, states: bool = False) -> None:
    """Every parameter, or every state, against the reference's."""
    for index in range(len(rig.params)):
        if states:
            _compare_states(rig, twin, index)
        else:
            rig.close(index, twin.values()[index], twin.bound(index), f"parameter {index}", step=twin.t, twin=twin)


def _compare_states(rig: Rig, twin: Twin, index: int) -> None:
    judge, found = rig.subject.judge, rig.state(index)
    if not twin.started[index]:
        return
    for name, expected in twin.now[index][1].items():
        judge.that(name in found, f"the state of parameter {index} has no '{name}'", step=twin.t)
        value = as_array(found[name]) if isinstance(found[name], Tensor) else np.asarray(found[name])
        expected = np.asarray(expected)
        value = value.reshape(expected.shape) if value.size == expected.size == 1 else value  # a count of any shape
        bound = twin.state_bound(index, name) if expected.dtype.kind == "f" else 0.0
        show = f"optimizer.state[params[{{i}}]][{name!r}]"
        with rig.explaining(index, expected.astype(np.float64), bound, show=show, twin=twin):
            judge.close(value, expected, bound, f"{name} of parameter {index}", step=twin.t)


def no_common_state(subject: OptimizerSubject) -> str | None:
    """Why the state is not compared with the reference's: it is declared its own, or lacks the reference's keys.

    A class that is no registered plugin may keep its state in any form; it is compared where that is asked for.
    """
    if subject.traits.state == "own" or (subject.traits.state is None and not subject.registered):
        return "its state is its own; declare state=reference to have it compared with the reference's"
    if subject.traits.state == "reference":
        return None
    shape = (4, 3) if subject.ndim == 2 else (4,)
    apart = replace(subject, judge=Judge())
    rig, twin = Rig(apart, [np.ones(shape)]), Twin(apart, [np.ones(shape)], torch.float64)
    rig.step([np.ones(shape)])
    lacking = set(twin.step([np.ones(shape)]).now[0][1]) - set(rig.state(0))
    return f"its state has no {', '.join(sorted(lacking))}, which the reference's has" if lacking else None


def undeclared_state(subject: OptimizerSubject) -> str | None:
    """Why the extent of the state is not judged: nobody has declared it."""
    return no_common_state(subject) if subject.registered else "it is no registered plugin, and declares no state"
