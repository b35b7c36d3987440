"""Schedule resume: an interrupted schedule continues as if it had not been interrupted."""

import copy
import io
import pickle
from typing import Any

import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.harness.scheduler_run import SchedulerRun
from optreg.conformance.results.differences import first_difference
from optreg.conformance.results.verdict import NotApplicable
from optreg.conformance.subjects.naming import Signature
from optreg.conformance.subjects.settings import fits, perturbed
from optreg.conformance.subjects.subject import ScheduleSubject


def _assert_continues(fresh: SchedulerRun, run: SchedulerRun, what: str, *, now: bool = True) -> None:
    """Assert that the current rate, unless `now` is False, and all later ones are those of the uninterrupted run."""

    def assert_same() -> None:
        fresh.assert_same(run, what, of="in the uninterrupted run it is")
        fresh.assert_last_lr(f"get_last_lr(), {what},")

    if now:
        assert_same()
    while fresh.t < run.subject.reach(run.settings):
        fresh.step()
        run.step()
        assert_same()


def _assert_resumes(subject: ScheduleSubject, what: str, *, now: bool = True, **options: Any) -> None:
    """Assert that a run that is resumed at steps 0, 3 and 8, with options of `SchedulerRun.resumed`, continues."""
    for t in (0, 3, 8):
        run = SchedulerRun(subject).run(t)
        _assert_continues(run.resumed(**options), run, what, now=now)


@check("R01", hint="the step or the current rate is not in the state dict, or is not restored")
def check_resuming_from_every_step(subject: ScheduleSubject) -> None:
    """Resumed from a checkpoint at any step, the current rate and all later ones are the same."""
    for t in range(subject.reach(subject.ordinary()) + 1):
        run = SchedulerRun(subject).run(t)
        _assert_continues(run.resumed(), run, f"resumed at step {t}")


@check("R02", hint="`state_dict` returns `__dict__` with the optimizer or other objects in it")
def check_the_state_is_plain_data(subject: ScheduleSubject) -> None:
    """The state dict contains only plain data: it can be pickled, and loads with `weights_only=True`."""
    run = SchedulerRun(subject).run(8)
    state = run.scheduler.state_dict()
    for where, value in _leaves(state, "the state"):
        plain = value is None or isinstance(value, str | int | float | bool | Tensor)
        subject.assert_true(plain, f"{where} is a {type(value).__name__}, which is not plain data")
    subject.assert_equal(pickle.loads(pickle.dumps(state)).keys(), state.keys(), "the pickled state's keys")
    for what, each in (("the scheduler", state), ("the optimizer under it", run.optimizer.state_dict())):
        file = io.BytesIO()
        torch.save(each, file)
        try:
            torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        except pickle.UnpicklingError as error:
            reason = str(error).partition("WeightsUnpickler error:")[2].strip().splitlines()
            subject.fail(f"the state of {what} does not load with weights_only=True: {''.join(reason[:1])}")
    for index, group in enumerate(run.optimizer.param_groups):
        kind = type(group["lr"])
        subject.assert_true(kind is float, f"the rate of group {index} has become a {kind.__name__}")


def _leaves(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]")
    else:
        yield where, value


@check("R07", Tier.SHOULD, hint="the state contains tensors, sets, or keys that are not strings")
def check_the_state_travels_as_json(subject: ScheduleSubject) -> None:
    """The schedule resumes exactly from a state that went through JSON."""
    run = SchedulerRun(subject).run(4)
    _assert_continues(run.resumed(through_json=True), run, "resumed from JSON")


@check("R03", hint="`load_state_dict` restores the step, but not the hyperparameters that were saved")
def check_whose_hyperparameters_count_after_loading(subject: ScheduleSubject) -> None:
    """Loaded over other hyperparameters, the checkpoint's are used or it is refused, unless declared otherwise.

    This applies to undeclared schedules whose checkpoints contain the hyperparameters, and not, for example, to a
    LambdaLR of a closure.
    """
    settings = subject.ordinary()
    others = [(n, v) for n, v in perturbed(subject.reference, settings) if n not in subject.fixed]
    applies = False
    for name, value in [*others, *_shorter(subject, settings)]:
        changed = {**settings, name: value}
        run = SchedulerRun(subject, settings).run(4)
        whose = subject.traits.resume or ("checkpoint" if _saved(subject, settings, changed) else "nobody")
        if whose == "nobody":
            continue
        applies = True
        try:
            fresh = run.resumed(changed)
        except (ValueError, RuntimeError):
            refused = "the constructor's hyperparameters are declared to be used, but refused"
            subject.assert_true(whose == "checkpoint", refused)
            continue
        if whose == "checkpoint":
            _assert_continues(fresh, run, f"loaded over {name}={value!r}")
            continue
        fresh.judge_by(changed)
        while fresh.t < subject.reach(changed):
            fresh.step()
            fresh.assert_rates("by the constructor's hyperparameters, the learning rate")
    if not applies:
        raise NotApplicable("its checkpoints contain no hyperparameters")


