"""Mathematics: parameters and state, compared with the reference after every update."""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import refused, unanswered
from optreg.conformance.chapters.references import closed_form_problem, closed_forms, moved_by, sensitive_problems
from optreg.conformance.harness.following import compare, follow, no_common_state, side_by_side, step_both
from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import (
    ALL_ZERO,
    PERIOD,
    STEPS,
    VANISHING,
    Problem,
    Shape,
    dyadic_problem,
    hostile_problem,
    repeated,
    shapes_for,
)
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.tolerance import between_runs, rounding
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.naming import Signature
from optreg.conformance.subjects.own_fields import COMMON
from optreg.conformance.subjects.settings import decay_rates, fits, in_words
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.conformance.subjects.variants import decay_of
from optreg.hyperparameters import defaults


def _has(name: str) -> Callable[[OptimizerSubject], str | None]:
    return lambda subject: None if name in subject.editable else f"it has no {name}"


@check("M01", formula=True, hint="the update differs from the paper's, and matches no known mistake")
def check_constant_gradient(subject: OptimizerSubject) -> None:
    """Under a constant gradient the parameters are where the closed form, at 50 digits, puts them."""
    start, g = closed_form_problem()
    for settings, closed_form in closed_forms(subject, start, g):
        run, reference = side_by_side(subject, Problem([start], []), **settings)
        for t in range(1, 41):
            run.step([g])
            reference.step([g])
            if t in (1, 2, 3, 10, 40):
                expected = closed_form(t)
                bound = rounding(subject.precise, t) * (
                    np.maximum(np.abs(start), np.abs(expected)) + t * settings["lr"]
                )
                run.assert_close(0, expected, bound, "the parameter", step=t, of="the closed form", reference=reference)


@check("M02", formula=True, hint="the update differs from the reference's, and matches no known mistake")
def check_hostile_trajectory(subject: OptimizerSubject) -> None:
    """Parameters follow the reference through gradients from 1e-6 to 1e2, zeros, missing ones, and a changing lr."""
    follow(subject, hostile_problem(subject))


@check(
    "M03",
    needs=no_common_state,
    formula=True,
    hint="the state is scaled or updated differently, though parameters may agree",
)
def check_state_follows_the_reference(subject: OptimizerSubject) -> None:
    """Every tensor of the state follows the reference's tensor of the same name, after every update."""
    if not ReferenceRun(subject, [np.ones((2, 2))]).step([np.ones((2, 2))]).now[0][1]:
        raise NotApplicable("its reference has no state")
    follow(subject, hostile_problem(subject), states=True)


@check("M04", formula=True, hint="the initial state is not the reference's, or the first update is a special case")
def check_first_step(subject: OptimizerSubject) -> None:
    """The first update is the reference's, at hostile values and at the defaults."""
    for settings in (subject.hostile, subject.default):
        follow(subject, hostile_problem(subject, missing=False, steps=1), **settings)


@check(
    "M05",
    needs=_has("weight_decay"),
    formula=True,
    hint="the decay is applied to another tensor, or with another factor",
)
def check_decay_is_of_the_kind_declared(subject: OptimizerSubject) -> None:
    """Weight decay is coupled to the gradient or decoupled from it, as declared, and as the reference does it."""
    kind = decay_of(subject.reference, subject.hostile, subject.ndim)
    declared = subject.traits.decay or kind
    subject.assert_equal(kind, declared, "the reference's decay", of="the declared trait says")
    start = np.array([[1.0, -3.0, 0.5], [2.0, 4.0, -8.0]])
    lr, decay = 0.0625, 0.125
    run, reference = side_by_side(subject, Problem([start], []), lr=lr, weight_decay=decay)
    for t in range(1, 4):
        run.step([np.zeros_like(start)])
        reference.step([np.zeros_like(start)])
        if declared == "decoupled" and subject.traits.unrectified != "skip":
            expected = start * (1 - lr * decay) ** t
            what = "the parameter under a gradient of zero"
            run.assert_close(
                0, expected, between_runs(t, subject.precise), what, step=t, of="decoupled decay", reference=reference
            )
    follow(subject, hostile_problem(subject, missing=False), weight_decay=0.7)
    follow(subject, hostile_problem(subject, missing=False), weight_decay=0.0)


