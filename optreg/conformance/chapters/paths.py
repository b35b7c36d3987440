"""Paths: every way of execution that can be asked for is the same optimizer."""

import logging
from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.dtypes import follow_where_conditioned
from optreg.conformance.following import follow, hostile_for, no_common_state
from optreg.conformance.rig import Rig
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.verdict import NotApplicable


def _only_one_path(subject: OptimizerSubject) -> str | None:
    return "it has one execution path" if len(subject.paths) == 1 else None


@check("D15", needs=_only_one_path, hint="one of the execution paths computes another update, or keeps other state")
def check_every_path_agrees(subject: OptimizerSubject) -> None:
    """Every execution path that can be asked for follows the reference, parameters and state."""
    judge = subject.judge
    for name, options in subject.paths.items():
        if name in {"compiled", "capturable"}:
            continue
        try:
            Rig(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
        except Exception as error:  # of a class that no plugin declares, a path may be refused, by any error
            if subject.registered:
                raise
            judge.that(str(error), f"path {name} is refused without a word")
            continue
        follow(subject, hostile_for(subject), **options)
        if no_common_state(subject) is None:
            follow(subject, hostile_for(subject), states=True, **options)


COMPILED = 'optimizer.step = torch.compile(optimizer.step, backend="eager")'


@check("D16", Tier.SHOULD, hint="the update does something else where `torch.compiler.is_compiling()`")
def check_a_compiled_step_agrees(subject: OptimizerSubject) -> None:
    """Traced by `torch.compile`, with a moving learning rate, the update follows the reference in float32."""
    traced: list[object] = []

    def backend(graph: Any, inputs: object) -> Any:
        traced.append(graph)
        return graph.forward

    def compiled(rig: Rig) -> None:
        rig.optimizer.step = torch.compile(rig.optimizer.step, backend=backend)
        rig.note(COMPILED)

    torch.compiler.reset()
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what cannot be traced, and runs as it is, is told at length
    try:
        follow_where_conditioned(subject, torch.float32, (-4.0, 1.0), steps=4, prepare=compiled)
    finally:
        logging.disable(loud)
    if not traced:
        raise NotApplicable("torch.compile traces nothing of it")
