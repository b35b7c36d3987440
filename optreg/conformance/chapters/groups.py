"""Groups: each param group has its own hyperparameters and acts independently of the others."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import (
    refused,
    unless_drawing,
    unless_groups_are_independent,
    unless_independent,
)
from optreg.conformance.harness.following import follow, side_by_side, step_both
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import VANISHING, Problem, a_parameter, hostile_problem, shapes_for
from optreg.conformance.harness.recording import NEW_OPTIMIZER
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.tolerance import between_runs, coarser, rounding
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.settings import fits, in_words
from optreg.conformance.subjects.subject import OptimizerSubject

if TYPE_CHECKING:
    from collections.abc import Callable


NAMED = "[(f'layer.{i}', p) for i, p in enumerate(params)]"


@check(
    "G01",
    needs=unless_groups_are_independent,
    hint="a group uses hyperparameters or counts of the other group, or of the constructor",
)
def check_two_groups_equal_two_optimizers(subject: OptimizerSubject) -> None:
    """Two groups with different hyperparameters act as two optimizers do."""
    problem, other = hostile_problem(subject), dict(subject.perturbed)
    first, second = (list(range(odd, len(problem.starts), 2)) for odd in (0, 1))
    run = OptimizerRun(subject, problem.starts, groups=[(first, {}), (second, other)])
    run.run(problem)
    for members, changes in run.groups or ():
        part = problem.only(members)
        alone = OptimizerRun(subject, part.starts, **changes).run(part)
        for place, index in enumerate(members):
            expected, bound = alone.values()[place], between_runs(12, subject.precise)
            run.assert_close(index, expected, bound, f"parameter {index} in its group", of="an optimizer of its own")


@check(
    "G02",
    needs=unless_groups_are_independent,
    hint="the value is read from the constructor, or from the first group, instead of from each group",
)
def check_each_default_can_be_overridden_in_a_group(subject: OptimizerSubject) -> None:
    """A group's own value of a hyperparameter, or position of a switch, is used in this group, and only there."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    for change in subject.changes:
        run, reference = side_by_side(subject, problem, groups=[([0], {}), ([1], change)])
        for t, step in enumerate(problem.steps, start=1):
            run.step(step.grads)
            reference.step(step.grads)
            for index, expected in enumerate(reference.values()):
                what, bound = f"with {in_words(change)} in group 1, parameter {index}", reference.bound(index)
                run.assert_close(index, expected, bound, what, step=t, reference=reference)


@check(
    "G03",
    needs=unless_groups_are_independent,
    hint="lists, buffers or counts are made once for all parameters, and not for those that are added later",
)
def check_a_group_added_later(subject: OptimizerSubject) -> None:
    """A group added after some updates starts fresh, with its own hyperparameters; the others continue."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    own = {"lr": 0.25, **dict(subject.perturbed)}
    first, second = ReferenceRun(subject, problem.starts[:1]), ReferenceRun(subject, problem.starts[1:], **own)
    reference = ReferenceRun(subject, problem.starts, groups=[([0], {}), ([1], own)])
    run = OptimizerRun(subject, problem.starts, groups=[([0], {})])
    for t, step in enumerate(problem.steps, start=1):
        if t == 5:
            run.add_group([1], **own)
        grads = [step.grads[0], step.grads[1] if t >= 5 else None]
        for each in (run, reference):
            each.step(grads)
        first.step(grads[:1])
        bound = first.bound(0)
        run.assert_close(0, first.values()[0], bound, "the older parameter", step=t, reference=reference)
        if t >= 5 and subject.traits.counter != "optimizer":  # else the new one's count continues that of the others
            second.step(grads[1:])
            bound = second.bound(0)
            run.assert_close(1, second.values()[0], bound, "the parameter added later", step=t, reference=reference)


@check("G04", still=True, hint="`add_param_group` is overridden without torch's check")
def check_a_parameter_in_two_groups_is_an_error(subject: OptimizerSubject) -> None:
    """A parameter that is in a group already is refused."""
    param, other = a_parameter(subject), a_parameter(subject)
    twice = partial(subject.make, [{"params": [param]}, {"params": [other, param]}], **subject.hostile)
    subject.assert_raises(twice, ValueError, "a parameter in two groups")
    group = {"params": [param], **subject.added(subject.hostile, {})}
    again = partial(subject.make([param], **subject.hostile).add_param_group, group)
    subject.assert_raises(again, ValueError, "adding a parameter that is there already")


@check("G05", hint="the update assumes that a group has at least one parameter")
def check_an_empty_group_is_legal(subject: OptimizerSubject) -> None:
    """A group without parameters is allowed, before and after a checkpoint."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    run, reference = side_by_side(subject, problem, groups=[([0, 1], {}), ([], {})])
    for t, step in enumerate(problem.steps):
        if t == 5:
            run = run.resumed()
        step_both(run, reference, step.grads, lr=step.lr)


