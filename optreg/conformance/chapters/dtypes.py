"""Dtypes and shapes: every kind of tensor that a model may contain."""

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import runs, unless_drawing, unless_elementwise, unless_independent
from optreg.conformance.harness.code import on_device
from optreg.conformance.harness.counts import recounted
from optreg.conformance.harness.following import compare, follow, side_by_side, step_both
from optreg.conformance.harness.layouts import DENSE, TRANSPOSED, Array, Layout
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import PERIOD, STEPS, Problem, Shape, Step, hostile_problem, repeated
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.differences import first_difference, within
from optreg.conformance.results.tolerance import between_runs, rounding
from optreg.conformance.results.verdict import Failed, NotApplicable
from optreg.conformance.subjects.settings import decay_rates, fits
from optreg.conformance.subjects.subject import OptimizerSubject


def _matrices_only(subject: OptimizerSubject) -> str | None:
    return f"its parameters have {subject.traits.ndim} dimensions" if subject.traits.ndim else None


@check("D01", hint="state is created, or the update computed, in float32 or in the default dtype")
def check_float64_stays_float64(subject: OptimizerSubject) -> None:
    """float64 parameters have float64 state, and no update goes through a narrower dtype."""
    run = follow(subject, hostile_problem(subject, missing=False))
    for index, param in enumerate(run.params):
        subject.assert_equal(str(param.dtype), "torch.float64", f"the dtype of parameter {index}")
        for name, value in run.state(index).items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.shape == param.shape and value.ndim:
                what, right = f"the dtype of '{name}' of parameter {index}", {"torch.float64", str(subject.precise)}
                subject.assert_true(str(value.dtype) in right, f"{what} is {value.dtype}")


@check(
    "D02",
    needs=unless_drawing,
    hint="the update uses a narrower dtype than float32, or divides by a difference that rounds to zero",
)
def check_float32_follows_the_reference(subject: OptimizerSubject) -> None:
    """In float32 the error grows no faster than float32 rounding allows, whatever the size of gradients and tensors."""
    follow_where_conditioned(subject, torch.float32, (-4.0, 1.0))
    follow_where_conditioned(subject, torch.float32, (-8.5, -6.5))
    follow_where_conditioned(subject, torch.float32, (-4.0, 1.0), shapes=[(1,), (71, 73)], steps=3)
    if subject.traits.elementwise:
        large = repeated((2**21 + 2**16 + 3,))
        follow_where_conditioned(subject, torch.float32, (-4.0, 1.0), shapes=[(PERIOD,)], steps=3, enlarged=large)


@check("D03", Tier.SHOULD, hint="the parameter is replaced by a wider one, or squares fall below bfloat16's resolution")
def check_bfloat16(subject: OptimizerSubject) -> None:
    """bfloat16 parameters stay bfloat16 and finite, and follow the reference up to bfloat16 rounding."""
    follow_where_conditioned(subject, torch.bfloat16, (-1.0, 1.0))


def follow_where_conditioned(
    subject: OptimizerSubject,
    dtype: torch.dtype,
    exponents: tuple[float, float],
    *,
    shapes: Sequence[Shape] = ((6,), (4, 3)),
    steps: int = STEPS,
    prepare: Callable[[OptimizerRun], None] = lambda run: None,
    enlarged: Callable[[Array], Array] = np.array,
) -> None:
    """Compare in a narrow dtype, but for elements whose reference depends on the rounding of its gradients.

    The optimizer has the reference's problem `enlarged`.
    """

    def narrowed(array: Array) -> Array:
        return np.asarray(torch.tensor(array).to(dtype).double().numpy())

    problem = hostile_problem(subject, shapes, exponents=exponents, steps=steps).mapped(narrowed, narrowed)
    large = problem.mapped(enlarged, enlarged)
    run = OptimizerRun(subject, large.starts, dtype=dtype)
    prepare(run)
    reference, perturbed = (ReferenceRun(subject, problem.starts, dtype) for _ in range(2))
    random = np.random.default_rng(1)
    u = rounding(dtype, 0) / 8
    for t, step in enumerate(problem.steps, start=1):
        run.take(large.steps[t - 1])
        reference.take(step)
        nearby = [None if g is None else g * (1 + 4 * u * random.choice([-1.0, 1.0], g.shape)) for g in step.grads]
        perturbed.step(nearby, lr=step.lr)
        for index, param in enumerate(run.params):
            expected, bound = reference.values()[index], reference.bound(index)
            certain = np.abs(perturbed.values()[index] - expected) <= 0.5 * bound
            with run.showing(index, np.array(1.0), show=f"float(params[{{i}}].dtype is {dtype})"):
                subject.assert_equal(str(param.dtype), str(dtype), f"the dtype of parameter {index}", step=t)
            finite = bool(torch.isfinite(param).all())
            subject.assert_true(finite, f"parameter {index} is not finite in {dtype}", step=t)
            expected, bound = enlarged(expected), enlarged(np.where(certain, bound, np.inf))
            run.assert_close(index, expected, bound, f"in {dtype}, parameter {index}", step=t, reference=reference)
            subject.assert_true(certain.any(), "no element could be compared", step=t)


