"""Paths: every way of execution that can be asked for is the same optimizer."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters import closures, dtypes, groups, mathematics, relations, state
from optreg.conformance.chapters.conditions import unless_compiled, unless_several_paths
from optreg.conformance.chapters.dtypes import follow_where_conditioned
from optreg.conformance.harness.following import follow, no_common_state
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.results.verdict import Failed, NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject


@check(
    "D15", needs=unless_several_paths, hint="one of the execution paths computes another update, or keeps other state"
)
def check_every_path_agrees(subject: OptimizerSubject) -> None:
    """Every execution path that can be asked for follows the reference, parameters and state."""
    for name, options in subject.paths.items():
        if name == "capturable" and subject.device == "cpu":
            continue
        try:
            OptimizerRun(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
        except Exception as error:  # of a class that no plugin declares, a path may be refused, by any error
            if name == "compiled" and not _has_compiler():
                continue
            if subject.registered:
                raise
            subject.assert_true(str(error), f"path {name} is refused without a word")
            continue
        follow(subject, hostile_problem(subject), **options)
        if no_common_state(subject) is None:
            follow(subject, hostile_problem(subject), states=True, **options)


def _has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler; where it does not, no compiled path can be looked at."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


BORNE = (
    mathematics.check_eps_far_above_and_far_below_the_gradient,
    mathematics.check_tensor_lr,
    relations.check_maximize_mirrors_the_gradient,
    state.check_gradients_are_not_changed,
    groups.check_each_default_can_be_overridden_in_a_group,
    groups.check_mixed_dtypes_equal_separate_runs,
    dtypes.check_empty_tensors,
    dtypes.check_a_nan_stays_where_it_is,
    closures.check_a_closure_is_called_once_with_gradients_enabled,
    closures.check_a_closure_equals_the_manual_way,
)
"""What a path may do otherwise than the one that is taken by default."""

LAID = (dtypes.check_non_contiguous_parameters, dtypes.check_strided_and_expanded_gradients)


@check("D17", needs=unless_several_paths, hint="one of the execution paths leaves out what the others do")
def check_every_path_bears_the_rest(subject: OptimizerSubject) -> None:
    """Options, groups, dtypes, empty tensors, NaN and closures are on every path what they should be."""
    _on_every_path(subject, BORNE)


@check(
    "D18", Tier.SHOULD, needs=unless_several_paths, hint="a kernel assumes that parameter, gradient and state lie alike"
)
def check_every_path_bears_any_layout(subject: OptimizerSubject) -> None:
    """Parameters and gradients that do not lie in order in memory are on every path what they should be."""
    _on_every_path(subject, LAID)


@check("D19", Tier.SHOULD, needs=unless_compiled, hint="the kernel leaves out what is done around the rule")
def check_the_compiled_path_bears_the_rest(subject: OptimizerSubject) -> None:
    """Options, groups, dtypes, empty tensors, NaN, closures and layouts are right where the update is compiled."""
    _bears(subject, "compiled", (*BORNE, *LAID))
    if not subject.activity.comparisons:
        raise NotApplicable("here nothing is compiled")


def _on_every_path(subject: OptimizerSubject, borne: Sequence[Any]) -> None:
    for name in subject.paths:
        if name not in {"loop", "compiled", "capturable"}:
            _bears(subject, name, borne)
    if not subject.activity.comparisons:
        raise NotApplicable("here it has one execution path")


def _bears(subject: OptimizerSubject, name: str, borne: Sequence[Any]) -> None:
    """That one path does what the checks ask for; nothing, if it is refused here, which D15 looks at."""
    on_path = replace(subject, execution=subject.paths[name])
    try:
        OptimizerRun(on_path, [np.ones((2, 2))]).step([np.ones((2, 2))])
    except Exception:
        return
    for each in borne:
        if each.about.needs(on_path):
            continue
        try:
            each(on_path)
        except NotApplicable:
            continue
        except Failed as failed:
            failed.finding = replace(failed.finding, reason=f"on the path {name}, {failed.finding.reason}")
            raise


COMPILED = 'optimizer.step = torch.compile(optimizer.step, backend="eager")'


@check("D16", Tier.SHOULD, hint="the update does something else where `torch.compiler.is_compiling()`")
def check_a_compiled_step_agrees(subject: OptimizerSubject) -> None:
    """Traced by `torch.compile`, with a moving learning rate, the update follows the reference in float32."""
    traced: list[object] = []

    def backend(graph: Any, inputs: object) -> Any:
        traced.append(graph)
        return graph.forward

    def compiled(run: OptimizerRun) -> None:
        run.optimizer.step = torch.compile(run.optimizer.step, backend=backend)
        run.note(COMPILED)

    torch.compiler.reset()
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what cannot be traced, and runs as it is, is told at length
    try:
        follow_where_conditioned(subject, torch.float32, (-4.0, 1.0), steps=4, prepare=compiled)
    finally:
        logging.disable(loud)
    if not traced:
        raise NotApplicable("torch.compile traces nothing of it")
