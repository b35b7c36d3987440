"""Saving and resuming: an interrupted run continues as if it had not been interrupted."""

import copy
import io
from contextlib import nullcontext
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import refused, runs, unless_drawing, unless_several_paths
from optreg.conformance.harness.another_process import another_process
from optreg.conformance.harness.counts import recounted
from optreg.conformance.harness.following import compare, side_by_side, step_both
from optreg.conformance.harness.optimizer_run import COPIES, OptimizerRun
from optreg.conformance.harness.problems import Problem, hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.verdict import NotApplicable, under
from optreg.conformance.subjects.settings import in_words
from optreg.conformance.subjects.subject import OptimizerSubject

UNINTERRUPTED = "in the uninterrupted run it is"


def _assert_continues(
    fresh: OptimizerRun, run: OptimizerRun, problem: Problem, start: int, what: str, *, of: str = UNINTERRUPTED
) -> None:
    """Assert that a run ends as the uninterrupted one does, after all updates of a problem from `start` on."""
    for each in (run, fresh):
        each.run(problem, start)
    reference = ReferenceRun(run.subject, problem.starts, run.recording.dtype).run(problem)
    fresh.assert_same(run, what, of=of, reference=reference)


@check("P01", hint="a value that later updates need is kept outside `state` and `param_groups`, or is not restored")
def check_stopping_and_resuming_is_exact(subject: OptimizerSubject) -> None:
    """Interrupted after 0, 1 or several updates, and resumed from a checkpoint, it continues bit for bit."""
    problem = hostile_problem(subject)
    whole = OptimizerRun(subject, problem.starts).run(problem)
    for stop in (0, 1, 5, 9):
        run = OptimizerRun(subject, problem.starts).run(problem, 0, stop)
        fresh = run.resumed()
        reference = ReferenceRun(subject, problem.starts).run(problem, 0, stop)
        for t, step in enumerate(problem.steps[stop:], start=stop):
            for each in (fresh, run, reference):
                each.take(step)
            fresh.assert_same(run, f"resumed after {stop} updates", step=t + 1, of=UNINTERRUPTED, reference=reference)
        fresh.assert_same(whole, f"resumed after {stop} updates", of=UNINTERRUPTED, reference=reference)


@check("P02", hint="the state holds objects of custom classes, which `torch.load(weights_only=True)` refuses")
def check_a_checkpoint_loads_with_weights_only(subject: OptimizerSubject) -> None:
    """A run resumes exactly from a checkpoint that went through `torch.save` and `torch.load(weights_only=True)`."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 6)
    _assert_continues(run.resumed(way="file"), run, problem, 6, "resumed from a file")


@check(
    "P16",
    needs=unless_drawing,
    hint="loading keeps something that was there: a cache, a count, state that is not in the checkpoint",
)
def check_loading_into_an_optimizer_that_has_run(subject: OptimizerSubject) -> None:
    """Loading replaces everything in an optimizer that has run already, for more updates or for fewer."""
    problem = hostile_problem(subject)
    for at, made in ((3, 6), (0, 4), (5, 2)):
        plain = OptimizerRun(subject, problem.starts).run(problem, 0, at)
        used = OptimizerRun(subject, problem.starts).run(problem, 0, made)
        used.reload(plain, times=2)  # loading twice is loading once
        used.run(problem, at)
        plain.run(problem, at)
        what = f"a checkpoint of update {at}, loaded into an optimizer that had made {made}"
        used.assert_same(plain, what, of="in the run that saved it it is")


@check("P17", hint="a checkpoint's groups are numbered or restored like the first one, or from the constructor")
def check_resuming_several_groups(subject: OptimizerSubject) -> None:
    """Groups of different sizes resume with their own hyperparameters in an optimizer constructed without those."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (6,), (4, 3), (6,)], missing=False)
    others = dict(subject.perturbed)
    members: list[list[int]] = [[0], [1, 2, 3], [4]]
    changes: list[dict[str, Any]] = [{}, {"lr": 0.05, **others}, others]
    run = OptimizerRun(subject, problem.starts, groups=list(zip(members, changes, strict=True)))
    for step in problem.steps[:4]:
        run.step(step.grads)
    fresh = run.resumed(groups=[(each, {}) for each in members])
    reference = ReferenceRun(subject, problem.starts, groups=run.groups)
    for step in problem.steps[:4]:
        reference.step(step.grads)
    for t, step in enumerate(problem.steps[4:8], start=5):
        for each_run in (fresh, run, reference):
            each_run.step(step.grads)
        fresh.assert_same(run, "resumed in three groups", step=t, of=UNINTERRUPTED, reference=reference)


