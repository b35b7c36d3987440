"""Closures and hooks: everything that is called by `step`, before it or after it."""

import copy
from typing import Any

import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_drawing, unless_it_can_maximize, unless_it_needs_a_closure
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.subjects.subject import OptimizerSubject

CLOSURE = """\
def closure():
    optimizer.zero_grad()
    loss = sum(((p - 0.25) ** 2).sum() for p in params)
    loss.backward()
    return loss"""


FAILING = """\
def fails():
    raise ArithmeticError("the loss is not finite")
try:
    optimizer.step(fails)
except ArithmeticError:
    pass"""


def _backward(run: OptimizerRun) -> Tensor:
    """What CLOSURE does."""
    run.optimizer.zero_grad()
    loss: Tensor = sum(((param - 0.25) ** 2).sum() for param in run.params)  # type: ignore[assignment]
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


@check(
    "C01",
    needs=unless_it_needs_a_closure,
    hint="`step(closure)` must call it once, under `torch.enable_grad()`, and return its loss",
)
def check_a_closure_is_called_once_with_gradients_enabled(subject: OptimizerSubject) -> None:
    """A closure is called once, with gradients enabled, and its loss is returned."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts)
    calls: list[bool] = []
    losses: list[float] = []

    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        loss = _backward(run)
        losses.append(float(loss))
        return loss

    run.note(CLOSURE)
    for count in (1, 2, 3):
        returned = run.step_again("optimizer.step(closure)", closure)
        subject.assert_equal(len(calls), count, "the number of the closure's calls", step=count)
        subject.assert_true(all(calls), "the closure is called with gradients disabled", step=count)
        subject.assert_true(returned is not None, "the closure's loss is not returned", step=count)
        subject.assert_equal(float(returned), losses[-1], "the loss returned", step=count)


@check(
    "C02",
    needs=unless_it_needs_a_closure,
    hint="the closure is called after the update, or the gradients are read before it is called",
)
def check_a_closure_equals_the_manual_way(subject: OptimizerSubject) -> None:
    """`step(closure)` equals backward and `step()`, bit for bit, with several groups and a changing lr."""
    problem = hostile_problem(subject, missing=False)
    last = len(problem.starts) - 1
    groups: list[tuple[list[int], dict[str, Any]]] = [(list(range(last)), {}), ([last], {"lr": 0.05})]
    first, second = (OptimizerRun(subject, problem.starts, groups=groups) for _ in range(2))
    calls: list[int] = []

    def closure() -> Tensor:
        calls.append(1)
        return _backward(first)

    first.note(CLOSURE)
    for t in range(1, 5):
        for run in (first, second):
            run.edit(noted=True, lr=0.01 * t)
        first.step_again("optimizer.step(closure)", closure)
        _backward(second)
        second.step_again()
        first.assert_same(second, "through a closure", step=t, of="by hand it is")
        subject.assert_equal(len(calls), t, "the number of the closure's calls", step=t)
        kept = all(param.grad is not None for param in first.params)
        subject.assert_true(kept, "the gradients are gone after the update", step=t)


@check("C08", hint="`step` changes the groups, or disables gradients, while the closure runs")
def check_a_closure_that_raises(subject: OptimizerSubject) -> None:
    """If the closure raises, optimizer and parameters stay as they were, and gradients stay enabled."""
    problem = hostile_problem(subject, missing=False, steps=4)
    run, plain = (OptimizerRun(subject, problem.starts).run(problem, 0, 2) for _ in range(2))
    before = run.tensors()

    def fails() -> None:
        raise ArithmeticError("the loss is not finite")

    raised = None
    try:
        run.optimizer.step(fails)
    except ArithmeticError as error:
        raised = error
    run.note(FAILING)
    subject.assert_equal(str(raised), "the loss is not finite", "the closure's error")
    subject.assert_true(torch.is_grad_enabled(), "gradients stay disabled after a closure has raised")
    run.assert_same(before, "after a closure that raised", of="before it was")
    for each in (run, plain):
        each.run(problem, 2)
    run.assert_same(plain, "some updates after a closure that raised", of="without it, it is")


@check("C09", Tier.SHOULD, needs=unless_it_needs_a_closure, hint="`step(closure)` uses what the closure returns")
def check_a_closure_that_returns_nothing(subject: OptimizerSubject) -> None:
    """If the closure returns None, the update is made all the same, and `step` returns None."""
    problem = hostile_problem(subject, missing=False, steps=3)
    run, plain = (OptimizerRun(subject, problem.starts).run(problem, 0, 2) for _ in range(2))
    for param, grad in zip(run.params, problem.steps[2].grads, strict=True):
        param.grad = subject.tensor(grad)
    run.edit(lr=problem.steps[2].lr)
    returned = run.step_again("optimizer.step(lambda: None)", lambda: None)
    subject.assert_true(returned is None, "what the closure returns is not returned")
    subject.assert_true(torch.is_grad_enabled(), "gradients stay disabled after a closure")
    plain.run(problem, 2)
    run.assert_same(plain, "through a closure that returns nothing", of="without one, it is")


@check("C03", hint="`step` does not run under `torch.no_grad()`, or disables gradients for good")
def check_no_graph_is_left(subject: OptimizerSubject) -> None:
    """After an update neither parameters nor state are part of an autograd graph, and gradients stay enabled."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts)
    for t, step in enumerate(problem.steps[:3], start=1):
        if t == 3:  # after `backward(create_graph=True)`, gradients are part of a graph themselves
            for param, grad in zip(run.params, step.grads, strict=True):
                param.grad = subject.tensor(grad).requires_grad_() * 1.0
            run.step_again()
        else:
            run.take(step)
        subject.assert_true(torch.is_grad_enabled(), "gradients stay disabled after an update", step=t)
        for index, param in enumerate(run.params):
            leaf = param.grad_fn is None and param.requires_grad
            subject.assert_true(leaf, f"parameter {index} is not a leaf", step=t)
            for name, value in run.state(index).items():
                if isinstance(value, Tensor):
                    free = value.grad_fn is None and not value.requires_grad
                    subject.assert_true(free, f"'{name}' is part of an autograd graph", step=t)


