"""Precision: what is kept in bfloat16 is judged by its statistics, since no single value of it is right.

A number that is rounded at random is right on the average. So many elements go the same way, each rounded by itself:
their mean follows the reference to within its standard error, and they spread as a random walk does.
"""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_compiled
from optreg.conformance.harness.following import follow
from optreg.conformance.harness.layouts import as_array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject

SIDE = 256
"""Elements are SIDE x SIDE, all with one start and one gradient."""

STEPS = 64
SIGMAS = 6.0
"""How many standard errors a mean may be off: one run in 10^9 of a right optimizer."""

START = 0.75
ULP = 2.0**-8
"""The distance between bfloat16 numbers from 1/2 to 1, where START is in the middle."""

SLOW = frozenset({"compiled", "capturable"})
"""Paths that are looked at by a check of their own."""

DRIFT = 3.0
"""How far the reference goes in STEPS updates, in ULP: each is far too small to be seen if rounded to the nearest."""


def _has(subject: OptimizerSubject, option: str) -> str | None:
    if option not in {field.name for field in fields(subject.options)}:
        return f"it has no option '{option}'"
    return None if subject.traits.elementwise else "its elements are declared to be coupled"


def _not_rounding(subject: OptimizerSubject) -> str | None:
    return _has(subject, "stochastic_rounding")


def _one_state_dtype(subject: OptimizerSubject) -> str | None:
    return _has(subject, "state_dtype")


def _unseeded(subject: OptimizerSubject) -> str | None:
    return _not_rounding(subject) or _has(subject, "seed")


def _on_paths(subject: OptimizerSubject) -> Iterator[tuple[str, OptimizerSubject]]:
    """The subject on each of its paths that can be taken here; on one of them, if it is on it already."""
    for name, options in subject.paths.items():
        if subject.execution not in ({}, options) or (name in SLOW and not subject.execution):
            continue
        on_path = replace(subject, execution=options)
        try:
            OptimizerRun(on_path, [np.ones((2, 2))]).step([np.ones((2, 2))])
        except Exception:  # it is refused here, which D15 looks at
            continue
        yield name, on_path


def _settings(subject: OptimizerSubject) -> dict[str, Any]:
    """The hostile settings, with a learning rate at which the reference drifts by DRIFT."""
    settings = {**subject.hostile, "lr": 1e-6}
    reference = _lone(subject, START, settings)
    for _ in range(STEPS):
        reference.step([np.ones((1, 1))])
    moved = abs(float(reference.values()[0].item()) - START)
    if not moved:
        raise NotApplicable("its reference does not move under a constant gradient")
    return {**settings, "lr": 1e-6 * DRIFT * ULP / moved}


def _lone(subject: OptimizerSubject, start: float, settings: dict[str, Any]) -> ReferenceRun:
    return ReferenceRun(subject, [np.full((1, 1), start)], torch.float64, **settings)


def _drifting(subject: OptimizerSubject) -> tuple[OptimizerRun, ReferenceRun, float]:
    """Parameters that have drifted by updates below their resolution, the reference, and the variance of the walk."""
    settings = _settings(subject)
    run = OptimizerRun(
        subject, [np.full((SIDE, SIDE), START)], dtype=torch.bfloat16, **{**settings, "stochastic_rounding": True}
    )
    reference = _lone(subject, START, settings)
    gradient, variance = np.ones((SIDE, SIDE)), 0.0
    for _ in range(STEPS):
        before = reference.values()[0].item()
        run.step([gradient])
        reference.step([np.ones((1, 1))])
        fraction = abs(reference.values()[0].item() - before) / ULP
        variance += fraction * (1 - fraction)
    return run, reference, variance


