"""State: what an optimizer remembers of each parameter, and of nothing else."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg.conformance.catalogue import check
from optreg.conformance.following import compare, follow, hostile_for, undeclared_state
from optreg.conformance.problems import Problem, Step
from optreg.conformance.record import DENSE, TRANSPOSED, Layout, as_array
from optreg.conformance.rig import Rig
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.tolerance import rounding
from optreg.conformance.twin import Twin
from optreg.conformance.verdict import NotApplicable

F64 = torch.float64


def _silenced(problem: Problem, index: int, upto: int) -> Problem:
    """The problem, one parameter without a gradient in its first updates."""
    steps = [
        Step(step.lr, [None if i == index and t < upto else g for i, g in enumerate(step.grads)])
        for t, step in enumerate(problem.steps)
    ]
    return Problem(problem.starts, steps)


@check(
    "S01",
    hint="updates are counted for the group or all parameters, not for each; if that is meant, declare counter=group",
)
def check_a_late_first_gradient(subject: OptimizerSubject) -> None:
    """A parameter whose first gradient is late behaves as in a fresh optimizer, or is counted by group, as declared."""
    judge = subject.judge
    problem = _silenced(hostile_for(subject, [(6,), (4, 3)], missing=False), 1, 4)
    if subject.traits.counter == "parameter":
        follow(subject, problem)
        return
    twin = Twin(subject, problem.starts, F64)
    for step in problem.steps:
        twin.take(step)
    if "step" not in twin.now[1][1]:
        raise NotApplicable("its reference counts no updates")
    found = Rig(subject, problem.starts).run(problem).values()[1]
    apart = np.any(np.abs(found - twin.values()[1]) > twin.bound(1))
    counter = subject.traits.counter
    judge.that(apart, f"updates are declared to be counted by {counter}, and are counted by parameter")


@check("S02", hint="parameters without a gradient are decayed, or their memory fades")
def check_no_gradient_leaves_parameter_and_state_untouched(subject: OptimizerSubject) -> None:
    """Without a gradient, parameter and state keep every bit."""
    judge = subject.judge
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    rig = Rig(subject, problem.starts).run(problem, 0, 3)
    before = rig.snapshot()[1]
    for t in range(3, 6):
        rig.step([problem.steps[t].grads[0], None], lr=problem.steps[t].lr)
        now = rig.snapshot()[1]
        with rig.explaining(1, as_array(before[0])):
            judge.equal(now[0], before[0], "the parameter without a gradient", step=t + 1, of="before it was")
        if subject.traits.counter == "parameter":
            judge.equal(now[1], before[1], "its state", step=t + 1, of="before it was")


@check("S03", hint="a missing gradient is taken for zeros, or moves the step count")
def check_no_gradient_is_not_a_zero_gradient(subject: OptimizerSubject) -> None:
    """A gap in the gradients leaves no trace in a parameter, as a gradient of zero would."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    steps = list(problem.steps)
    gap = [Step(step.lr, [step.grads[0], None]) for step in steps[3:5]]
    if subject.traits.counter != "parameter":  # the count goes on in a gap: only that nothing moves can be asked
        rig = Rig(subject, problem.starts).run(Problem(problem.starts, [*steps[:3]]))
        before = rig.values()[1]
        rig.run(Problem(problem.starts, gap))
        rig.close(1, before, 0.0, "the parameter after a gap", of="the run before it")
        return
    gapped = Rig(subject, problem.starts).run(Problem(problem.starts, [*steps[:3], *gap, *steps[3:]]))
    alone = Problem(problem.starts[1:], [Step(step.lr, step.grads[1:]) for step in steps])
    plain = Rig(subject, problem.starts[1:]).run(alone)
    bound = rounding(F64, len(steps)) * 8
    gapped.close(1, plain.values()[0], bound, "the parameter after a gap", of="the run without it")


