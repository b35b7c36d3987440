"""State: what an optimizer remembers of each parameter, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg.conformance.catalogue import check
from optreg.conformance.chapters.conditions import unanswered
from optreg.conformance.harness.following import compare, follow, side_by_side, step_both, undeclared_state
from optreg.conformance.harness.layouts import DENSE, TRANSPOSED, Layout, as_array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Step, hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.tolerance import between_runs, rounding
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject


@check("S01", hint="updates are not counted for each parameter; if that is intended, declare counter=group")
def check_a_late_first_gradient(subject: OptimizerSubject) -> None:
    """A parameter whose first gradient is late is updated as in a fresh optimizer, or counted by group, as declared."""
    whole = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    late = [Step(step.lr, [step.grads[0], step.grads[1] if t >= 4 else None]) for t, step in enumerate(whole.steps)]
    problem = Problem(whole.starts, late)
    if subject.traits.counter != "parameter" or subject.traits.coupled:
        reason = unanswered(subject, "whether updates should be counted, or parameters coupled, in this way")
        if reason:
            raise NotApplicable(reason)
    if subject.traits.counter == "parameter":
        follow(subject, problem)
        return
    reference = ReferenceRun(subject, problem.starts).run(problem)
    if "step" not in reference.now[1][1]:
        raise NotApplicable("its reference counts no updates")
    found = OptimizerRun(subject, problem.starts).run(problem).values()[1]
    apart = np.any(np.abs(found - reference.values()[1]) > reference.bound(1))
    counter = subject.traits.counter
    subject.assert_true(apart, f"updates are declared to be counted by {counter}, but are counted by parameter")


@check("S02", hint="parameters without a gradient are decayed, or their state is")
def check_no_gradient_leaves_parameter_and_state_untouched(subject: OptimizerSubject) -> None:
    """Without a gradient, a parameter and its state keep every bit."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 3)
    before = run.snapshot()[1]
    for t in range(3, 6):
        run.step([problem.steps[t].grads[0], None], lr=problem.steps[t].lr)
        now = run.snapshot()[1]
        with run.showing(1, as_array(before[0])):
            subject.assert_equal(now[0], before[0], "the parameter without a gradient", step=t + 1, of="before it was")
        if subject.traits.counter == "parameter":
            subject.assert_equal(now[1], before[1], "its state", step=t + 1, of="before it was")


@check("S03", hint="a missing gradient is treated as zero, or advances the step count")
def check_no_gradient_is_not_a_zero_gradient(subject: OptimizerSubject) -> None:
    """Missing gradients have no effect on a parameter, unlike gradients of zero."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    steps = list(problem.steps)
    gap = [Step(step.lr, [step.grads[0], None]) for step in steps[3:5]]
    if (
        subject.traits.counter != "parameter" or subject.traits.coupled
    ):  # the count continues in a gap: only that nothing moves can be checked
        run = OptimizerRun(subject, problem.starts).run(problem, 0, 3)
        before = run.values()[1]
        run.run(Problem(problem.starts, gap))
        run.assert_close(1, before, 0.0, "the parameter after a gap", of="the run before it")
        return
    whole = Problem(problem.starts, [*steps[:3], *gap, *steps[3:]])
    gapped, reference = OptimizerRun(subject, whole.starts).run(whole), ReferenceRun(subject, whole.starts).run(whole)
    plain = OptimizerRun(subject, problem.starts[1:]).run(problem.only([1]))
    bound = between_runs(len(steps), subject.precise)
    expected, what = plain.values()[0], "the parameter after a gap"
    gapped.assert_close(1, expected, bound, what, of="the run without it", reference=reference)


@check("S04", hint="the update assumes that at least one parameter has a gradient")
def check_a_step_without_any_gradient(subject: OptimizerSubject) -> None:
    """An update in which no parameter has a gradient is allowed at any time, and changes nothing."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts)
    run.step([None, None])
    run.assert_same([subject.tensor(start) for start in problem.starts], "without any gradient", of="its start")
    run.run(problem, 0, 3)
    before = run.tensors()
    run.step([None, None])
    run.assert_same(before, "after an update without gradients", of="before it was")


