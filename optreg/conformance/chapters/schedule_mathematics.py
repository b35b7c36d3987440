"""Schedule mathematics: every multiplier against its formula, at every corner."""

import math
from functools import partial
from typing import Any

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.probe import BASE_LRS, Probe, short, span
from optreg.conformance.problems import corners, perturbed, typical
from optreg.conformance.subject import ScheduleSubject
from optreg.conformance.tolerance import SCHEDULE_ATOL
from optreg.conformance.verdict import Curve, NotApplicable

BEYOND = 20
"""How many steps after the end are looked at."""


def _corners(subject: ScheduleSubject) -> list[dict[str, Any]]:
    """Settings at every corner that the class can be given."""
    found = []
    for settings in corners(subject.reference):
        fixed = {**settings, **subject.fixed}
        if fixed not in found:
            found.append(fixed)
    return found


def ordinary(subject: ScheduleSubject, **steps: int) -> dict[str, Any]:
    """One ordinary setting."""
    return {**typical(subject.reference, **steps), **subject.fixed}


def last(subject: ScheduleSubject, settings: dict[str, Any]) -> int | None:
    """The schedule's last step, where it has one."""
    return settings.get(subject.traits.end) if subject.traits.end else None


def _raises_after(subject: ScheduleSubject, settings: dict[str, Any]) -> int:
    """How far a schedule can be stepped, and goes by the formula."""
    end = last(subject, settings)
    return end if subject.traits.after in {"raise", "cycle"} and end is not None else span(settings) + BEYOND


@check("Q11", still=True)
def check_reference_uses_every_hyperparameter(subject: ScheduleSubject) -> None:
    """Every hyperparameter of the formula changes some multiplier."""
    judge = subject.judge
    settings = ordinary(subject)
    steps = range(span(settings) + BEYOND)
    plain = [subject.formula(settings, t) for t in steps]
    judge.that(all(map(math.isfinite, plain)), "the formula is not finite")
    for name, value in perturbed(subject.reference, settings):
        changed = [subject.formula({**settings, name: value}, t) for t in steps]
        judge.that(changed != plain, f"the formula gives the same with {name}={value!r}")


@check("Q12", still=True)
def check_reference_keeps_its_declaration(subject: ScheduleSubject) -> None:
    """The formula is 1 at its declared peak, and does after its end what is declared."""
    judge = subject.judge
    for settings in _corners(subject):
        end = last(subject, settings)
        peak = settings.get(subject.traits.peak) if subject.traits.peak else None
        if peak is not None and (end is None or peak < end):
            judge.equal(
                subject.formula(settings, peak), 1.0, f"the formula at its peak under {short(settings)}", step=peak
            )
        if end is not None and subject.traits.after == "hold":
            for t in range(end, end + BEYOND):
                held = subject.formula(settings, end)
                judge.equal(
                    subject.formula(settings, t), held, f"the formula after its end under {short(settings)}", step=t
                )
        judge.that(math.isfinite(subject.formula(settings, 0)), "the formula is not finite at 0")


@check("L01")
def check_every_step_follows_the_formula(subject: ScheduleSubject) -> None:
    """At every step to 20 beyond the end, at every corner, the rate is base_lr * f(t), relative to 1e-12."""
    for settings in _corners(subject):
        probe = Probe(subject, settings)
        probe.judged()
        for _ in range(_raises_after(subject, settings)):
            probe.step()
            probe.judged()


@check("L02", still=True)
def check_the_rate_is_set_at_construction(subject: ScheduleSubject) -> None:
    """Right after construction the groups hold base_lr * f(0)."""
    for settings in _corners(subject):
        Probe(subject, settings).judged("the learning rate at construction")


@check("L03")
def check_the_end_value(subject: ScheduleSubject) -> None:
    """At the last step the rate is the formula's end value; the step before it is not yet."""
    judge = subject.judge
    seen = False
    for settings in _corners(subject):
        end = last(subject, settings)
        if end is None:
            continue
        seen = True
        probe = Probe(subject, settings).run(end - 1)
        probe.judged("the learning rate before the end")
        probe.step()
        probe.judged("the learning rate at the end")
    if not seen:
        raise NotApplicable("it declares no end")
    judge.that(seen, "no end was seen")


