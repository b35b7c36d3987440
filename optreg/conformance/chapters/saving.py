"""Saving and resuming: a run that stopped goes on as if it had not."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_several_paths
from optreg.conformance.harness.following import compare
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject

F64 = torch.float64

UNBROKEN = "in the run that was not stopped it is"


@check("P01", hint="something that later updates need is kept outside `state` and `param_groups`, or is not restored")
def check_stopping_and_resuming_is_exact(subject: OptimizerSubject) -> None:
    """Stopped before any update, after one or after several, and resumed from a checkpoint, it goes on bit for bit."""
    problem = hostile_problem(subject)
    whole = OptimizerRun(subject, problem.starts).run(problem)
    for stop in (0, 1, 5, 9):
        run = OptimizerRun(subject, problem.starts).run(problem, 0, stop)
        fresh = run.resumed()
        reference = ReferenceRun(subject, problem.starts, F64).run(problem, 0, stop)
        for t, step in enumerate(problem.steps[stop:], start=stop):
            for each in (fresh, run, reference):
                each.take(step)
            fresh.assert_same(run, f"resumed after {stop} updates", step=t + 1, of=UNBROKEN, reference=reference)
        fresh.assert_same(whole, f"resumed after {stop} updates", of=UNBROKEN, reference=reference)


@check("P02", hint="the state holds objects of its own classes, which `torch.load(weights_only=True)` refuses")
def check_a_checkpoint_loads_with_weights_only(subject: OptimizerSubject) -> None:
    """A checkpoint goes through `torch.save` and `torch.load(weights_only=True)` and resumes exactly."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 6)
    fresh = run.resumed(way="file")
    run.run(problem, 6)
    fresh.run(problem, 6)
    fresh.assert_same(run, "resumed from a file", of=UNBROKEN)


@check("P16", hint="loading leaves behind what was there: a cache, a count, state that the checkpoint has not")
def check_loading_into_an_optimizer_that_has_run(subject: OptimizerSubject) -> None:
    """A checkpoint counts whole in an optimizer that has run itself, be it of a later, an earlier, or of no update."""
    problem = hostile_problem(subject)
    for taken, gone in ((3, 6), (0, 4), (5, 2)):
        plain = OptimizerRun(subject, problem.starts).run(problem, 0, taken)
        saved, values = copy.deepcopy(plain.optimizer.state_dict()), plain.tensors()
        used = OptimizerRun(subject, problem.starts).run(problem, 0, gone)
        for _ in range(2):  # loading twice is loading once
            used.reload(saved, values)
        used.run(problem, taken)
        plain.run(problem, taken)
        what = f"a checkpoint of update {taken}, loaded into an optimizer that had made {gone}"
        used.assert_same(plain, what, of="in the run that wrote it it is")


@check("P17", hint="a checkpoint's groups are numbered or restored by the first of them, or from the constructor")
def check_resuming_several_groups(subject: OptimizerSubject) -> None:
    """Groups of unequal size, each with its own hyperparameters, resume in an optimizer that is made without those."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (6,), (4, 3), (6,)], missing=False)
    others = dict(subject.perturbed)
    members: list[list[int]] = [[0], [1, 2, 3], [4]]
    changes: list[dict[str, Any]] = [{}, {"lr": 0.05, **others}, others]
    run = OptimizerRun(subject, problem.starts, groups=list(zip(members, changes, strict=True)))
    for step in problem.steps[:4]:
        run.step(step.grads)
    fresh = run.resumed(groups=[(each, {}) for each in members])
    for t, step in enumerate(problem.steps[4:8], start=5):
        fresh.step(step.grads)
        run.step(step.grads)
        fresh.assert_same(run, "resumed in three groups", step=t, of=UNBROKEN)


@check("P03", hint="`load_state_dict` pops from, or writes to, the dict that it is given")
def check_loading_leaves_the_checkpoint_alone(subject: OptimizerSubject) -> None:
    """The dict that is loaded is not written to, then or in later updates."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    given = copy.deepcopy(run.optimizer.state_dict())
    kept = copy.deepcopy(given)
    fresh = run.resumed(given)
    subject.assert_equal(given, kept, "the checkpoint after loading it")
    fresh.run(problem, 4, 8)
    subject.assert_equal(_groups(given), _groups(kept), "the checkpoint's groups after updates")