@check(
    "S05",
    needs=undeclared_state,
    formula=True,
    hint="the state's keys and those that the reference's `trajectory` yields differ",
)
def check_only_declared_state(subject: OptimizerSubject) -> None:
    """The state has the reference's keys and shapes, floats in the parameter's dtype, and nothing else."""
    problem = hostile_problem(subject, missing=False)
    run, reference = side_by_side(subject, problem)
    for each in (run, reference):
        each.run(problem, 0, 2)
    for index, param in enumerate(run.params):
        state, declared = run.state(index), reference.now[index][1]
        subject.assert_equal(sorted(state), sorted(declared), f"the state of parameter {index}")
        for name, value in state.items():
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            subject.assert_equal(shape, np.asarray(declared[name]).shape, f"the shape of '{name}'")
            if isinstance(value, Tensor) and shape == param.shape and shape:
                subject.assert_equal(str(value.dtype), str(param.dtype), f"the dtype of '{name}'")


@check("S06", hint="state lives in the class or in a mutable default instead of in `self.state`")
def check_two_instances_share_nothing(subject: OptimizerSubject) -> None:
    """A second optimizer, constructed after the first has run, starts fresh and shares no group with another."""
    problem = hostile_problem(subject)
    before = OptimizerRun(subject, problem.starts).run(problem)
    follow(subject, problem).assert_same(before, "in a second optimizer", of="in the first it is")
    first, second = OptimizerRun(subject, problem.starts), OptimizerRun(subject, problem.starts)
    lists = [id(group["params"]) for run in (first, second) for group in run.optimizer.param_groups]
    subject.assert_equal(len(set(lists)), len(lists), "the number of lists of parameters in two optimizers")
    first.optimizer.param_groups[0]["mark"] = 123.0
    subject.assert_true("mark" not in second.optimizer.param_groups[0], "two optimizers share a group")


@check("S07", hint="the update modifies `p.grad` in place: weight decay, scaling or `neg_`")
def check_gradients_are_not_changed(subject: OptimizerSubject) -> None:
    """An update does not change `p.grad`, be it dense, large or strided."""
    _gradients_are_kept(subject, hostile_problem(subject), DENSE)
    _gradients_are_kept(subject, hostile_problem(subject, [(4, 3), (73, 61)], missing=False, steps=2), TRANSPOSED)


