"""Schedule mathematics: every multiplier against its formula, at every corner."""

import math
from functools import partial
from typing import Any

from torch.optim.lr_scheduler import ConstantLR, LRScheduler, SequentialLR

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.harness.schedule_corners import BEYOND, corners_for
from optreg.conformance.harness.scheduler_run import BASE_LRS, SchedulerRun
from optreg.conformance.results.tolerance import SCHEDULE_ATOL
from optreg.conformance.results.verdict import Curve, NotApplicable
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.schedule_settings import span
from optreg.conformance.subjects.settings import in_words
from optreg.conformance.subjects.subject import ScheduleSubject
from optreg.schedule import ScheduleLR


@check("L01", hint="the formula is not the reference's, in a way that is none of the known mistakes")
def check_every_step_follows_the_formula(subject: ScheduleSubject) -> None:
    """At every step to 20 beyond the end, at every corner, the rate is base_lr * f(t), relative to 1e-12."""
    for settings in corners_for(subject):
        run = SchedulerRun(subject, settings)
        run.assert_rates()
        for _ in range(subject.reach(settings, BEYOND)):
            run.step()
            run.assert_rates()


@check("L02", still=True, hint="the constructor leaves the groups' rate as it was, or sets it for step 1")
def check_the_rate_is_set_at_construction(subject: ScheduleSubject) -> None:
    """Right after construction the groups hold base_lr * f(0)."""
    for settings in corners_for(subject):
        SchedulerRun(subject, settings).assert_rates("the learning rate at construction")


@check("L03", hint="the schedule ends a step early or late, or its floor is another")
def check_the_end_value(subject: ScheduleSubject) -> None:
    """At the last step the rate is the formula's end value; the step before it is not yet."""
    seen = False
    for settings in corners_for(subject):
        end = subject.last_step(settings)
        if end is None:
            continue
        seen = True
        run = SchedulerRun(subject, settings).run(end - 1)
        run.assert_rates("the learning rate before the end")
        run.step()
        run.assert_rates("the learning rate at the end")
    if not seen:
        raise NotApplicable("it declares no end")
    subject.assert_true(seen, "no end was seen")


@check(
    "L04", hint="the formula is followed beyond its last step; if that is meant, declare after=cycle or after=formula"
)
def check_after_the_end(subject: ScheduleSubject) -> None:
    """After its last step the schedule holds, cycles, goes on or raises, as declared; the rate is never negative."""
    for settings in corners_for(subject):
        end = subject.last_step(settings)
        if end is None:
            raise NotApplicable("it declares no end")
        run = SchedulerRun(subject, settings).run(end)
        if subject.traits.after == "raise":
            subject.assert_raises(partial(run.run, 2), Exception, "a step beyond the end")
            continue
        held = run.rates
        beyond = []
        for _ in range(2 * end + (BEYOND if end > 7 else 75)):
            run.step()
            for index, rate in enumerate(run.rates):
                with run.showing(index, max(rate, 0.0), SCHEDULE_ATOL):
                    negative = f"the rate {rate!r} of group {index} under {in_words(settings)} is negative"
                    subject.assert_true(rate >= -SCHEDULE_ATOL, negative, step=run.t)
            if subject.traits.after == "hold":
                for index, (rate, wanted) in enumerate(zip(run.rates, held, strict=True)):
                    bound = SCHEDULE_ATOL * run.base_lrs[index]
                    what = f"the learning rate of group {index} under {in_words(settings)}"
                    run.assert_close(index, rate, wanted, bound, what, of="its end")
            elif subject.traits.after == "formula":
                run.assert_rates()
            beyond += run.rates
        if subject.traits.after == "cycle" and not _level(subject, settings):
            subject.assert_true(
                any(rate not in held for rate in beyond), "it is declared to cycle, and holds its last rate"
            )


@check("L05", hint="a phase is a step too long or too short, so that the curve leaves its range")
def check_the_rate_stays_within_the_formulas_range(subject: ScheduleSubject) -> None:
    """The rate is never below the least nor above the greatest that the formula gives anywhere."""
    for settings in corners_for(subject):
        steps = subject.reach(settings, BEYOND)
        bounds = []
        for base_lr in BASE_LRS:
            rates = [subject.rate(settings, base_lr, t) for t in range(steps + 1)]
            bounds.append((min(rates), max(rates)))
        run = SchedulerRun(subject, settings)
        for _ in range(steps):
            for index, (base_lr, (least, most)) in enumerate(zip(BASE_LRS, bounds, strict=True)):
                rate = run.rates[index]
                slack = 4 * SCHEDULE_ATOL * max(abs(most), base_lr)
                with run.showing(index, min(max(rate, least), most), slack):
                    subject.assert_true(
                        least - slack <= rate <= most + slack,
                        f"the learning rate {rate!r} is outside [{least!r}, {most!r}] under {in_words(settings)}",
                        step=run.t,
                    )
            run.step()


