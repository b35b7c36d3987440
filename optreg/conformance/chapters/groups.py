"""Groups: param groups are optimizers of their own."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.harness.code import literal
from optreg.conformance.harness.following import compare, follow
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Step, hostile_problem, shapes_for
from optreg.conformance.harness.recording import ANEW
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.tolerance import rounding
from optreg.conformance.subjects.subject import OptimizerSubject

if TYPE_CHECKING:
    from collections.abc import Callable

F64 = torch.float64


NAMED = "[(f'layer.{i}', p) for i, p in enumerate(params)]"


def _part(problem: Problem, members: list[int]) -> Problem:
    return Problem(
        [problem.starts[i] for i in members], [Step(s.lr, [s.grads[i] for i in members]) for s in problem.steps]
    )


@check("G01", hint="hyperparameters or counts of one group, or of the constructor, are used in the other")
def check_two_groups_equal_two_optimizers(subject: OptimizerSubject) -> None:
    """Two groups of different hyperparameters go the way of two optimizers."""
    problem, other = hostile_problem(subject), dict(subject.perturbed)
    first = list(range(0, len(problem.starts), 2))
    second = list(range(1, len(problem.starts), 2))
    run = OptimizerRun(subject, problem.starts, groups=[(first, {}), (second, other)])
    run.run(problem)
    for members, changes in run.groups or ():
        part = _part(problem, list(members))
        alone = OptimizerRun(subject, part.starts, **changes).run(part)
        for place, index in enumerate(members):
            expected, bound = alone.values()[place], rounding(F64, 12) * 8
            run.assert_close(index, expected, bound, f"parameter {index} in its group", of="an optimizer of its own")


@check("G02", hint="the value is read from the constructor, or from the first group, instead of from each group")
def check_each_default_can_be_overridden_in_a_group(subject: OptimizerSubject) -> None:
    """A group's own value of any hyperparameter counts there, and only there."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    for name, value in [("lr", 0.25), *dict(subject.perturbed).items()]:
        run = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1], {name: value})])
        references = [
            ReferenceRun(subject, [problem.starts[0]], F64),
            ReferenceRun(subject, [problem.starts[1]], F64, **{name: value}),
        ]
        for t, step in enumerate(problem.steps, start=1):
            run.step(step.grads)
            for index, reference in enumerate(references):
                reference.step([step.grads[index]])
                what = f"with {name}={value!r} in group 1, parameter {index}"
                run.assert_close(index, reference.values()[0], reference.bound(0), what, step=t)


