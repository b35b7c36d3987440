"""Schedule resume: a schedule that stopped goes on as if it had not."""

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

UNBROKEN = "in the run that was not stopped it is"


def _goes_on(fresh: SchedulerRun, run: SchedulerRun, what: str, *, now: bool = True) -> None:
    """The current rate, unless that is not asked for, and all that follow are those of the run that was not stopped."""
    if now:
        _same(fresh, run, what)
    while fresh.t < run.subject.reach(run.settings):
        fresh.step()
        run.step()
        _same(fresh, run, what)


def _same(fresh: SchedulerRun, run: SchedulerRun, what: str) -> None:
    fresh.assert_same(run, what, of=UNBROKEN)
    with fresh.showing(0, fresh.rates[0], 0.0, show="scheduler.get_last_lr()[{i}]"):
        told = [float(rate) for rate in fresh.scheduler.get_last_lr()]
        run.subject.assert_equal(told, fresh.rates, f"get_last_lr(), {what},", step=fresh.t, of="the groups hold")


@check("R01", hint="the step, or the rate that is current, is not in the state dict, or is not restored")
def check_resuming_from_every_step(subject: ScheduleSubject) -> None:
    """Stopped at any step and resumed from a checkpoint, the current rate and all that follow are the same."""
    settings = subject.ordinary()
    for k in range(subject.reach(settings) + 1):
        run = SchedulerRun(subject, settings).run(k)
        _goes_on(run.resumed(), run, f"resumed at step {k}")


@check("R02", hint="`state_dict` returns `__dict__` with the optimizer, or with objects, in it")
def check_the_state_is_plain_data(subject: ScheduleSubject) -> None:
    """The state dict holds plain data and no optimizer: it can be pickled, and loads from the pickle."""
    run = SchedulerRun(subject, subject.ordinary()).run(8)
    state = run.scheduler.state_dict()
    for where, value in _leaves(state, "the state"):
        plain = value is None or isinstance(value, str | int | float | bool | Tensor)
        subject.assert_true(plain, f"{where} is a {type(value).__name__}, which is no plain data")
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
        subject.assert_true(
            type(group["lr"]) is float, f"the rate of group {index} has become a {type(group['lr']).__name__}"
        )


def _leaves(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]")
    else:
        yield where, value


@check("R07", Tier.SHOULD, hint="the state holds tensors, sets, or keys that are no text")
def check_the_state_travels_as_json(subject: ScheduleSubject) -> None:
    """The state goes through JSON, and resumes exactly."""
    run = SchedulerRun(subject, subject.ordinary()).run(4)
    _goes_on(run.resumed(through_json=True), run, "resumed from JSON")


@check("R03", hint="`load_state_dict` restores the step and not the hyperparameters, though it saves them")
def check_whose_hyperparameters_count_after_loading(subject: ScheduleSubject) -> None:
    """Loaded over other hyperparameters, the checkpoint's count, or the load is refused; or else it is declared.

    Where nothing is declared, a checkpoint that holds the hyperparameters has to win; one that cannot hold them, such
    as LambdaLR's of a closure, is not asked.
    """
    settings = subject.ordinary()
    others = [(n, v) for n, v in perturbed(subject.reference, settings) if n not in subject.fixed]
    tried = False
    for name, value in [*others, *_shorter(subject, settings)]:
        changed = {**settings, name: value}
        run = SchedulerRun(subject, settings).run(4)
        whose = subject.traits.resume or ("checkpoint" if _held(subject, settings, changed) else "nobody")
        if whose == "nobody":
            continue
        tried = True
        try:
            fresh = run.resumed(changed)
        except (ValueError, RuntimeError):
            subject.assert_true(
                whose == "checkpoint", "the constructor's hyperparameters are declared to count, and refused"
            )
            continue
        if whose == "checkpoint":
            _goes_on(fresh, run, f"loaded over {name}={value!r}")
            continue
        fresh.judge_by(changed)
        while fresh.t < subject.reach(changed):
            fresh.step()
            fresh.assert_rates("by the constructor's hyperparameters, the learning rate")
    if not tried:
        raise NotApplicable("its checkpoints hold no hyperparameters")


