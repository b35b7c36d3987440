"""Relations: what must hold between two runs, whatever the formula is.

A relation that holds only for some algorithms (scale, mirror) is checked where it holds for the reference.
"""

from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import (
    unless_elementwise,
    unless_independent,
    unless_it_can_maximize,
    working_paths,
)
from optreg.conformance.harness.following import no_common_state
from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Step, crowded_problem, hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.tolerance import between_runs, rounding
from optreg.conformance.results.verdict import NotApplicable, mostly_because
from optreg.conformance.subjects.settings import fits
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.conformance.subjects.variants import decay_of


def _reference(subject: OptimizerSubject, problem: Problem, **settings: Any) -> list[Array]:
    return ReferenceRun(subject, problem.starts, **settings).run(problem).values()


def _ordinary(subject: OptimizerSubject, **options: Any) -> Problem:
    """The problem on which the reference shows a relation; for plain runs of a class, one without extremes."""
    return hostile_problem(subject, exponents=(-1.0, 0.5) if subject.alone else (-6.0, 2.0), **options)


@check("M10", needs=unless_it_can_maximize, hint="`maximize` negates the update with its decay, not only the gradient")
def check_maximize_mirrors_the_gradient(subject: OptimizerSubject) -> None:
    """Maximizing on g has the effect of minimizing on -g on parameters and state, bit for bit."""
    problem = hostile_problem(subject)
    mirrored = problem.mapped(lambda g: -g)
    down = OptimizerRun(subject, problem.starts).run(mirrored)
    up = OptimizerRun(subject, problem.starts, maximize=True).run(problem)
    up.assert_same(down, "maximizing on g", of="minimizing on -g it is")
    if no_common_state(subject) is None:
        subject.assert_equal(up.snapshot(), down.snapshot(), "maximizing on g", of="minimizing on -g has")
    if subject.traits.coupled:
        return
    halves = [([i for i in range(len(problem.starts)) if i % 2 == odd], {"maximize": bool(odd)}) for odd in (0, 1)]
    mixed = OptimizerRun(subject, problem.starts, groups=halves).run(problem)
    plain = OptimizerRun(subject, problem.starts).run(problem)
    apart = [(up if index % 2 else plain).tensors()[index] for index in range(len(problem.starts))]
    with mostly_because("`maximize` is read from the constructor, not from the group in every update"):
        mixed.assert_same(apart, "where one group maximizes and the other does not", of="alone it is")
        edited = OptimizerRun(subject, problem.starts).run(mirrored, 0, 4)
        edited.edit(noted=True, maximize=True)
        edited.run(problem, 4).assert_same(down, "set to maximize after four updates", of="minimizing on -g it is")


@check("M12", hint="the update has a threshold, a clipping or an eps that the reference does not have")
def check_scale(subject: OptimizerSubject) -> None:
    """If the reference is invariant to the gradient's scale, so is the optimizer: exactly, for powers of two."""
    problem = hostile_problem(subject, missing=False)
    settings: dict[str, Any] = {"eps": 0.0} if "eps" in subject.editable else {}
    if subject.alone or decay_of(subject.reference, subject.hostile, subject.ndim) == "coupled":
        settings |= {"weight_decay": 0.0} if "weight_decay" in subject.editable else {}
    if not fits(subject.reference, {**subject.hostile, **settings}):
        raise NotApplicable("it cannot run without eps")

    def without_zeros(problem: Problem) -> tuple[Problem, Problem]:
        steps = [step for t, step in enumerate(problem.steps) if t != 5]  # with eps = 0, a gradient of zero is 0 / 0
        problem = Problem(problem.starts, steps)
        return problem, problem.mapped(lambda g: g * 2.0**4)

    problem, scaled = without_zeros(problem)
    try:
        first = OptimizerRun(subject, problem.starts, **settings).run(problem)
    except ValueError as error:
        raise NotApplicable(f"it refuses eps = 0: {error}") from error
    with np.errstate(all="ignore"):
        pair = without_zeros(_ordinary(subject, missing=False))
        plain, other = (_reference(subject, each, **settings) for each in pair)
    if not all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True)):
        raise NotApplicable("the reference depends on the gradient's scale")
    if all(np.array_equal(a, b) for a, b in zip(plain, problem.starts, strict=True)):
        raise NotApplicable("without eps the reference never moves")
    second = OptimizerRun(subject, problem.starts, **settings).run(scaled)
    second.assert_same(first, "under 16 g", of="under g it is")