@check("G03", hint="lists, buffers or counts are made once for all parameters, and not for those that come later")
def check_a_group_added_later(subject: OptimizerSubject) -> None:
    """A group added after some updates begins afresh, with hyperparameters of its own; the others go on."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    own = {"lr": 0.25, **dict(subject.perturbed)}
    first, second = (
        ReferenceRun(subject, [problem.starts[0]], F64),
        ReferenceRun(subject, [problem.starts[1]], F64, **own),
    )
    run = OptimizerRun(subject, problem.starts, groups=[([0], {})])
    for t, step in enumerate(problem.steps):
        if t == 4:
            kept = subject.group_arguments(own)
            run.optimizer.add_param_group({"params": [run.params[1]], **kept})
            told = "".join(f", {key!r}: {literal(value)}" for key, value in kept.items())
            run.note(f"optimizer.add_param_group({{'params': [params[1]]{told}}})")
        run.step([step.grads[0], step.grads[1] if t >= 4 else None])
        first.step([step.grads[0]])
        run.assert_close(0, first.values()[0], first.bound(0), "the older parameter", step=t + 1)
        if t >= 4 and subject.traits.counter != "optimizer":  # where the new one is counted on from the others
            second.step([step.grads[1]])
            run.assert_close(1, second.values()[0], second.bound(0), "the parameter added later", step=t + 1)


@check("G04", still=True, hint="`add_param_group` is overridden, and the check of torch's is left out")
def check_a_parameter_in_two_groups_is_an_error(subject: OptimizerSubject) -> None:
    """A parameter that is already in a group is refused."""
    shape = shapes_for(subject, [(3,)])[0]
    param, other = (
        Parameter(subject.tensor(np.ones(shape), torch.float32)),
        Parameter(subject.tensor(np.ones(shape), torch.float32)),
    )
    subject.assert_raises(
        lambda: subject.make([{"params": [param]}, {"params": [other, param]}], **subject.hostile),
        ValueError,
        "a parameter in two groups",
    )
    optimizer = subject.make([param], **subject.hostile)
    subject.assert_raises(
        lambda: optimizer.add_param_group({"params": [param]}), ValueError, "adding a parameter that is there already"
    )


@check("G05", hint="the update reads the first parameter of a group without asking whether there is one")
def check_an_empty_group_is_legal(subject: OptimizerSubject) -> None:
    """A group without parameters runs, before and after a checkpoint."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts, groups=[([0, 1], {}), ([], {})])
    reference = ReferenceRun(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        if t == 5:
            run = run.resumed()
        run.take(step)
        reference.take(step)
        compare(run, reference)


@check("G06", Tier.SHOULD, hint="the constructor goes through the parameters before torch has taken the names off")
def check_named_parameters(subject: OptimizerSubject) -> None:
    """Named parameters are taken, and change nothing."""
    problem = hostile_problem(subject)
    plain = OptimizerRun(subject, problem.starts).run(problem)
    named = OptimizerRun(subject, problem.starts)
    named.remake([(f"layer.{i}", param) for i, param in enumerate(named.params)], NAMED)
    named.run(problem).assert_same(plain, "with named parameters", of="without names it is")


@check("G07", hint="what is computed for one group is carried into the next")
def check_the_order_of_groups_is_irrelevant(subject: OptimizerSubject) -> None:
    """Groups in another order, and parameters in another order, give the same parameters."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    other = dict(subject.perturbed)
    one = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1], other)]).run(problem).values()
    two = OptimizerRun(subject, problem.starts, groups=[([1], other), ([0], {})]).run(problem)
    for index, expected in enumerate(one):
        bound = rounding(F64, 12) * 8
        two.assert_close(
            index, expected, bound, f"with the groups turned round, parameter {index}", of="the other order"
        )


@check("G08", hint="groups are made anew from known keys, in an update or in `load_state_dict`")
def check_unknown_keys_of_a_group_survive(subject: OptimizerSubject) -> None:
    """A key that a trainer puts into a group stays there, through updates and checkpoints."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts)
    run.optimizer.param_groups[0]["layer_name"] = "head"
    run.run(problem, 0, 2)
    subject.assert_equal(run.optimizer.param_groups[0].get("layer_name"), "head", "an unknown key of the group")
    other = run.resumed()
    subject.assert_equal(other.optimizer.param_groups[0].get("layer_name"), "head", "an unknown key after a checkpoint")


@check("G09", hint="parameters of a group are treated together, in the dtype of one of them")
def check_mixed_dtypes_equal_separate_runs(subject: OptimizerSubject) -> None:
    """Parameters of different dtypes in one group go the way that each goes alone."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-3.0, 1.0))
    for dtypes in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        _mixed(subject, problem, dtypes)


def _mixed(subject: OptimizerSubject, problem: Problem, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    run = OptimizerRun(subject, problem.starts)
    run.params = [Parameter(subject.tensor(s, d)) for s, d in zip(problem.starts, dtypes, strict=True)]
    run.optimizer = subject.make(list(run.params), **run.settings)
    run.note(f"params = [torch.nn.Parameter(p.detach().to(d)) for p, d in zip(params, {list(dtypes)})]")
    run.note(ANEW)
    run.run(problem)
    for index, dtype in enumerate(dtypes):
        part = _part(problem, [index])
        alone = OptimizerRun(subject, part.starts, dtype=dtype).run(part).values()[0]
        run.assert_close(
            index, alone, rounding(dtype, 12) * 8, f"the {dtype} parameter among others", of="the run of it alone"
        )


@check("G10", hint="the constructor's values are kept in attributes and used instead of the group's")
def check_nothing_is_captured_from_the_constructor(subject: OptimizerSubject) -> None:
    """What counts is the group, not what the constructor was given: all hyperparameters edited at once take effect."""
    problem = hostile_problem(subject)
    changes = {"lr": 0.02, **dict(subject.perturbed)}
    run = OptimizerRun(subject, problem.starts)
    for group in run.optimizer.param_groups:
        subject.edit(group, **changes)
    reference = ReferenceRun(subject, problem.starts, F64, **changes)
    for step in problem.steps:
        run.step(step.grads)
        reference.step(step.grads)
        compare(run, reference)
    follow(subject, problem)
    subject.assert_true(np.isfinite(reference.total_lr), "no learning rate")


@check("G11", hint="the constructor goes through the parameters before torch does, or a group's own list twice")
def check_parameters_may_come_in_any_container(subject: OptimizerSubject) -> None:
    """Parameters may come from a generator, such as `model.parameters()`, in a tuple, or alone in a group."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False)
    plain_run = OptimizerRun(subject, problem.starts).run(problem)
    ways: dict[str, Callable[[OptimizerRun], Any]] = {
        "(p for p in params)": lambda run: (p for p in run.params),
        "tuple(params)": lambda run: tuple(run.params),
        "[{'params': (p for p in params)}]": lambda run: [{"params": (p for p in run.params)}],
        "[{'params': params[0]}, {'params': params[1]}]": lambda run: [{"params": param} for param in run.params],
    }
    for code, way in ways.items():
        run = OptimizerRun(subject, problem.starts)
        run.remake(way(run), code)
        run.run(problem).assert_same(plain_run, f"made from {code}", of="from a list it is")
    run = OptimizerRun(subject, problem.starts, groups=[([0], {})])
    run.note("optimizer.add_param_group({'params': params[1]})")
    run.optimizer.add_param_group({"params": run.params[1]})
    run.run(problem).assert_same(plain_run, "added as a group by itself", of="among the others it is")


@check("G12", hint="parameters are worked on in chunks, or groups carry something from one into the next")
def check_many_parameters_and_groups(subject: OptimizerSubject) -> None:
    """Of over a hundred parameters, and of six groups, one empty and one without gradients, each goes its own way."""
    shape = shapes_for(subject, [(2,)])[0]
    problem = hostile_problem(subject, [shape] * 123, missing=False, steps=3)
    run, reference = OptimizerRun(subject, problem.starts), ReferenceRun(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        late = t == 0 and subject.traits.counter == "parameter"
        grads = [None if late and index % 7 == 3 else grad for index, grad in enumerate(step.grads)]
        run.step(grads, lr=step.lr)
        reference.step(grads, lr=step.lr)
        compare(run, reference)
    problem = hostile_problem(subject, [(6,), (4, 3), (3,), (2, 2), (5,)], missing=False, steps=4)
    others = list(dict(subject.perturbed).items())
    changes: list[dict[str, Any]] = [{}, {"lr": 0.25}, dict(others[:1]), {}, dict(others), dict(others[-1:])]
    members: list[list[int]] = [[], [0], [1], [2], [3], [4]]
    run = OptimizerRun(subject, problem.starts, groups=list(zip(members, changes, strict=True)))
    references = [
        ReferenceRun(subject, [start], F64, **change) for start, change in zip(problem.starts, changes[1:], strict=True)
    ]
    for t, step in enumerate(problem.steps, start=1):
        grads = [None if index == 2 else grad for index, grad in enumerate(step.grads)]
        run.step(grads)
        for index, each in enumerate(references):
            each.step([grads[index]])
            what = f"the parameter of group {index + 1} of six"
            run.assert_close(index, each.values()[0], each.bound(0), what, step=t)
