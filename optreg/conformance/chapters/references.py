"""References: the mathematics that everything else is judged by, judged itself."""

from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import check
from optreg.conformance.harness.problems import Problem, hostile_problem
from optreg.conformance.results.tolerance import C0, C1, UNIT
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.settings import perturbed, reachable, switches
from optreg.conformance.subjects.subject import OptimizerSubject

U = UNIT[torch.float64]


def _reals(array: Any, context: Any) -> Any:
    """An array of arbitrary-precision numbers: numpy applies the reference's own operations to them."""
    return np.vectorize(context.mpf, otypes=[object])(np.asarray(array, dtype=np.float64))


def _trajectory(subject: OptimizerSubject, settings: dict[str, Any], start: Any, grads: Any, lrs: Any) -> list[Any]:
    reference = subject.reference(**settings)
    run = reference.trajectory(start)
    next(run)
    found = []
    for grad, lr in zip(grads, lrs, strict=True):
        reference.lr = lr
        found.append(run.send(grad)[0])
    return found


@check("Q01", still=True, hint="the reference, or its closed form, has a slip: derive both again from the paper")
def check_reference_agrees_with_its_closed_form(subject: OptimizerSubject) -> None:
    """Under a constant gradient the reference comes where its closed form, at 50 digits, says."""
    if not hasattr(subject.reference, "constant_gradient"):
        raise NotApplicable("the reference offers no closed form (a method `constant_gradient(theta, g, t, mp)`)")
    context, steps = fifty_digits(), 40
    start = np.array([1.0, -2.0, 0.5, 3.0, -0.25, 1.5])
    g = np.array([1e-6, -1e-3, 0.3, -2.0, 100.0, 1e-9])
    for settings in closed_form_settings(subject):
        reference = subject.reference(**settings)
        found = _trajectory(subject, settings, start, [g] * steps, [reference.lr] * steps)
        for t in (1, 2, 7, steps):
            exact = [
                reference.constant_gradient(context.mpf(a), context.mpf(b), t, context)
                for a, b in zip(start, g, strict=True)
            ]
            scale = np.maximum(np.abs(start), np.abs(found[t - 1])) + t * reference.lr
            expected = np.array([float(value) for value in exact])
            subject.assert_close(
                found[t - 1],
                expected,
                U * (C0 + C1 * t) * scale,
                "theta of the reference",
                step=t,
                of="its closed form",
            )


def closed_form_settings(subject: OptimizerSubject) -> list[dict[str, Any]]:
    """Hyperparameters at which the closed form holds: hostile ones and defaults, without decay where it needs that."""
    context = fifty_digits()
    found = []
    for settings in (subject.hostile, subject.default):
        for changes in ({}, {"weight_decay": 0.0}):
            candidate = {**settings, **{key: value for key, value in changes.items() if key in settings}}
            one = subject.reference(**candidate).constant_gradient(context.mpf(1), context.mpf(1), 1, context)
            if one is not None:
                found.append(candidate)
                break
    if not found:
        raise NotApplicable("the closed form holds at none of the values tried")
    return found


@check("Q02", still=True, hint="the reference computes in a narrower type somewhere, or subtracts nearly equal numbers")
def check_reference_is_precise(subject: OptimizerSubject) -> None:
    """The reference in float64 stays within rounding of itself at 50 digits, hostile gradients included."""
    context = fifty_digits()
    problem = hostile_problem(subject, [(6,), (3, 2)], missing=False)
    for start, index in ((problem.starts[0], 0), (problem.starts[1], 1)):
        grads = [step.grads[index] for step in problem.steps]
        lrs = [step.lr for step in problem.steps]
        settings = subject.hostile
        exact_settings = {name: _exact(value, context) for name, value in settings.items()}
        found = _trajectory(subject, settings, start, grads, lrs)
        try:
            exact = _trajectory(
                subject,
                exact_settings,
                _reals(start, context),
                [_reals(g, context) for g in grads],
                map(context.mpf, lrs),
            )
        except (TypeError, AttributeError) as error:
            raise NotApplicable(f"the reference cannot be run on arbitrary-precision numbers: {error}") from error
        for t, (mine, true) in enumerate(zip(found, exact, strict=True), start=1):
            expected = np.vectorize(float, otypes=[np.float64])(true)
            scale = np.maximum(np.abs(expected), 1.0) + sum(lrs[:t])
            subject.assert_close(
                mine, expected, U * (C0 + C1 * t) * scale, "theta of the reference", step=t, of="50 digits"
            )