@check("D04", Tier.SHOULD, hint="eps, or the square of a gradient, is zero in float16: compute in float32")
def check_float16_stays_finite(subject: OptimizerSubject) -> None:
    """In float16, at the default eps, parameters stay finite under tiny gradients and gradients of zero."""
    for exponents in ((-7.0, -4.0), (-2.0, 2.0)):
        problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=exponents)
        run = OptimizerRun(subject, problem.starts, dtype=torch.float16, **subject.default)
        for t, step in enumerate(problem.steps, start=1):
            run.step(step.grads)
            for index, param in enumerate(run.params):
                finite = bool(param.isfinite().all())
                with run.showing(index, np.array(1.0), show="params[{i}].isfinite().all()"):
                    subject.assert_true(finite, f"parameter {index} is not finite in float16", step=t)


@check("D05", needs=_matrices_only, hint="the update indexes an axis that a zero-dimensional parameter does not have")
def check_zero_dimensions(subject: OptimizerSubject) -> None:
    """A zero-dimensional parameter follows the reference, and stays zero-dimensional."""
    run = follow(subject, hostile_problem(subject, [(), ()], missing=False))
    subject.assert_equal([p.ndim for p in run.params], [0, 0], "the parameters' dimensions")


@check("D06", needs=_matrices_only, hint="an empty tensor ends the loop, or is reduced over")
def check_empty_tensors(subject: OptimizerSubject) -> None:
    """Empty parameters, first, in the middle and last, do not affect the others."""
    follow(subject, hostile_problem(subject, [(0,), (6,), (3, 0), (4, 3), (0, 2)], missing=False))


STRIDED = Layout("torch.stack([x, x * torch.nan], -1)[..., 0]")
"""Every second element in memory."""

OFFSET = Layout("torch.cat([x.new_zeros(3), x.reshape(-1)])[3:].view(x.shape)")
"""A part of a larger tensor, not at its beginning."""

CHANNELS_LAST = Layout("x.contiguous(memory_format=torch.channels_last)")
CHANNELS_LAST_3D = Layout("x.contiguous(memory_format=torch.channels_last_3d)")

EXPANDED = Layout("x[:1].expand(x.shape)")
"""The first row, repeated."""

SPARSE = Layout("x.to_sparse()")


@check(
    "D07",
    needs=unless_drawing,
    hint="the update writes to `p.view(-1)`, `p.contiguous()` or `p.reshape(-1)`, which may be a copy",
)
def check_non_contiguous_parameters(subject: OptimizerSubject) -> None:
    """Non-contiguous parameters follow the reference."""
    for layout in (TRANSPOSED, STRIDED, OFFSET):
        follow(subject, hostile_problem(subject, [(4, 3), (2, 3, 2)], missing=False), layout=layout)
    for shape, last in (((2, 3, 2, 2), CHANNELS_LAST), ((2, 3, 2, 2, 2), CHANNELS_LAST_3D)):
        images = hostile_problem(subject, [shape], missing=False, steps=6)
        if images.starts[0].ndim == len(shape):
            for layouts in ((last, DENSE), (last, last), (DENSE, last)):
                follow(subject, images, layout=layouts[0], grad_layout=layouts[1])


