"""Following: an optimizer and its reference side by side, compared after every update."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance import diagnosis, snippets
from optreg.conformance.problems import SHAPES, Problem, Shape, hostile
from optreg.conformance.rig import Layout, Rig, Twin, as_array
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.verdict import Finding

Array = np.ndarray


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
    layout: Layout = torch.tensor,
    grad_layout: Layout = torch.tensor,
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
    judge = rig.subject.judge
    for index, param in enumerate(rig.params):
        theta, state = twin.now[index]

        def explain(finding: Finding, where: tuple[int, ...] | None, index: int = index) -> Finding:
            return explained(finding, rig, index, twin, where)

        with judge.explaining(explain):
            if not states:
                judge.close(as_array(param), theta, twin.bound(index), f"parameter {index}", step=twin.t)
                continue
            found = rig.state(index)
            if not twin.started[index]:
                continue
            for name, expected in state.items():
                judge.that(name in found, f"the state of parameter {index} has no '{name}'", step=twin.t)
                value = as_array(found[name]) if isinstance(found[name], Tensor) else np.asarray(found[name])
                bound = twin.state_bound(index, name) if expected.dtype.kind == "f" else 0.0
                judge.close(value, np.asarray(expected), bound, f"{name} of parameter {index}", step=twin.t)


def explained(finding: Finding, rig: Rig, index: int, twin: Twin, where: tuple[int, ...] | None) -> Finding:
    """The finding with a probable cause and a program that shows it."""
    expected = twin.now[index][0]
    element = None
    if where is not None and len(where) == expected.ndim and rig.subject.traits.elementwise:
        element = int(np.ravel_multi_index(where, expected.shape)) if where else 0
    return replace(
        finding,
        likely=finding.likely or diagnosis.likely(rig, twin),
        snippet=snippets.of(rig, index, expected, element),
    )
