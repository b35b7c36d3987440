"""Saving and resuming: a run that stopped goes on as if it had not."""

import copy
import io
import pickle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.following import compare, hostile_for
from optreg.conformance.problems import perturbed
from optreg.conformance.rig import Rig, Twin
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.verdict import NotApplicable

F64 = torch.float64


def _resumed(subject: OptimizerSubject, rig: Rig, saved: Any, **settings: Any) -> Rig:
    """A fresh optimizer on copies of a rig's parameters, gone on from a checkpoint."""
    fresh = Rig(subject, rig.values(), dtype=rig.dtype, **settings)
    for param, old in zip(fresh.params, rig.params, strict=True):
        with torch.no_grad():
            param.copy_(old)
    fresh.optimizer.load_state_dict(saved)
    return fresh


def _through_a_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@check("P01")
def check_stopping_and_resuming_is_exact(subject: OptimizerSubject) -> None:
    """Stopped before any update, after one or after several, and resumed from a checkpoint, it goes on bit for bit."""
    judge = subject.judge
    problem = hostile_for(subject)
    whole = Rig(subject, problem.starts).run(problem)
    for stop in (0, 1, 5, 9):
        rig = Rig(subject, problem.starts).run(problem, 0, stop)
        saved = copy.deepcopy(rig.optimizer.state_dict())
        fresh = _resumed(subject, rig, saved)
        for t, step in enumerate(problem.steps[stop:], start=stop):
            fresh.take(step)
            rig.take(step)
            judge.equal(
                fresh.tensors(), rig.tensors(), f"resumed after {stop} updates", step=t + 1, of="without the stop it is"
            )
        judge.equal(fresh.tensors(), whole.tensors(), f"resumed after {stop} updates", of="without the stop it is")


@check("P02")
def check_a_checkpoint_loads_with_weights_only(subject: OptimizerSubject) -> None:
    """A checkpoint goes through `torch.save` and `torch.load(weights_only=True)` and resumes exactly."""
    judge = subject.judge
    problem = hostile_for(subject)
    rig = Rig(subject, problem.starts).run(problem, 0, 6)
    fresh = _resumed(subject, rig, _through_a_file(rig.optimizer.state_dict()))
    rig.run(problem, 6)
    fresh.run(problem, 6)
    judge.equal(fresh.tensors(), rig.tensors(), "resumed from a file", of="without the stop it is")


@check("P03")
def check_loading_leaves_the_checkpoint_alone(subject: OptimizerSubject) -> None:
    """The dict that is loaded is not written to, then or in later updates."""
    judge = subject.judge
    problem = hostile_for(subject)
    rig = Rig(subject, problem.starts).run(problem, 0, 4)
    given = copy.deepcopy(rig.optimizer.state_dict())
    kept = copy.deepcopy(given)
    fresh = _resumed(subject, rig, given)
    judge.equal(_plain(given), _plain(kept), "the checkpoint after loading it")
    fresh.run(problem, 4, 8)
    groups = [{k: v for k, v in group.items() if k != "params"} for group in given["param_groups"]]
    before = [{k: v for k, v in group.items() if k != "params"} for group in kept["param_groups"]]
    judge.equal(groups, before, "the checkpoint's groups after updates")


@check("P04", Tier.SHOULD)
def check_resumed_optimizers_do_not_share_state(subject: OptimizerSubject) -> None:
    """Two optimizers that loaded one checkpoint, and the one that wrote it, go on apart."""
    judge = subject.judge
    problem = hostile_for(subject)
    rig = Rig(subject, problem.starts).run(problem, 0, 4)
    saved = copy.deepcopy(rig.optimizer.state_dict())
    one, two = _resumed(subject, rig, saved), _resumed(subject, rig, saved)
    one.run(problem, 4)
    two.run(problem, 4)
    judge.equal(two.tensors(), one.tensors(), "the second to load a checkpoint", of="the first is")