@check("L06", hint="a phase of no steps is divided by its length")
def check_degenerate_phases_are_finite(subject: ScheduleSubject) -> None:
    """Phases of no, of one and of all steps make no rate infinite, NaN or an error."""
    for settings in corners_for(subject):
        run = SchedulerRun(subject, settings)
        for _ in range(subject.reach(settings, BEYOND) + 1):
            subject.assert_true(
                all(map(math.isfinite, run.rates)), f"not finite under {in_words(settings)}", step=run.t
            )
            if run.t < subject.reach(settings, BEYOND):
                run.step()


@check("L07", hint="two phases do not meet at their joint")
def check_no_jump_that_the_formula_has_not(subject: ScheduleSubject) -> None:
    """Between two steps the rate moves as far as the formula does, at every joint."""
    settings = subject.ordinary()
    run = SchedulerRun(subject, settings)
    for _ in range(subject.reach(settings, BEYOND)):
        before, t = run.rates, run.t
        run.step()
        for index, base_lr in enumerate(BASE_LRS):
            expected = subject.rate(settings, base_lr, run.t) - subject.rate(settings, base_lr, t)
            moved = run.rates[index] - before[index]
            bound = 1e-12 * base_lr
            with run.showing(index, before[index] + expected, bound):
                subject.assert_close(moved, expected, bound, f"the change of group {index}'s learning rate", step=run.t)


@check("L09", hint="the warm-up is counted from 1, or has one step more or less than `warmup_steps`")
def check_the_peak(subject: ScheduleSubject) -> None:
    """The rate is base_lr exactly at the declared peak, and nowhere higher."""
    if subject.traits.peak is None:
        raise NotApplicable("it declares no peak")
    for settings in corners_for(subject):
        peak, end = settings[subject.traits.peak], subject.last_step(settings)
        if end is not None and peak >= end:
            continue
        run = SchedulerRun(subject, settings).run(peak)
        for index, (rate, base_lr) in enumerate(zip(run.rates, BASE_LRS, strict=True)):
            bound = SCHEDULE_ATOL * base_lr
            run.assert_close(
                index, rate, base_lr, bound, f"the peak of group {index} under {in_words(settings)}", of="base_lr"
            )


@check("L10", hint="each rate is made from the one before, and rounding adds up; or a number of steps is capped")
def check_many_steps(subject: ScheduleSubject) -> None:
    """Through tens of thousands of steps, and beyond the end, the rate is the formula's, relative to 1e-10."""
    settings = subject.ordinary(total_steps=34567, warmup_steps=1373)
    settings = {name: _slow(value) for name, value in settings.items()}
    run = SchedulerRun(subject, settings)
    steps = subject.reach(settings, BEYOND)
    for t in range(1, (steps if steps > 20000 else max(steps, 5000) if _endless(subject) else steps) + 1):
        run.step()
        if t % 500 == 0 or t == steps:
            run.assert_rates(rtol=1e-10)


def _slow(value: Any) -> Any:
    """A decay rate that leaves something after thousands of steps."""
    return value**0.002 if isinstance(value, float) and 0.5 < value < 1 else value


def _endless(subject: ScheduleSubject) -> bool:
    return subject.traits.after not in {"raise", "cycle"}


def _level(subject: ScheduleSubject, settings: dict[str, Any]) -> bool:
    """Whether the formula is the same from beginning to end."""
    return len({subject.formula(settings, t) for t in range(span(settings) + 1)}) == 1


UNLIKE = (1.0, 0.001, 0.25, 0, 30.0, 3e-7, 1)
"""Base rates of a frozen layer, of whole numbers, large and small."""


@check("L12", hint="groups are driven from another's base rate; or a base rate of 0, an int, or a large one is special")
def check_each_group_has_its_own_base(subject: ScheduleSubject) -> None:
    """Every one of seven groups is driven from its own base learning rate, be it 0, whole, tiny or large."""
    settings = subject.ordinary()
    for base_lrs in (UNLIKE, UNLIKE[::-1], (0.25, 0.25)):
        run = SchedulerRun(subject, settings, base_lrs)
        for _ in range(subject.reach(settings, BEYOND)):
            run.assert_rates()
            run.step()


