"""Groups: param groups are optimizers of their own."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.contract import plain
from optreg.conformance.following import compare, follow, hostile_for, shapes_for
from optreg.conformance.problems import Problem, Step, perturbed
from optreg.conformance.programs import call, literal
from optreg.conformance.record import ANEW
from optreg.conformance.rig import Rig
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.tolerance import rounding
from optreg.conformance.twin import Twin

if TYPE_CHECKING:
    from collections.abc import Callable

F64 = torch.float64


NAMED = "[(f'layer.{i}', p) for i, p in enumerate(params)]"


def _part(problem: Problem, members: list[int]) -> Problem:
    return Problem(
        [problem.starts[i] for i in members], [Step(s.lr, [s.grads[i] for i in members]) for s in problem.steps]
    )


def _overrides(subject: OptimizerSubject) -> dict[str, Any]:
    """One other value for every hyperparameter that the class has."""
    return {name: value for name, value in perturbed(subject.reference, subject.hostile) if name not in subject.fixed}


@check("G01", hint="hyperparameters or counts of one group, or of the constructor, are used in the other")
def check_two_groups_equal_two_optimizers(subject: OptimizerSubject) -> None:
    """Two groups of different hyperparameters go the way of two optimizers."""
    problem, other = hostile_for(subject), _overrides(subject)
    first = list(range(0, len(problem.starts), 2))
    second = list(range(1, len(problem.starts), 2))
    rig = Rig(subject, problem.starts, groups=[(first, {}), (second, other)])
    rig.run(problem)
    for members, changes in rig.groups or ():
        part = _part(problem, list(members))
        alone = Rig(subject, part.starts, **changes).run(part)
        for place, index in enumerate(members):
            expected, bound = alone.values()[place], rounding(F64, 12) * 8
            rig.close(index, expected, bound, f"parameter {index} in its group", of="an optimizer of its own")


@check("G02", hint="the value is read from the constructor, or from the first group, instead of from each group")
def check_each_default_can_be_overridden_in_a_group(subject: OptimizerSubject) -> None:
    """A group's own value of any hyperparameter counts there, and only there."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    for name, value in [("lr", 0.25), *_overrides(subject).items()]:
        rig = Rig(subject, problem.starts, groups=[([0], {}), ([1], {name: value})])
        twins = [Twin(subject, [problem.starts[0]], F64), Twin(subject, [problem.starts[1]], F64, **{name: value})]
        for t, step in enumerate(problem.steps, start=1):
            rig.step(step.grads)
            for index, twin in enumerate(twins):
                twin.step([step.grads[index]])
                what = f"with {name}={value!r} in group 1, parameter {index}"
                rig.close(index, twin.values()[0], twin.bound(0), what, step=t)


