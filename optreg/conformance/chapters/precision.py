"""Precision: bfloat16 values that are rounded at random, judged by their statistics.

A randomly rounded number is right on average. Many elements with the same trajectory are rounded independently: their
mean must follow the reference to within its standard error, and their spread must be that of a random walk.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import runs, unless_compiled, unless_elementwise
from optreg.conformance.harness.following import follow
from optreg.conformance.harness.layouts import as_array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject

SIDE = 256
"""There are SIDE x SIDE elements, all with the same start and the same gradient."""

STEPS = 64
SIGMAS = 6.0
"""How many standard errors a mean may be off: a correct optimizer exceeds this in one run of 10^9."""

START = 0.75
ULP = 2.0**-8
"""The distance between bfloat16 numbers from 1/2 to 1, with START in the middle."""

SLOW = frozenset({"compiled", "capturable"})
"""Paths that have checks of their own."""

DRIFT = 3.0
"""How far the reference moves in STEPS updates, in ULP: rounded to nearest, each update would vanish."""


def _unless(*options: str) -> Callable[[OptimizerSubject], str | None]:
    """The condition that an optimizer has some options, and that its elements are independent."""

    def needs(subject: OptimizerSubject) -> str | None:
        missing = [option for option in options if option not in {field.name for field in fields(subject.options)}]
        if missing:
            return f"it has no option '{missing[0]}'"
        return unless_elementwise(subject)

    return needs


def _on_paths(subject: OptimizerSubject) -> Iterator[tuple[str, OptimizerSubject]]:
    """The subject on each of its paths that run here; if it was given a path already, on this one only."""
    for name, options in subject.paths.items():
        if subject.execution not in ({}, options) or (name in SLOW and not subject.execution):
            continue
        on_path = replace(subject, execution=options)
        if runs(on_path):
            yield name, on_path


def _settings(subject: OptimizerSubject) -> dict[str, Any]:
    """The hostile settings, with a learning rate at which the reference drifts by DRIFT."""
    settings = {**subject.hostile, "lr": 1e-6}
    reference = _single(subject, settings)
    for _ in range(STEPS):
        reference.step([np.ones((1, 1))])
    moved = abs(float(reference.values()[0].item()) - START)
    if not moved:
        raise NotApplicable("its reference does not move under a constant gradient")
    return {**settings, "lr": 1e-6 * DRIFT * ULP / moved}


def _single(subject: OptimizerSubject, settings: dict[str, Any]) -> ReferenceRun:
    """The reference of a single element; all elements have the same."""
    return ReferenceRun(subject, [np.full((1, 1), START)], torch.float64, **settings)


def _drifting(subject: OptimizerSubject) -> tuple[OptimizerRun, ReferenceRun, float]:
    """Parameters that have drifted by updates below their resolution, the reference, and the variance of the walk."""
    settings = _settings(subject)
    start, rounded = np.full((SIDE, SIDE), START), {**settings, "stochastic_rounding": True}
    run = OptimizerRun(subject, [start], dtype=torch.bfloat16, **rounded)
    reference = _single(subject, settings)
    gradient, variance = np.ones((SIDE, SIDE)), 0.0
    for _ in range(STEPS):
        before = reference.values()[0].item()
        run.step([gradient])
        reference.step([np.ones((1, 1))])
        fraction = abs(reference.values()[0].item() - before) / ULP
        variance += fraction * (1 - fraction)
    return run, reference, variance


@check("E01", needs=_unless("stochastic_rounding"), hint="rounding up or down is too likely")
def check_stochastic_rounding_is_unbiased(subject: OptimizerSubject) -> None:
    """Stochastically rounded bfloat16 parameters drift with the reference, by updates below their resolution."""
    for name, on_path in _on_paths(subject):
        run, reference, variance = _drifting(on_path)
        expected = reference.values()[0].item()
        error = ULP * math.sqrt(max(variance, 1.0)) / SIDE
        bound = SIGMAS * error + ULP**2 * DRIFT  # the second term is for the rounding of the state
        kept = run.params[0].dtype is torch.bfloat16
        subject.assert_true(kept, f"on the path {name}, the parameter's dtype has changed")
        what = f"on the path {name}, the mean of {SIDE * SIDE} elements after {STEPS} updates"
        subject.assert_close(float(run.values()[0].mean()), expected, bound, what)


@check("E02", needs=_unless("stochastic_rounding"), hint="the noise is not one ulp wide, or is shared")
def check_rounding_errors_walk_at_random(subject: OptimizerSubject) -> None:
    """The rounding errors of an element grow as in a random walk, and those of neighbours are uncorrelated."""
    for name, on_path in _on_paths(subject):
        run, _, variance = _drifting(on_path)
        values, spread = run.values()[0] / ULP, math.sqrt(variance)
        what = f"on the path {name}, the spread of {SIDE * SIDE} elements in units of the last place"
        subject.assert_close(float(values.std()), spread, 0.1 * spread, what, of="a random walk")
        errors, bound = values - values.mean(), SIGMAS / SIDE
        for what, a, b in (("neighbours", errors[:, 1:], errors[:, :-1]), ("rows", errors[1:], errors[:-1])):
            correlation = float((a * b).mean() / max(variance, 1e-9))
            subject.assert_close(correlation, 0.0, bound, f"on the path {name}, the correlation of {what}", of="chance")


@check("E03", needs=_unless("stochastic_rounding", "seed"), hint="the noise's state is not saved")
def check_rounding_is_reproducible(subject: OptimizerSubject) -> None:
    """The same seed gives the same bits, after a resume too; another seed gives others."""
    problem = hostile_problem(subject, [(64, 64), (8, 8)], missing=False)
    for name, on_path in _on_paths(subject):
        start = partial(OptimizerRun, on_path, problem.starts, dtype=torch.bfloat16, stochastic_rounding=True)
        first = start(seed=1).run(problem, 0, 8).tensors()
        torch.rand(3)  # advances the global generator, which should not matter
        again = start(seed=1).run(problem, 0, 3).resumed(way="file").run(problem, 3, 8).tensors()
        what = f"on the path {name}, resumed after 3 updates"
        subject.assert_equal(again, first, what, of="the uninterrupted run has")
        other = start(seed=2).run(problem, 0, 8).tensors()
        same = all(map(torch.equal, first, other))
        subject.assert_true(not same, f"on the path {name}, another seed gives the same bits")


@check("E04", needs=_unless("stochastic_rounding"), hint="parameters are rounded whatever their dtype is")
def check_wide_parameters_are_not_rounded_at_random(subject: OptimizerSubject) -> None:
    """Stochastic rounding has no effect on float64 and float32 parameters."""
    problem = hostile_problem(subject)
    follow(subject, problem, stochastic_rounding=True)
    rounded, plain = (
        OptimizerRun(subject, problem.starts, dtype=torch.float32, stochastic_rounding=asked).run(problem)
        for asked in (True, False)
    )
    rounded.assert_same(plain, "in float32, with stochastic rounding", of="without it, it is")


MANY = 1000
ELEMENTS = 64
"""State of ELEMENTS x ELEMENTS elements makes MANY updates at the default decay rates."""


def _with_low_state(subject: OptimizerSubject) -> tuple[OptimizerRun, ReferenceRun, float]:
    """float32 parameters with bfloat16 state after MANY updates, the reference, and the distance that it travelled."""
    settings = {**subject.default, "lr": 1e-3}
    start = np.full((ELEMENTS, ELEMENTS), START)
    run = OptimizerRun(subject, [start], dtype=torch.float32, **{**settings, "state_dtype": "bfloat16"})
    reference = _single(subject, settings)
    distance, gradient, before = 0.0, np.ones((ELEMENTS, ELEMENTS)), START
    for _ in range(MANY):
        run.step([gradient])
        now = reference.step([np.ones((1, 1))]).values()[0].item()
        distance, before = distance + abs(now - before), now
    return run, reference, distance


@check("E05", needs=_unless("state_dtype"), hint="state is rounded to nearest, or parameters pass through its dtype")
def check_low_precision_state_is_unbiased(subject: OptimizerSubject) -> None:
    """bfloat16 state keeps its dtype, in checkpoints too, and like its float32 parameters is right on average."""
    for name, on_path in _on_paths(subject):
        run, reference, distance = _with_low_state(on_path)
        state, resumed = run.state(0), run.resumed(way="file").state(0)
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        for key, value in tensors.items():
            if value.shape != run.params[0].shape or not value.is_floating_point():
                continue
            where = f"on the path {name}, '{key}'"
            subject.assert_equal(str(value.dtype), "torch.bfloat16", f"the dtype of {where}")
            subject.assert_equal(resumed[key], value, f"{where}, from a checkpoint", of="the saved one is")
            expected = reference.now[0][1].get(key)
            if expected is not None and subject.traits.state != "own":
                right = np.asarray(expected).item()
                spread = 2 * ULP * abs(right) * math.sqrt(MANY) / ELEMENTS  # a random walk of half an ulp a step
                subject.assert_close(float(as_array(value).mean()), right, SIGMAS / 2 * spread, f"{where}, its mean")
        expected, values = reference.values()[0].item(), run.values()[0]
        mean, far = 0.01 * distance, 0.2 * distance
        subject.assert_close(float(values.mean()), expected, mean, f"on the path {name}, the mean of the parameters")
        subject.assert_close(values, np.full_like(values, expected), far, f"on the path {name}, a parameter")


def _not_compiled(subject: OptimizerSubject) -> str | None:
    return unless_compiled(subject) or _unless("stochastic_rounding", "state_dtype")(subject)


@check("E07", Tier.SHOULD, needs=_not_compiled, hint="the kernel's noise differs from that of the other paths")
def check_the_compiled_path_rounds_at_random_too(subject: OptimizerSubject) -> None:
    """On the compiled path, stochastic rounding is unbiased, uncorrelated and reproducible too."""
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
        raise NotApplicable("nothing is compiled here")
