"""Mathematics: parameters and state against the reference, after every update."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.references import closed_form_settings, moved_by, telling
from optreg.conformance.harness.following import compare, follow, no_common_state
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import (
    STEPS,
    Problem,
    Shape,
    Step,
    dyadic_problem,
    hostile_problem,
    hostile_problem_of,
    shapes_for,
)
from optreg.conformance.harness.reference_run import ReferenceRun, decay_of
from optreg.conformance.results.tolerance import C0, C1, UNIT, rounding
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.settings import decay_rates, fits, reachable, switches
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.hyperparameters import defaults

Array = np.ndarray
F64 = torch.float64
U = UNIT[F64]


def _has(name: str):  # type: ignore[no-untyped-def]
    def needs(subject: OptimizerSubject) -> str | None:
        return None if name in subject.editable else f"it has no {name}"

    return needs


@check("M01", hint="the update is not the paper's, in a way that is none of the known mistakes")
def check_constant_gradient(subject: OptimizerSubject) -> None:
    """Under a constant gradient the parameters come where the closed form, at 50 digits, says."""
    if not hasattr(subject.reference, "constant_gradient"):
        raise NotApplicable("the reference offers no closed form (a method `constant_gradient(theta, g, t, mp)`)")
    context = fifty_digits()
    start, g = np.array([1.0, -2.0, 0.5, 3.0, -0.25, 1.5]), np.array([1e-6, -1e-3, 0.3, -2.0, 100.0, 1e-9])
    for settings in closed_form_settings(subject):
        run = OptimizerRun(subject, [start], **settings)
        formula = subject.reference(**settings)
        reference = ReferenceRun(subject, [start], F64, **settings)
        for t in range(1, 41):
            run.step([g])
            reference.step([g])
            if t not in (1, 2, 3, 10, 40):
                continue
            pairs = zip(start, g, strict=True)
            exact = [float(formula.constant_gradient(context.mpf(a), context.mpf(b), t, context)) for a, b in pairs]
            expected = np.array(exact)
            scale = np.maximum(np.abs(start), np.abs(expected)) + t * formula.lr
            bound = U * (C0 + C1 * t) * scale
            run.assert_close(0, expected, bound, "the parameter", step=t, of="the closed form", reference=reference)


@check("M02", hint="the update is not the reference's, in a way that is none of the known mistakes")
def check_hostile_trajectory(subject: OptimizerSubject) -> None:
    """Parameters follow the reference through gradients of eight orders of magnitude, zeros, gaps and a moving lr."""
    follow(subject, hostile_problem(subject))


@check(
    "M03",
    needs=no_common_state,
    hint="what the state holds is scaled or updated otherwise than the reference says, though parameters may agree",
)
def check_state_follows_the_reference(subject: OptimizerSubject) -> None:
    """Every tensor of the state follows the reference's, by its name, after every update."""
    if not ReferenceRun(subject, [np.ones((2, 2))], F64).step([np.ones((2, 2))]).now[0][1]:
        raise NotApplicable("its reference has no state")
    follow(subject, hostile_problem(subject), states=True)


@check("M04", hint="the state starts otherwise than the reference's, or the first update is treated as a special case")
def check_first_step(subject: OptimizerSubject) -> None:
    """The very first update is the reference's, at hostile values and at the defaults."""
    for settings in (subject.hostile, subject.default):
        problem = hostile_problem(subject, missing=False, steps=1)
        follow(subject, problem, **settings)


@check(
    "M05",
    needs=_has("weight_decay"),
    hint="the decay is taken from another tensor, or multiplied by another factor, than the reference says",
)
def check_decay_is_of_the_kind_declared(subject: OptimizerSubject) -> None:
    """Weight decay is coupled to the gradient or decoupled from it, as declared and as the reference does it."""
    kind = decay_of(subject.reference, subject.hostile, subject.ndim)
    declared = subject.traits.decay or kind
    subject.assert_equal(kind, declared, "the reference's decay", of="the declared trait says")
    start = np.array([[1.0, -3.0, 0.5], [2.0, 4.0, -8.0]])
    lr, decay = 0.0625, 0.125
    run = OptimizerRun(subject, [start], lr=lr, weight_decay=decay)
    reference = ReferenceRun(subject, [start], F64, lr=lr, weight_decay=decay)
    for t in range(1, 4):
        run.step([np.zeros_like(start)])
        reference.step([np.zeros_like(start)])
        if declared == "decoupled":
            expected = start * (1 - lr * decay) ** t
            what = "the parameter under a gradient of zero"
            run.assert_close(0, expected, rounding(F64, t) * 8, what, step=t, of="decoupled decay", reference=reference)
    follow(subject, hostile_problem(subject, missing=False), weight_decay=0.7)
    follow(subject, hostile_problem(subject, missing=False), weight_decay=0.0)