@check("P04", Tier.SHOULD, hint="`load_state_dict` keeps the tensors of the dict, and writes to them in later updates")
def check_resumed_optimizers_do_not_share_state(subject: OptimizerSubject) -> None:
    """Two optimizers that loaded one checkpoint, and the one that wrote it, go on apart."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    saved = copy.deepcopy(run.optimizer.state_dict())
    one, two = run.resumed(saved), run.resumed(saved)
    one.run(problem, 4)
    two.run(problem, 4)
    two.assert_same(one, "the second to load a checkpoint", of="in the first it is")


@check(
    "P05",
    Tier.SHOULD,
    hint="torch casts floating state to the parameter's dtype when it is loaded: override `load_state_dict`",
)
def check_state_keeps_its_dtype(subject: OptimizerSubject) -> None:
    """Loading a checkpoint gives every state the dtype it was saved in, low precision included."""
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


@check(
    "P06",
    Tier.SHOULD,
    hint="the step count is cast to the parameter's dtype when it is loaded, and rounded: call it `step`",
)
def check_low_precision_resumes_exactly(subject: OptimizerSubject) -> None:
    """A bfloat16 run resumes bit for bit, its step counter with it, however many updates it has made."""
    problem = hostile_problem(subject, [(6,), (4, 3)], missing=False, exponents=(-1.0, 1.0), steps=300, lr=3e-2)
    run = OptimizerRun(subject, problem.starts, dtype=torch.bfloat16).run(problem, 0, 290)
    fresh = run.resumed()
    run.run(problem, 290)
    fresh.run(problem, 290)
    fresh.assert_same(run, "a bfloat16 run, resumed after 290 updates", of=UNBROKEN)
    subject.assert_equal(
        fresh.snapshot(), run.snapshot(), "a bfloat16 run, resumed after 290 updates,", of="without the stop it has"
    )


@check("P07", hint="`load_state_dict` puts the constructor's hyperparameters back, or they are kept in attributes")
def check_the_checkpoints_hyperparameters_win(subject: OptimizerSubject) -> None:
    """After loading, the hyperparameters are the checkpoint's, not the constructor's."""
    problem = hostile_problem(subject)
    others = dict(subject.perturbed)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    fresh = run.resumed(lr=0.9, **others)
    for step in problem.steps[4:8]:
        fresh.step(step.grads)
        run.step(step.grads)
    fresh.assert_same(run, "loaded over other hyperparameters", of=UNBROKEN)


@check("P08", hint="`load_state_dict` is overridden, and torch's checks of sizes are left out")
def check_a_checkpoint_of_another_size_is_refused(subject: OptimizerSubject) -> None:
    """A checkpoint with another number of parameters or groups is refused with a ValueError or a RuntimeError."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 2)
    saved = run.optimizer.state_dict()
    fewer = OptimizerRun(subject, problem.starts[:2])
    subject.assert_raises(
        lambda: fewer.optimizer.load_state_dict(copy.deepcopy(saved)),
        (ValueError, RuntimeError),
        "a checkpoint of three parameters for two",
    )
    grouped = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1, 2], {})])
    subject.assert_raises(
        lambda: grouped.optimizer.load_state_dict(copy.deepcopy(saved)),
        (ValueError, RuntimeError),
        "a checkpoint of one group for two",
    )