@check("S04", hint="the update reads the first gradient, or a norm of all, without asking whether there is one")
def check_a_step_without_any_gradient(subject: OptimizerSubject) -> None:
    """An update in which no parameter has a gradient runs, at first and later, and changes nothing."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    rig = Rig(subject, problem.starts)
    rig.step([None, None])
    rig.same([torch.tensor(start) for start in problem.starts], "without any gradient", of="its start")
    rig.run(problem, 0, 3)
    before = rig.tensors()
    rig.step([None, None])
    rig.same(before, "after an update without gradients", of="before it was")


@check(
    "S05",
    needs=undeclared_state,
    hint="the reference declares other state than the optimizer keeps: correct its `trajectory`, or the state's keys",
)
def check_only_declared_state(subject: OptimizerSubject) -> None:
    """The state has the reference's keys and shapes, floating tensors in the parameter's dtype, and nothing else."""
    judge = subject.judge
    problem = hostile_for(subject, missing=False)
    rig, twin = Rig(subject, problem.starts), Twin(subject, problem.starts, F64)
    for step in problem.steps[:2]:
        rig.take(step)
        twin.take(step)
    for index, param in enumerate(rig.params):
        state, declared = rig.state(index), twin.now[index][1]
        judge.equal(sorted(state), sorted(declared), f"the state of parameter {index}")
        for name, value in state.items():
            shape = tuple(value.shape) if isinstance(value, Tensor) else ()
            judge.equal(shape, np.asarray(declared[name]).shape, f"the shape of '{name}'")
            if isinstance(value, Tensor) and shape == param.shape and shape:
                judge.equal(str(value.dtype), str(param.dtype), f"the dtype of '{name}'")


@check("S06", hint="state lives in the class or in a mutable default instead of in `self.state`")
def check_two_instances_share_nothing(subject: OptimizerSubject) -> None:
    """A second optimizer, made after the first has run, begins afresh; deepcopies go their own way."""
    judge = subject.judge
    problem = hostile_for(subject)
    Rig(subject, problem.starts).run(problem)
    follow(subject, problem)
    first, second = Rig(subject, problem.starts), Rig(subject, problem.starts)
    lists = [id(group["params"]) for rig in (first, second) for group in rig.optimizer.param_groups]
    judge.equal(len(set(lists)), len(lists), "the number of lists of parameters in two optimizers")
    first.optimizer.param_groups[0]["mark"] = 123.0
    judge.that("mark" not in second.optimizer.param_groups[0], "two optimizers share a group")


@check("S07", hint="the update works in place on `p.grad`: weight decay, scaling or `neg_`")
def check_gradients_are_not_changed(subject: OptimizerSubject) -> None:
    """`p.grad` keeps its bits, also one that is large or strided."""
    _gradients_are_kept(subject, hostile_for(subject), DENSE)
    _gradients_are_kept(subject, hostile_for(subject, [(4, 3), (73, 61)], missing=False, steps=2), TRANSPOSED)


def _gradients_are_kept(subject: OptimizerSubject, problem: Problem, layout: Layout) -> None:
    judge = subject.judge
    rig = Rig(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        rig.step(step.grads, layout=layout, lr=step.lr)
        for index, (param, grad) in enumerate(zip(rig.params, step.grads, strict=True)):
            if grad is None:
                judge.that(param.grad is None, f"parameter {index} has been given a gradient", step=t)
                continue
            judge.that(param.grad is not None, f"the gradient of parameter {index} is gone", step=t)
            with rig.explaining(index, grad, show="params[{i}].grad"):
                judge.equal(param.grad, torch.tensor(grad, dtype=F64), f"the gradient of parameter {index}", step=t)


@check("S08", hint="the update assigns `p.data = ...` or makes a new parameter, where it should write in place")
def check_parameters_keep_identity_and_storage(subject: OptimizerSubject) -> None:
    """Parameters stay the same objects in the same memory, so that models and views of them see the updates."""
    judge = subject.judge
    problem = hostile_for(subject)
    rig = Rig(subject, problem.starts)
    addresses = [param.data_ptr() for param in rig.params]
    rig.run(problem)
    held = [param for group in rig.optimizer.param_groups for param in group["params"]]
    judge.equal(len(held), len(rig.params), "the number of parameters in the groups")
    for index, (param, address) in enumerate(zip(rig.params, addresses, strict=True)):
        judge.that(param.data_ptr() == address, f"parameter {index} lies elsewhere in memory than before")
        judge.that(held[index] is param, f"parameter {index} in its group is another object than before")
    judge.that(all(param.is_leaf and param.requires_grad for param in rig.params), "a parameter is no leaf any more")


@check("S09", hint="a list of parameters or gradients that was made once is used after a gradient was taken away")
def check_freezing_and_thawing(subject: OptimizerSubject) -> None:
    """A parameter frozen from the start, thawed, and frozen for a while goes on where it stood."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    rig = Rig(subject, problem.starts, frozen=[1] if subject.traits.counter == "parameter" else [])
    twin = Twin(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        frozen = t in (0, 1, 6, 7) and subject.traits.counter == "parameter"
        if rig.params[1].requires_grad is frozen:
            rig.params[1].requires_grad_(not frozen)
            rig.note(f"params[1].requires_grad_({not frozen})")
        grads = [step.grads[0], None if frozen else step.grads[1]]
        rig.step(grads, lr=step.lr)
        twin.step(grads, lr=step.lr)
        compare(rig, twin)


@check("S10", hint="the optimizer keeps a copy of the parameter, updates that, and writes it over the parameter")
def check_outside_edits_of_parameters_are_respected(subject: OptimizerSubject) -> None:
    """A parameter written to from outside between updates is gone on from where it was put."""
    judge = subject.judge
    problem = hostile_for(subject, [(6,)], missing=False)
    decay = subject.hostile.get("weight_decay", 0.0)
    settings: dict[str, Any] = {}
    if decay and "weight_decay" in subject.editable:
        settings = {"weight_decay": 0.0}
    plain, moved = Rig(subject, problem.starts, **settings), Rig(subject, problem.starts, **settings)
    plain.run(problem, 0, 4)
    moved.run(problem, 0, 4)
    with torch.no_grad():
        moved.params[0].add_(2.0)
    moved.note("with torch.no_grad():\n    params[0].add_(2.0)")
    before = plain.values()[0], moved.values()[0]
    plain.run(problem, 4, 5)
    moved.run(problem, 4, 5)
    plain.run(problem, 6, 7)
    moved.run(problem, 6, 7)
    expected = plain.values()[0] - before[0]
    if subject.traits.elementwise and not subject.fixed.get("weight_decay"):
        bound = rounding(F64, 6) * (8 + np.abs(before[1]))
        moved.close(
            0, before[1] + expected, bound, "the parameter after an edit", of="the move that is made without it"
        )
    else:
        judge.that(np.all(np.abs(moved.values()[0] - before[1]) < 1.0), "the edit has been undone")


@check("S11", hint="the two optimizers share state: a class attribute, a module's global, a cache keyed by shape")
def check_interleaved_instances(subject: OptimizerSubject) -> None:
    """Two optimizers stepped in turns go the way each goes alone."""
    problems = [hostile_for(subject, seed=seed) for seed in (7, 8)]
    alone = [Rig(subject, problem.starts).run(problem) for problem in problems]
    rigs = [Rig(subject, problem.starts) for problem in problems]
    for t in range(len(problems[0].steps)):
        for rig, problem in zip(rigs, problems, strict=True):
            rig.take(problem.steps[t])
    for number, (rig, expected) in enumerate(zip(rigs, alone, strict=True)):
        rig.same(expected, f"optimizer {number} of two that are stepped in turns", of="alone it is")


@check("S12", still=True, hint="the constructor pops from, or writes to, what it was passed")
def check_the_callers_containers_are_left_alone(subject: OptimizerSubject) -> None:
    """The list of parameters and the dicts of groups that were passed in are not written to."""
    judge = subject.judge
    params = [Parameter(torch.ones(2, 3)), Parameter(torch.ones(3, 2))]
    listed = list(params)
    subject.make(listed, **subject.hostile)
    judge.that(len(listed) == 2 and all(a is b for a, b in zip(listed, params, strict=True)), "the list was changed")
    inner = [params[0]]
    groups = [{"params": inner, **subject.group_arguments({"lr": 0.5})}, {"params": [params[1]]}]
    kept = copy.copy(inner)
    subject.implementation(groups, **subject.own_arguments(subject.hostile))
    judge.that(len(inner) == 1 and inner[0] is kept[0], "a group's list of parameters was changed")


@check("S13", hint="the constructor or `step` seeds, draws, freezes, adds hooks, or switches something global")
def check_the_world_is_left_as_it_was(subject: OptimizerSubject) -> None:
    """Making and stepping it leave frozen parameters, hooks, random numbers and torch's switches alone."""
    judge = subject.judge
    problem = hostile_for(subject, missing=False, steps=2)
    for enabled in (True, False):
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(enabled):
            torch.manual_seed(12_345)  # no subject's own seed
            params = [
                Parameter(torch.tensor(start), requires_grad=index > 0) for index, start in enumerate(problem.starts)
            ]
            before = _world(params, subject)
            optimizer = subject.make(params, **{**subject.hostile, **subject.execution})
            judge.equal(_world(params, subject), before, "what is around it, after it was made,")
            judge.that(all(param.grad is None for param in params), "the constructor gives parameters a gradient")
            for step in problem.steps:
                for index, (param, grad) in enumerate(zip(params, step.grads, strict=True)):
                    param.grad = torch.tensor(grad) if index else None
                optimizer.step()
                judge.steps += 1
                judge.equal(_world(params, subject), before, "what is around it, after an update,")
            judge.that(params[0].grad is None, "a frozen parameter is given a gradient")
            moved = any(bool((p != torch.tensor(s)).any()) for p, s in zip(params[1:], problem.starts[1:], strict=True))
            judge.moved = judge.moved or moved


def _world(params: list[Parameter], subject: OptimizerSubject) -> dict[str, Any]:
    """What an optimizer has no business with."""
    return {
        "requires_grad": [param.requires_grad for param in params],
        "hooks on parameters": [len(param._backward_hooks or {}) for param in params],
        "whether gradients are enabled": torch.is_grad_enabled(),
        "the default dtype": str(torch.get_default_dtype()),
        "the state of torch's random numbers": [] if subject.traits.random else torch.get_rng_state().tolist(),
    }


@check("S14", hint="the gradient's tensor, or something that shares its memory, is kept as state or in a cache")
def check_gradients_may_be_written_in_place(subject: OptimizerSubject) -> None:
    """Where every backward writes into the same tensors (`zero_grad(set_to_none=False)`), the reference is followed."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False, steps=6)
    rig, twin = Rig(subject, problem.starts), Twin(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        grads = [np.asarray(grad) for grad in step.grads]
        if t:
            rig.reuse(grads, lr=step.lr)
        else:
            rig.take(step)
        twin.take(step)
        compare(rig, twin)


@check("S15", hint="`zero_grad` is overridden, and forgets groups, or what `set_to_none` means")
def check_zero_grad(subject: OptimizerSubject) -> None:
    """`zero_grad()` takes every gradient away; with `set_to_none=False` each stays the tensor it is, all zero."""
    judge = subject.judge
    problem = hostile_for(subject, missing=False, steps=2)
    members = [list(range(0, len(problem.starts), 2)), list(range(1, len(problem.starts), 2))]
    rig = Rig(subject, problem.starts, groups=[(each, {}) for each in members]).run(problem)
    tensors = [param.grad for param in rig.params]
    rig.optimizer.zero_grad(set_to_none=False)
    for index, (param, tensor) in enumerate(zip(rig.params, tensors, strict=True)):
        judge.that(param.grad is tensor, f"zero_grad(set_to_none=False) exchanges the gradient of parameter {index}")
        judge.that(
            tensor is not None and not bool(tensor.any()),
            f"zero_grad(set_to_none=False) leaves the gradient of parameter {index}",
        )
    rig.optimizer.zero_grad()
    for index, param in enumerate(rig.params):
        judge.that(param.grad is None, f"zero_grad() leaves parameter {index} a gradient")