@check("P03", hint="`load_state_dict` pops from the dict that it is given, or writes to it")
def check_loading_leaves_the_checkpoint_alone(subject: OptimizerSubject) -> None:
    """Neither loading nor later updates write to the dict that was loaded."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    given = copy.deepcopy(run.optimizer.state_dict())
    kept = copy.deepcopy(given)
    fresh = run.resumed(given)
    subject.assert_equal(given, kept, "the checkpoint after loading it")
    fresh.run(problem, 4, 8)
    subject.assert_equal(_groups(given), _groups(kept), "the checkpoint's groups after updates")


@check("P04", Tier.SHOULD, hint="`load_state_dict` keeps the tensors of the dict, and later updates write to them")
def check_resumed_optimizers_do_not_share_state(subject: OptimizerSubject) -> None:
    """Two optimizers that loaded the same checkpoint continue independently of each other."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    saved = copy.deepcopy(run.optimizer.state_dict())
    one, two = run.resumed(saved), run.resumed(saved)
    _assert_continues(two, one, problem, 4, "the second to load a checkpoint", of="in the first it is")


@check("P05", Tier.SHOULD, hint="torch casts loaded state to the parameter's dtype: override `load_state_dict`")
def check_state_keeps_its_dtype(subject: OptimizerSubject) -> None:
    """Loaded state has the dtype in which it was saved, also for low-precision parameters."""
    for dtype in (torch.bfloat16, torch.float32):
        problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-1.0, 1.0))
        run = OptimizerRun(subject, problem.starts, dtype=dtype).run(problem, 0, 3)
        if not any(isinstance(value, Tensor) for value in run.state(0).values()):
            raise NotApplicable("it has no tensors in its state")
        fresh = run.resumed()
        for index in range(len(problem.starts)):
            for name, value in run.state(index).items():
                if isinstance(value, Tensor):
                    loaded = fresh.state(index)[name]
                    subject.assert_equal(str(loaded.dtype), str(value.dtype), f"the dtype of '{name}' in a {dtype} run")


@check("P06", Tier.SHOULD, hint="the loaded step count is cast to the parameter's dtype and rounded: call it `step`")
def check_low_precision_resumes_exactly(subject: OptimizerSubject) -> None:
    """A bfloat16 run of hundreds of updates resumes bit for bit, and so does its step count."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-1.0, 1.0), steps=300, lr=3e-2)
    run = OptimizerRun(subject, problem.starts, dtype=torch.bfloat16).run(problem, 0, 290)
    fresh, what = run.resumed(), "a bfloat16 run, resumed after 290 updates"
    _assert_continues(fresh, run, problem, 290, what)
    subject.assert_equal(fresh.snapshot(), run.snapshot(), f"{what},", of="uninterrupted, it has")


@check("P07", hint="`load_state_dict` restores the constructor's hyperparameters, or they are kept in attributes")
def check_the_checkpoints_hyperparameters_win(subject: OptimizerSubject) -> None:
    """After loading, the hyperparameters are the checkpoint's, not the constructor's."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    fresh = run.resumed(lr=0.9, **dict(subject.perturbed))
    reference = ReferenceRun(subject, problem.starts).run(problem, 0, 4)
    for step in problem.steps[4:8]:
        for each in (fresh, run, reference):
            each.step(step.grads)
    fresh.assert_same(run, "loaded over other hyperparameters", of=UNINTERRUPTED, reference=reference)


REFUSALS = (ValueError, RuntimeError)


