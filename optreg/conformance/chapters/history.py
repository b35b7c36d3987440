"""History: a run ends in the same bits, however often it is looked at, interrupted, frozen or extended on the way."""

import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import working_paths
from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Step, crowded_problem, hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.subjects.subject import OptimizerSubject

UNTOUCHED = "in the run that was left alone it is"
LOW = (torch.float32, torch.bfloat16)


def _variants(subject: OptimizerSubject, dtype: torch.dtype) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every path that runs here, with random rounding too if the subject offers it: a name and the options."""
    offered = {option.name for option in fields(subject.options)}
    random = {"stochastic_rounding": True, "state_dtype": "bfloat16"}
    for name, options in working_paths(subject):
        yield f"in {dtype}, {name}", options
        if dtype is torch.bfloat16 and random.keys() <= offered:
            yield f"in {dtype}, rounded at random, {name}", {**options, **random}


def _started(subject: OptimizerSubject, problem: Problem, dtype: torch.dtype, options: dict[str, Any]) -> OptimizerRun:
    """A run at its start, with the same random numbers ahead of it as any other has."""
    torch.manual_seed(0)
    return OptimizerRun(subject, problem.starts, dtype=dtype, **options)


def _saves(run: OptimizerRun) -> None:
    run.optimizer.state_dict()


def _copies(run: OptimizerRun) -> None:
    with suppress(Exception):  # P23 asks that it can be done
        copy.deepcopy((run.params, run.optimizer))


def _pickles(run: OptimizerRun) -> None:
    with suppress(Exception):
        pickle.dumps((run.params, run.optimizer))


LOOKS: tuple[tuple[Callable[[OptimizerRun], None], str], ...] = (
    (_saves, "optimizer.state_dict()"),
    (_copies, "copy.deepcopy((params, optimizer))"),
    (_pickles, "pickle.dumps((params, optimizer))"),
)
"""Ways to look at an optimizer, and the same as code."""


@check("P18", hint="a look makes a plan, an order or a buffer anew, and the bits of later updates depend on that")
def check_looking_at_a_run_does_not_change_it(subject: OptimizerSubject) -> None:
    """A run of many small parameters that is saved, copied or pickled on the way, only to look, keeps every bit."""
    problem = crowded_problem(subject)
    for dtype in LOW:  # P19 has float64
        for name, options in _variants(subject, dtype):
            plain = _started(subject, problem, dtype, options).run(problem)
            run = _started(subject, problem, dtype, options)
            for t, step in enumerate(problem.steps):
                run.take(step)
                look, code = LOOKS[t % len(LOOKS)]
                look(run)
                run.note(code, outside=True)
            run.assert_same(plain, f"looked at after every update, {name}", of=UNTOUCHED)


@check("P19", hint="what is kept beside the state (an order, a plan, a buffer) is not what it was after a resume")
def check_many_small_parameters_resume_exactly(subject: OptimizerSubject) -> None:
    """On every path, a run of many small parameters, some of them late, continues from a checkpoint bit for bit."""
    _crowds_resume(subject, (torch.float64,))


@check("P20", Tier.SHOULD, hint="state is cast to the parameter's dtype on loading, or elements are rounded by place")
def check_many_small_parameters_resume_exactly_in_low_precision(subject: OptimizerSubject) -> None:
    """In float32 and bfloat16 too, on every path, such a run continues from a checkpoint bit for bit."""
    _crowds_resume(subject, LOW)


def _crowds_resume(subject: OptimizerSubject, dtypes: Sequence[torch.dtype]) -> None:
    problem = crowded_problem(subject)
    for dtype in dtypes:
        for name, options in _variants(subject, dtype):
            plain = _started(subject, problem, dtype, options).run(problem)
            run = _started(subject, problem, dtype, options)
            for t, step in enumerate(problem.steps):
                if t in (2, 4, 7, 8):
                    run = run.resumed()
                run.take(step)
            reference = ReferenceRun(subject, problem.starts, dtype).run(problem)
            run.assert_same(plain, f"resumed four times, {name}", of=UNTOUCHED, reference=reference)


FROZEN = {1: range(4), 2: range(6, 9)}
"""The updates in which a parameter is frozen."""


@check("P21", hint="parameters that are frozen are left out when state is saved, or counted out when it is loaded")
def check_a_partly_frozen_run_resumes_exactly(subject: OptimizerSubject) -> None:
    """Saved while parameters are frozen, at first or later on, it continues bit for bit, frozen or thawed."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (6,)], missing=False)
    steps = [
        Step(step.lr, [None if t in FROZEN.get(index, ()) else grad for index, grad in enumerate(step.grads)])
        for t, step in enumerate(problem.steps)
    ]
    reference = ReferenceRun(subject, problem.starts).run(Problem(problem.starts, steps))

    def run_from(run: OptimizerRun, start: int, stop: int) -> OptimizerRun:
        for t in range(start, stop):
            for index, when in FROZEN.items():
                if run.params[index].requires_grad is (t in when):
                    run.freeze(index, t in when)
            run.take(steps[t])
        return run

    def begun(stop: int) -> OptimizerRun:
        return run_from(OptimizerRun(subject, problem.starts, frozen=[1]), 0, stop)

    plain = begun(len(steps))
    for stop in (0, 2, 4, 7, 9, 10):
        for thawed in (False, True):
            fresh = run_from(begun(stop).resumed(thawed=thawed), stop, len(steps))
            what = "with all parameters thawed" if thawed else "with the same parameters frozen"
            fresh.assert_same(plain, f"resumed {what} after {stop} updates", of=UNTOUCHED, reference=reference)


@check("P22", hint="state or hyperparameters of groups that were not there at first are kept, or loaded, otherwise")
def check_groups_added_later_resume_exactly(subject: OptimizerSubject) -> None:
    """After groups were added, it continues from a checkpoint bit for bit, and so it does if more are added then."""
    problem = hostile_problem(subject, [(4, 3), (6,), (4, 3), (6,)], missing=False)
    later: dict[int, tuple[int, dict[str, Any]]] = {3: (2, {"lr": 0.05, **dict(subject.perturbed)}), 6: (3, {})}

    def there(t: int, step: Step) -> list[Array | None]:
        since = {index: began for began, (index, _) in later.items()}
        return [grad if t >= since.get(index, 0) else None for index, grad in enumerate(step.grads)]

    groups = [([0, 1], {}), *(([index], own) for index, own in later.values())]
    reference = ReferenceRun(subject, problem.starts, groups=groups)

    def run_all(resumes: Sequence[int] = (), *, extended: bool = False) -> OptimizerRun:
        run = OptimizerRun(subject, problem.starts, groups=[([0, 1], {})])
        for t, step in enumerate(problem.steps):
            if t in later:
                index, own = later[t]
                run.add_group([index], **own)
            if t in resumes:
                run = run.resumed(extended=extended)
            run.step(there(t, step))
        return run

    plain = run_all()
    for t, step in enumerate(problem.steps):
        reference.step(there(t, step))
    for resumes in ((3,), (5,), (4, 6, 9)):
        for extended in (False, True):
            what = "in an optimizer to which the groups are added" if extended else "in one made with all groups"
            run = run_all(resumes, extended=extended)
            run.assert_same(plain, f"resumed {what}", of=UNTOUCHED, reference=reference)
