"""References: the mathematics by which everything else is judged."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import check
from optreg.conformance.chapters.conditions import unless_a_variant
from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.problems import Problem, hostile_problem
from optreg.conformance.results.tolerance import rounding
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.settings import in_words, perturbed, reachable, switches
from optreg.conformance.subjects.subject import OptimizerSubject


def _trajectory(subject: OptimizerSubject, settings: dict[str, Any], start: Any, grads: Any, lrs: Any) -> list[Any]:
    reference = subject.reference(**settings)
    run = reference.trajectory(start)
    next(run)
    found = []
    for grad, lr in zip(grads, lrs, strict=True):
        reference.lr = lr
        found.append(run.send(grad)[0])
    return found


@check(
    "Q01", formula=True, still=True, hint="the reference or its closed form is wrong: derive both again from the paper"
)
def check_reference_agrees_with_its_closed_form(subject: OptimizerSubject) -> None:
    """Under a constant gradient the reference is where its closed form, at 50 digits, puts it."""
    (start, g), steps = closed_form_problem(), 40
    for settings, closed_form in closed_forms(subject, start, g):
        lr = settings["lr"]
        found = _trajectory(subject, settings, start, [g] * steps, [lr] * steps)
        for t in (1, 2, 7, steps):
            theta, expected = found[t - 1], closed_form(t)
            bound = rounding(torch.float64, t) * (np.maximum(np.abs(start), np.abs(theta)) + t * lr)
            subject.assert_close(theta, expected, bound, "theta of the reference", step=t, of="its closed form")


def closed_form_problem() -> tuple[Array, Array]:
    """The initial parameter and the constant gradient at which closed forms are compared."""
    return np.array([1.0, -2.0, 0.5, 3.0, -0.25, 1.5]), np.array([1e-6, -1e-3, 0.3, -2.0, 100.0, 1e-9])


def closed_forms(
    subject: OptimizerSubject, start: Array, g: Array
) -> list[tuple[dict[str, Any], Callable[[int], Array]]]:
    """Hyperparameters at which the closed form holds, hostile and default, with the parameter after t updates there.

    The weight decay is 0 where the closed form holds only without it.
    """
    if not hasattr(subject.reference, "constant_gradient"):
        raise NotApplicable("the reference has no closed form (a method `constant_gradient(theta, g, t, mp)`)")
    context = fifty_digits()
    found: list[tuple[dict[str, Any], Callable[[int], Array]]] = []

    def closed_form(settings: dict[str, Any], t: int) -> Array:
        formula = subject.reference(**settings).constant_gradient
        pairs = zip(start, g, strict=True)
        return np.array([float(formula(context.mpf(a), context.mpf(b), t, context)) for a, b in pairs])

    for settings in (subject.hostile, subject.default):
        for changes in ({}, {"weight_decay": 0.0}):
            candidate = {**settings, **{key: value for key, value in changes.items() if key in settings}}
            one = subject.reference(**candidate).constant_gradient(context.mpf(1), context.mpf(1), 1, context)
            if one is not None:
                found.append((candidate, partial(closed_form, candidate)))
                break
    if not found:
        raise NotApplicable("the closed form holds at none of the values tried")
    return found


@check(
    "Q02",
    formula=True,
    still=True,
    hint="the reference computes in a narrower dtype, or subtracts nearly equal numbers",
)
def check_reference_is_precise(subject: OptimizerSubject) -> None:
    """The reference in float64 is itself at 50 digits, up to rounding, under hostile gradients."""
    context = fifty_digits()
    problem = hostile_problem(subject, [(6,), (3, 2)], missing=False)
    lrs = [step.lr for step in problem.steps]
    for index, start in enumerate(problem.starts):
        grads = [step.grads[index] for step in problem.steps]
        found = _trajectory(subject, subject.hostile, start, grads, lrs)
        try:
            exact = _trajectory(subject, *(_exact(each, context) for each in (subject.hostile, start, grads, lrs)))
        except (TypeError, AttributeError) as error:
            raise NotApplicable(f"the reference cannot be run on arbitrary-precision numbers: {error}") from error
        for t, (mine, true) in enumerate(zip(found, exact, strict=True), start=1):
            expected = np.vectorize(float, otypes=[np.float64])(true)
            bound = rounding(torch.float64, t) * (np.maximum(np.abs(expected), 1.0) + sum(lrs[:t]))
            subject.assert_close(mine, expected, bound, "theta of the reference", step=t, of="50 digits")


def _exact(value: Any, context: Any) -> Any:
    """A value with numbers of arbitrary precision in place of floats; numpy applies its operations to them too."""
    if isinstance(value, dict):
        return {name: _exact(item, context) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_exact(item, context) for item in value)
    if isinstance(value, np.ndarray):
        return np.vectorize(context.mpf, otypes=[object])(value.astype(np.float64))
    return context.mpf(value) if isinstance(value, float) else value


@check(
    "Q03",
    formula=True,
    still=True,
    hint="the reference works in place (`+=`, `out=`) on an array it was given, or has yielded",
)
def check_reference_leaves_what_it_is_given_alone(subject: OptimizerSubject) -> None:
    """The reference writes neither to its start, nor to a gradient, nor to what it has yielded."""
    problem = hostile_problem(subject, missing=False)
    for index, start in enumerate(problem.starts):
        kept = np.array(start)
        run = subject.reference(**subject.hostile).trajectory(kept)
        theta, _ = next(run)
        yielded = [(theta, np.array(theta))]
        for step in problem.steps:
            grad = np.array(step.grads[index])
            before = grad.copy()
            theta, _ = run.send(grad)
            subject.assert_equal(grad.tolist(), before.tolist(), "the gradient after the reference's step")
            yielded.append((theta, np.array(theta)))
        subject.assert_equal(kept.tolist(), np.asarray(start).tolist(), "the start after the reference's run")
        for t, (now, then) in enumerate(yielded):
            subject.assert_equal(np.asarray(now).tolist(), then.tolist(), "theta as yielded before", step=t)


@check(
    "Q04",
    formula=True,
    still=True,
    needs=unless_a_variant,
    hint="`trajectory` never reads that field, or reads it once instead of in every update",
)
def check_reference_uses_every_hyperparameter(subject: OptimizerSubject) -> None:
    """Every hyperparameter of the reference, every element of a tuple, and every switch changes its trajectory."""
    changes = [{name: value} for name, value in perturbed(subject.reference, subject.hostile)]
    for position in switches(subject.reference):
        changes += filter(None, [reachable(subject.reference, subject.hostile, position)])
    problems = sensitive_problems(subject)
    for change in changes:
        moved, bound = max((moved_by(subject, problem, change) for problem in problems), key=lambda pair: pair[0])
        reason = f"{in_words(change)} makes no difference to the reference"
        subject.assert_true(moved > bound, reason, measured=moved, bound=bound)
    moved, bound = moved_by(subject, problems[0], {}, slower=True)
    subject.assert_true(moved > bound, "half the learning rate makes no difference to the reference")


def sensitive_problems(subject: OptimizerSubject) -> list[Problem]:
    """Problems, one of which shows any change: ordinary parameters, and tiny ones under tiny gradients."""
    ordinary = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    tiny = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-9.0, -7.0))
    return [ordinary, Problem([1e-4 * start for start in tiny.starts], tiny.steps)]


def moved_by(
    subject: OptimizerSubject, problem: Problem, change: dict[str, Any], *, slower: bool = False
) -> tuple[float, float]:
    """How far a change, or half the lr, moves the end of the reference's second parameter; and 1000 tolerances."""
    grads, lrs = [step.grads[1] for step in problem.steps], [step.lr for step in problem.steps]
    start = problem.starts[1]
    plain = _trajectory(subject, subject.hostile, start, grads, lrs)[-1]
    rates = [0.5 * lr for lr in lrs] if slower else lrs
    other = _trajectory(subject, {**subject.hostile, **change}, start, grads, rates)[-1]
    bound = 1000 * rounding(torch.float64, len(lrs)) * (float(np.max(np.abs(plain))) + sum(lrs))
    with np.errstate(invalid="ignore", over="ignore"):
        moved = float(np.max(np.abs(other - plain)))
    return moved if np.isfinite(moved) else np.inf, bound
