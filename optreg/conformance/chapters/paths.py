"""Paths: every execution path of an optimizer makes the same updates."""

import logging
import os
import shutil
from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters import closures, dtypes, groups, mathematics, relations, state
from optreg.conformance.chapters.conditions import runs, unless_compiled, unless_several_paths
from optreg.conformance.chapters.dtypes import follow_where_conditioned
from optreg.conformance.harness.following import follow, no_common_state
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.results.verdict import Failed, NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject


@check("D15", needs=unless_several_paths, hint="one of the execution paths makes other updates, or keeps other state")
def check_every_path_agrees(subject: OptimizerSubject) -> None:
    """On every execution path, parameters and state follow the reference."""
    for name, options in subject.paths.items():
        if name == "capturable" and subject.device == "cpu":
            continue
        try:
            OptimizerRun(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
        except Exception as error:  # a class that is not a registered plugin may refuse a path, by any error
            if name == "compiled" and not _has_compiler():
                continue
            if subject.registered:
                raise
            subject.assert_true(str(error), f"path {name} is refused without a message")
            continue
        follow(subject, hostile_problem(subject), **options)
        if no_common_state(subject) is None:
            follow(subject, hostile_problem(subject), states=True, **options)


def _has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler, without which no compiled path can be judged."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


REPEATED = (
    mathematics.check_eps_far_above_and_far_below_the_gradient,
    mathematics.check_tensor_lr,
    relations.check_maximize_mirrors_the_gradient,
    state.check_gradients_are_not_changed,
    state.check_a_step_without_any_gradient,
    groups.check_each_default_can_be_overridden_in_a_group,
    groups.check_mixed_dtypes_equal_separate_runs,
    dtypes.check_empty_tensors,
    dtypes.check_a_nan_stays_where_it_is,
    closures.check_a_closure_is_called_once_with_gradients_enabled,
    closures.check_a_closure_equals_the_manual_way,
    closures.check_a_gradient_kept_under_maximize,
)
"""Checks of what one path may do differently from the default one."""

REPEATED_FOR_LAYOUTS = (dtypes.check_non_contiguous_parameters, dtypes.check_strided_and_expanded_gradients)


@check("D17", needs=unless_several_paths, hint="one of the execution paths omits something that the others do")
def check_every_path_does_the_rest(subject: OptimizerSubject) -> None:
    """On every path, options, groups, dtypes, empty tensors, no gradients, NaN and closures are handled correctly."""
    _repeat(subject, subject.paths.keys() - {"loop", "compiled", "capturable"}, REPEATED)


@check("D18", Tier.SHOULD, needs=unless_several_paths, hint="a kernel assumes equal layouts of parameter and gradient")
def check_every_path_takes_any_layout(subject: OptimizerSubject) -> None:
    """On every path, non-contiguous parameters and gradients are handled correctly."""
    _repeat(subject, subject.paths.keys() - {"loop", "compiled", "capturable"}, REPEATED_FOR_LAYOUTS)


@check("D19", Tier.SHOULD, needs=unless_compiled, hint="the kernel omits something around the update rule")
def check_the_compiled_path_does_the_rest(subject: OptimizerSubject) -> None:
    """When compiled, options, groups, dtypes, empty tensors, NaN, closures and layouts are handled correctly."""
    _repeat(subject, {"compiled"}, (*REPEATED, *REPEATED_FOR_LAYOUTS))


def _repeat(subject: OptimizerSubject, names: Set[str], repeated: Sequence[Any]) -> None:
    """Repeat checks on the paths that run here; D15 judges whether others may be refused."""
    for name in filter(names.__contains__, subject.paths):
        on_path = replace(subject, execution=subject.paths[name])
        if not runs(on_path):
            continue
        for each in repeated:
            if each.about.needs(on_path):
                continue
            try:
                each(on_path)
            except NotApplicable:
                continue
            except Failed as failed:
                failed.finding = replace(failed.finding, reason=f"on the path {name}, {failed.finding.reason}")
                raise
    if not subject.activity.comparisons:
        raise NotApplicable("no such path runs here")


COMPILED = 'optimizer.step = torch.compile(optimizer.step, backend="eager")'


@check("D16", Tier.SHOULD, hint="the update differs when `torch.compiler.is_compiling()`")
def check_a_compiled_step_agrees(subject: OptimizerSubject) -> None:
    """Under `torch.compile`, with a changing learning rate, the update follows the reference in float32."""
    traced: list[object] = []

    def backend(graph: Any, inputs: object) -> Any:
        traced.append(graph)
        return graph.forward

    def compiled(run: OptimizerRun) -> None:
        run.optimizer.step = torch.compile(run.optimizer.step, backend=backend)
        run.note(COMPILED)

    torch.compiler.reset()
    loud = logging.root.manager.disable
    logging.disable(logging.WARNING)  # torch reports at length what it cannot trace and runs eagerly
    try:
        follow_where_conditioned(subject, torch.float32, (-4.0, 1.0), steps=4, prepare=compiled)
    finally:
        logging.disable(loud)
    if not traced:
        raise NotApplicable("torch.compile traces nothing of it")