@check("L04")
def check_after_the_end(subject: ScheduleSubject) -> None:
    """After its last step the schedule holds, cycles, goes on or raises, as declared; the rate is never negative."""
    judge = subject.judge
    for settings in _corners(subject):
        end = last(subject, settings)
        if end is None:
            raise NotApplicable("it declares no end")
        probe = Probe(subject, settings).run(end)
        if subject.traits.after == "raise":
            judge.raises(partial(probe.run, 2), Exception, "a step beyond the end")
            continue
        held = probe.rates
        for _ in range(2 * end + BEYOND):
            probe.step()
            judge.that(min(probe.rates) >= -SCHEDULE_ATOL, "the learning rate is negative", step=probe.t)
            if subject.traits.after == "hold":
                for index, (rate, wanted) in enumerate(zip(probe.rates, held, strict=True)):
                    bound = SCHEDULE_ATOL * probe.base_lrs[index]
                    what = f"the learning rate of group {index} under {short(settings)}"
                    judge.close(rate, wanted, bound, what, step=probe.t, of="the end")
            elif subject.traits.after == "formula":
                probe.judged()
        if subject.traits.after == "cycle":
            judge.that(subject.judge.steps > 0, "no step was made")


@check("L05")
def check_the_rate_stays_within_the_formulas_range(subject: ScheduleSubject) -> None:
    """The rate is never below the least nor above the greatest that the formula gives anywhere."""
    judge = subject.judge
    for settings in _corners(subject):
        steps = _raises_after(subject, settings)
        bounds = []
        for base_lr in BASE_LRS:
            rates = [subject.rate(settings, base_lr, t) for t in range(steps + 1)]
            bounds.append((min(rates), max(rates)))
        probe = Probe(subject, settings)
        for _ in range(steps):
            for rate, base_lr, (least, most) in zip(probe.rates, BASE_LRS, bounds, strict=True):
                slack = 4 * SCHEDULE_ATOL * base_lr
                judge.that(
                    least - slack <= rate <= most + slack,
                    f"the learning rate {rate!r} is outside [{least!r}, {most!r}] under {short(settings)}",
                    step=probe.t,
                )
            probe.step()


@check("L06")
def check_degenerate_phases_are_finite(subject: ScheduleSubject) -> None:
    """Phases of no, of one and of all steps make no rate infinite, NaN or an error."""
    judge = subject.judge
    for settings in _corners(subject):
        probe = Probe(subject, settings)
        for _ in range(_raises_after(subject, settings) + 1):
            judge.that(all(map(math.isfinite, probe.rates)), f"not finite under {short(settings)}", step=probe.t)
            if probe.t < _raises_after(subject, settings):
                probe.step()


@check("L07")
def check_no_jump_that_the_formula_has_not(subject: ScheduleSubject) -> None:
    """Between two steps the rate moves as far as the formula does, at every joint."""
    judge = subject.judge
    settings = ordinary(subject)
    probe = Probe(subject, settings)
    for _ in range(_raises_after(subject, settings)):
        before, t = probe.rates, probe.t
        probe.step()
        for index, base_lr in enumerate(BASE_LRS):
            expected = subject.rate(settings, base_lr, probe.t) - subject.rate(settings, base_lr, t)
            moved = probe.rates[index] - before[index]
            judge.close(moved, expected, 1e-12 * base_lr, f"the change of group {index}'s learning rate", step=probe.t)


@check("L09")
def check_the_peak(subject: ScheduleSubject) -> None:
    """The rate is base_lr exactly at the declared peak, and nowhere higher."""
    judge = subject.judge
    if subject.traits.peak is None:
        raise NotApplicable("it declares no peak")
    for settings in _corners(subject):
        peak, end = settings[subject.traits.peak], last(subject, settings)
        if end is not None and peak >= end:
            continue
        probe = Probe(subject, settings).run(peak)
        for rate, base_lr in zip(probe.rates, BASE_LRS, strict=True):
            bound = SCHEDULE_ATOL * base_lr
            judge.close(rate, base_lr, bound, f"the peak under {short(settings)}", step=peak, of="base_lr")


@check("L10")
def check_many_steps(subject: ScheduleSubject) -> None:
    """After 5000 steps the rate is still the formula's, relative to 1e-10."""
    judge = subject.judge
    settings = ordinary(subject, total_steps=10000, warmup_steps=100)
    limited = subject.traits.after in {"raise", "cycle"}
    steps = min(5000, _raises_after(subject, settings)) if limited else 5000
    probe = Probe(subject, settings)
    for _ in range(steps):
        probe.step()
        if probe.t % 250 == 0 or probe.t == steps:
            for rate, base_lr in zip(probe.rates, BASE_LRS, strict=True):
                expected = subject.rate(settings, base_lr, probe.t)
                bound = 1e-10 * abs(expected) + SCHEDULE_ATOL * base_lr
                judge.close(rate, expected, bound, "the learning rate", step=probe.t)


@check("L12")
def check_each_group_has_its_own_base(subject: ScheduleSubject) -> None:
    """Every group is driven from its own base learning rate."""
    settings = ordinary(subject)
    for base_lrs in ((1.0, 0.001), (0.25, 0.25), (3e-4, 7.0)):
        probe = Probe(subject, settings, base_lrs)
        for _ in range(_raises_after(subject, settings)):
            probe.judged()
            probe.step()