@check("P08", hint="`load_state_dict` is overridden without torch's checks of sizes")
def check_a_checkpoint_of_another_size_is_refused(subject: OptimizerSubject) -> None:
    """A checkpoint with another number of parameters or groups is refused by a ValueError or a RuntimeError."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 2)
    saved = run.optimizer.state_dict()
    fewer = OptimizerRun(subject, problem.starts[:2])

    def load(other: OptimizerRun) -> None:
        other.optimizer.load_state_dict(copy.deepcopy(saved))

    subject.assert_raises(partial(load, fewer), REFUSALS, "a checkpoint of three parameters for two")
    grouped = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1, 2], {})])
    subject.assert_raises(partial(load, grouped), REFUSALS, "a checkpoint of one group for two")


@check("P14", Tier.SHOULD, hint="state of another shape is silently discarded or broadcast")
def check_a_checkpoint_of_other_shapes_is_refused(subject: OptimizerSubject) -> None:
    """A checkpoint whose state does not have the parameter's shape is refused, at once or in the next update."""
    problem = hostile_problem(subject, [(4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 2)
    if not any(isinstance(v, Tensor) and v.ndim for v in run.state(0).values()):
        raise NotApplicable("it has no state of the parameter's shape")
    other = OptimizerRun(subject, [np.ones((5, 3))])

    def load_and_step() -> None:
        other.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
        other.step([np.ones((5, 3))])

    subject.assert_raises(load_and_step, REFUSALS, "a checkpoint of shape (4, 3) for a parameter of (5, 3)")


@check("P09", hint="`__getstate__`, `__setstate__` or `__deepcopy__` omits something")
def check_copies_go_on_exactly(subject: OptimizerSubject) -> None:
    """A deepcopy and an unpickled copy continue bit for bit, also with a group that is added to them, or raise."""
    for way in COPIES:
        try:
            copied, run = _copied(subject, way)
        except Exception:
            continue
        copied.assert_same(run, f"after a {way}", of="in the original it is")
    if not subject.activity.comparisons:
        raise NotApplicable("its copies raise: P23 says more")


@check("P23", Tier.SHOULD, hint="torch's own `__getstate__` omits attributes: add them, or set them in `__setstate__`")
def check_copies_can_be_used(subject: OptimizerSubject) -> None:
    """A deepcopy and an unpickled copy can be made, and continue without an error."""
    for way in COPIES:
        copied, run = _copied(subject, way)
        subject.assert_equal(len(copied.params), len(run.params), f"the number of parameters after a {way}")


def _copied(subject: OptimizerSubject, way: str) -> tuple[OptimizerRun, OptimizerRun]:
    """A copy and its original, both after a group was added to each and some more updates."""
    problem = hostile_problem(subject)
    last = len(problem.starts) - 1
    run = OptimizerRun(subject, problem.starts, groups=[(range(last), {})])
    for step in problem.steps[:5]:
        run.step([*step.grads[:last], None], lr=step.lr)
    copied = run.duplicate(way)
    for each in (copied, run):
        each.run(problem, 5, 8)
        each.add_group([last])
        each.run(problem, 8)
    return copied, run


@check("P24", hint="loading restores what the constructor was given, or an edit acts only through what it replaced")
def check_edits_are_restored_and_may_be_edited_again(subject: OptimizerSubject) -> None:
    """An edit of one group, of a number, a switch or a text, is restored by loading, and edits act after it too."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=8)
    problem = problem.scaled(range(2), 100.0)  # which a maximum remembers
    for change in [*subject.changes, *([{"maximize": True}] if subject.can_maximize else [])]:
        plain: list[tuple[list[int], dict[str, Any]]] = [([0], {}), ([1], {})]
        switched = change in subject.switched  # it may need state that is made at the beginning
        run = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1], change)] if switched else plain)
        run.run(problem, 0, 2)
        run.edit(only=1, **change)
        run.step(problem.steps[2].grads)
        fresh = run.resumed(groups=plain)
        back = {name: subject.hostile.get(name, False) for name in change}
        with refused(subject) if switched else nullcontext():
            for t, edits in enumerate(({}, back, change), start=3):
                for each in (run, fresh):
                    each.edit(only=1, **edits)
                    each.step(problem.steps[t].grads)
                what = f"resumed with {in_words({**change, **edits})} in group 1"
                fresh.assert_same(run, what, step=t + 1, of=UNINTERRUPTED)


@check(
    "P25", hint="the count is advanced in a tensor that is made of it, and not in the state: convert it when loading"
)
def check_counts_that_are_plain_numbers(subject: OptimizerSubject) -> None:
    """A checkpoint whose counts are Python's numbers, as torch once wrote them, continues bit for bit or is refused."""
    problem = hostile_problem(subject, missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    earlier = copy.deepcopy(run.optimizer.state_dict())
    run.run(problem, 4, 5)
    saved, counts = recounted(earlier, copy.deepcopy(run.optimizer.state_dict()), int)
    if not any(isinstance(count, Tensor) for count in counts.values()):
        raise NotApplicable("it keeps no counts in tensors")
    with refused(subject):
        _assert_continues(run.resumed(saved), run, problem, 5, "resumed from a checkpoint with plain counts")


@check(
    "P26",
    needs=unless_drawing,
    hint="what the checkpoint refers to exists only in the process that saved it: an id, a class's attribute",
)
def check_resuming_in_another_process(subject: OptimizerSubject) -> None:
    """A process that has seen nothing of the run resumes it from a file, bit for bit."""
    problem = hostile_problem(subject)

    def go_on(file: bytes) -> list[Tensor]:
        values, saved = torch.load(io.BytesIO(file), weights_only=False)
        fresh = OptimizerRun(subject, values)
        fresh.optimizer.load_state_dict(saved)
        return fresh.run(problem, 6).tensors()

    with another_process(go_on) as there:
        run = OptimizerRun(subject, problem.starts).run(problem, 0, 6)
        file = io.BytesIO()
        torch.save((run.values(), run.optimizer.state_dict()), file)
        resumed = there(file.getvalue())
    what = "resumed in another process, parameter"
    with under("resumed", "in another process"):
        subject.assert_equal(resumed, run.run(problem, 6).tensors(), what, of=UNINTERRUPTED)


@check("P10", Tier.SHOULD, hint="an option is missing from older checkpoints: set its default in `__setstate__`")
def check_an_older_checkpoint_means_the_defaults(subject: OptimizerSubject) -> None:
    """A checkpoint that lacks a newer option of the groups loads, and the option has its default."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    saved = copy.deepcopy(run.optimizer.state_dict())
    for group in saved["param_groups"]:
        for name in ("maximize", "foreach", "fused", "capturable", "differentiable"):
            group.pop(name, None)
    fresh = run.resumed(saved)
    _assert_continues(fresh, run, problem, 4, "resumed from an older checkpoint")


@check("P11", hint="state is keyed by a parameter's position in a list instead of by the parameter")
def check_state_is_kept_by_parameter(subject: OptimizerSubject) -> None:
    """Each parameter has its own state, which late or missing gradients of other parameters do not affect."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (4, 3)], missing=False)
    run, reference = side_by_side(subject, problem)
    for t, step in enumerate(problem.steps[:8]):
        first, second, third = step.grads
        grads = ([None, second, None], [None, second, None], [first, second, None], [first, None, None])[min(t, 3)]
        grads = [first, second, third] if t > 4 else grads
        if t == 3:
            fresh = run.resumed()
        for one in (run, *([fresh] if t >= 3 else [])):
            one.step(grads, lr=step.lr)
        reference.step(grads, lr=step.lr)
        if subject.traits.counter == "parameter":
            compare(run, reference)
        if t >= 3:
            what = "resumed with parameters that are late"
            fresh.assert_same(run, what, step=t + 1, of=UNINTERRUPTED, reference=reference)


@check("P12", needs=unless_several_paths, hint="the paths keep different state, under other names or in another form")
def check_checkpoints_cross_between_paths(subject: OptimizerSubject) -> None:
    """A run that changes its execution path at a checkpoint still follows the reference."""
    problem = hostile_problem(subject)
    working = {name: options for name, options in subject.paths.items() if runs(subject, **options)}
    working.pop("capturable", None)
    if len(working) < 2:
        raise NotApplicable("it has only one execution path here")
    for before, after in permutations(working.values(), 2):
        run, reference = side_by_side(subject, problem, **before)
        for each in (run, reference):
            each.run(problem, 0, 5)
        fresh = run.resumed()
        for group in fresh.optimizer.param_groups:
            group.update(after)
        fresh.note(f"for group in optimizer.param_groups:\n    group.update({after})")
        for step in problem.steps[5:]:
            step_both(fresh, reference, step.grads, lr=step.lr)


def _no_modes(subject: OptimizerSubject) -> str | None:
    modes = all(callable(getattr(subject.implementation, name, None)) for name in ("train", "eval"))
    return None if modes else "it has no modes `train` and `eval`"


@check("P13", needs=_no_modes, hint="the mode is an attribute, which no checkpoint holds: keep it in the groups")
def check_modes_are_saved(subject: OptimizerSubject) -> None:
    """Saved in evaluation mode or in training mode, and resumed in training mode, it continues exactly."""
    problem = hostile_problem(subject)
    for mode in ("eval", "train"):
        run = OptimizerRun(subject, problem.starts).run(problem, 0, 5)
        getattr(run.optimizer, mode)()
        run.note(f"optimizer.{mode}()")
        fresh = run.resumed()
        for each in (run, fresh):
            each.optimizer.train()
            each.note("optimizer.train()")
            each.run(problem, 5)
        fresh.assert_same(run, f"saved in the mode `{mode}`", of=UNINTERRUPTED)


@check("P15", hint="`state_dict` or `load_state_dict` changes what it saves or loads")
def check_a_state_dict_is_complete(subject: OptimizerSubject) -> None:
    """Resuming in a fresh optimizer before every single update makes no difference."""
    problem = hostile_problem(subject)
    whole, chain = OptimizerRun(subject, problem.starts), OptimizerRun(subject, problem.starts)
    reference = ReferenceRun(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        chain = chain.resumed()
        for each in (chain, whole, reference):
            each.take(step)
        chain.assert_same(whole, "saved and loaded before every update", step=t, of=UNINTERRUPTED, reference=reference)


def _groups(state: dict[str, Any]) -> Any:
    """The groups of a checkpoint, without their parameters; none if it has another form."""
    return [{k: v for k, v in group.items() if k != "params"} for group in state.get("param_groups", [])]
