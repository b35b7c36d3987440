"""Schedule resume: a schedule that stopped goes on as if it had not."""

import copy
import inspect
import pickle
from typing import Any

from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.schedule_mathematics import ordinary
from optreg.conformance.probe import Probe, span
from optreg.conformance.problems import fits, perturbed
from optreg.conformance.subject import ScheduleSubject
from optreg.conformance.verdict import NotApplicable
from optreg.hyperparameters import defaults

UNBROKEN = "in the run that was not stopped it is"


def _end(subject: ScheduleSubject, settings: dict[str, Any]) -> int:
    return span(settings) + (0 if subject.traits.after in {"raise", "cycle"} else 5)


def _goes_on(fresh: Probe, probe: Probe, what: str) -> None:
    """The current rate, and all that follow, are those of the run that was not stopped."""
    fresh.same(probe, what, of=UNBROKEN)
    while fresh.t < _end(probe.subject, probe.settings):
        fresh.step()
        probe.step()
        fresh.same(probe, what, of=UNBROKEN)


@check("R01", hint="the step, or the rate that is current, is not in the state dict, or is not restored")
def check_resuming_from_every_step(subject: ScheduleSubject) -> None:
    """Stopped at any step and resumed from a checkpoint, the current rate and all that follow are the same."""
    settings = ordinary(subject)
    for k in range(_end(subject, settings) + 1):
        probe = Probe(subject, settings).run(k)
        _goes_on(probe.resumed(), probe, f"resumed at step {k}")


@check("R02", hint="`state_dict` returns `__dict__` with the optimizer, or with objects, in it")
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


@check("R07", Tier.SHOULD, hint="the state holds tensors, sets, or keys that are no text")
def check_the_state_travels_as_json(subject: ScheduleSubject) -> None:
    """The state goes through JSON, and resumes exactly."""
    probe = Probe(subject, ordinary(subject)).run(4)
    _goes_on(probe.resumed(through_json=True), probe, "resumed from JSON")


@check("R03", hint="`load_state_dict` restores the step and not the hyperparameters, though it saves them")
def check_whose_hyperparameters_count_after_loading(subject: ScheduleSubject) -> None:
    """Loaded over other hyperparameters, the checkpoint's count, or the load is refused; or else it is declared.

    Where nothing is declared, a checkpoint that holds the hyperparameters has to win. One that cannot hold them, such
    as LambdaLR's of a closure, leaves it to the constructor.
    """
    judge = subject.judge
    settings = ordinary(subject)
    others = [(n, v) for n, v in perturbed(subject.reference, settings) if n not in subject.fixed]
    if not others:
        raise NotApplicable("it has no hyperparameters")
    for name, value in [*others, *_shorter(subject, settings)]:
        changed = {**settings, name: value}
        probe = Probe(subject, settings).run(4)
        whose = subject.traits.resume or ("checkpoint" if _held(subject, settings, changed) else "constructor")
        try:
            fresh = probe.resumed(changed)
        except ValueError:
            judge.that(whose == "checkpoint", "the constructor's hyperparameters are declared to count, and refused")
            continue
        if whose == "checkpoint":
            _goes_on(fresh, probe, f"loaded over {name}={value!r}")
            continue
        fresh.settings = changed
        while fresh.t < _end(subject, changed):
            fresh.step()
            fresh.judged("by the constructor's hyperparameters, the learning rate")


def _held(subject: ScheduleSubject, settings: dict[str, Any], changed: dict[str, Any]) -> bool:
    """Whether a checkpoint holds what differs between two settings: anything beside the rates themselves."""
    probes = [Probe(subject, each) for each in (settings, changed)]
    states = [
        {key: value for key, value in probe.scheduler.state_dict().items() if value != probe.rates} for probe in probes
    ]
    return bool(states[0] != states[1])


def _shorter(subject: ScheduleSubject, settings: dict[str, Any]) -> list[tuple[str, Any]]:
    end = subject.traits.end
    if not end or end in subject.fixed:
        return []
    shorter = {**settings, end: settings[end] // 2 + 1}
    return [(end, shorter[end])] if fits(subject.reference, shorter, defaults(subject.reference)) else []


@check("R04", hint="`last_epoch` is ignored, or counted otherwise than torch does")
def check_last_epoch_equals_loading(subject: ScheduleSubject) -> None:
    """Constructed with `last_epoch`, the schedule goes on after that update."""
    if not subject.pure and "last_epoch" not in inspect.signature(subject.implementation).parameters:
        raise NotApplicable("its constructor takes no last_epoch")
    settings = ordinary(subject)
    for k in (1, 4, 9):
        probe = Probe(subject, settings)
        expected = _rates_from(Probe(subject, settings).run(k))
        # the optimizer's checkpoint may be of before the scheduler's step, or of after it: either makes a right resume
        right = (n for n in (k, k - 1) if _near(_rates_from(probe.constructed(k - 1, n)), expected))
        steps = next(right, k)
        fresh = probe.constructed(k - 1, steps)
        for wanted in expected:
            what = f"the rate, constructed with last_epoch={k - 1},"
            fresh.close(0, fresh.rates[0], wanted, 1e-12 * abs(wanted) + 1e-15, what, of="the run that was not stopped")
            if fresh.t < _end(subject, settings):
                fresh.step()


def _near(rates: list[float], expected: list[float]) -> bool:
    return all(abs(a - b) <= 1e-12 * abs(b) + 1e-15 for a, b in zip(rates, expected, strict=True))


def _rates_from(probe: Probe) -> list[float]:
    """The first group's rate, now and at every step to come."""
    rates = [probe.rates[0]]
    while probe.t < _end(probe.subject, probe.settings):
        probe.step()
        rates.append(probe.rates[0])
    return rates


@check("R05", hint="loading reads the optimizer's groups, or writes to them what loading the optimizer then overwrites")
def check_the_order_of_loading_is_irrelevant(subject: ScheduleSubject) -> None:
    """It is all the same whether the optimizer or the scheduler is loaded first."""
    settings = ordinary(subject)
    for k in (0, 3, 8):
        probe = Probe(subject, settings).run(k)
        _goes_on(probe.resumed(optimizer_first=False), probe, "the scheduler loaded first")


@check("R06", hint="loading adds to what is there instead of replacing it")
def check_loading_twice_is_loading_once(subject: ScheduleSubject) -> None:
    """A checkpoint that is loaded twice has the effect of one."""
    settings = ordinary(subject)
    for k in (0, 3, 8):
        probe = Probe(subject, settings).run(k)
        _goes_on(probe.resumed(times=2), probe, "loaded twice")


@check("R08", hint="`load_state_dict` pops from the dict, or keeps it as its own `__dict__`")
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