@check("M13", hint="a constant is added somewhere, or the two signs are treated differently")
def check_mirror(subject: OptimizerSubject) -> None:
    """From -p and under -g the parameters are mirrored exactly, if the reference's are."""
    shown = _ordinary(subject)
    plain, other = _reference(subject, shown), _reference(subject, _mirrored(shown))
    if not all(np.array_equal(a, -b) for a, b in zip(plain, other, strict=True)):
        raise NotApplicable("the reference is not symmetric")
    problem = hostile_problem(subject)
    mirrored = _mirrored(problem)
    first = OptimizerRun(subject, problem.starts).run(problem)
    second = OptimizerRun(subject, mirrored.starts).run(mirrored)
    second.assert_same([-p for p in first.tensors()], "from -p under -g", of="the mirrored run says")


def _mirrored(problem: Problem) -> Problem:
    return problem.mapped(lambda g: -g, lambda s: -s)


@check("M14", needs=unless_elementwise, hint="the update of an element depends on its row, column or position")
def check_permuting_and_reshaping(subject: OptimizerSubject) -> None:
    """Permuting, transposing or reshaping parameters and gradients has the same effect on the result."""
    problem = hostile_problem(subject, [(4, 3), (6,)], missing=False)
    plain = OptimizerRun(subject, problem.starts).run(problem).values()
    order = {12: [7, 2, 0, 11, 5, 9, 1, 10, 4, 8, 3, 6], 6: [3, 0, 5, 1, 4, 2]}
    bound = between_runs(len(problem.steps), subject.precise)

    def permuted(array: Array) -> Array:
        return np.ascontiguousarray(array.ravel()[order[array.size]].reshape(array.shape))

    changes: dict[str, Any] = {
        "permuted": permuted,
        "transposed": lambda array: np.ascontiguousarray(array.T),
        "reshaped": lambda array: np.ascontiguousarray(array.reshape(2, -1)),
    }
    for name, change in changes.items():
        changed = problem.mapped(change, change)
        other = OptimizerRun(subject, changed.starts).run(changed)
        for index, expected in enumerate(plain):
            other.assert_close(index, change(expected), bound, f"{name}, parameter {index}", of="the plain run")


@check("M15", hint="the learning rate is capped, or enters the first update more than once")
def check_first_update_is_linear_in_lr(subject: OptimizerSubject) -> None:
    """The first update doubles with the learning rate, if the reference's does."""
    problem = hostile_problem(subject, missing=False, steps=1)

    def moves(values: list[Array]) -> list[Array]:
        return [value - start for value, start in zip(values, problem.starts, strict=True)]

    def at(lr: float) -> Problem:
        return Problem(problem.starts, [Step(lr, problem.steps[0].grads)])

    lrs = (0.0625, 0.125)
    shown_at = (2.0**-10, 2.0**-9) if subject.alone else lrs
    small, large = (moves(_reference(subject, at(lr))) for lr in shown_at)
    bound = between_runs(1, subject.precise)
    if any(np.any(np.abs(2 * a - b) > bound) for a, b in zip(small, large, strict=True)):
        raise NotApplicable("the reference's first update is not linear in lr")
    once, twice = (OptimizerRun(subject, problem.starts, lr=lr).run(at(lr)) for lr in lrs)
    for index, move in enumerate(moves(once.values())):
        expected = problem.starts[index] + 2 * move
        twice.assert_close(index, expected, bound, f"parameter {index} at twice the lr", of="twice the move")