@check(
    "M06", needs=_has("weight_decay"), formula=True, hint="the decay reads the updated parameter, or has another factor"
)
def check_decay_reads_the_parameter_before_the_update(subject: OptimizerSubject) -> None:
    """Weight decay is a share of the parameter before the update, not after it."""
    follow(subject, hostile_problem(subject, lr=0.3, missing=False), weight_decay=0.9)


@check("M07", hint="the hyperparameter is accepted and never used, or a constant is used instead")
def check_every_hyperparameter_matters(subject: OptimizerSubject) -> None:
    """Changing a hyperparameter, or an element of one, changes the result by more than 1000 tolerances."""
    problems = sensitive_problems(subject)
    bound = 1000 * rounding(subject.precise, STEPS)

    def ran(problem: Problem, **settings: Any) -> OptimizerRun:
        return OptimizerRun(subject, problem.starts, **settings).run(problem)

    finals = [ran(problem).values()[1] for problem in problems]
    if subject.alone:  # how much should change is not known, but common hyperparameters change something
        for name, value in common_changes(subject):
            pairs = zip(problems, finals, strict=True)
            same = all(np.array_equal(ran(problem, **{name: value}).values()[1], before) for problem, before in pairs)
            subject.assert_true(not same, f"{name}={value!r} makes no difference")
        return
    for name, value in subject.perturbed:
        for problem, before in zip(problems, finals, strict=True):
            expected, _ = moved_by(subject, problem, {name: value})
            if expected > bound:
                run = ran(problem, **{name: value})
                reference = ReferenceRun(subject, problem.starts, **{name: value}).run(problem)
                moved = float(np.max(np.abs(run.values()[1] - before)))
                with run.showing(1, reference.values()[1], reference.bound(1), reference=reference):
                    reason = f"{name}={value!r} makes no difference"
                    subject.assert_true(not moved <= bound, reason, measured=moved, bound=bound)
                break
    if not subject.activity.comparisons:
        raise NotApplicable("no hyperparameter but lr moves its reference by more than 1000 tolerances")


@check("M08", hint="the hyperparameter is read once, at construction or in the first step, not in every update")
def check_edits_of_a_group_act_on_the_next_step(subject: OptimizerSubject) -> None:
    """A hyperparameter or a switch that is edited in a param group, from 0 too, takes effect in the next update."""
    if subject.alone:
        _assert_common_edits_act(subject)
        return
    for name, value in subject.perturbed:
        if isinstance(value, float) and fits(subject.reference, {**subject.hostile, name: 0.0}):
            problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=6)
            with refused(subject):  # it may need state that is made at the beginning, or more than zero
                if name == "weight_decay":  # of which nothing is remembered
                    run, reference = side_by_side(subject, problem, weight_decay=0.0)
                    for t, step in enumerate(problem.steps):
                        step_both(run, reference, step.grads, lr=step.lr, weight_decay=value if t else 0.0)
                _assert_effect(subject, problem, {name: value}, 1, begins=True, **{name: 0.0})
    rates = set() if subject.registered else decay_rates(subject.reference)
    for change in subject.changes:
        for when in (1, 4):
            problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=when + 3)
            if change in subject.switched:
                position = {name: value for name, value in change.items() if isinstance(value, bool | str)}
                required = {name: value for name, value in change.items() if name not in position}
                begins = _states(subject, **change) - _states(subject, **required)
                with refused(subject):  # it may need state that is made at the beginning
                    _assert_effect(subject, problem, position, when, begins=bool(begins), **required)
                continue
            if change.keys() & rates:
                _assert_effect(subject, problem, change, when)
                continue
            run, reference = side_by_side(subject, problem)
            for t, step in enumerate(problem.steps):
                step_both(run, reference, step.grads, **{"lr": step.lr, **(change if t >= when else {})})