@check("G06", Tier.SHOULD, hint="the constructor iterates over the parameters before torch has split off the names")
def check_named_parameters(subject: OptimizerSubject) -> None:
    """Named parameters are accepted, and the names make no difference."""
    problem = hostile_problem(subject)
    plain = OptimizerRun(subject, problem.starts).run(problem)
    named = OptimizerRun(subject, problem.starts)
    named.remake([(f"layer.{i}", param) for i, param in enumerate(named.params)], NAMED)
    named.run(problem).assert_same(plain, "with named parameters", of="without names it is")


@check("G07", needs=unless_drawing, hint="a value computed for one group is used in the next")
def check_the_order_of_groups_is_irrelevant(subject: OptimizerSubject) -> None:
    """The order of groups, and of parameters, makes no difference."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    other = dict(subject.perturbed)
    one = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1], other)]).run(problem).values()
    two = OptimizerRun(subject, problem.starts, groups=[([1], other), ([0], {})]).run(problem)
    bound = between_runs(12, subject.precise)
    for index, expected in enumerate(one):
        two.assert_close(index, expected, bound, f"with the groups swapped, parameter {index}", of="the other order")


@check("G08", hint="groups are rebuilt from known keys, in an update or in `load_state_dict`")
def check_unknown_keys_of_a_group_survive(subject: OptimizerSubject) -> None:
    """A key that a trainer adds to a group stays there, through updates and checkpoints."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts)
    run.optimizer.param_groups[0]["layer_name"] = "head"
    run.run(problem, 0, 2)
    subject.assert_equal(run.optimizer.param_groups[0].get("layer_name"), "head", "an unknown key of the group")
    other = run.resumed()
    subject.assert_equal(other.optimizer.param_groups[0].get("layer_name"), "head", "an unknown key after a checkpoint")


@check(
    "G09",
    needs=unless_independent,
    hint="the parameters of a group are processed together, in the dtype of one of them",
)
def check_mixed_dtypes_equal_separate_runs(subject: OptimizerSubject) -> None:
    """Parameters of different dtypes in one group are updated as each is alone."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-3.0, 1.0))
    for dtypes in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        run = OptimizerRun(subject, problem.starts)
        run.params = [Parameter(subject.tensor(s, d)) for s, d in zip(problem.starts, dtypes, strict=True)]
        run.optimizer = subject.make(list(run.params), **run.settings)
        run.note(f"params = [torch.nn.Parameter(p.detach().to(d)) for p, d in zip(params, {list(dtypes)})]")
        run.note(NEW_OPTIMIZER)
        run.run(problem)
        for index, dtype in enumerate(dtypes):
            part = problem.only([index])
            alone = OptimizerRun(subject, part.starts, dtype=dtype).run(part).values()[0]
            what = f"the {dtype} parameter among others"
            run.assert_close(index, alone, rounding(coarser(dtype, subject.precise), 12) * 8, what, of="its run alone")


@check("G10", hint="the constructor's values are kept in attributes and used instead of the group's")
def check_nothing_is_captured_from_the_constructor(subject: OptimizerSubject) -> None:
    """Updates use the group's hyperparameters, even if all were edited, and not the constructor's."""
    problem = hostile_problem(subject)
    perturbed = {name: value for name, value in subject.perturbed if _is_read_later(subject, problem, name, value)}
    changes = {"lr": 0.02, **perturbed}
    run, reference = OptimizerRun(subject, problem.starts), ReferenceRun(subject, problem.starts, **changes)
    for t, step in enumerate(problem.steps):
        step_both(run, reference, step.grads, **({} if t else changes))
    follow(subject, problem)
    subject.assert_true(np.all(np.isfinite(reference.total_lrs)), "no learning rate")


def _is_read_later(subject: OptimizerSubject, problem: Problem, name: str, value: Any) -> bool:
    """Whether the reference reads a hyperparameter in its updates too, not only where its state begins."""
    if subject.alone:
        return True
    plain, edited = (ReferenceRun(subject, problem.starts) for _ in range(2))
    for step in problem.steps:
        plain.take(step)
        edited.step(step.grads, lr=step.lr, **{name: value})
    return not all(map(np.array_equal, plain.values(), edited.values()))


@check("G11", hint="the constructor consumes the parameters before torch does, or iterates twice over a generator")
def check_parameters_may_come_in_any_container(subject: OptimizerSubject) -> None:
    """Parameters may come from a generator such as `model.parameters()`, in a tuple, singly, or be plain tensors."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    plain_run = OptimizerRun(subject, problem.starts).run(problem)
    ways: dict[str, Callable[[OptimizerRun], Any]] = {
        "(p for p in params)": lambda run: (p for p in run.params),
        "tuple(params)": lambda run: tuple(run.params),
        "[{'params': (p for p in params)}]": lambda run: [{"params": (p for p in run.params)}],
        "[{'params': params[0]}, {'params': params[1]}]": lambda run: [{"params": param} for param in run.params],
    }
    if subject.traits.coupled:  # where parameters are in groups of their own, updates are rightly others
        ways = {code: way for code, way in ways.items() if "}, {" not in code}
    for code, way in ways.items():
        run = OptimizerRun(subject, problem.starts)
        run.remake(way(run), code)
        run.run(problem).assert_same(plain_run, f"made from {code}", of="from a list it is")
    run = OptimizerRun(subject, problem.starts)
    run.params = [param.detach().clone().requires_grad_() for param in run.params]  # type: ignore[misc]
    run.note("params = [p.detach().clone().requires_grad_() for p in params]")
    run.remake(list(run.params), "params")
    run.run(problem).assert_same(plain_run, "made from plain tensors", of="from a list it is")
    if subject.traits.coupled:
        return
    run = OptimizerRun(subject, problem.starts, groups=[([0], {})])
    run.add_group([1], bare=True)
    run.run(problem).assert_same(plain_run, "added as a group by itself", of="among the others it is")


