"""Schedule resume: a schedule that stopped goes on as if it had not."""

import copy
import inspect
import json
import pickle
from typing import Any

from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.schedule_mathematics import ordinary
from optreg.conformance.probe import BASE_LRS, Probe, make_optimizer, span
from optreg.conformance.problems import fits, perturbed
from optreg.conformance.subject import ScheduleSubject
from optreg.conformance.verdict import NotApplicable
from optreg.hyperparameters import defaults


def _end(subject: ScheduleSubject, settings: dict[str, Any]) -> int:
    return span(settings) + (0 if subject.traits.after in {"raise", "cycle"} else 5)


def _resumed(subject: ScheduleSubject, probe: Probe, *, optimizer_first: bool = True, times: int = 1) -> Probe:
    """A fresh probe, gone on from another's checkpoints."""
    optimizer_state, scheduler_state = copy.deepcopy(probe.saved())
    fresh = Probe(subject, probe.settings, probe.base_lrs)
    loads = [
        lambda: fresh.optimizer.load_state_dict(optimizer_state),
        lambda: fresh.scheduler.load_state_dict(scheduler_state),
    ]
    for _ in range(times):
        for load in loads if optimizer_first else reversed(loads):
            load()
    fresh.t = probe.t
    return fresh


def _goes_on(subject: ScheduleSubject, fresh: Probe, probe: Probe, what: str) -> None:
    """The current rate, and all that follow, are those of the run that was not stopped."""
    judge = subject.judge
    judge.equal(fresh.rates, probe.rates, f"the rates, {what},", step=fresh.t, of="without the stop they are")
    while fresh.t < _end(subject, probe.settings):
        fresh.step()
        probe.step()
        judge.equal(fresh.rates, probe.rates, f"the rates, {what},", step=fresh.t, of="without the stop they are")


@check("R01")
def check_resuming_from_every_step(subject: ScheduleSubject) -> None:
    """Stopped at any step and resumed from a checkpoint, the current rate and all that follow are the same."""
    settings = ordinary(subject)
    for k in range(_end(subject, settings) + 1):
        probe = Probe(subject, settings).run(k)
        _goes_on(subject, _resumed(subject, probe), probe, f"resumed at step {k}")


@check("R02")
def check_the_state_is_plain_data(subject: ScheduleSubject) -> None:
    """The state dict holds plain data and no optimizer: it can be pickled, and loads from the pickle."""
    judge = subject.judge
    probe = Probe(subject, ordinary(subject)).run(8)
    state = probe.scheduler.state_dict()
    for where, value in _leaves(state, "the state"):
        plain = value is None or isinstance(value, str | int | float | bool | Tensor)
        judge.that(plain, f"{where} is a {type(value).__name__}, which is no plain data")
    judge.equal(pickle.loads(pickle.dumps(state)).keys(), state.keys(), "the pickled state's keys")