def _assert_common_edits_act(subject: OptimizerSubject) -> None:
    """Assert that edits of common hyperparameters act: rate and decay at once, others after some updates at most."""
    problem = hostile_problem(subject, missing=False)
    edits: list[tuple[str, Any, dict[str, Any]]] = [("lr", 0.5, {})]
    for name, value in common_changes(subject):
        edits += [(name, value, {})] + [(name, value, {name: 0.0})] * (name == "weight_decay")
    for name, value, made in edits:
        at_once = name in {"lr", "weight_decay"}
        acts = []
        for when in (1 + subject.rests, 4 + subject.rests):
            plain, edited = (OptimizerRun(subject, problem.starts, **made).run(problem, 0, when) for _ in range(2))
            edited.edit(noted=True, **{name: value})
            for step in problem.steps[when : when + 1 if at_once else None]:
                plain.step(step.grads)
                edited.step(step.grads)
            acts.append(not all(map(np.array_equal, plain.values(), edited.values())))
        works = all(acts) if at_once else any(acts)
        edit = f"{name}={value!r}, edited during a run{' that began at 0' * bool(made)},"
        subject.assert_true(works, f"{edit} has no effect{' at once' * at_once}")


def _states(subject: OptimizerSubject, **settings: Any) -> set[str]:
    """The keys of the reference's state."""
    shape = (4, 3) if subject.ndim == 2 else (4,)
    return {*ReferenceRun(subject, [np.ones(shape)], **settings).step([np.ones(shape)]).now[0][1]}


def _assert_effect(
    subject: OptimizerSubject,
    problem: Problem,
    edit: dict[str, Any],
    when: int,
    *,
    begins: bool = False,
    **settings: Any,
) -> None:
    """Assert that an edit has some effect in the next update, or, if it `begins` a memory, by the problem's end.

    Which effect is open: no paper defines beta^t after beta has changed, and classes may keep such a product. But what
    moves in the reference does not stand still.
    """
    ends: list[Array] = []
    rests: list[list[bool]] = []
    for edited in (False, True):
        change = {"lr": problem.steps[when].lr, **(edit if edited else {})}
        run, reference = side_by_side(subject, problem, **settings)
        for each in (run, reference):
            each.run(problem, 0, when)
            before = each.values()
            each.step(problem.steps[when].grads, **change)
            rests.append([np.array_equal(now, then) for now, then in zip(each.values(), before, strict=True)])
            if begins:
                each.run(problem, when + 1)
            ends.append(np.concatenate([v.ravel() for v in each.values()]))
    for index, (mine, its) in enumerate(zip(*rests[2:], strict=True)):
        subject.assert_true(its or not mine, f"after {in_words(edit)}, parameter {index} stands still", step=when + 1)
    bound = 1000 * rounding(subject.precise, STEPS)
    expected, moved = (float(np.max(np.abs(ends[i + 2] - ends[i]))) for i in (1, 0))
    if expected > bound:
        reason = f"{in_words(edit)}, edited before update {when + 1}, has no effect{' in it' * (not begins)}"
        with run.showing(0, reference.values()[0], reference.bound(0), reference=reference):
            subject.assert_true(not moved <= bound, reason, measured=moved, bound=bound)


@check(
    "M09",
    needs=_has("eps"),
    formula=True,
    hint="eps is in another place than in the reference, or clamped, scaled or left out",
)
def check_eps_far_above_and_far_below_the_gradient(subject: OptimizerSubject) -> None:
    """With eps far above the gradient, and far below it, parameters follow the reference."""
    if not isinstance(subject.hostile["eps"], float):
        raise NotApplicable("its eps is not a single number")
    for eps in (1e3, 1.0, 1e-3, 1e-12):
        if fits(subject.reference, {**subject.hostile, "eps": eps}):
            follow(subject, hostile_problem(subject, [(6,), (4, 3)], missing=False), eps=eps)