BUCKET = """\
bucket = torch.full(({size},), float('nan'), dtype=torch.float64{device})
for p, part in zip(params, bucket[3:-2].split({sizes})):
    p.grad = part.view(p.shape)"""
"""Gradients that lie one after the other in a larger tensor, as code."""


@check(
    "D08",
    needs=unless_drawing,
    hint="gradients are read from memory (`data_ptr`, `storage`, `as_strided`), or written to",
)
def check_strided_and_expanded_gradients(subject: OptimizerSubject) -> None:
    """Gradients that are transposed, strided, expanded, or views into one bucket (as in DDP) are read correctly."""
    problem = hostile_problem(subject, [(4, 3), (2, 3, 2)], missing=False)
    for layout in (TRANSPOSED, STRIDED):
        follow(subject, problem, grad_layout=layout)
    follow(subject, problem.mapped(lambda g: np.broadcast_to(g[:1], g.shape)), grad_layout=EXPANDED)
    run, reference = side_by_side(subject, problem)
    bucket = subject.tensor(np.full(5 + sum(start.size for start in problem.starts), np.nan))
    sizes = [start.size for start in problem.starts]
    for param, part in zip(run.params, bucket[3:-2].split(sizes), strict=True):
        param.grad = part.view(param.shape)
    run.note(BUCKET.format(size=len(bucket), device=on_device(subject), sizes=sizes))
    for step in problem.steps[:6]:
        run.reuse([np.asarray(grad) for grad in step.grads], lr=step.lr)
        reference.take(step)
        compare(run, reference)
    around = [*bucket[:3].tolist(), *bucket[-2:].tolist()]
    subject.assert_equal(around, [np.nan] * 5, "the bucket around the gradients")


@check("D09", Tier.SHOULD, needs=_matrices_only, hint="complex parameters need `torch.view_as_real`")
def check_complex_parameters(subject: OptimizerSubject) -> None:
    """Complex parameters are updated as their real and imaginary parts, or refused, as declared."""
    problem = hostile_problem(subject, [(6, 2), (2, 3, 2)], missing=False)

    def as_complex(array: Array) -> Tensor:
        return torch.view_as_complex(subject.tensor(np.ascontiguousarray(array)))

    reference = ReferenceRun(subject, problem.starts)
    params = [Parameter(as_complex(start)) for start in problem.starts]

    def run() -> None:
        optimizer = subject.make(list(params), **subject.hostile)
        for step in problem.steps:
            for group in optimizer.param_groups:
                subject.edit(group, lr=step.lr)
            for param, grad in zip(params, step.grads, strict=True):
                param.grad = None if grad is None else as_complex(grad)
            optimizer.step()
            subject.activity.updates += 1
            pairs = zip(params, problem.starts, strict=True)
            subject.activity.moved |= any(bool((param != as_complex(start)).any()) for param, start in pairs)
            reference.take(step)
            for index, (param, expected) in enumerate(zip(params, reference.values(), strict=True)):
                found, bound = torch.view_as_real(param.detach()).cpu().numpy(), reference.bound(index)
                subject.assert_close(found, expected, bound, f"complex parameter {index}", step=reference.t)

    if subject.traits.complex_params:
        run()
        return
    try:
        run()
    except Failed:
        raise
    except Exception as error:
        subject.assert_true(str(error), "a complex parameter is refused without a message")
        subject.activity.moved = True
        return
    undeclared = subject.traits.complex_params is None
    subject.assert_true(undeclared, "complex parameters are declared to be refused, but accepted")