def _exact(value: Any, context: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_exact(item, context) for item in value)
    return context.mpf(value) if isinstance(value, float) else value


@check(
    "Q03",
    still=True,
    hint="the reference works in place (`+=`, `out=`) on an array that it was given, or that it has told already",
)
def check_reference_leaves_what_it_is_given_alone(subject: OptimizerSubject) -> None:
    """The reference writes neither to its start, nor to a gradient, nor to what it has already told."""
    problem = hostile_problem(subject, missing=False)
    for index, start in enumerate(problem.starts):
        kept = np.array(start)
        run = subject.reference(**subject.hostile).trajectory(kept)
        theta, _ = next(run)
        told = [(theta, np.array(theta))]
        for step in problem.steps:
            grad = np.array(step.grads[index])
            before = grad.copy()
            theta, _ = run.send(grad)
            subject.assert_equal(grad.tolist(), before.tolist(), "the gradient after the reference's step")
            told.append((theta, np.array(theta)))
        subject.assert_equal(kept.tolist(), np.asarray(start).tolist(), "the start after the reference's run")
        for t, (now, then) in enumerate(told):
            subject.assert_equal(np.asarray(now).tolist(), then.tolist(), "theta as told before", step=t)


@check("Q04", still=True, hint="`trajectory` never reads that field, or reads it once instead of in every update")
def check_reference_uses_every_hyperparameter(subject: OptimizerSubject) -> None:
    """Every hyperparameter of the reference, every element of a tuple, every switch, moves its trajectory."""
    changes = [{name: value} for name, value in perturbed(subject.reference, subject.hostile)]
    changes += [
        settings
        for position in switches(subject.reference)
        if (settings := reachable(subject.reference, subject.hostile, position))
    ]
    for change in changes:
        moved, bound = max(
            (moved_by(subject, problem, change) for problem in telling(subject)), key=lambda pair: pair[0]
        )
        text = ", ".join(f"{name}={value!r}" for name, value in change.items())
        subject.assert_true(moved > bound, f"the reference does the same with {text}", measured=moved, bound=bound)
    problem = telling(subject)[0]
    moved, bound = moved_by(subject, problem, {}, slower=True)
    subject.assert_true(moved > bound, "the reference does the same at half the learning rate")


def telling(subject: OptimizerSubject) -> list[Problem]:
    """Problems of which one should tell any change: ordinary parameters, and tiny ones under tiny gradients."""
    ordinary = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    tiny = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-9.0, -7.0))
    return [ordinary, Problem([1e-4 * start for start in tiny.starts], tiny.steps)]


def moved_by(
    subject: OptimizerSubject, problem: Problem, change: dict[str, Any], *, slower: bool = False
) -> tuple[float, float]:
    """How far another setting, or half the rate, takes the end of the reference's second parameter; and 1000 bounds."""
    grads, lrs = [step.grads[1] for step in problem.steps], [step.lr for step in problem.steps]
    start = problem.starts[1]
    settled = _trajectory(subject, subject.hostile, start, grads, lrs)[-1]
    rates = [0.5 * lr for lr in lrs] if slower else lrs
    other = _trajectory(subject, {**subject.hostile, **change}, start, grads, rates)[-1]
    bound = 1000 * U * (C0 + C1 * len(lrs)) * (float(np.max(np.abs(settled))) + sum(lrs))
    with np.errstate(invalid="ignore", over="ignore"):
        moved = float(np.max(np.abs(other - settled)))
    return moved if np.isfinite(moved) else np.inf, bound