@check("L13", hint="each rate is made from the one before by a factor, which nothing brings back from zero")
def check_it_goes_on_after_a_rate_of_zero(subject: ScheduleSubject) -> None:
    """After a rate of zero the schedule goes on by its formula."""
    seen = False
    for settings in corners_for(subject):
        steps = subject.reach(settings, BEYOND)
        factors = [subject.formula(settings, t) for t in range(steps + 1)]
        zeros = [t for t in range(steps) if factors[t] == 0 and factors[t + 1] != 0]
        if not zeros:
            continue
        seen = True
        run = SchedulerRun(subject, settings).run(zeros[0])
        for _ in range(3):
            run.assert_rates("the learning rate around a zero")
            if run.t < steps:
                run.step()
    if not seen:
        raise NotApplicable("its formula has no zero that it goes on from")
    subject.assert_true(seen, "no zero was seen")


@check("L14", hint="`get_last_lr` or `state_dict` returns the schedule's own list or dict")
def check_reading_changes_nothing(subject: ScheduleSubject) -> None:
    """Reading rates and state, and writing to what was read, leaves the schedule as it is."""
    settings = subject.ordinary()
    run, plain = SchedulerRun(subject, settings), SchedulerRun(subject, settings)
    for _ in range(subject.reach(settings, BEYOND)):
        read = run.scheduler.get_last_lr()
        read[0] = 123.0
        run.scheduler.state_dict()
        run.note("scheduler.get_last_lr()[0] = 123.0; scheduler.state_dict()")
        run.assert_same(plain, "after reading", of="without it it is")
        run.step()
        plain.step()
        run.assert_same(plain, "after reading", of="without it it is")


@check("L11", hint="`get_last_lr` returns what was computed before, not what the groups hold")
def check_last_lr_is_the_groups_lr(subject: ScheduleSubject) -> None:
    """`get_last_lr()` is what the groups hold, at construction and after every step."""
    settings = subject.ordinary()
    run = SchedulerRun(subject, settings)
    for _ in range(subject.reach(settings, BEYOND)):
        with run.showing(0, run.rates[0], 0.0, show="scheduler.get_last_lr()[{i}]"):
            told = [float(rate) for rate in run.scheduler.get_last_lr()]
            subject.assert_equal(told, run.rates, "get_last_lr()", step=run.t, of="the groups hold")
        run.step()


@check("L15", Tier.SHOULD, hint="the group's tensor is replaced by a new one: write to it with `fill_`")
def check_a_tensor_rate_stays_the_same_tensor(subject: ScheduleSubject) -> None:
    """A learning rate in a tensor stays that tensor, written in place, and has the formula's value."""
    settings = subject.ordinary()
    run = SchedulerRun(subject, settings, tensor=True)
    tensors = [group["lr"] for group in run.optimizer.param_groups]
    for _ in range(subject.reach(settings, BEYOND)):
        run.assert_rates("the learning rate in a tensor")
        run.step()
        for index, (group, tensor) in enumerate(zip(run.optimizer.param_groups, tensors, strict=True)):
            subject.assert_true(group["lr"] is tensor, f"the tensor that holds the rate of group {index} is exchanged")


def _drives_nothing_else(subject: ScheduleSubject) -> str | None:
    return None if subject.traits.drives else "it drives nothing but the learning rate"


@check("L16", needs=_drives_nothing_else, hint="what is driven besides the rate goes its own way, or is not restored")
def check_what_is_driven_besides_the_rate(subject: ScheduleSubject) -> None:
    """Whatever else a schedule is declared to drive follows the reference, at every step, and after a resume."""
    for settings in corners_for(subject):
        run = SchedulerRun(subject, settings)
        reference = subject.reference(**settings)
        for t in range(subject.reach(settings, BEYOND) + 1):
            if t:
                run.step()
            if t == 3:
                run = run.resumed()
            for key in subject.traits.drives:
                expected = getattr(reference, key)(t, fifty_digits())
                if expected is None:
                    continue
                value, wanted = float(run.optimizer.param_groups[0][key]), float(expected)
                with run.showing(0, wanted, 1e-12, show=f"optimizer.param_groups[{{i}}][{key!r}]"):
                    subject.assert_close(value, wanted, 1e-12, f"{key} under {in_words(settings)}", step=t)