@check(
    "M33",
    formula=True,
    hint="a memory that has no effect at 0 is not kept up, or is not made when the rate is no longer 0",
)
def check_decay_rates_of_zero_for_a_while(subject: OptimizerSubject) -> None:
    """After updates at decay rates of 0, at first or later, only the last of their gradients is remembered."""
    zeros: dict[str, Any] = {}
    for name in decay_rates(subject.reference) & {*subject.editable}:
        value = subject.hostile[name]
        zeros[name] = (0.0,) * len(value) if isinstance(value, tuple) else 0.0
    if not zeros or not fits(subject.reference, {**subject.hostile, **zeros}):
        raise NotApplicable("it has no decay rates, or they cannot all be 0")
    rest: dict[str, Any] = {"weight_decay": 0.0} if "weight_decay" in subject.editable else {}  # as it reads parameters
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-3.0, 1.0))
    bound = between_runs(STEPS, subject.precise)

    def moves(each: OptimizerRun | ReferenceRun, problem: Problem, zero: range) -> Array:
        """How far every element goes after the last update at 0."""
        before = each.values()
        for t, step in enumerate(problem.steps):
            rates = zeros if t in zero else {name: subject.hostile[name] for name in zeros}
            each.step(step.grads, lr=step.lr, **rates)
            before = each.values() if t == zero[-1] else before
        return np.concatenate([(now - then).ravel() for now, then in zip(each.values(), before, strict=True)])

    for zero in (range(6, 8), range(3)):
        problems = (problem, problem.scaled(range(zero[-1]), -3.0), problem.scaled({zero[-1]}, -1.0))
        plain, other, turned = (moves(ReferenceRun(subject, problem.starts, **rest), each, zero) for each in problems)
        if np.any(np.abs(plain - other) > bound):
            raise NotApplicable("its reference remembers more than its decay rates say")
        runs = [OptimizerRun(subject, problem.starts, **rest) for _ in problems]
        found = [moves(run, each, zero) for run, each in zip(runs, problems, strict=True)]
        what = "how far an element moves after decay rates of 0"
        reference = ReferenceRun(subject, problem.starts, **rest)
        moves(reference, problems[1], zero)
        with runs[1].showing(0, reference.values()[0], reference.bound(0), reference=reference):
            subject.assert_close(found[1], found[0], bound, what, of="a run with another past")
        if np.any(np.abs(plain - turned) > 1000 * bound):
            changes = np.any(np.abs(found[0] - found[2]) > bound)
            subject.assert_true(changes, "the last gradient at decay rates of 0 is forgotten")


@check("M11", formula=True, hint="a gradient of zeros is a special case, or leads to a division by zero")
def check_zero_gradients(subject: OptimizerSubject) -> None:
    """Under gradients of zero, in the first updates and later, parameters follow the reference."""
    for zeros in ({0}, {0, 1, 2}, {3, 4, 5, 6}):
        follow(subject, hostile_problem(subject, [(6,), (4, 3)], missing=False).scaled(zeros, 0.0))


@check("M17", formula=True, hint="the switch is ignored, or does not do what it does in the reference")
def check_switches(subject: OptimizerSubject) -> None:
    """At every position of every switch (amsgrad, nesterov, centered, ...) the reference is followed."""
    if not subject.switched:
        raise NotApplicable("it has no switches")
    for settings in subject.switched:
        follow(subject, hostile_problem(subject), **settings)
        if no_common_state(subject) is None:
            follow(subject, hostile_problem(subject), states=True, **settings)