def _saved(subject: ScheduleSubject, settings: dict[str, Any], changed: dict[str, Any]) -> bool:
    """Whether a checkpoint contains what differs between two settings: anything but the rates themselves."""
    runs = [SchedulerRun(subject, each) for each in (settings, changed)]
    leaves = _leaves(runs[0].scheduler.state_dict(), "")
    return not any(value is None for where, value in leaves if "lr_lambdas" in where) and _differ(runs)


def _differ(runs: list[SchedulerRun]) -> bool:
    """Whether the states of two schedulers differ in anything but the rates."""

    def state(run: SchedulerRun) -> dict[str, Any]:
        pairs = run.scheduler.state_dict().items()
        return {key: value for key, value in pairs if first_difference(value, run.rates, key)}

    first, second = map(state, runs)
    return first_difference(first, second, "the state") is not None


def _shorter(subject: ScheduleSubject, settings: dict[str, Any]) -> list[tuple[str, Any]]:
    end = subject.traits.end
    if not end or end in subject.fixed:
        return []
    shorter = {**settings, end: settings[end] // 2 + 1}
    return [(end, shorter[end])] if fits(subject.reference, shorter) else []


@check("R04", hint="`last_epoch` is ignored, or not counted as torch counts it")
def check_last_epoch_equals_loading(subject: ScheduleSubject) -> None:
    """Constructed with `last_epoch`, the schedule continues after that update."""
    if not subject.pure and "last_epoch" not in Signature(subject.implementation, 1).names:
        raise NotApplicable("its constructor has no argument last_epoch")
    reach = subject.reach(subject.ordinary())
    for k in (1, 4, 9, *range(13, reach)):
        run = SchedulerRun(subject)
        expected = _rates_from(SchedulerRun(subject).run(k))
        # the optimizer's checkpoint may be from before the scheduler's step or from after it: either resume is right
        right = (n for n in (k, k - 1) if _near(_rates_from(run.constructed(k - 1, n)), expected))
        fresh = run.constructed(k - 1, next(right, k))
        for rates in expected:
            for index, rate in enumerate(rates):
                what = f"the rate of group {index}, constructed with last_epoch={k - 1},"
                bound = 1e-12 * abs(rate) + 1e-15
                fresh.assert_close(index, fresh.rates[index], rate, bound, what, of="the uninterrupted run")
            if fresh.t < reach:
                fresh.step()


def _near(rates: list[list[float]], expected: list[list[float]]) -> bool:
    pairs = [pair for row in zip(rates, expected, strict=True) for pair in zip(*row, strict=True)]
    return all(abs(a - b) <= 1e-12 * abs(b) + 1e-15 for a, b in pairs)


def _rates_from(run: SchedulerRun) -> list[list[float]]:
    """Every group's rate, now and at every later step."""
    rates = [run.rates]
    while run.t < run.subject.reach(run.settings):
        run.step()
        rates.append(run.rates)
    return rates


@check("R05", hint="loading reads the optimizer's groups, or writes to them, which loading the optimizer undoes")
def check_the_order_of_loading_is_irrelevant(subject: ScheduleSubject) -> None:
    """It makes no difference whether the optimizer or the scheduler is loaded first."""
    _assert_resumes(subject, "the scheduler loaded first", optimizer_first=False)


@check("R06", hint="loading adds to what is there instead of replacing it")
def check_loading_twice_is_loading_once(subject: ScheduleSubject) -> None:
    """Loading a checkpoint twice has the effect of loading it once."""
    _assert_resumes(subject, "loaded twice", times=2)


@check("R08", hint="`load_state_dict` pops from the dict, or keeps it as its own `__dict__`")
def check_loading_leaves_the_checkpoint_alone(subject: ScheduleSubject) -> None:
    """Neither loading nor later steps write to the dict that was loaded."""
    run = SchedulerRun(subject).run(4)
    given = copy.deepcopy(run.scheduler.state_dict())
    kept = copy.deepcopy(given)
    fresh = SchedulerRun(subject, run.settings)
    fresh.scheduler.load_state_dict(given)
    fresh.run(3)
    subject.assert_equal(given, kept, "the checkpoint after loading it and stepping on")


@check("R09", hint="loading adds to what was there, compares with it, or only advances; or a step of 0 is not saved")
def check_loading_into_a_scheduler_that_has_run(subject: ScheduleSubject) -> None:
    """Loading replaces everything in a scheduler that has run already, for more steps or for fewer."""
    for at, made in ((3, 15), (15, 3), (0, 7), (6, 6)):
        run, used = SchedulerRun(subject).run(at), SchedulerRun(subject).run(made)
        used.load(run)
        _assert_continues(used, run, f"a checkpoint of step {at}, loaded at step {made}")


@check("R10", hint="`state_dict` returns an object that the scheduler keeps modifying")
def check_a_checkpoint_is_a_snapshot(subject: ScheduleSubject) -> None:
    """A state dict kept in memory does not change while the scheduler is stepped."""
    run = SchedulerRun(subject).run(3)
    kept = run.scheduler.state_dict()
    before = copy.deepcopy(kept)
    run.run(4)
    subject.assert_equal(kept, before, "a checkpoint that was taken before four more steps")


@check("R11", hint="base rates are read from the optimizer at construction, and not restored by loading")
def check_resuming_over_another_learning_rate(subject: ScheduleSubject) -> None:
    """Resumed in an optimizer constructed with another lr, the checkpoint's base rates are used."""
    if not _keeps_base_rates(subject):
        raise NotApplicable("its checkpoints contain no base rates")
    _assert_resumes(subject, "resumed in an optimizer that was made with lr 0.1", base_lrs=(0.1, 0.1))


def _keeps_base_rates(subject: ScheduleSubject) -> bool:
    return _differ([SchedulerRun(subject), SchedulerRun(subject, base_lrs=(0.1, 0.1))])


@check("R14", Tier.SHOULD, hint="base rates are a list of the constructor's, which no checkpoint holds")
def check_base_rates_are_saved(subject: ScheduleSubject) -> None:
    """If its own checkpoints contain no base rates, those of the optimizer's checkpoint are used."""
    if _keeps_base_rates(subject):
        raise NotApplicable("its checkpoints contain base rates, of which R11 asks")
    _assert_resumes(subject, "resumed in an optimizer that was made with lr 0.1", base_lrs=(0.1, 0.1))


@check("R13", Tier.SHOULD, hint="the constructor uses the current rate as the base rate, or scales it again")
def check_a_scheduler_made_after_the_optimizer_was_loaded(subject: ScheduleSubject) -> None:
    """Constructed on an optimizer that was loaded before, and then loaded, it continues from the next step on."""
    # torch's own schedulers have f(0) until the next step
    _assert_resumes(subject, "made on an optimizer that was loaded before", now=False, loaded=True)


@check("R12", hint="the copy refers to the optimizer, the groups or a closure of the original")
def check_copies_go_on_apart(subject: ScheduleSubject) -> None:
    """A deepcopy of optimizer and scheduler continues independently of the original, or raises."""
    plain, run = SchedulerRun(subject).run(4), SchedulerRun(subject).run(4)
    try:
        other = run.duplicate()
    except Exception as error:
        raise NotApplicable("its copies raise: R15 says more") from error
    _assert_continues(other, SchedulerRun(subject).run(4), "after a deepcopy")
    _assert_continues(run, plain, "after a deepcopy of it has gone on")


@check("R15", Tier.SHOULD, hint="an attribute cannot be copied: a lock, a generator, an open file")
def check_copies_can_be_made(subject: ScheduleSubject) -> None:
    """A deepcopy of optimizer and scheduler can be made, and goes on."""
    other = SchedulerRun(subject).run(4).duplicate()
    other.step()
    other.assert_rates("the learning rate of a deepcopy")