@check("L13")
def check_it_goes_on_after_a_rate_of_zero(subject: ScheduleSubject) -> None:
    """After a rate of zero the schedule goes on by its formula."""
    judge = subject.judge
    seen = False
    for settings in _corners(subject):
        steps = _raises_after(subject, settings)
        factors = [subject.formula(settings, t) for t in range(steps + 1)]
        zeros = [t for t in range(steps) if factors[t] == 0 and factors[t + 1] != 0]
        if not zeros:
            continue
        seen = True
        probe = Probe(subject, settings).run(zeros[0])
        for _ in range(3):
            probe.judged("the learning rate around a zero")
            if probe.t < steps:
                probe.step()
    if not seen:
        raise NotApplicable("its formula has no zero that it goes on from")
    judge.that(seen, "no zero was seen")


@check("L14")
def check_reading_changes_nothing(subject: ScheduleSubject) -> None:
    """Reading rates and state, and writing to what was read, leaves the schedule as it is."""
    judge = subject.judge
    settings = ordinary(subject)
    probe, plain = Probe(subject, settings), Probe(subject, settings)
    for _ in range(_raises_after(subject, settings)):
        read = probe.scheduler.get_last_lr()
        read[0] = 123.0
        probe.scheduler.state_dict()
        judge.equal(probe.rates, plain.rates, "the rates after reading", step=probe.t, of="without it they are")
        probe.step()
        plain.step()
        judge.equal(probe.rates, plain.rates, "the rates after reading", step=probe.t, of="without it they are")


@check("L11")
def check_last_lr_is_the_groups_lr(subject: ScheduleSubject) -> None:
    """`get_last_lr()` is what the groups hold, at construction and after every step."""
    judge = subject.judge
    settings = ordinary(subject)
    probe = Probe(subject, settings)
    for _ in range(_raises_after(subject, settings)):
        judge.equal([float(rate) for rate in probe.scheduler.get_last_lr()], probe.rates, "get_last_lr()", step=probe.t)
        probe.step()


@check("L15", Tier.SHOULD)
def check_a_tensor_rate_stays_the_same_tensor(subject: ScheduleSubject) -> None:
    """A learning rate in a tensor stays that tensor, written in place, and has the formula's value."""
    judge = subject.judge
    settings = ordinary(subject)
    probe = Probe(subject, settings, tensor=True)
    tensors = [id(group["lr"]) for group in probe.optimizer.param_groups]
    for _ in range(_raises_after(subject, settings)):
        probe.judged("the learning rate in a tensor")
        probe.step()
        judge.equal(
            [id(group["lr"]) for group in probe.optimizer.param_groups], tensors, "the tensors that hold the rates"
        )


@check("L19", still=True)
def check_it_is_a_pure_function(subject: ScheduleSubject) -> None:
    """A schedule that is a function gives the same multiplier for a step, asked in any order, any number of times."""
    judge = subject.judge
    if not subject.pure:
        raise NotApplicable("it is a ready scheduler")
    for settings in _corners(subject)[::5]:
        schedule = subject.implementation(**subject.own_arguments(settings))
        steps = range(_raises_after(subject, settings) + 1)
        forward = [schedule(t) for t in steps]
        judge.equal([schedule(t) for t in reversed(steps)][::-1], forward, f"asked backwards under {short(settings)}")
        for t, value in zip(steps, forward, strict=True):
            judge.that(
                isinstance(value, float | int) and not isinstance(value, bool), f"f({t}) is a {type(value).__name__}"
            )
            expected = subject.formula(settings, t)
            bound = 1e-12 * abs(expected) + SCHEDULE_ATOL
            judge.close(value, expected, bound, f"f({t}) under {short(settings)}", step=t)


@check("L20")
def check_setting_the_step(subject: ScheduleSubject) -> None:
    """`step(t)` goes to step t, back and forth."""
    if not subject.pure:
        raise NotApplicable("it is a ready scheduler, for which torch has deprecated `step(t)`")
    settings = ordinary(subject)
    probe = Probe(subject, settings)
    for t in (3, 0, 7, 7, 1, _raises_after(subject, settings)):
        probe.jump(t)
        probe.judged()


@check("L21")
def check_the_curve(subject: ScheduleSubject) -> None:
    """The curve as a whole: what the report draws."""
    judge = subject.judge
    settings = ordinary(subject, total_steps=100, warmup_steps=20)
    steps = _raises_after(subject, settings)
    probe = Probe(subject, settings, (1.0,))
    actual = []
    for _ in range(steps):
        actual.append(probe.rates[0])
        probe.step()
    expected = [subject.formula(settings, t) for t in range(steps)]
    judge.curve = Curve(steps=list(range(steps)), actual=actual, expected=expected)
    for t in range(steps):
        judge.close(actual[t], expected[t], 1e-12 * abs(expected[t]) + SCHEDULE_ATOL, "the multiplier", step=t)