@check(
    "M06",
    needs=_has("weight_decay"),
    hint="the decay reads the parameter after it was updated, or goes by another factor",
)
def check_decay_reads_the_parameter_before_the_update(subject: OptimizerSubject) -> None:
    """Decay takes its share of the parameter as it was before the update, not after."""
    follow(subject, hostile_problem(subject, lr=0.3, missing=False), weight_decay=0.9)


@check("M07", hint="the hyperparameter is taken and never used, or overridden by a constant")
def check_every_hyperparameter_matters(subject: OptimizerSubject) -> None:
    """Changing a hyperparameter, or an element of one, moves the trajectory by more than 1000 tolerances."""
    problems = telling(subject)
    bound = 1000 * rounding(F64, STEPS)

    def final(problem: Problem, **settings: Any) -> Array:
        return OptimizerRun(subject, problem.starts, **settings).run(problem).values()[1]

    settled = [final(problem) for problem in problems]
    for name, value in subject.perturbed:
        for problem, before in zip(problems, settled, strict=True):
            felt, _ = moved_by(subject, problem, {name: value})
            if felt > bound:
                moved = float(np.max(np.abs(final(problem, **{name: value}) - before)))
                subject.assert_true(
                    not moved <= bound, f"it does the same with {name}={value!r}", measured=moved, bound=bound
                )
                break


@check(
    "M08",
    hint="the hyperparameter is read once, at construction or at the first step, not from the group in every update",
)
def check_edits_of_a_group_act_on_the_next_step(subject: OptimizerSubject) -> None:
    """A hyperparameter edited in the live group acts from the very next update on."""
    changes = list(subject.perturbed)
    if "weight_decay" in subject.editable:
        changes.append(("weight_decay", 0.0))
    rates = set() if subject.registered else decay_rates(subject.reference)
    for name, value in [("lr", 0.5), *changes]:
        for when in (1, 4):
            problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=when + 3)
            if name in rates:
                _acts(subject, problem, name, value, when)
                continue
            run = OptimizerRun(subject, problem.starts)
            reference = ReferenceRun(subject, problem.starts, F64)
            for t, step in enumerate(problem.steps):
                change = {"lr": step.lr, **({name: value} if t >= when else {})}
                run.step(step.grads, **change)
                reference.step(step.grads, **change)
                compare(run, reference)


def _acts(subject: OptimizerSubject, problem: Problem, name: str, value: Any, when: int) -> None:
    """An edited decay rate has an effect in the next update.

    Which is not told: no paper says what beta^t means where beta has changed, and classes may keep such a product.
    """
    ends: list[Array] = []
    for edited in (False, True):
        run, reference = (
            OptimizerRun(subject, problem.starts).run(problem, 0, when),
            ReferenceRun(subject, problem.starts, F64),
        )
        reference.run(problem, 0, when)
        change = {"lr": problem.steps[when].lr, **({name: value} if edited else {})}
        run.step(problem.steps[when].grads, **change)
        reference.step(problem.steps[when].grads, **change)
        ends += [np.concatenate([v.ravel() for v in each.values()]) for each in (run, reference)]
    bound = 1000 * rounding(F64, STEPS)
    felt, moved = (float(np.max(np.abs(ends[i + 2] - ends[i]))) for i in (1, 0))
    if felt > bound:
        what = f"{name}={value!r}, edited before update {when + 1}, has no effect in it"
        subject.assert_true(not moved <= bound, what, measured=moved, bound=bound)


@check("M09", needs=_has("eps"), hint="eps stands elsewhere than in the reference, or is clamped, scaled or left out")
def check_eps_far_above_and_far_below_the_gradient(subject: OptimizerSubject) -> None:
    """With eps far above the gradient, and far below it, parameters follow the reference."""
    if not isinstance(subject.hostile["eps"], float):
        raise NotApplicable("its eps is no single number")
    for eps in (1e3, 1.0, 1e-3, 1e-12):
        if fits(subject.reference, {**subject.hostile, "eps": eps}):
            follow(subject, hostile_problem(subject, [(6,), (4, 3)], missing=False), eps=eps)