@check("D10", Tier.SHOULD, hint="a sparse gradient is used without checking `grad.is_sparse`")
def check_sparse_gradients(subject: OptimizerSubject) -> None:
    """A sparse gradient has the effect of the dense one, or is refused by an error that says so."""
    start, grad = np.arange(8.0).reshape(4, 2) - 3.5, np.zeros((4, 2))
    grad[1], grad[3] = (0.5, -2.0), (1.0, 3.0)
    dense = OptimizerRun(subject, [start])
    dense.step([grad])
    sparse = OptimizerRun(subject, [start])
    try:
        sparse.step([grad], layout=SPARSE)
    except Exception as error:
        named = "sparse" in str(error).lower()
        subject.assert_true(named, f"the error does not say that sparse gradients are refused: {error}")
        subject.assert_equal(sparse.values()[0].tolist(), start.tolist(), "the parameter after the refusal")
        declared = subject.registered and subject.traits.sparse_grads
        subject.assert_true(not declared, "sparse gradients are declared, but refused")
        return
    expected = dense.values()[0]
    sparse.assert_close(
        0, expected, between_runs(1, subject.precise), "under a sparse gradient, the parameter", of="the dense one"
    )


@check("D11", hint="state is squeezed, or broadcast against the parameter")
def check_shapes(subject: OptimizerSubject) -> None:
    """Rows, columns, and tensors with three and four dimensions follow the reference."""
    shapes = [(1, 5), (5, 1), (1,), (2, 1, 3), (2, 3, 2, 2), (2, 3, 2, 2)]
    follow(subject, hostile_problem(subject, shapes, missing=False))


@check("D12", Tier.SHOULD, hint="a tensor is created without `dtype=`, in the default dtype")
def check_another_default_dtype(subject: OptimizerSubject) -> None:
    """Another default dtype makes no difference."""
    problem = hostile_problem(subject)
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float64, torch.float16):
            torch.set_default_dtype(dtype)
            run, reference = side_by_side(subject, problem)
            run.note(f"torch.set_default_dtype({dtype})", outside=True)
            for step in problem.steps:
                step_both(run, reference, step.grads, lr=step.lr)
    finally:
        torch.set_default_dtype(before)


COUNTS = {torch.bfloat16: 256, torch.float16: 2048}
"""Where a number of this dtype stands still if it is counted up one by one."""


def _unless_it_counts(subject: OptimizerSubject) -> str | None:
    if subject.alone:
        return unless_drawing(subject)
    shape = (4, 3) if subject.ndim == 2 else (4,)
    state = ReferenceRun(subject, [np.ones(shape)]).step([np.ones(shape)]).now[0][1]
    return None if "step" in state else "its reference counts no updates"


@check(
    "D20",
    needs=_unless_it_counts,
    hint="the count is kept in the parameter's dtype, and stands still at 256 in bfloat16, 2048 in float16",
)
def check_counting_goes_on_in_low_precision(subject: OptimizerSubject) -> None:
    """Updates of bfloat16 and float16 parameters are counted beyond what their dtype can count one by one."""
    taken = [dtype for dtype in COUNTS if runs(subject.apart(), dtype=dtype)]
    if subject.alone:
        taken = [dtype for dtype in taken if _is_precise(subject.apart(), dtype)]
    if not taken:
        raise NotApplicable("it takes neither bfloat16 nor float16 parameters")
    for dtype in taken:
        _late_update(subject, COUNTS[dtype], dtype, f"the {dtype} parameter")


def _is_precise(subject: OptimizerSubject, dtype: torch.dtype) -> bool:
    """Whether an early update in this dtype is that of a plain run, so that a late one must be too."""
    try:
        _late_update(subject, 8, dtype, "the parameter")
    except Failed:
        return False
    return dtype is torch.bfloat16  # through thousands of updates, state in float16 may rightly lose all precision


@check(
    "D21",
    Tier.SHOULD,
    needs=_unless_it_counts,
    hint="the count is created without `dtype=`, in the default dtype, and stands still there",
)
def check_counting_goes_on_under_another_default_dtype(subject: OptimizerSubject) -> None:
    """Updates are counted beyond what the default dtype can count one by one."""
    before = torch.get_default_dtype()
    try:
        for default, standstill in COUNTS.items():
            torch.set_default_dtype(default)
            what = f"under the default dtype {default}, the parameter"
            _late_update(subject, standstill, torch.float32, what, default)
    finally:
        torch.set_default_dtype(before)