def _gradients_are_kept(subject: OptimizerSubject, problem: Problem, layout: Layout) -> None:
    run = OptimizerRun(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        run.step(step.grads, layout=layout, lr=step.lr)
        for index, (param, grad) in enumerate(zip(run.params, step.grads, strict=True)):
            if grad is None:
                subject.assert_true(param.grad is None, f"parameter {index} has been given a gradient", step=t)
                continue
            subject.assert_true(param.grad is not None, f"the gradient of parameter {index} is gone", step=t)
            with run.showing(index, grad, show="params[{i}].grad"):
                subject.assert_equal(param.grad, subject.tensor(grad), f"the gradient of parameter {index}", step=t)


@check("S08", hint="`p.data` or the parameter is replaced, or the group's list is sorted, instead of writing in place")
def check_parameters_keep_identity_and_storage(subject: OptimizerSubject) -> None:
    """Parameters stay the same objects in the same memory, so that the model and views of them see the updates."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts)
    addresses = [param.data_ptr() for param in run.params]
    run.run(problem)
    held = [param for group in run.optimizer.param_groups for param in group["params"]]
    subject.assert_equal(len(held), len(run.params), "the number of parameters in the groups")
    for index, (param, address) in enumerate(zip(run.params, addresses, strict=True)):
        subject.assert_true(param.data_ptr() == address, f"parameter {index} has moved to another address in memory")
        subject.assert_true(held[index] is param, f"parameter {index} in its group is another object than before")
    leaves = all(param.is_leaf and param.requires_grad for param in run.params)
    subject.assert_true(leaves, "a parameter is not a leaf any more")


@check("S09", hint="a list of parameters or gradients, made once, is used after a gradient was removed")
def check_freezing_and_thawing(subject: OptimizerSubject) -> None:
    """A parameter that is frozen at first, unfrozen, and frozen for a while continues where it was."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    run, reference = side_by_side(subject, problem, frozen=[1] if subject.traits.counter == "parameter" else [])
    for t, step in enumerate(problem.steps):
        frozen = t in (0, 1, 6, 7) and subject.traits.counter == "parameter"
        if run.params[1].requires_grad is frozen:
            run.freeze(1, frozen)
        step_both(run, reference, [step.grads[0], None if frozen else step.grads[1]], lr=step.lr)


EDITS: tuple[tuple[Callable[[Parameter], object], str], ...] = (
    (lambda param: param.data.add_(2.0), "with torch.no_grad():\n    params[0].add_(2.0)"),
    (lambda param: setattr(param, "data", param.data + 2.0), "params[0].data = params[0].data + 2.0"),
)
"""Ways to edit a parameter from outside, and the same as code; the second gives it new memory, as `module.to` does."""


@check("S10", hint="the optimizer updates a copy of the parameter, or the memory that it had at first")
def check_outside_edits_of_parameters_are_respected(subject: OptimizerSubject) -> None:
    """If a parameter is edited between updates, or given new memory, the next update starts from the edited value."""
    for edit, code in EDITS:
        _assert_edit_is_respected(subject, edit, code)


def _assert_edit_is_respected(subject: OptimizerSubject, edit: Callable[[Parameter], object], code: str) -> None:
    problem = hostile_problem(subject, [(6,)], missing=False)
    decayed = subject.hostile.get("weight_decay", 0.0) and "weight_decay" in subject.editable
    settings: dict[str, Any] = {"weight_decay": 0.0} if decayed else {}
    plain, moved = (OptimizerRun(subject, problem.starts, **settings) for _ in range(2))
    plain.run(problem, 0, 4)
    moved.run(problem, 0, 4)
    edit(moved.params[0])
    moved.note(code)
    before = plain.values()[0], moved.values()[0]
    for start in (4, 6):
        for run in (plain, moved):
            run.run(problem, start, start + 1)
    expected = plain.values()[0] - before[0]
    if subject.traits.elementwise and not subject.alone and not subject.fixed.get("weight_decay"):
        bound, what = rounding(subject.precise, 6) * (8 + np.abs(before[1])), "the parameter after an edit"
        moved.assert_close(0, before[1] + expected, bound, what, of="the same update without it")
    else:
        subject.assert_true(np.all(np.abs(moved.values()[0] - before[1]) < 1.0), "the edit has been undone")
        updated = np.any(moved.values()[0] != before[1]) or not np.any(expected)
        subject.assert_true(updated, "an edited parameter is not updated any more")


@check("S11", hint="the two optimizers share state: a class attribute, a global, a cache keyed by shape")
def check_interleaved_instances(subject: OptimizerSubject) -> None:
    """Two optimizers that are stepped alternately act as each does alone."""
    problems = [hostile_problem(subject, seed=seed) for seed in (7, 8)]
    alone = [OptimizerRun(subject, problem.starts).run(problem) for problem in problems]
    runs = [OptimizerRun(subject, problem.starts) for problem in problems]
    for t in range(len(problems[0].steps)):
        for run, problem in zip(runs, problems, strict=True):
            run.take(problem.steps[t])
    for number, (run, expected) in enumerate(zip(runs, alone, strict=True)):
        run.assert_same(expected, f"optimizer {number} of two that are stepped in turns", of="alone it is")


@check("S12", still=True, hint="the constructor pops from what it was passed, or writes to it")
def check_the_callers_containers_are_left_alone(subject: OptimizerSubject) -> None:
    """The constructor does not modify the lists of parameters that it is passed."""
    params = [Parameter(subject.tensor(np.ones(shape), torch.float32)) for shape in ((2, 3), (3, 2))]
    listed, inner = list(params), [params[0]]
    subject.make(listed, **subject.hostile)
    subject.assert_true(list(map(id, listed)) == list(map(id, params)), "the list was changed")
    groups = [{"params": inner, **subject.group_arguments({"lr": 0.5})}, {"params": [params[1]]}]
    subject.implementation(groups, **subject.own_arguments(subject.hostile))
    subject.assert_true(len(inner) == 1 and inner[0] is params[0], "a group's list of parameters was changed")


@check("S13", hint="the constructor or `step` seeds, draws, freezes, adds hooks, or changes a global switch")
def check_the_world_is_left_as_it_was(subject: OptimizerSubject) -> None:
    """The constructor and `step` leave frozen parameters, hooks, random numbers and torch's switches alone."""
    problem = hostile_problem(subject, missing=False, steps=2)
    for enabled in (True, False):
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(enabled):
            torch.manual_seed(12_345)  # no subject's own seed
            params = [Parameter(subject.tensor(s), requires_grad=i > 0) for i, s in enumerate(problem.starts)]
            before = _world(params, subject)
            optimizer = subject.make(params, **{**subject.hostile, **subject.execution})
            subject.assert_equal(_world(params, subject), before, "what is around it, after it was constructed,")
            subject.assert_true(all(p.grad is None for p in params), "the constructor sets gradients")
            for step in problem.steps:
                for index, (param, grad) in enumerate(zip(params, step.grads, strict=True)):
                    param.grad = subject.tensor(grad) if index else None
                subject.update(optimizer)
                subject.activity.updates += 1
                subject.assert_equal(_world(params, subject), before, "what is around it, after an update,")
            subject.assert_true(params[0].grad is None, "a frozen parameter is given a gradient")
            pairs = zip(params[1:], problem.starts[1:], strict=True)
            subject.activity.moved |= any(bool((p != subject.tensor(s)).any()) for p, s in pairs)


def _world(params: list[Parameter], subject: OptimizerSubject) -> dict[str, Any]:
    """What an optimizer must not change."""
    return {
        "requires_grad": [param.requires_grad for param in params],
        "hooks on parameters": [len(param._backward_hooks or {}) for param in params],
        "whether gradients are enabled": torch.is_grad_enabled(),
        "the default dtype": str(torch.get_default_dtype()),
        "the state of torch's random numbers": [] if subject.traits.random else torch.get_rng_state().tolist(),
    }


@check("S14", hint="the gradient, or a tensor that shares its memory, is kept as state or in a cache")
def check_gradients_may_be_written_in_place(subject: OptimizerSubject) -> None:
    """If each backward writes into the same tensors (`zero_grad(set_to_none=False)`), the reference is followed."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=6)
    run, reference = side_by_side(subject, problem)
    for t, step in enumerate(problem.steps):
        grads = [np.asarray(grad) for grad in step.grads]
        if t:
            run.reuse(grads, lr=step.lr)
        else:
            run.take(step)
        reference.take(step)
        compare(run, reference)


@check("S15", hint="`zero_grad` is overridden, and omits groups, `set_to_none`, or `detach_`")
def check_zero_grad(subject: OptimizerSubject) -> None:
    """`zero_grad()` removes every gradient; with `set_to_none=False` each stays the same tensor, of zeros alone."""
    problem = hostile_problem(subject, missing=False, steps=2)
    groups: list[Any] = [(list(range(odd, len(problem.starts), 2)), {}) for odd in (0, 1)]
    run = OptimizerRun(subject, problem.starts, groups=groups).run(problem)
    for param, grad in zip(run.params, problem.steps[0].grads, strict=True):  # as `backward(create_graph=True)` does
        param.grad = subject.tensor(grad).requires_grad_() * 1.0
    tensors = [param.grad for param in run.params]
    run.optimizer.zero_grad(set_to_none=False)
    for index, (param, tensor) in enumerate(zip(run.params, tensors, strict=True)):
        what = f"the gradient of parameter {index}"
        subject.assert_true(param.grad is tensor, f"zero_grad(set_to_none=False) replaces {what}")
        zeroed = tensor is not None and not bool(tensor.any())
        subject.assert_true(zeroed, f"zero_grad(set_to_none=False) does not clear {what}")
        free = tensor is not None and tensor.grad_fn is None and not tensor.requires_grad
        subject.assert_true(free, f"zero_grad(set_to_none=False) leaves {what} in an autograd graph")
    run.optimizer.zero_grad()
    for index, param in enumerate(run.params):
        subject.assert_true(param.grad is None, f"zero_grad() does not remove the gradient of parameter {index}")