@check("G03", hint="lists, buffers or counts are made once for all parameters, and not for those that come later")
def check_a_group_added_later(subject: OptimizerSubject) -> None:
    """A group added after some updates begins afresh, with hyperparameters of its own; the others go on."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    own = {"lr": 0.25, **_overrides(subject)}
    first, second = Twin(subject, [problem.starts[0]], F64), Twin(subject, [problem.starts[1]], F64, **own)
    rig = Rig(subject, problem.starts, groups=[([0], {})])
    for t, step in enumerate(problem.steps):
        if t == 4:
            kept = subject.group_arguments(own)
            rig.optimizer.add_param_group({"params": [rig.params[1]], **kept})
            told = "".join(f", {key!r}: {literal(value)}" for key, value in kept.items())
            rig.note(f"optimizer.add_param_group({{'params': [params[1]]{told}}})")
        rig.step([step.grads[0], step.grads[1] if t >= 4 else None])
        first.step([step.grads[0]])
        rig.close(0, first.values()[0], first.bound(0), "the older parameter", step=t + 1)
        if t >= 4 and subject.traits.counter != "optimizer":  # where the new one is counted on from the others
            second.step([step.grads[1]])
            rig.close(1, second.values()[0], second.bound(0), "the parameter added later", step=t + 1)


@check("G04", still=True, hint="`add_param_group` is overridden, and the check of torch's is left out")
def check_a_parameter_in_two_groups_is_an_error(subject: OptimizerSubject) -> None:
    """A parameter that is already in a group is refused."""
    judge = subject.judge
    shape = shapes_for(subject, [(3,)])[0]
    param, other = Parameter(torch.ones(shape)), Parameter(torch.ones(shape))
    judge.raises(
        lambda: subject.make([{"params": [param]}, {"params": [other, param]}], **subject.hostile),
        ValueError,
        "a parameter in two groups",
    )
    optimizer = subject.make([param], **subject.hostile)
    judge.raises(
        lambda: optimizer.add_param_group({"params": [param]}), ValueError, "adding a parameter that is there already"
    )


@check("G05", hint="the update reads the first parameter of a group without asking whether there is one")
def check_an_empty_group_is_legal(subject: OptimizerSubject) -> None:
    """A group without parameters runs, before and after a checkpoint."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    rig = Rig(subject, problem.starts, groups=[([0, 1], {}), ([], {})])
    twin = Twin(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        if t == 5:
            rig = rig.resumed()
        rig.take(step)
        twin.take(step)
        compare(rig, twin)


@check("G06", Tier.SHOULD, hint="the constructor goes through the parameters before torch has taken the names off")
def check_named_parameters(subject: OptimizerSubject) -> None:
    """Named parameters are taken, and change nothing."""
    problem = hostile_for(subject)
    plain = Rig(subject, problem.starts).run(problem)
    named = Rig(subject, problem.starts)
    named.note(f"optimizer = {call(subject, NAMED, named.settings)}")
    named.optimizer = subject.make([(f"layer.{i}", param) for i, param in enumerate(named.params)], **named.settings)
    named.run(problem).same(plain, "with named parameters", of="without names it is")


@check("G07", hint="what is computed for one group is carried into the next")
def check_the_order_of_groups_is_irrelevant(subject: OptimizerSubject) -> None:
    """Groups in another order, and parameters in another order, give the same parameters."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    other = _overrides(subject)
    one = Rig(subject, problem.starts, groups=[([0], {}), ([1], other)]).run(problem).values()
    two = Rig(subject, problem.starts, groups=[([1], other), ([0], {})]).run(problem)
    for index, expected in enumerate(one):
        bound = rounding(F64, 12) * 8
        two.close(index, expected, bound, f"with the groups turned round, parameter {index}", of="the other order")


@check("G08", hint="groups are made anew from known keys, in an update or in `load_state_dict`")
def check_unknown_keys_of_a_group_survive(subject: OptimizerSubject) -> None:
    """A key that a trainer puts into a group stays there, through updates and checkpoints."""
    judge = subject.judge
    problem = hostile_for(subject, missing=False)
    rig = Rig(subject, problem.starts)
    rig.optimizer.param_groups[0]["layer_name"] = "head"
    rig.run(problem, 0, 2)
    judge.equal(rig.optimizer.param_groups[0].get("layer_name"), "head", "an unknown key of the group")
    other = rig.resumed()
    judge.equal(other.optimizer.param_groups[0].get("layer_name"), "head", "an unknown key after a checkpoint")


@check("G09", hint="parameters of a group are treated together, in the dtype of one of them")
def check_mixed_dtypes_equal_separate_runs(subject: OptimizerSubject) -> None:
    """Parameters of different dtypes in one group go the way that each goes alone."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False, exponents=(-3.0, 1.0))
    for dtypes in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        _mixed(subject, problem, dtypes)


def _mixed(subject: OptimizerSubject, problem: Problem, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    rig = Rig(subject, problem.starts)
    rig.params = [Parameter(torch.tensor(s).to(d)) for s, d in zip(problem.starts, dtypes, strict=True)]
    rig.optimizer = subject.make(list(rig.params), **rig.settings)
    rig.note(f"params = [torch.nn.Parameter(p.detach().to(d)) for p, d in zip(params, {list(dtypes)})]")
    rig.note(ANEW)
    rig.run(problem)
    for index, dtype in enumerate(dtypes):
        part = _part(problem, [index])
        alone = Rig(subject, part.starts, dtype=dtype).run(part).values()[0]
        rig.close(
            index, alone, rounding(dtype, 12) * 8, f"the {dtype} parameter among others", of="the run of it alone"
        )


@check("G10", hint="the constructor's values are kept in attributes and used instead of the group's")
def check_nothing_is_captured_from_the_constructor(subject: OptimizerSubject) -> None:
    """What counts is the group, not what the constructor was given: all hyperparameters edited at once take effect."""
    judge = subject.judge
    problem = hostile_for(subject)
    changes = {"lr": 0.02, **_overrides(subject)}
    rig = Rig(subject, problem.starts)
    for group in rig.optimizer.param_groups:
        subject.edit(group, **changes)
    twin = Twin(subject, problem.starts, F64, **changes)
    for step in problem.steps:
        rig.step(step.grads)
        twin.step(step.grads)
        compare(rig, twin)
    follow(subject, problem)
    judge.that(np.isfinite(twin.total_lr), "no learning rate")


@check("G11", hint="the constructor goes through the parameters before torch does, or a group's own list twice")
def check_parameters_may_come_in_any_container(subject: OptimizerSubject) -> None:
    """Parameters may come from a generator, such as `model.parameters()`, in a tuple, or alone in a group."""
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False)
    plain_run = Rig(subject, problem.starts).run(problem)
    ways: dict[str, Callable[[Rig], Any]] = {
        "(p for p in params)": lambda rig: (p for p in rig.params),
        "tuple(params)": lambda rig: tuple(rig.params),
        "[{'params': (p for p in params)}]": lambda rig: [{"params": (p for p in rig.params)}],
        "[{'params': params[0]}, {'params': params[1]}]": lambda rig: [{"params": param} for param in rig.params],
    }
    for code, way in ways.items():
        rig = Rig(subject, problem.starts)
        rig.note(f"optimizer = {call(subject, code, rig.settings)}")
        rig.optimizer = subject.make(way(rig), **rig.settings)
        rig.run(problem).same(plain_run, f"made from {code}", of="from a list it is")
    rig = Rig(subject, problem.starts, groups=[([0], {})])
    rig.note("optimizer.add_param_group({'params': params[1]})")
    rig.optimizer.add_param_group({"params": rig.params[1]})
    rig.run(problem).same(plain_run, "added as a group by itself", of="among the others it is")


@check("G12", hint="parameters are worked on in chunks, or groups carry something from one into the next")
def check_many_parameters_and_groups(subject: OptimizerSubject) -> None:
    """Of over a hundred parameters, and of six groups, one empty and one without gradients, each goes its own way."""
    shape = shapes_for(subject, [(2,)])[0]
    problem = hostile_for(subject, [shape] * 123, missing=False, steps=3)
    rig, twin = Rig(subject, problem.starts), Twin(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps):
        late = t == 0 and subject.traits.counter == "parameter"
        grads = [None if late and index % 7 == 3 else grad for index, grad in enumerate(step.grads)]
        rig.step(grads, lr=step.lr)
        twin.step(grads, lr=step.lr)
        compare(rig, twin)
    problem = hostile_for(subject, [(6,), (4, 3), (3,), (2, 2), (5,)], missing=False, steps=4)
    others = list(_overrides(subject).items())
    changes: list[dict[str, Any]] = [{}, {"lr": 0.25}, dict(others[:1]), {}, dict(others), dict(others[-1:])]
    members: list[list[int]] = [[], [0], [1], [2], [3], [4]]
    rig = Rig(subject, problem.starts, groups=list(zip(members, changes, strict=True)))
    twins = [Twin(subject, [start], F64, **change) for start, change in zip(problem.starts, changes[1:], strict=True)]
    for t, step in enumerate(problem.steps, start=1):
        grads = [None if index == 2 else grad for index, grad in enumerate(step.grads)]
        rig.step(grads)
        for index, each in enumerate(twins):
            each.step([grads[index]])
            what = f"the parameter of group {index + 1} of six"
            rig.close(index, each.values()[0], each.bound(0), what, step=t)


@check("X05", hint="the update writes the corrected or scheduled value back into the group")
def check_groups_are_read_and_not_written(subject: OptimizerSubject) -> None:
    """Updates leave the hyperparameters of a group, its learning rate first, as they are."""
    judge = subject.judge
    problem = hostile_for(subject)
    rig = Rig(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        rig.take(step)
        expected = subject.group_arguments({**subject.hostile, "lr": step.lr})
        for group in rig.optimizer.param_groups:
            for name, value in expected.items():
                with rig.explaining(0, np.array(value), show=f"optimizer.param_groups[0][{name!r}]"):
                    judge.equal(plain(group.get(name)), plain(value), f"the group's '{name}'", step=t)