@check("E01", needs=_not_rounding, hint="rounding up and rounding down are not as likely as the distances demand")
def check_stochastic_rounding_is_unbiased(subject: OptimizerSubject) -> None:
    """bfloat16 parameters, rounded at random, drift as the reference does, by updates below their resolution."""
    for name, on_path in _on_paths(subject):
        run, reference, variance = _drifting(on_path)
        expected = reference.values()[0].item()
        error = ULP * math.sqrt(max(variance, 1.0)) / SIDE
        subject.assert_true(run.params[0].dtype is torch.bfloat16, f"on the path {name}, the parameter's dtype is lost")
        subject.assert_close(
            float(run.values()[0].mean()),
            expected,
            SIGMAS * error + ULP**2 * DRIFT,  # and what rounding the state does to second order
            f"on the path {name}, the mean of {SIDE * SIDE} elements after {STEPS} updates",
        )


@check("E02", needs=_not_rounding, hint="the noise is larger or smaller than the distance of two numbers, or shared")
def check_rounding_errors_walk_at_random(subject: OptimizerSubject) -> None:
    """The errors of single elements grow as a random walk's, and those of neighbours have nothing in common."""
    for name, on_path in _on_paths(subject):
        run, _, variance = _drifting(on_path)
        values = run.values()[0] / ULP
        subject.assert_close(
            float(values.std()), math.sqrt(variance), 0.1 * math.sqrt(variance),
            f"on the path {name}, the spread of {SIDE * SIDE} elements in units of the last place", of="a random walk",
        )  # fmt: skip
        deviations = values - values.mean()
        for what, a, b in (
            ("neighbours", deviations[:, 1:], deviations[:, :-1]),
            ("rows", deviations[1:], deviations[:-1]),
        ):
            correlation = float((a * b).mean() / max(variance, 1e-9))
            bound = SIGMAS / SIDE
            subject.assert_close(correlation, 0.0, bound, f"on the path {name}, the correlation of {what}", of="chance")


@check("E03", needs=_unseeded, hint="the noise comes from the global generator, or from what no checkpoint holds")
def check_rounding_is_reproducible(subject: OptimizerSubject) -> None:
    """One seed gives the same bits again, after a checkpoint too; another seed gives others."""
    problem = hostile_problem(subject, [(64, 64), (8, 8)], missing=False)
    options: dict[str, Any] = {"stochastic_rounding": True, "seed": 1}
    for name, on_path in _on_paths(subject):
        first = OptimizerRun(on_path, problem.starts, dtype=torch.bfloat16, **options).run(problem, 0, 8)
        torch.rand(3)  # the global generator goes on, and should not matter
        again = (
            OptimizerRun(on_path, problem.starts, dtype=torch.bfloat16, **options)
            .run(problem, 0, 3)
            .resumed(way="file")
        )
        again.run(problem, 3, 8)
        subject.assert_equal(
            again.tensors(), first.tensors(), f"on the path {name}, resumed after 3 updates", of=UNBROKEN
        )
        other = OptimizerRun(on_path, problem.starts, dtype=torch.bfloat16, **{**options, "seed": 2}).run(problem, 0, 8)
        same = all(torch.equal(a, b) for a, b in zip(first.tensors(), other.tensors(), strict=True))
        subject.assert_true(not same, f"on the path {name}, another seed rounds the same")


UNBROKEN = "the unbroken run has"


@check("E04", needs=_not_rounding, hint="parameters are rounded whatever their dtype is")
def check_wide_parameters_are_not_rounded_at_random(subject: OptimizerSubject) -> None:
    """float64 parameters follow the reference, and float32 ones are the same bits, whether it is asked for or not."""
    follow(subject, hostile_problem(subject), stochastic_rounding=True)
    problem = hostile_problem(subject)
    runs = [
        OptimizerRun(subject, problem.starts, dtype=torch.float32, stochastic_rounding=asked).run(problem)
        for asked in (True, False)
    ]
    runs[0].assert_same(runs[1], "in float32, with random rounding asked for", of="without it it is")


MANY = 1000
ELEMENTS = 64
"""State of ELEMENTS x ELEMENTS elements goes through MANY updates, at the default decay rates."""