@check("P05", Tier.SHOULD)
def check_state_keeps_its_dtype(subject: OptimizerSubject) -> None:
    """Loading a checkpoint gives every state the dtype it was saved in, low precision included."""
    judge = subject.judge
    for dtype in (torch.bfloat16, torch.float32):
        problem = hostile_for(subject, [(6,), (4, 3)], missing=False, exponents=(-1.0, 1.0))
        rig = Rig(subject, problem.starts, dtype=dtype).run(problem, 0, 3)
        if not any(isinstance(value, Tensor) for value in rig.state(0).values()):
            raise NotApplicable("it has no tensors in its state")
        fresh = _resumed(subject, rig, copy.deepcopy(rig.optimizer.state_dict()))
        for index in range(len(problem.starts)):
            for name, value in rig.state(index).items():
                if isinstance(value, Tensor):
                    loaded = fresh.state(index)[name]
                    judge.equal(str(loaded.dtype), str(value.dtype), f"the dtype of '{name}' in a {dtype} run")


@check("P06", Tier.SHOULD)
def check_low_precision_resumes_exactly(subject: OptimizerSubject) -> None:
    """A bfloat16 run resumes bit for bit, its step counter with it, however many updates it has made."""
    judge = subject.judge
    problem = hostile_for(subject, [(6,), (4, 3)], missing=False, exponents=(-1.0, 1.0), steps=300, lr=3e-2)
    rig = Rig(subject, problem.starts, dtype=torch.bfloat16).run(problem, 0, 290)
    fresh = _resumed(subject, rig, copy.deepcopy(rig.optimizer.state_dict()))
    rig.run(problem, 290)
    fresh.run(problem, 290)
    judge.equal(
        fresh.snapshot(), rig.snapshot(), "a bfloat16 run, resumed after 290 updates,", of="without the stop it has"
    )


@check("P07")
def check_the_checkpoints_hyperparameters_win(subject: OptimizerSubject) -> None:
    """After loading, the hyperparameters are the checkpoint's, not the constructor's."""
    judge = subject.judge
    problem = hostile_for(subject)
    others = {name: value for name, value in perturbed(subject.reference, subject.hostile) if name not in subject.fixed}
    rig = Rig(subject, problem.starts).run(problem, 0, 4)
    fresh = _resumed(subject, rig, copy.deepcopy(rig.optimizer.state_dict()), lr=0.9, **others)
    for step in problem.steps[4:8]:
        fresh.step(step.grads)
        rig.step(step.grads)
    judge.equal(fresh.tensors(), rig.tensors(), "loaded over other hyperparameters", of="without the stop it is")


@check("P08")
def check_a_checkpoint_of_another_size_is_refused(subject: OptimizerSubject) -> None:
    """A checkpoint with another number of parameters or groups is refused with a ValueError."""
    judge = subject.judge
    problem = hostile_for(subject, [(4, 3), (4, 3), (4, 3)], missing=False)
    rig = Rig(subject, problem.starts).run(problem, 0, 2)
    saved = rig.optimizer.state_dict()
    fewer = Rig(subject, problem.starts[:2])
    judge.raises(
        lambda: fewer.optimizer.load_state_dict(copy.deepcopy(saved)),
        ValueError,
        "a checkpoint of three parameters for two",
    )
    grouped = Rig(subject, problem.starts, groups=[([0], {}), ([1, 2], {})])
    judge.raises(
        lambda: grouped.optimizer.load_state_dict(copy.deepcopy(saved)), ValueError, "a checkpoint of one group for two"
    )


@check("P14", Tier.SHOULD)
def check_a_checkpoint_of_other_shapes_is_refused(subject: OptimizerSubject) -> None:
    """A checkpoint whose state has another shape than the parameter is refused, at once or at the next update."""
    judge = subject.judge
    problem = hostile_for(subject, [(4, 3)], missing=False)
    rig = Rig(subject, problem.starts).run(problem, 0, 2)
    if not any(isinstance(v, Tensor) and v.ndim for v in rig.state(0).values()):
        raise NotApplicable("it has no state of the parameter's shape")
    other = Rig(subject, [np.ones((5, 3))])

    def load_and_step() -> None:
        other.optimizer.load_state_dict(copy.deepcopy(rig.optimizer.state_dict()))
        other.step([np.ones((5, 3))])

    judge.raises(load_and_step, (ValueError, RuntimeError), "a checkpoint of shape (4, 3) for a parameter of (5, 3)")