@check(
    "D23",
    formula=True,
    needs=_unless_it_counts,
    hint="the count is capped, reset, or kept in 16 bits",
)
def check_late_counts(subject: OptimizerSubject) -> None:
    """Where a checkpoint says that almost 2^16 updates were made, the next ones are the reference's."""
    share = 1e-9 if subject.precise is torch.float64 else 1e-4  # 1 - 0.9999**t has four digits fewer than its dtype
    if not _late_update(subject, 2**16 - 2, torch.float64, "the parameter", made=4, share=share):
        raise NotApplicable("its checkpoints hold more than a count of updates whose gradients are zero")


def _late_update(
    subject: OptimizerSubject,
    count: int,
    dtype: torch.dtype,
    what: str,
    default: torch.dtype | None = None,
    *,
    made: int | None = None,
    share: float = 0.05,
) -> bool:
    """Compare the first update that moves the parameter, after `count` others and some more with gradients of zero.

    All decay rates are so close to 1 that corrections still depend on the count. From zero, and without weight decay,
    the parameter is then the update itself, with the relative precision of its dtype. If a count is all that changes
    in a checkpoint, it is set. If not, every update is made, unless the number to be `made` is given: the result is
    whether anything was compared.
    """
    slow = {**subject.hostile, "weight_decay": 0.0}
    for name in decay_rates(subject.reference):
        value = subject.hostile[name]
        slow[name] = (0.9999,) * len(value) if isinstance(value, tuple) else 0.9999
    settings = {name: value for name, value in slow.items() if name in subject.editable}
    if not fits(subject.reference, {**subject.hostile, **settings}):
        raise NotApplicable("its reference does not accept decay rates of 0.9999")
    shape = (4, 3) if subject.ndim == 2 else (12,)

    def begun() -> OptimizerRun:
        run = OptimizerRun(subject, [np.zeros(shape)], dtype=dtype, **settings)
        if default is not None:
            run.note(f"torch.set_default_dtype({default})", outside=True)
        run.step([np.zeros(shape)])
        return run

    run, updates = begun(), count + (made or count // 5)
    earlier = copy.deepcopy(run.optimizer.state_dict())
    run.step_again()
    later = copy.deepcopy(run.optimizer.state_dict())
    taken_back, counts = recounted(earlier, later, lambda now: now - 1)
    only_counts = counts and not first_difference(taken_back, earlier, "a checkpoint")
    if only_counts and (run.recount(earlier, later, count) or made):
        again = updates - count
    elif made:
        return False
    else:  # nothing can be set, or loading makes the count another number
        run, again = begun(), updates - 1
    for _ in range(again):
        run.step_again()
    run.step([_last_gradient(shape)])
    if subject.alone:
        plain = ReferenceRun(subject, [np.zeros(shape)], **settings)
        for _ in range(updates):
            plain.step([np.zeros(shape)])
        expected = plain.step([_last_gradient(shape)]).values()[0]
    else:
        expected = _moved_late(subject.reference, tuple({**subject.hostile, **settings}.items()), updates, shape)
    size = np.abs(expected) if subject.traits.elementwise else np.max(np.abs(expected))
    run.assert_close(0, expected, share * size, f"{what} after {updates} updates", step=updates + 1)
    return True


def _last_gradient(shape: Shape) -> Array:
    random = np.random.default_rng(5)
    return np.asarray(random.uniform(0.5, 2.0, shape) * random.choice([-1.0, 1.0], shape))


@functools.cache
def _moved_late(reference: type, settings: tuple[tuple[str, Any], ...], updates: int, shape: Shape) -> Array:
    """Where a reference takes a parameter of zeros by one gradient, after so many gradients of zero."""
    run = reference(**dict(settings)).trajectory(np.zeros(shape))
    next(run)
    for _ in range(updates):
        run.send(np.zeros(shape))
    moved: Array = run.send(_last_gradient(shape))[0]
    return moved


@check(
    "D22",
    needs=unless_elementwise,
    hint="eps is raised to what the dtype resolves, or made a number that cannot hold it",
)
def check_eps_in_low_precision(subject: OptimizerSubject) -> None:
    """In float32 and bfloat16, under gradients as small as eps, the first update is the reference's."""
    if not isinstance(subject.hostile.get("eps"), float) or "eps" not in subject.editable:
        raise NotApplicable("it has no eps that is a single number")
    for dtype, share in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        for eps in (1e-3, 1e-8):
            settings = {"eps": eps, **({"weight_decay": 0.0} if "weight_decay" in subject.editable else {})}
            if not runs(subject.apart(), dtype=dtype) or not fits(subject.reference, {**subject.hostile, **settings}):
                continue
            shape = (4, 3) if subject.ndim == 2 else (12,)
            run, reference = side_by_side(subject, Problem([np.zeros(shape)], []), dtype=dtype, **settings)
            for each in (run, reference):
                each.step([eps * _last_gradient(shape)])
            expected, what = reference.values()[0], f"in {dtype}, at eps = {eps:g}, the parameter"
            run.assert_close(0, expected, share * np.abs(expected), what, step=1, reference=reference)
    if not subject.activity.comparisons:
        raise NotApplicable("it takes neither float32 nor bfloat16 parameters at such an eps")


@check("D13", needs=unless_independent, hint="a norm, mean or flag over many elements enters every update")
def check_a_nan_stays_where_it_is(subject: OptimizerSubject) -> None:
    """A gradient of NaN or infinity affects only its own element, or parameter; or the update raises."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=3)
    clean = OptimizerRun(subject, problem.starts).run(problem).values()
    for bad in (np.nan, np.inf):
        grads = [np.array(g) for g in problem.steps[1].grads]
        grads[1].ravel()[5] = bad
        steps = [problem.steps[0], Step(problem.steps[1].lr, list(grads)), problem.steps[2]]
        run = OptimizerRun(subject, problem.starts)
        try:
            run.run(Problem(problem.starts, steps))
        except (ValueError, RuntimeError, ArithmeticError) as error:
            subject.assert_true(str(error), f"a gradient with {bad} is refused without a message")
            continue
        bound, what = between_runs(3, subject.precise), f"beside a parameter with {bad} in its gradient, parameter 0"
        run.assert_close(0, clean[0], bound, what, of="the clean run")
        if subject.traits.elementwise:
            bounds, what = np.full_like(clean[1], bound), f"beside an element with {bad} in its gradient, parameter 1"
            bounds.ravel()[5] = np.inf
            run.assert_close(1, clean[1], bounds, what, of="the clean run")


@check("D14", hint="a power of the gradient leaves float32's range before its root is taken")
def check_extreme_gradients_in_float32(subject: OptimizerSubject) -> None:
    """In float32, gradients of 1e15, 1e-7 and 1e-15 are followed; by a class, where its formula can in float32."""
    for size in (1e15, 1e-7, 1e-15):
        start, grad = np.array([[1.0, -2.0], [0.5, 4.0]]), size * np.array([[1.0, -2.0], [3.0, -1.5]])
        start, grad = (array.astype(np.float32).astype(np.float64) for array in (start, grad))
        problem = Problem([start], [Step(0.01, [grad]) for _ in range(5)])
        run, reference = side_by_side(subject, problem, dtype=torch.float32, **subject.default)
        narrow = _in_float32(reference, start, grad)
        with np.errstate(all="ignore"):
            for t, step in enumerate(problem.steps, start=1):
                run.take(step)
                reference.take(step)
                expected, bound, what = reference.values()[0], reference.bound(0), f"the parameter at |g| = {size:g}"
                followed = subject.registered or within(next(narrow, expected), expected, 4 * bound)
                if followed and np.all(np.abs(expected) < np.finfo(np.float32).max):
                    run.assert_close(0, expected, bound, what, step=t, reference=reference)


def _in_float32(reference: ReferenceRun, start: Array, grad: Array) -> Iterator[Array]:
    """The parameter after each update, as the formula leads in float32; nothing where there is no formula."""
    if reference.runs:
        run = reference.references[0].trajectory(start.astype(np.float32))
        next(run)
        while True:
            yield np.asarray(run.send(grad.astype(np.float32))[0])