@check("M11", hint="a gradient of zeros is treated as a special case, or divides by zero")
def check_zero_gradients(subject: OptimizerSubject) -> None:
    """Gradients of zero, at first and later, follow the formula and stay finite."""
    for zeros in ({0}, {0, 1, 2}, {3, 4, 5, 6}):
        problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
        steps = [
            Step(step.lr, [g * 0.0 if t in zeros and g is not None else g for g in step.grads])
            for t, step in enumerate(problem.steps)
        ]
        follow(subject, Problem(problem.starts, steps))


@check("M17", hint="the switch is taken and ignored, or does something else than the reference says")
def check_switches(subject: OptimizerSubject) -> None:
    """Every position of every switch (amsgrad, nesterov, centered, ...) follows the reference."""
    positions = [
        reachable(subject.reference, subject.hostile, position)
        for position in switches(subject.reference)
        if not position.keys() & subject.fixed.keys()
    ]
    if not any(positions):
        raise NotApplicable("it has no switches")
    for settings in filter(None, positions):
        follow(subject, hostile_problem(subject), **settings)
        if no_common_state(subject) is None:
            follow(subject, hostile_problem(subject), states=True, **settings)


@check("M18", still=True, hint="the decay, or a part of the update, is not multiplied by the learning rate")
def check_no_learning_rate_moves_nothing(subject: OptimizerSubject) -> None:
    """With lr = 0 no bit of a parameter changes."""
    if not fits(subject.reference, {**subject.hostile, "lr": 0.0}):
        raise NotApplicable("lr = 0 is out of its range")
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        run.step(step.grads, lr=0.0)
        for index, start in enumerate(problem.starts):
            run.assert_close(index, start, 0.0, f"parameter {index} under lr = 0", step=t, of="its start")
    run.step(problem.steps[0].grads, lr=0.01)
    moved = any(np.any(value != start) for value, start in zip(run.values(), problem.starts, strict=True))
    subject.assert_true(moved, "nothing moves after lr is no longer 0")