def _through_a_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@check("P09")
def check_copies_go_on_exactly(subject: OptimizerSubject) -> None:
    """A deepcopy, and what comes out of a pickle, goes on bit for bit."""
    judge = subject.judge
    problem = hostile_for(subject)
    ways: dict[str, Any] = {"deepcopy": copy.deepcopy, "pickle": _through_a_pickle}
    for name, duplicate in ways.items():
        rig = Rig(subject, problem.starts).run(problem, 0, 5)
        params, optimizer = duplicate((rig.params, rig.optimizer))
        other = Rig(subject, problem.starts)
        other.params, other.optimizer = params, optimizer
        rig.run(problem, 5)
        other.run(problem, 5)
        judge.equal(other.tensors(), rig.tensors(), f"after {name}", of="the original is")


@check("P10", Tier.SHOULD)
def check_an_older_checkpoint_means_the_defaults(subject: OptimizerSubject) -> None:
    """A checkpoint whose groups lack an option that came later loads, and the option has its default."""
    judge = subject.judge
    problem = hostile_for(subject)
    rig = Rig(subject, problem.starts).run(problem, 0, 4)
    saved = copy.deepcopy(rig.optimizer.state_dict())
    for group in saved["param_groups"]:
        for name in ("maximize", "foreach", "fused", "capturable", "differentiable"):
            group.pop(name, None)
    fresh = _resumed(subject, rig, saved)
    fresh.run(problem, 4)
    rig.run(problem, 4)
    judge.equal(fresh.tensors(), rig.tensors(), "resumed from an older checkpoint", of="without the stop it is")


@check("P11")
def check_state_is_kept_by_parameter(subject: OptimizerSubject) -> None:
    """Each state belongs to its own parameter: one that is late or absent changes no other's."""
    judge = subject.judge
    problem = hostile_for(subject, [(4, 3), (4, 3), (4, 3)], missing=False)
    rig = Rig(subject, problem.starts)
    twin = Twin(subject, problem.starts, F64)
    for t, step in enumerate(problem.steps[:8]):
        first, second, third = step.grads
        grads = ([None, second, None], [None, second, None], [first, second, None], [first, None, None])[min(t, 3)]
        grads = [first, second, third] if t > 4 else grads
        if t == 3:
            fresh = _resumed(subject, rig, copy.deepcopy(rig.optimizer.state_dict()))
        for one in (rig, *([fresh] if t >= 3 else [])):
            one.step(grads, lr=step.lr)
        twin.step(grads, lr=step.lr)
        if subject.traits.counter == "parameter":
            compare(rig, twin)
        if t >= 3:
            what = "resumed with parameters that are late"
            judge.equal(fresh.tensors(), rig.tensors(), what, step=t + 1, of="without the stop it is")


def _only_one_path(subject: OptimizerSubject) -> str | None:
    return "it has one execution path" if len(subject.paths) == 1 else None


@check("P12", needs=_only_one_path)
def check_checkpoints_cross_between_paths(subject: OptimizerSubject) -> None:
    """A run may change its execution path at a checkpoint, and follows the reference on."""
    problem = hostile_for(subject)
    working = []
    for name, options in subject.paths.items():
        try:
            Rig(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
        except (RuntimeError, AssertionError):
            continue
        if name not in {"compiled", "capturable"}:
            working.append(options)
    for before in working:
        for after in working:
            if before == after:
                continue
            rig = Rig(subject, problem.starts, **before)
            twin = Twin(subject, problem.starts, F64)
            for step in problem.steps[:5]:
                rig.take(step)
                twin.take(step)
            fresh = _resumed(subject, rig, copy.deepcopy(rig.optimizer.state_dict()))
            for group in fresh.optimizer.param_groups:
                group.update(after)
            for step in problem.steps[5:]:
                fresh.take(step)
                twin.take(step)
                compare(fresh, twin)


@check("P13")
def check_a_state_dict_is_complete(subject: OptimizerSubject) -> None:
    """Saving before and after each update in turn, with a fresh optimizer for every single update, changes nothing."""
    judge = subject.judge
    problem = hostile_for(subject)
    whole = Rig(subject, problem.starts)
    chain = Rig(subject, problem.starts)
    for t, step in enumerate(problem.steps, start=1):
        chain = _resumed(subject, chain, copy.deepcopy(chain.optimizer.state_dict()))
        chain.take(step)
        whole.take(step)
        judge.equal(
            chain.tensors(), whole.tensors(), "saved and loaded before every update", step=t, of="in one run it is"
        )


def _plain(state: dict[str, Any]) -> Any:
    return {key: value for key, value in state.items() if key in {"state", "param_groups"}}