@check("M18", still=True, hint="the decay, or a part of the update, is not multiplied by the learning rate")
def check_no_learning_rate_moves_nothing(subject: OptimizerSubject) -> None:
    """At lr = 0 no bit of a parameter changes."""
    if not fits(subject.reference, {**subject.hostile, "lr": 0.0}):
        raise NotApplicable("lr = 0 is out of its range")
    problem = hostile_problem(subject)
    if subject.alone and _moves_at_rate_zero(subject, problem):
        raise NotApplicable(unanswered(subject, "whether parameters should rest at lr = 0"))
    run = OptimizerRun(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        run.step(step.grads, lr=0.0)
        for index, start in enumerate(problem.starts):
            run.assert_close(index, start, 0.0, f"parameter {index} under lr = 0", step=t, of="its start")
    run.step(problem.steps[0].grads, lr=0.01)
    moved = any(np.any(value != start) for value, start in zip(run.values(), problem.starts, strict=True))
    subject.assert_true(moved, "nothing moves once lr is no longer 0")


def _moves_at_rate_zero(subject: OptimizerSubject, problem: Problem) -> bool:
    """Whether plain runs at lr = 0 move parameters without any weight decay: then the rate is no factor of updates."""
    no_decay: dict[str, Any] = {"weight_decay": 0.0} if "weight_decay" in subject.editable else {}
    reference = ReferenceRun(subject, problem.starts, **no_decay)
    for step in problem.steps:
        reference.step(step.grads, lr=0.0)
    return any(np.any(value != start) for value, start in zip(reference.values(), problem.starts, strict=True))


@check("M19", hint="the tensor is modified in place (`mul_`, `div_`), or rounded")
def check_tensor_lr(subject: OptimizerSubject) -> None:
    """A learning rate in a tensor acts as the same float does, and is not written to."""
    _assert_it_takes_a_tensor(subject)
    problem = hostile_problem(subject)
    lrs = [subject.tensor(0.0137 * 1.7 ** -(t % 5)) for t in range(STEPS)]
    run, reference = side_by_side(subject, problem, lr=lrs[0])
    for t, step in enumerate(problem.steps):
        kept = float(lrs[t])
        run.step(step.grads, lr=lrs[t])
        reference.step(step.grads, lr=kept)
        subject.assert_equal(float(lrs[t]), kept, "the tensor lr", step=t + 1)
        compare(run, reference)
    run, reference = side_by_side(subject, problem, lr=lrs[0])
    for t, step in enumerate(problem.steps):
        for group in run.optimizer.param_groups:  # as torch's schedulers do
            tensors = [value for value in group.values() if isinstance(value, torch.Tensor)]
            if tensors:
                tensors[0].fill_(0.01 * (t + 1))
            else:
                subject.edit(group, lr=0.01 * (t + 1))
        run.note(f"for group in optimizer.param_groups:\n    group['lr'].fill_({0.01 * (t + 1)})")
        run.step(step.grads)
        reference.step(step.grads, lr=0.01 * (t + 1))
        compare(run, reference)
    members = [[i for i in range(len(problem.starts)) if i % 2 == odd] for odd in (0, 1)]
    groups = [(each, {"lr": subject.tensor(lr)}) for each, lr in zip(members, (0.013, 0.2), strict=True)]
    run, reference = side_by_side(subject, problem, groups=groups)
    for step in problem.steps:
        step_both(run, reference, step.grads)


def _assert_it_takes_a_tensor(subject: OptimizerSubject) -> None:
    """Leave a check out for an optimizer that accepts no tensor as its learning rate."""
    shape = shapes_for(subject, [(2, 2)])[0]
    try:
        OptimizerRun(subject, [np.ones(shape)] * 2, lr=subject.tensor(0.0625)).step([np.ones(shape)] * 2)
    except Exception as error:
        if subject.registered and subject.traits.tensor_lr:
            raise
        raise NotApplicable(f"it accepts no tensor as lr: {str(error)[:80]}") from error


@check("M34", Tier.SHOULD, hint="the constructor reads the number out of the tensor, or copies it")
def check_a_tensor_lr_is_read_in_every_update(subject: OptimizerSubject) -> None:
    """What is written to a tensor that was given as the learning rate acts on the next update."""
    _assert_it_takes_a_tensor(subject)
    problem = hostile_problem(subject)
    lr = subject.tensor(0.0625)
    run, reference = side_by_side(subject, problem, lr=lr)
    run.note("# the tensor that is given as lr is filled with another rate before every update")
    for step in problem.steps:
        lr.fill_(step.lr)
        run.step(step.grads)
        reference.step(step.grads, lr=step.lr)
        compare(run, reference)


@check("M20", hint="the update draws random numbers, reads a clock, or reads uninitialized memory")
def check_a_rerun_is_bit_identical(subject: OptimizerSubject) -> None:
    """A second run gives the same bits, under another seed too, unless randomness is declared."""
    if subject.alone and subject.traits.random:
        raise NotApplicable(unanswered(subject, "whether updates should draw random numbers"))
    problem = hostile_problem(subject)

    def run(seed: int) -> OptimizerRun:
        torch.manual_seed(seed)
        return OptimizerRun(subject, problem.starts).run(problem)

    first = run(5)
    run(5).assert_same(first, "in a second run", of="in the first it is")
    if subject.traits.random:
        same = all(map(torch.equal, run(6).tensors(), first.tensors()))
        subject.assert_true(not same, "randomness is declared, but another seed changes nothing")
    else:
        run(6).assert_same(first, "under another seed", of="under the first it is")


@check("M21", formula=True, hint="a count overflows, or an error accumulates in a narrower dtype")
def check_long_run(subject: OptimizerSubject) -> None:
    """Over 300 updates the error grows no faster than rounding allows."""
    follow(subject, hostile_problem(subject, [(6,), (3, 2)], steps=300, exponents=(-4.0, 1.0), lr=1e-3))


@check("M22", Tier.SHOULD, formula=True, hint="a default of the constructor is not the reference's")
def check_defaults(subject: OptimizerSubject) -> None:
    """Constructed without hyperparameters, it follows the reference at the reference's defaults."""
    given = defaults(subject.reference)
    if len(given) < len(subject.hostile):
        raise NotApplicable("the reference has hyperparameters without defaults")
    required = Signature(subject.implementation, 1).required
    if required:
        raise NotApplicable(f"its constructor has no default for {', '.join(required)}")
    problem = hostile_problem(subject)
    run, reference = side_by_side(subject, problem, **{**given, **subject.fixed})
    run.recording = replace(run.recording, settings={})
    run.optimizer = subject.implementation(list(run.params))
    for step in problem.steps:
        step_both(run, reference, step.grads)


@check("M23", hint="large tensors are processed in blocks, and the last block is lost or wrong")
def check_a_large_tensor(subject: OptimizerSubject) -> None:
    """Tensors of more elements, rows or columns than any block, which divides none, follow the reference."""
    shapes: list[Shape] = [(4099, 3), (65, 33) if subject.traits.ndim else (2**20 + 2**16 + 3,)]
    if not subject.traits.elementwise:
        follow(subject, hostile_problem(subject, shapes, steps=3, missing=False))
        return
    for shape in (*shapes, (2, 2**16 + 3)):
        enlarged = repeated(shape)
        problem = hostile_problem(subject, [(PERIOD,)], steps=3, missing=False)
        large = problem.mapped(enlarged, enlarged)
        run, reference = OptimizerRun(subject, large.starts), ReferenceRun(subject, problem.starts)
        for step, small in zip(large.steps, problem.steps, strict=True):
            run.take(step)
            reference.take(small)
            expected, bound = enlarged(reference.values()[0]), enlarged(reference.bound(0))
            run.assert_close(0, expected, bound, f"the parameter of shape {shape}", step=reference.t)


@check(
    "M24",
    Tier.SHOULD,
    formula=True,
    hint="a float32 computation rounds unnecessarily, for example through a reciprocal",
)
def check_dyadic_numbers_are_exact(subject: OptimizerSubject) -> None:
    """Where the reference's arithmetic is exact in float32, the optimizer gives the same bits."""
    problem = dyadic_problem()
    settings: dict[str, Any] = {name: _dyadic(value) for name, value in subject.hostile.items()}
    if not fits(subject.reference, settings):
        raise NotApplicable("its hyperparameters cannot all be powers of two")
    run, reference = side_by_side(subject, problem, dtype=torch.float32, **settings)
    for t, step in enumerate(problem.steps, start=1):
        reference.take(step)
        expected = reference.values()[0]
        if not np.array_equal(expected, expected.astype(np.float32).astype(np.float64)):
            if t == 1:
                raise NotApplicable("its arithmetic is not exact in dyadic numbers")
            return
        run.take(step)
        run.assert_close(0, expected, 0.0, "the parameter in float32", step=t)


def _dyadic(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_dyadic(item) for item in value)
    return min(0.5, 2.0 ** round(math.log2(value))) if isinstance(value, float) and 0 < value < 1 else value


@check("M28", formula=True, hint="tiny or huge gradients are clipped, flushed to zero, or squared out of range")
def check_wide_scales(subject: OptimizerSubject) -> None:
    """With gradients from 1e-12 to 1e9, and with parameters around 1000, the reference is followed."""
    problem = hostile_problem(subject, [(24,), (6, 4)], missing=False, exponents=(-12.0, 9.0))
    follow(subject, problem)
    follow(subject, Problem([1e3 * start for start in problem.starts], problem.steps))


@check(
    "M25",
    formula=True,
    hint="the update differs from the reference's at other scales or hyperparameters than the fixed ones",
)
def check_explored_trajectories(subject: OptimizerSubject) -> None:
    """The reference is followed at other seeds, scales and hyperparameters, which Hypothesis chooses."""
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


@check("M29", hint="a value such as 0, an int or a list is treated as missing, or is capped")
def check_edges_of_ranges(subject: OptimizerSubject) -> None:
    """Decay rates of 0, a learning rate of 10, integers, and lists of decay rates: the reference is followed."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=ALL_ZERO if subject.alone else 6)
    for name, value in _edges(subject):
        listed = isinstance(value, list)
        checked = {**subject.hostile, name: tuple(value) if listed else value}
        if name in subject.editable and fits(subject.reference, checked):
            with refused(subject) if listed else nullcontext():
                _follow_at(subject, problem, name, value, narrow=listed or not subject.registered)


def _follow_at(subject: OptimizerSubject, problem: Problem, name: str, value: Any, *, narrow: bool) -> None:
    """Compare with the reference at a value, which may be refused if ranges may be `narrow`er than the reference's."""
    try:
        run = OptimizerRun(subject, problem.starts, **{name: value})
    except ValueError:
        if narrow:
            return
        raise
    reference = ReferenceRun(subject, problem.starts, **{name: _usual(name, value) if subject.alone else value})
    for step in problem.steps:
        step_both(run, reference, step.grads)
        for index, (param, grad) in enumerate(zip(run.params, step.grads, strict=True)):
            with run.showing(index, np.asarray(grad), show="params[{i}].grad"):
                what = f"the gradient of parameter {index} under {name}={value!r}"
                subject.assert_equal(param.grad, subject.tensor(grad), what, step=reference.t)


def _usual(name: str, value: Any) -> Any:
    """A value that acts as the given one does, of the usual type; no rate is zero, which may be taken for missing."""
    if isinstance(value, tuple | list):
        return tuple(_usual(name, item) for item in value)
    return float(value) or (0.0 if name == "weight_decay" else VANISHING)


def common_changes(subject: OptimizerSubject) -> list[tuple[str, Any]]:
    """Other values of the hyperparameters that mean the same everywhere, so that they act in every update."""
    return [(name, value) for name, value in subject.perturbed if name in COMMON]


def _edges(subject: OptimizerSubject) -> Iterator[tuple[str, Any]]:
    """Hyperparameters with values at an edge of their range, or of an unusual type."""
    yield from (("lr", 1), ("lr", 10.0), ("weight_decay", 1), ("weight_decay", 0))
    for name in sorted(decay_rates(subject.reference)):
        value = subject.hostile[name]
        if isinstance(value, tuple):
            yield from ((name, (*value[:i], 0.0, *value[i + 1 :])) for i in range(len(value)))
            yield name, list(value)
        else:
            yield name, 0.0


@check("M30", hint="lr = 0, or a drop of lr, is a special case; or keys that schedulers add to groups are read")
def check_a_learning_rate_as_schedules_make_it(subject: OptimizerSubject) -> None:
    """At lr = 0, through a tenfold drop of lr, and under one of torch's schedulers, the reference is followed."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=8)
    factors = [0.0, 0.0, 0.5, 1.0, 0.1, 0.0, 1.0, 0.3]
    run, reference = side_by_side(subject, problem)
    for factor, step in zip(factors, problem.steps, strict=True):
        run.step(step.grads, lr=0.02 * factor)
        reference.step(step.grads, lr=_usual("lr", 0.02 * factor) if subject.alone else 0.02 * factor)
        compare(run, reference)
    run, reference = side_by_side(subject, problem, lr=0.02)
    if "lr" not in run.optimizer.param_groups[0]:
        return  # torch's schedulers cannot drive it
    scheduler = torch.optim.lr_scheduler.LambdaLR(run.optimizer, factors.__getitem__)
    run.note(f"scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, {factors}.__getitem__)")
    for t, step in enumerate(problem.steps):
        run.step(step.grads)
        reference.step(step.grads, lr=0.02 * factors[t])
        compare(run, reference)
        if t + 1 < len(factors):
            scheduler.step()
            run.note("scheduler.step()")


@check(
    "M31",
    formula=True,
    hint="after many updates something is reset, clipped, no longer corrected, or counted in a narrow dtype",
)
def check_a_very_long_run(subject: OptimizerSubject) -> None:
    """The reference is followed over 2500 updates at the defaults, with sudden gradients 1000 times as large."""
    problem = hostile_problem(subject, [(3,)], steps=2500, missing=False, exponents=(-2.0, 0.0), lr=1e-3)
    problem = problem.scaled(range(1199, 2500, 1200), 1e3)
    run, reference = side_by_side(subject, problem, **subject.default)
    for t, step in enumerate(problem.steps, start=1):
        run.take(step)
        reference.take(step)
        if t % 50 == 0:
            compare(run, reference)