@check(
    "G12", needs=unless_drawing, hint="parameters are processed in chunks, or a value of one group is used in the next"
)
def check_many_parameters_and_groups(subject: OptimizerSubject) -> None:
    """515 parameters, and six groups, one of them empty and one without gradients, follow their references."""
    shape = shapes_for(subject, [(2,)])[0]
    problem = hostile_problem(subject, [shape] * 515, missing=False, steps=3)
    run, reference = side_by_side(subject, problem)
    for t, step in enumerate(problem.steps):
        late = t == 0 and subject.traits.counter == "parameter"
        grads = [None if late and index % 7 == 3 else grad for index, grad in enumerate(step.grads)]
        step_both(run, reference, grads, lr=step.lr)
    problem = hostile_problem(subject, [(6,), (4, 3), (3,), (2, 2), (5,)], missing=False, steps=4)
    others = list(dict(subject.perturbed).items())
    changes: list[dict[str, Any]] = [{}, {"lr": 0.25}, dict(others[:1]), {}, dict(others), dict(others[-1:])]
    members: list[list[int]] = [[], [0], [1], [2], [3], [4]]
    run, reference = side_by_side(subject, problem, groups=list(zip(members, changes, strict=True)))
    for t, step in enumerate(problem.steps, start=1):
        grads = [None if index == 2 else grad for index, grad in enumerate(step.grads)]
        run.step(grads)
        reference.step(grads)
        for index, expected in enumerate(reference.values()):
            what, bound = f"the parameter of group {index + 1} of six", reference.bound(index)
            run.assert_close(index, expected, bound, what, step=t, reference=reference)


@check(
    "G14", needs=unless_independent, hint="parameters are kept in a list that is made once, not read from the groups"
)
def check_a_parameter_that_takes_anothers_place(subject: OptimizerSubject) -> None:
    """A parameter that is put into a group in another's place is updated, and the other one rests, or it is refused."""
    problem = hostile_problem(subject, [(6,), (4, 3), (4, 3)], missing=False)
    run, reference = OptimizerRun(subject, problem.starts, groups=[([0, 1], {})]), ReferenceRun(subject, problem.starts)
    compared = (0, 1, 2) if subject.traits.counter == "parameter" else (0, 1)  # else the newcomer's count is not 0
    for step in problem.steps[:4]:
        run.step([*step.grads[:2], None], lr=step.lr)
        reference.step([*step.grads[:2], None], lr=step.lr)
    run.optimizer.param_groups[0]["params"][1] = run.params[2]
    run.note("optimizer.param_groups[0]['params'][1] = params[2]")
    with refused(subject):
        for t, step in enumerate(problem.steps[4:], start=5):
            run.step(step.grads, lr=step.lr)
            reference.step([step.grads[0], None, step.grads[2]], lr=step.lr)
            for index in compared:
                what = f"parameter {index} of a group in which 2 has taken the place of 1"
                run.assert_close(index, reference.values()[index], reference.bound(index), what, step=t)
        updated = np.any(run.values()[2] != problem.starts[2])
        subject.assert_true(updated, "a parameter in another's place is never updated")


RATES = (0.01, 0.0, 0.01 * (1 + 1e-9), 3e-7, 0.25, 1e-9, 0.01, 0.0, 0.02, 1e-5, 0.01 * (1 - 1e-9))
"""The learning rates of groups: zero, tiny ones, equal ones, and ones that are nearly equal."""


@check("G13", hint="a rate of 0 ends the loop, a tiny one is rounded or raised, or groups with near rates are joined")
def check_groups_at_all_kinds_of_rates(subject: OptimizerSubject) -> None:
    """Eleven groups at rates of zero, at tiny ones and at ones close together follow their references."""
    if not fits(subject.reference, {**subject.hostile, "lr": 0.0}):
        raise NotApplicable("lr = 0 is out of its range")
    problem = hostile_problem(subject, [(2,)] * len(RATES), missing=False, steps=4)
    run = OptimizerRun(subject, problem.starts, groups=[([index], {}) for index in range(len(RATES))])
    for index, lr in enumerate(RATES):
        run.edit(only=index, lr=lr)
    least = VANISHING if subject.alone else 0.0  # a constructor may refuse zero
    rates = [([index], {"lr": max(lr, least)}) for index, lr in enumerate(RATES)]
    reference = ReferenceRun(subject, problem.starts, groups=rates)
    for step in problem.steps:
        step_both(run, reference, step.grads)