@check("P14", Tier.SHOULD, hint="state of another shape is thrown away, or broadcast, without a word")
def check_a_checkpoint_of_other_shapes_is_refused(subject: OptimizerSubject) -> None:
    """A checkpoint whose state has another shape than the parameter is refused, at once or at the next update."""
    problem = hostile_problem(subject, [(4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 2)
    if not any(isinstance(v, Tensor) and v.ndim for v in run.state(0).values()):
        raise NotApplicable("it has no state of the parameter's shape")
    other = OptimizerRun(subject, [np.ones((5, 3))])

    def load_and_step() -> None:
        other.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
        other.step([np.ones((5, 3))])

    subject.assert_raises(
        load_and_step, (ValueError, RuntimeError), "a checkpoint of shape (4, 3) for a parameter of (5, 3)"
    )


@check("P09", hint="`__getstate__`, `__setstate__` or `__deepcopy__` leaves something out")
def check_copies_go_on_exactly(subject: OptimizerSubject) -> None:
    """A deepcopy, and what comes out of a pickle, goes on bit for bit."""
    problem = hostile_problem(subject)
    for way in ("deepcopy", "pickle"):
        run = OptimizerRun(subject, problem.starts).run(problem, 0, 5)
        other = run.duplicate(way)
        run.run(problem, 5)
        other.run(problem, 5)
        other.assert_same(run, f"after a {way}", of="in the original it is")


@check(
    "P10",
    Tier.SHOULD,
    hint="a key of the group is read that older checkpoints do not have: set its default in `__setstate__`",
)
def check_an_older_checkpoint_means_the_defaults(subject: OptimizerSubject) -> None:
    """A checkpoint whose groups lack an option that came later loads, and the option has its default."""
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts).run(problem, 0, 4)
    saved = copy.deepcopy(run.optimizer.state_dict())
    for group in saved["param_groups"]:
        for name in ("maximize", "foreach", "fused", "capturable", "differentiable"):
            group.pop(name, None)
    fresh = run.resumed(saved)
    fresh.run(problem, 4)
    run.run(problem, 4)
    fresh.assert_same(run, "resumed from an older checkpoint", of=UNBROKEN)


@check("P11", hint="state is kept by a parameter's place in a list instead of by the parameter")
def check_state_is_kept_by_parameter(subject: OptimizerSubject) -> None:
    """Each state belongs to its own parameter: one that is late or absent changes no other's."""
    problem = hostile_problem(subject, [(4, 3), (4, 3), (4, 3)], missing=False)
    run = OptimizerRun(subject, problem.starts)
    reference = ReferenceRun(subject, problem.starts, F64)
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
            fresh.assert_same(run, "resumed with parameters that are late", step=t + 1, of=UNBROKEN)


@check("P12", needs=unless_several_paths, hint="the paths keep different state, under other names or in another form")
def check_checkpoints_cross_between_paths(subject: OptimizerSubject) -> None:
    """A run may change its execution path at a checkpoint, and follows the reference on."""
    problem = hostile_problem(subject)
    working = []
    for name, options in subject.paths.items():
        try:
            OptimizerRun(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
        except Exception:  # it is refused here, which D15 looks at
            continue
        if name != "capturable":
            working.append(options)
    if len(working) < 2:
        raise NotApplicable("here it has one execution path")
    for before in working:
        for after in working:
            if before == after:
                continue
            run = OptimizerRun(subject, problem.starts, **before)
            reference = ReferenceRun(subject, problem.starts, F64)
            for step in problem.steps[:5]:
                run.take(step)
                reference.take(step)
            fresh = run.resumed()
            for group in fresh.optimizer.param_groups:
                group.update(after)
            fresh.note(f"for group in optimizer.param_groups:\n    group.update({after})")
            for step in problem.steps[5:]:
                fresh.take(step)
                reference.take(step)
                compare(fresh, reference)


def _no_modes(subject: OptimizerSubject) -> str | None:
    modes = all(callable(getattr(subject.implementation, name, None)) for name in ("train", "eval"))
    return None if modes else "it has no modes `train` and `eval`"


@check("P13", needs=_no_modes, hint="the mode is an attribute, which no checkpoint holds: keep it in the groups")
def check_modes_are_saved(subject: OptimizerSubject) -> None:
    """Saved in the mode for evaluation or for training, and put into the mode for training, it goes on exactly."""
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
        fresh.assert_same(run, f"saved in the mode `{mode}`", of=UNBROKEN)


@check("P15", hint="`state_dict` or `load_state_dict` changes what it saves or loads")
def check_a_state_dict_is_complete(subject: OptimizerSubject) -> None:
    """Saving before and after each update in turn, with a fresh optimizer for every single update, changes nothing."""
    problem = hostile_problem(subject)
    whole = OptimizerRun(subject, problem.starts)
    chain = OptimizerRun(subject, problem.starts)
    reference = ReferenceRun(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps, start=1):
        chain = chain.resumed()
        for each in (chain, whole, reference):
            each.take(step)
        chain.assert_same(whole, "saved and loaded before every update", step=t, of=UNBROKEN, reference=reference)


def _groups(state: dict[str, Any]) -> Any:
    """The groups of a checkpoint; all of one that is of another form."""
    return [{k: v for k, v in group.items() if k != "params"} for group in state.get("param_groups", [])]