@check("M16", formula=True, hint="the update depends on the parameter beyond its decoupled decay")
def check_update_less_its_decay_does_not_depend_on_the_parameter(subject: OptimizerSubject) -> None:
    """If the decay is decoupled, the rest of the update does not depend on the parameter."""
    coupled = decay_of(subject.reference, subject.hostile, subject.ndim) == "coupled"
    if coupled or not subject.traits.elementwise or subject.traits.unrectified == "skip":
        raise NotApplicable("its updates depend on the parameter")
    problem = hostile_problem(subject, missing=False)
    decay = subject.hostile.get("weight_decay", 0.0)
    shifted = [start + 1.0 for start in problem.starts]
    first, second = OptimizerRun(subject, problem.starts), OptimizerRun(subject, shifted)
    for t, step in enumerate(problem.steps, start=1):
        before = first.values(), second.values()
        first.take(step)
        second.take(step)
        keep = 1 - step.lr * decay
        for index in range(len(problem.starts)):
            a = first.values()[index] - keep * before[0][index]
            scale = 4.0 + np.abs(before[0][index]) + np.abs(before[1][index]) + np.abs(a)
            bound, expected = rounding(subject.precise, t) * scale, keep * before[1][index] + a
            second.assert_close(index, expected, bound, f"parameter {index} from p + 1", step=t, of="the update from p")


@check("M26", needs=unless_independent, hint="parameters share something: a norm, a count, a buffer, a loop variable")
def check_parameters_are_independent(subject: OptimizerSubject) -> None:
    """A parameter has the same trajectory alone as among others."""
    problem = hostile_problem(subject)
    bound = between_runs(len(problem.steps), subject.precise)
    together = OptimizerRun(subject, problem.starts).run(problem)
    for index, start in enumerate(problem.starts):
        expected = OptimizerRun(subject, [start]).run(problem.only([index])).values()[0]
        together.assert_close(index, expected, bound, f"parameter {index} among others", of="its run alone")


@check("M32", Tier.SHOULD, needs=unless_elementwise, hint="elements are rounded by their place in a pack of parameters")
def check_many_small_parameters_are_independent(subject: OptimizerSubject) -> None:
    """Among many small parameters, each has the same bits as in an optimizer of its own, on every path."""
    if subject.traits.random:
        raise NotApplicable("it is declared to draw random numbers")
    reason = unless_independent(subject)
    if reason:
        raise NotApplicable(reason)
    problem = crowded_problem(subject, missing=subject.traits.counter == "parameter")
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for name, options in working_paths(subject):
            together = OptimizerRun(subject, problem.starts, dtype=dtype, **options).run(problem)
            alone = together.tensors()
            for index in (2, 4, 5, 9, 11, 15):  # of every size but the smallest, and two that are late
                part = problem.only([index])
                alone[index] = OptimizerRun(subject, part.starts, dtype=dtype, **options).run(part).tensors()[0]
            together.assert_same(alone, f"among others in {dtype}, {name}", of="alone it is")


@check("M27", Tier.SHOULD, formula=True, hint="the declared trait `eps` and the denominator disagree")
def check_eps_stands_where_it_is_declared(subject: OptimizerSubject) -> None:
    """eps is added outside the root, added inside it, or clamps the denominator, as declared."""
    declared = subject.traits.eps
    if "eps" not in subject.editable or declared in (None, "uncorrected", "other"):
        raise NotApplicable("it declares no place for eps")
    start, gradient = np.zeros((2, 2)), np.full((2, 2), 1e-3)

    def inverse(eps: float) -> float:
        settings: dict[str, Any] = {"eps": eps, **({"weight_decay": 0.0} if "weight_decay" in subject.hostile else {})}
        run = OptimizerRun(subject, [start], lr=1.0, **settings)
        run.step([gradient], lr=1.0)
        return 1.0 / abs(float(run.values()[0][0, 0]))

    grid = (1.0, 2.0, 3.0)
    a, b, c = (inverse(eps) for eps in grid)
    found = "neither"
    if abs((c - b) - (b - a)) <= 1e-9 * c:
        found = "clamped" if abs(a * 2 - b) <= 1e-9 * b else "outside"
    elif abs((c**2 - b**2) - (b**2 - a**2)) <= 1e-9 * c**2:
        found = "inside"
    subject.assert_equal(found, declared, "the place of eps", of="the declared trait is")