def _with_low_state(subject: OptimizerSubject) -> tuple[OptimizerRun, ReferenceRun, float]:
    """Parameters of float32 with state in bfloat16 after MANY updates, the reference, and the way that it went."""
    settings = {**subject.default, "lr": 1e-3}
    start = np.full((ELEMENTS, ELEMENTS), START)
    run = OptimizerRun(subject, [start], dtype=torch.float32, **{**settings, "state_dtype": "bfloat16"})
    reference = _lone(subject, START, settings)
    way, gradient, before = 0.0, np.ones((ELEMENTS, ELEMENTS)), START
    for _ in range(MANY):
        run.step([gradient])
        reference.step([np.ones((1, 1))])
        way, before = way + abs(reference.values()[0].item() - before), reference.values()[0].item()
    return run, reference, way


@check("E05", needs=_one_state_dtype, hint="state is rounded to the nearest, and stands still where it changes slowly")
def check_low_precision_state_is_unbiased(subject: OptimizerSubject) -> None:
    """State that is kept in bfloat16 is so, in a checkpoint too, and on the average what the reference says."""
    for name, on_path in _on_paths(subject):
        run, reference, _ = _with_low_state(on_path)
        state, resumed = run.state(0), run.resumed(way="file").state(0)
        kept = [
            key
            for key, value in state.items()
            if isinstance(value, Tensor) and value.shape == run.params[0].shape and value.is_floating_point()
        ]
        for key in kept:
            where = f"on the path {name}, '{key}'"
            subject.assert_equal(str(state[key].dtype), "torch.bfloat16", f"the dtype of {where}")
            subject.assert_equal(
                resumed[key], state[key], f"{where}, from a checkpoint", of="the one that was saved is"
            )
            expected = reference.now[0][1].get(key)
            if expected is not None and subject.traits.state != "own":
                size = abs(np.asarray(expected).item())
                spread = 2 * ULP * size * math.sqrt(MANY) / ELEMENTS  # a walk of half units in the last place
                mean = float(as_array(state[key]).mean())
                subject.assert_close(mean, np.asarray(expected).item(), SIGMAS / 2 * spread, f"{where}, its mean")
    if not subject.activity.comparisons:
        raise NotApplicable("it has no state of its parameters' shape")


@check(
    "E06", needs=_one_state_dtype, hint="parameters go through the state's dtype, or their error grows without bound"
)
def check_parameters_bear_low_precision_state(subject: OptimizerSubject) -> None:
    """With state in bfloat16, parameters of float32 go where the reference goes: on the average, and none far off."""
    for name, on_path in _on_paths(subject):
        run, reference, way = _with_low_state(on_path)
        expected, values = reference.values()[0].item(), run.values()[0]
        mean, far = 0.01 * way, 0.2 * way
        subject.assert_close(float(values.mean()), expected, mean, f"on the path {name}, the mean of the parameters")
        subject.assert_close(values, np.full_like(values, expected), far, f"on the path {name}, a parameter")


def _not_compiled(subject: OptimizerSubject) -> str | None:
    return unless_compiled(subject) or _not_rounding(subject) or _one_state_dtype(subject)


@check("E07", Tier.SHOULD, needs=_not_compiled, hint="the kernel's noise is not what it is on the other paths")
def check_the_compiled_path_rounds_at_random_too(subject: OptimizerSubject) -> None:
    """Compiled, parameters and state that are rounded at random are right on the average, and walk at random."""
    compiled = replace(subject, execution=subject.paths["compiled"])
    for each in (
        check_stochastic_rounding_is_unbiased,
        check_rounding_errors_walk_at_random,
        check_rounding_is_reproducible,
        check_low_precision_state_is_unbiased,
    ):
        if not each.about.needs(compiled):  # type: ignore[attr-defined]
            each(compiled)
    if not subject.activity.comparisons:
        raise NotApplicable("here nothing is compiled")