def _leaves(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{where}[{index}]")
    else:
        yield where, value


@check("R07", Tier.SHOULD)
def check_the_state_travels_as_json(subject: ScheduleSubject) -> None:
    """The state goes through JSON, and resumes exactly."""
    probe = Probe(subject, ordinary(subject)).run(4)
    state = json.loads(json.dumps(probe.scheduler.state_dict()))
    fresh = Probe(subject, probe.settings)
    fresh.optimizer.load_state_dict(copy.deepcopy(probe.optimizer.state_dict()))
    fresh.scheduler.load_state_dict(state)
    fresh.t = probe.t
    _goes_on(subject, fresh, probe, "resumed from JSON")


@check("R03")
def check_the_checkpoint_beats_the_constructor(subject: ScheduleSubject) -> None:
    """Loaded into a scheduler of other hyperparameters, the checkpoint's count, or the load is refused."""
    judge = subject.judge
    if subject.traits.resume == "constructor":
        raise NotApplicable("it is declared to go on under the constructor's hyperparameters")
    settings = ordinary(subject)
    others = [(n, v) for n, v in perturbed(subject.reference, settings) if n not in subject.fixed]
    tried = 0
    for name, value in [*others, *_shorter(subject, settings)]:
        probe = Probe(subject, settings).run(4)
        optimizer_state, scheduler_state = copy.deepcopy(probe.saved())
        fresh = Probe(subject, {**settings, name: value})
        fresh.optimizer.load_state_dict(optimizer_state)
        tried += 1
        try:
            fresh.scheduler.load_state_dict(scheduler_state)
        except ValueError:
            judge.that(True, "refused")
            continue
        fresh.settings, fresh.t = settings, probe.t
        _goes_on(subject, fresh, probe, f"loaded over {name}={value!r}")
    if not tried:
        raise NotApplicable("it has no hyperparameters")


def _shorter(subject: ScheduleSubject, settings: dict[str, Any]) -> list[tuple[str, Any]]:
    end = subject.traits.end
    if not end or end in subject.fixed:
        return []
    shorter = {**settings, end: settings[end] // 2 + 1}
    return [(end, shorter[end])] if fits(subject.reference, shorter, defaults(subject.reference)) else []


@check("R04")
def check_last_epoch_equals_loading(subject: ScheduleSubject) -> None:
    """Constructed with `last_epoch`, the schedule goes on after that update."""
    judge = subject.judge
    if not subject.pure and "last_epoch" not in inspect.signature(subject.implementation).parameters:
        raise NotApplicable("its constructor takes no last_epoch")
    settings = ordinary(subject)
    for k in (1, 4, 9):
        expected = _rates_from(subject, Probe(subject, settings).run(k), k)
        # the optimizer's checkpoint may be of before the scheduler's step, or of after it: either makes a right resume
        resumed = [_constructed(subject, settings, k, steps) for steps in (k, k - 1)]
        found = next((rates for rates in resumed if _near(rates, expected)), resumed[0])
        for t, (rate, wanted) in enumerate(zip(found, expected, strict=True), start=k):
            what = f"the rate, constructed with last_epoch={k - 1},"
            judge.close(rate, wanted, 1e-12 * abs(wanted) + 1e-15, what, step=t, of="the run that was not stopped")


def _rates_from(subject: ScheduleSubject, probe: Probe, k: int) -> list[float]:
    """The first group's rate, now and at every step to come."""
    rates = [probe.rates[0]]
    for _ in range(k, _end(subject, probe.settings)):
        probe.step()
        rates.append(probe.rates[0])
    return rates


def _constructed(subject: ScheduleSubject, settings: dict[str, Any], k: int, steps: int) -> list[float]:
    """The rates of a schedule constructed with `last_epoch`, on an optimizer as it was after so many steps."""
    fresh = Probe(subject, settings)
    fresh.optimizer = make_optimizer(BASE_LRS)
    fresh.optimizer.load_state_dict(copy.deepcopy(Probe(subject, settings).run(steps).optimizer.state_dict()))
    fresh.scheduler = subject.make(fresh.optimizer, last_epoch=k - 1, **settings)
    return _rates_from(subject, fresh, k)


def _near(rates: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) <= 1e-12 * abs(b) + 1e-15 for a, b in zip(rates, expected, strict=True))


@check("R05")
def check_the_order_of_loading_is_irrelevant(subject: ScheduleSubject) -> None:
    """It is all the same whether the optimizer or the scheduler is loaded first."""
    settings = ordinary(subject)
    for k in (0, 3, 8):
        probe = Probe(subject, settings).run(k)
        _goes_on(subject, _resumed(subject, probe, optimizer_first=False), probe, "the scheduler loaded first")


@check("R06")
def check_loading_twice_is_loading_once(subject: ScheduleSubject) -> None:
    """A checkpoint that is loaded twice has the effect of one."""
    settings = ordinary(subject)
    for k in (0, 3, 8):
        probe = Probe(subject, settings).run(k)
        _goes_on(subject, _resumed(subject, probe, times=2), probe, "loaded twice")


@check("R08")
def check_loading_leaves_the_checkpoint_alone(subject: ScheduleSubject) -> None:
    """The dict that is loaded is not written to, then or in later steps."""
    judge = subject.judge
    probe = Probe(subject, ordinary(subject)).run(4)
    given = copy.deepcopy(probe.scheduler.state_dict())
    kept = copy.deepcopy(given)
    fresh = Probe(subject, probe.settings)
    fresh.scheduler.load_state_dict(given)
    fresh.run(3)
    judge.equal(given, kept, "the checkpoint after loading it and stepping on")