@check("M19", hint="the tensor is used in place (`mul_`, `div_`), or rounded on the way")
def check_tensor_lr(subject: OptimizerSubject) -> None:
    """A learning rate in a tensor does what the same float does, and is not written to."""
    problem = hostile_problem(subject)
    lrs = [subject.tensor(0.0137 * 1.7 ** -(t % 5)) for t in range(STEPS)]
    try:
        _probe_tensor_lr(subject)
    except Exception as error:
        if subject.registered and subject.traits.tensor_lr:
            raise
        raise NotApplicable(f"it takes no tensor as lr: {str(error)[:80]}") from error
    run = OptimizerRun(subject, problem.starts, lr=lrs[0])
    reference = ReferenceRun(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        kept = float(lrs[t])
        run.step(step.grads, lr=lrs[t])
        reference.step(step.grads, lr=kept)
        subject.assert_equal(float(lrs[t]), kept, "the tensor lr", step=t + 1)
        compare(run, reference)
    run, reference = OptimizerRun(subject, problem.starts, lr=lrs[0]), ReferenceRun(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        for group in run.optimizer.param_groups:  # as torch's schedulers do it
            next(value for value in group.values() if isinstance(value, torch.Tensor)).fill_(0.01 * (t + 1))
        run.note(f"for group in optimizer.param_groups:\n    group['lr'].fill_({0.01 * (t + 1)})")
        run.step(step.grads)
        reference.step(step.grads, lr=0.01 * (t + 1))
        compare(run, reference)


def _probe_tensor_lr(subject: OptimizerSubject) -> None:
    """Make an update with a tensor as learning rate; raises what the optimizer raises."""
    shape = shapes_for(subject, [(2, 2)])[0]
    OptimizerRun(subject, [np.ones(shape)] * 2, lr=subject.tensor(0.0625)).step([np.ones(shape)] * 2)


@check("M20", hint="the update draws random numbers, reads a clock, or depends on memory that was not written")
def check_a_rerun_is_bit_identical(subject: OptimizerSubject) -> None:
    """The same run, made twice, gives the same bits; under another seed too, unless randomness is declared."""
    problem = hostile_problem(subject)

    def run(seed: int) -> OptimizerRun:
        torch.manual_seed(seed)
        return OptimizerRun(subject, problem.starts).run(problem)

    first = run(5)
    run(5).assert_same(first, "in a second run", of="in the first it is")
    if subject.traits.random:
        same = all(map(torch.equal, run(6).tensors(), first.tensors()))
        subject.assert_true(not same, "randomness is declared, and another seed changes nothing")
    else:
        run(6).assert_same(first, "under another seed", of="under the first it is")


@check("M21", hint="a count overflows, or an error is carried on from update to update in a narrower type")
def check_long_run(subject: OptimizerSubject) -> None:
    """Through 300 updates the error grows no faster than rounding."""
    problem = hostile_problem(subject, [(6,), (3, 2)], steps=300, exponents=(-4.0, 1.0), lr=1e-3)
    follow(subject, problem)


@check("M22", Tier.SHOULD, hint="a default of the constructor is not the reference's")
def check_defaults(subject: OptimizerSubject) -> None:
    """Made with no hyperparameter at all, it follows the reference at the reference's defaults."""
    given = defaults(subject.reference)
    if len(given) < len(subject.hostile):
        raise NotApplicable("the reference has hyperparameters without defaults")
    if subject.required:
        raise NotApplicable(f"its constructor has no default of {', '.join(subject.required)}")
    problem = hostile_problem(subject)
    settings: dict[str, Any] = {**given, **subject.fixed}
    run = OptimizerRun(subject, problem.starts, **settings)
    run.recording = replace(run.recording, settings={})
    run.optimizer = subject.implementation(list(run.params))
    reference = ReferenceRun(subject, problem.starts, F64, **settings)
    for step in problem.steps:
        run.step(step.grads)
        reference.step(step.grads)
        compare(run, reference)


@check("M23", hint="large tensors are worked on in blocks, and the last block is lost or wrong")
def check_a_large_tensor(subject: OptimizerSubject) -> None:
    """A tensor larger than any block, of a size that no block divides, follows the reference to its last element."""
    shapes: list[Shape] = [(65, 33)] if subject.traits.ndim else [(2**20 + 2**16 + 3,)]
    follow(subject, hostile_problem_of(shapes, steps=3, missing=False))


@check(
    "M24",
    Tier.SHOULD,
    hint="a computation in float32 rounds where it need not, say by way of a reciprocal or of another constant",
)
def check_dyadic_numbers_are_exact(subject: OptimizerSubject) -> None:
    """Where the reference's arithmetic is exact in float32, the optimizer's is the same, bit for bit."""
    problem = dyadic_problem()
    settings: dict[str, Any] = {name: _dyadic(value) for name, value in subject.hostile.items()}
    if not fits(subject.reference, settings):
        raise NotApplicable("its hyperparameters cannot all be powers of two")
    reference = ReferenceRun(subject, problem.starts, F64, **settings)
    run = OptimizerRun(subject, problem.starts, dtype=torch.float32, **settings)
    for t, step in enumerate(problem.steps, start=1):
        reference.step(step.grads, lr=step.lr)
        expected = reference.values()[0]
        if not np.array_equal(expected, expected.astype(np.float32).astype(np.float64)):
            if t == 1:
                raise NotApplicable("its arithmetic is not exact in dyadic numbers")
            return
        run.step(step.grads, lr=step.lr)
        run.assert_close(0, expected, 0.0, "the parameter in float32", step=t)


def _dyadic(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_dyadic(item) for item in value)
    return min(0.5, 2.0 ** round(math.log2(value))) if isinstance(value, float) and 0 < value < 1 else value


@check("M28", hint="tiny or huge gradients are clipped, flushed to zero, or squared out of range")
def check_wide_scales(subject: OptimizerSubject) -> None:
    """Gradients from 1e-12 to 1e9, parameters of a thousand: the reference is followed."""
    problem = hostile_problem(subject, [(24,), (6, 4)], missing=False, exponents=(-12.0, 9.0))
    follow(subject, problem)
    follow(subject, Problem([1e3 * start for start in problem.starts], problem.steps))


@check(
    "M25", hint="the update is not the reference's at other scales or hyperparameters than those of the fixed problem"
)
def check_explored_trajectories(subject: OptimizerSubject) -> None:
    """Around the fixed problem, wherever Hypothesis looks: other seeds, scales and hyperparameters."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    changes: list[dict[str, Any]] = [{}, *({name: value} for name, value in subject.perturbed)]

    @settings(
        derandomize=True, max_examples=25, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(
        seed=st.integers(0, 2**32 - 1),
        low=st.floats(-8, 2),
        width=st.floats(0, 6),
        change=st.sampled_from(changes),
        lr=st.sampled_from([1e-4, 1e-2, 0.3]),
    )
    def explore(seed: int, low: float, width: float, change: dict[str, Any], lr: float) -> None:
        problem = hostile_problem(subject, [(5,), (2, 3)], seed=seed, exponents=(low, low + width), lr=lr, steps=8)
        follow(subject, problem, **change)

    explore()


@check("M29", hint="a value such as 0, an int or a list is taken for one that was not given, or is capped")
def check_edges_of_ranges(subject: OptimizerSubject) -> None:
    """Decay rates of zero, a learning rate of ten, whole numbers and lists of decay rates follow the reference."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=6)
    for name, value in _edges(subject):
        listed = isinstance(value, list)
        checked = {**subject.hostile, name: tuple(value) if listed else value}
        if name in subject.editable and fits(subject.reference, checked):
            try:
                run = OptimizerRun(subject, problem.starts, **{name: value})
            except ValueError:  # lists may be refused; a class that no plugin declares may have a narrower range
                if subject.registered and not listed:
                    raise
                continue
            reference = ReferenceRun(subject, problem.starts, F64, **{name: value})
            for step in problem.steps:
                run.step(step.grads)
                reference.step(step.grads)
                compare(run, reference)
                for index, (param, grad) in enumerate(zip(run.params, step.grads, strict=True)):
                    with run.showing(index, np.asarray(grad), show="params[{i}].grad"):
                        what = f"the gradient of parameter {index} under {name}={value!r}"
                        subject.assert_equal(param.grad, subject.tensor(grad), what, step=reference.t)


def _edges(subject: OptimizerSubject) -> Iterator[tuple[str, Any]]:
    """Hyperparameters with values at an edge of their range, or of another type than usual."""
    yield from (("lr", 1), ("lr", 10.0), ("weight_decay", 1), ("weight_decay", 0))
    for name in sorted(decay_rates(subject.reference)):
        value = subject.hostile[name]
        if isinstance(value, tuple):
            yield from ((name, (*value[:i], 0.0, *value[i + 1 :])) for i in range(len(value)))
            yield name, list(value)
        else:
            yield name, 0.0


@check("M30", hint="an lr of zero, or its fall, is a special case; or what schedulers leave in groups is read")
def check_a_learning_rate_as_schedules_make_it(subject: OptimizerSubject) -> None:
    """Through updates at lr = 0, a tenfold fall, and under a scheduler of torch's, the reference is followed."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=8)
    factors = [0.0, 0.0, 0.5, 1.0, 0.1, 0.0, 1.0, 0.3]
    steps = [Step(0.02 * f, step.grads) for f, step in zip(factors, problem.steps, strict=True)]
    follow(subject, Problem(problem.starts, steps))
    run, reference = OptimizerRun(subject, problem.starts, lr=0.02), ReferenceRun(subject, problem.starts, F64, lr=0.02)
    if "lr" not in run.optimizer.param_groups[0]:
        return  # no scheduler of torch's can drive it
    scheduler = torch.optim.lr_scheduler.LambdaLR(run.optimizer, factors.__getitem__)
    run.note(f"scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, {factors}.__getitem__)")
    for t, step in enumerate(problem.steps):
        run.step(step.grads)
        reference.step(step.grads, lr=0.02 * factors[t])
        compare(run, reference)
        if t + 1 < len(factors):
            scheduler.step()
            run.note("scheduler.step()")


@check("M31", hint="after many updates something is reset, clipped, counted in a narrow type, or no longer corrected")
def check_a_very_long_run(subject: OptimizerSubject) -> None:
    """Through 2500 updates at the defaults, and a gradient that is suddenly a thousand times as large."""
    shape = shapes_for(subject, [(3,)])[0]
    problem = hostile_problem_of([shape], steps=2500, missing=False, exponents=(-2.0, 0.0), lr=1e-3)
    steps = [
        Step(step.lr, [1e3 * g if t % 1200 == 1199 and g is not None else g for g in step.grads])
        for t, step in enumerate(problem.steps)
    ]
    run = OptimizerRun(subject, problem.starts, **subject.default)
    reference = ReferenceRun(subject, problem.starts, F64, **subject.default)
    for t, step in enumerate(steps, start=1):
        run.take(step)
        reference.take(step)
        if t % 50 == 0:
            compare(run, reference)