def _held(subject: ScheduleSubject, settings: dict[str, Any], changed: dict[str, Any]) -> bool:
    """Whether a checkpoint holds what differs between two settings: anything beside the rates themselves."""
    runs = [SchedulerRun(subject, each) for each in (settings, changed)]
    lambdas = any(
        value is None for where, value in _leaves(runs[0].scheduler.state_dict(), "") if "lr_lambdas" in where
    )
    return not lambdas and _differ(runs)


def _differ(runs: list[SchedulerRun]) -> bool:
    """Whether the states of two schedulers differ in anything but the rates."""
    states = [
        {key: value for key, value in run.scheduler.state_dict().items() if first_difference(value, run.rates, key)}
        for run in runs
    ]
    return first_difference(states[0], states[1], "the state") is not None


def _shorter(subject: ScheduleSubject, settings: dict[str, Any]) -> list[tuple[str, Any]]:
    end = subject.traits.end
    if not end or end in subject.fixed:
        return []
    shorter = {**settings, end: settings[end] // 2 + 1}
    return [(end, shorter[end])] if fits(subject.reference, shorter) else []


@check("R04", hint="`last_epoch` is ignored, or counted otherwise than torch does")
def check_last_epoch_equals_loading(subject: ScheduleSubject) -> None:
    """Constructed with `last_epoch`, the schedule goes on after that update."""
    if not subject.pure and "last_epoch" not in Signature(subject.implementation, 1).names:
        raise NotApplicable("its constructor takes no last_epoch")
    settings = subject.ordinary()
    for k in (1, 4, 9, *range(13, subject.reach(settings))):
        run = SchedulerRun(subject, settings)
        expected = _rates_from(SchedulerRun(subject, settings).run(k))
        # the optimizer's checkpoint may be of before the scheduler's step, or of after it: either makes a right resume
        right = (n for n in (k, k - 1) if _near(_rates_from(run.constructed(k - 1, n)), expected))
        steps = next(right, k)
        fresh = run.constructed(k - 1, steps)
        for rates in expected:
            for index, wanted in enumerate(rates):
                what = f"the rate of group {index}, constructed with last_epoch={k - 1},"
                bound = 1e-12 * abs(wanted) + 1e-15
                fresh.assert_close(index, fresh.rates[index], wanted, bound, what, of="the run that was not stopped")
            if fresh.t < subject.reach(settings):
                fresh.step()


def _near(rates: list[list[float]], expected: list[list[float]]) -> bool:
    pairs = [pair for row in zip(rates, expected, strict=True) for pair in zip(*row, strict=True)]
    return all(abs(a - b) <= 1e-12 * abs(b) + 1e-15 for a, b in pairs)


def _rates_from(run: SchedulerRun) -> list[list[float]]:
    """Every group's rate, now and at every step to come."""
    rates = [run.rates]
    while run.t < run.subject.reach(run.settings):
        run.step()
        rates.append(run.rates)
    return rates


@check("R05", hint="loading reads the optimizer's groups, or writes to them what loading the optimizer then overwrites")
def check_the_order_of_loading_is_irrelevant(subject: ScheduleSubject) -> None:
    """It is all the same whether the optimizer or the scheduler is loaded first."""
    settings = subject.ordinary()
    for k in (0, 3, 8):
        run = SchedulerRun(subject, settings).run(k)
        _goes_on(run.resumed(optimizer_first=False), run, "the scheduler loaded first")


@check("R06", hint="loading adds to what is there instead of replacing it")
def check_loading_twice_is_loading_once(subject: ScheduleSubject) -> None:
    """A checkpoint that is loaded twice has the effect of one."""
    settings = subject.ordinary()
    for k in (0, 3, 8):
        run = SchedulerRun(subject, settings).run(k)
        _goes_on(run.resumed(times=2), run, "loaded twice")


@check("R08", hint="`load_state_dict` pops from the dict, or keeps it as its own `__dict__`")
def check_loading_leaves_the_checkpoint_alone(subject: ScheduleSubject) -> None:
    """The dict that is loaded is not written to, then or in later steps."""
    run = SchedulerRun(subject, subject.ordinary()).run(4)
    given = copy.deepcopy(run.scheduler.state_dict())
    kept = copy.deepcopy(given)
    fresh = SchedulerRun(subject, run.settings)
    fresh.scheduler.load_state_dict(given)
    fresh.run(3)
    subject.assert_equal(given, kept, "the checkpoint after loading it and stepping on")


@check("R09", hint="what was loaded is added to, or compared with, what was there; or the step only ever goes on")
def check_loading_into_a_scheduler_that_has_run(subject: ScheduleSubject) -> None:
    """An earlier checkpoint, and a later one, counts whole in a scheduler that has run itself."""
    settings = subject.ordinary()
    for taken, gone in ((3, 15), (15, 3), (0, 7), (6, 6)):
        run = SchedulerRun(subject, settings).run(taken)
        used = SchedulerRun(subject, settings).run(gone)
        used.load(run)
        _goes_on(used, run, f"a checkpoint of step {taken}, loaded at step {gone}")


@check("R10", hint="`state_dict` returns what the scheduler goes on writing to")
def check_a_checkpoint_is_a_snapshot(subject: ScheduleSubject) -> None:
    """A state dict that is kept in memory stays as it was, while the scheduler steps on."""
    run = SchedulerRun(subject, subject.ordinary()).run(3)
    kept = run.scheduler.state_dict()
    before = copy.deepcopy(kept)
    run.run(4)
    subject.assert_equal(kept, before, "a checkpoint that was taken before four more steps")


@check("R11", hint="base rates are read from the optimizer when the scheduler is made, and not from what is loaded")
def check_resuming_over_another_learning_rate(subject: ScheduleSubject) -> None:
    """Resumed in an optimizer that was made with another lr, the checkpoint's base rates count."""
    settings = subject.ordinary()
    if not _differ([SchedulerRun(subject, settings), SchedulerRun(subject, settings, (0.1, 0.1))]):
        raise NotApplicable("its checkpoints hold no base rates")
    for k in (0, 3, 8):
        run = SchedulerRun(subject, settings).run(k)
        _goes_on(run.resumed(base_lrs=(0.1, 0.1)), run, "resumed in an optimizer that was made with lr 0.1")


@check(
    "R13", Tier.SHOULD, hint="the constructor takes the rate that it finds for the base rate, or scales it once more"
)
def check_a_scheduler_made_after_the_optimizer_was_loaded(subject: ScheduleSubject) -> None:
    """Made on an optimizer that has loaded its checkpoint, and then loaded itself, it goes on from the next step."""
    settings = subject.ordinary()
    for k in (0, 3, 8):
        run = SchedulerRun(subject, settings).run(k)
        fresh = run.resumed(loaded=True)  # torch's own hold f(0) until the next step
        _goes_on(fresh, run, "made on an optimizer that was loaded before", now=False)


@check("R12", hint="the copy holds the optimizer, the groups or a closure of the original")
def check_copies_go_on_apart(subject: ScheduleSubject) -> None:
    """A deepcopy of optimizer and scheduler goes on by itself, and leaves the original where it is."""
    settings = subject.ordinary()
    plain, run = SchedulerRun(subject, settings).run(4), SchedulerRun(subject, settings).run(4)
    other = run.duplicate()
    _goes_on(other, SchedulerRun(subject, settings).run(4), "after a deepcopy")
    _goes_on(run, plain, "after a deepcopy of it has gone on")