@check("L17", Tier.SHOULD, hint="it goes on from the rate that is there, instead of from its own base rate and step 0")
def check_it_is_a_part_of_a_sequence(subject: ScheduleSubject) -> None:
    """As the second part of torch's SequentialLR it begins at f(0) at the joint, be it step 0 or later."""
    settings, compared = subject.ordinary(), False
    for joint in (0, 3):
        control = SchedulerRun(subject, settings)
        _begin_a_sequence(control, ScheduleLR(control.optimizer, partial(subject.formula, settings)), joint)
        if abs(control.run(joint).rates[0] - control.expected(0, 0)) > SCHEDULE_ATOL:
            continue  # this release of torch goes wrong at such a joint, whatever the schedule is
        compared = True
        run = SchedulerRun(subject, settings)
        _begin_a_sequence(run, run.scheduler, joint)
        run.run(joint)
        for t in range(subject.reach(settings, BEYOND)):
            run.t = t
            run.assert_rates(f"{t} steps after a joint at {joint}, the learning rate")
            run.step()
    if not compared:
        raise NotApplicable("its rate is no multiple of the base rate, or this release of torch has no right sequences")


def _begin_a_sequence(run: SchedulerRun, second: LRScheduler, joint: int) -> None:
    """Put a constant rate before a schedule."""
    first = ConstantLR(run.optimizer, factor=0.5, total_iters=joint)
    run.scheduler = SequentialLR(run.optimizer, [first, second], [joint])
    run.note(f"first = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters={joint})")
    run.note(f"scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [first, scheduler], [{joint}])")


@check(
    "L19", still=True, hint="the schedule remembers its calls, reads a clock, or returns something else than a float"
)
def check_it_is_a_pure_function(subject: ScheduleSubject) -> None:
    """A schedule that is a function gives the same multiplier for a step, asked in any order, any number of times."""
    if not subject.pure:
        raise NotApplicable("it is a ready scheduler")
    for settings in corners_for(subject)[::5]:
        schedule = subject.implementation(**subject.own_arguments(settings))
        steps = range(subject.reach(settings, BEYOND) + 1)
        forward = [schedule(t) for t in steps]
        subject.assert_equal(
            [schedule(t) for t in reversed(steps)][::-1], forward, f"asked backwards under {in_words(settings)}"
        )
        for t, value in zip(steps, forward, strict=True):
            subject.assert_true(
                isinstance(value, float | int) and not isinstance(value, bool), f"f({t}) is a {type(value).__name__}"
            )
            expected = subject.formula(settings, t)
            bound = 1e-12 * abs(expected) + SCHEDULE_ATOL
            subject.assert_close(value, expected, bound, f"f({t}) under {in_words(settings)}", step=t)
    settings = subject.ordinary(total_steps=2_345_678, warmup_steps=13_731)
    schedule = subject.implementation(**subject.own_arguments(settings))
    for t in (101, 1_009, 13_730, 40_001, 100_003, 1_000_003):
        expected = subject.formula(settings, t)
        bound = 1e-10 * abs(expected) + SCHEDULE_ATOL
        subject.assert_close(schedule(t), expected, bound, f"f({t}) under {in_words(settings)}", step=t)


@check("L20", hint="`step(t)` moves on from where it is, instead of to t")
def check_setting_the_step(subject: ScheduleSubject) -> None:
    """`step(t)` goes to step t, back and forth."""
    if not subject.pure:
        raise NotApplicable("it is a ready scheduler, for which torch has deprecated `step(t)`")
    settings = subject.ordinary()
    run = SchedulerRun(subject, settings)
    for t in (3, 0, 7, 7, 1, subject.reach(settings, BEYOND)):
        run.jump(t)
        run.assert_rates()


@check("L21", hint="the formula is not the reference's, in a way that is none of the known mistakes")
def check_the_curve(subject: ScheduleSubject) -> None:
    """The curve as a whole: what the report draws."""
    settings = subject.ordinary(total_steps=100, warmup_steps=20)
    steps = subject.reach(settings, BEYOND)
    run = SchedulerRun(subject, settings, (1.0,))
    actual = []
    for _ in range(steps):
        actual.append(run.rates[0])
        run.step()
    expected = [subject.formula(settings, t) for t in range(steps)]
    subject.activity.curve = Curve(steps=list(range(steps)), actual=actual, expected=expected)
    for t in range(steps):
        subject.assert_close(actual[t], expected[t], 1e-12 * abs(expected[t]) + SCHEDULE_ATOL, "the multiplier", step=t)