@check("C04", hint="torch's wrapper of `step` is lost: `step` is replaced, or `Optimizer.__init__` is not called")
def check_step_hooks(subject: OptimizerSubject) -> None:
    """Hooks before and after a step are called once each, in order, and not after their removal."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts)
    seen: list[tuple[str, list[Tensor]]] = []
    start = run.tensors()
    before = run.optimizer.register_step_pre_hook(lambda *_: seen.append(("before", run.tensors())))
    after = run.optimizer.register_step_post_hook(lambda *_: seen.append(("after", run.tensors())))
    run.take(problem.steps[0])
    subject.assert_equal([name for name, _ in seen], ["before", "after"], "the hooks called")
    subject.assert_equal(seen[0][1], start, "the parameters in the first hook", of="before the update they were")
    subject.assert_equal(seen[1][1], run.tensors(), "the parameters in the second hook", of="after the update they are")
    before.remove()
    after.remove()
    run.take(problem.steps[1])
    subject.assert_equal(len(seen), 2, "the number of calls after the hooks were removed")


@check("C05", Tier.SHOULD, hint="`state_dict` or `load_state_dict` is overridden without calling torch's")
def check_state_dict_hooks(subject: OptimizerSubject) -> None:
    """Hooks of `state_dict` and `load_state_dict` are called, and their results are used."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 2)
    called: list[str] = []

    def saved(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
        called.append("saved")
        return {**state_dict, "more": 1}

    def loading(optimizer: Any, state_dict: dict[str, Any]) -> None:
        called.append("loading")

    run.optimizer.register_state_dict_post_hook(saved)
    run.optimizer.register_load_state_dict_pre_hook(loading)
    written = run.optimizer.state_dict()
    subject.assert_equal(written.get("more"), 1, "what the hook added")
    run.optimizer.load_state_dict(copy.deepcopy({key: written[key] for key in ("state", "param_groups")}))
    subject.assert_equal(called, ["saved", "loading"], "the hooks called")


def _unless_it_cannot_be_scaled(subject: OptimizerSubject) -> str | None:
    graph = "a gradient scaler keeps no graph of gradients, which it needs" if subject.graph else None
    return unless_it_needs_a_closure(subject) or unless_drawing(subject) or graph


@check("C06", needs=_unless_it_cannot_be_scaled, hint="`_step_supports_amp_scaling` is set, but `found_inf` is ignored")
def check_a_skipped_step_moves_nothing(subject: OptimizerSubject) -> None:
    """Under a gradient scaler, an update whose gradients overflowed is skipped and has no effect."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    run, plain = OptimizerRun(subject, problem.starts), OptimizerRun(subject, problem.starts)
    scaler = torch.amp.GradScaler(subject.device, init_scale=4.0, growth_interval=1000)
    scaler.scale(subject.tensor([1.0]))
    for t, step in enumerate(problem.steps[:6]):
        overflows = t == 3
        run.edit(lr=step.lr)
        for param, grad in zip(run.params, step.grads, strict=True):
            param.grad = subject.tensor(grad) * float(scaler.get_scale())
            if overflows:
                param.grad.view(-1)[0] = torch.inf
        before = run.tensors()
        scaler.step(run.optimizer)
        scaler.update()
        subject.activity.updates += 1
        if overflows:
            run.assert_same(before, "after a skipped update", step=t + 1, of="before it was")
        else:
            plain.take(step)
            run.assert_same(plain, "under a gradient scaler", step=t + 1, of="without one, it is")


@check("C07", needs=unless_it_can_maximize, hint="`maximize` negates `p.grad` itself, by `neg_`, instead of a copy")
def check_a_gradient_kept_under_maximize(subject: OptimizerSubject) -> None:
    """Under `maximize`, gradients that are kept between updates keep their sign."""
    problem = hostile_problem(subject, missing=False)
    kept, fresh = (OptimizerRun(subject, problem.starts, maximize=True).run(problem, 0, 1) for _ in range(2))
    for index, grad in enumerate(problem.steps[0].grads):
        assert grad is not None
        kept.assert_gradient(index, grad, step=1)
    for t in range(2, 5):
        kept.step_again()
        fresh.step(problem.steps[0].grads)
        kept.assert_same(fresh, "with the gradient kept", step=t, of="with it set again, it is")
