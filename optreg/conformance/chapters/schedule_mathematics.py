"""Schedule mathematics: every learning rate, compared with its formula at every corner of the settings."""

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch.optim.lr_scheduler import ConstantLR, LRScheduler, SequentialLR

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless
from optreg.conformance.harness.schedule_corners import BEYOND, corners_for
from optreg.conformance.harness.scheduler_run import BASE_LRS, SchedulerRun
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.conformance.results.verdict import Curve, NotApplicable
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.settings import in_words
from optreg.conformance.subjects.subject import ScheduleSubject
from optreg.schedule import ScheduleLR


@check("L01", formula=True, hint="the formula differs from the reference's, and matches no known mistake")
def check_every_step_follows_the_formula(subject: ScheduleSubject) -> None:
    """At every corner, and at every step to 20 beyond the end, the rate is base_lr * f(t), to within 1e-12."""
    for settings in corners_for(subject):
        run = SchedulerRun(subject, settings)
        for _ in run.stepping(BEYOND):
            run.assert_rates()
        run.assert_rates()


@check("L02", formula=True, still=True, hint="the constructor does not set the rate, or sets it for step 1")
def check_the_rate_is_set_at_construction(subject: ScheduleSubject) -> None:
    """After construction the learning rate of each group is base_lr * f(0)."""
    for settings in corners_for(subject):
        SchedulerRun(subject, settings).assert_rates("the learning rate at construction")


@check("L03", formula=True, hint="the schedule ends a step early or late, or at another value")
def check_the_end_value(subject: ScheduleSubject) -> None:
    """The rate reaches the formula's end value at the last step, and not before."""
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
    "L04",
    formula=True,
    hint="the formula is used beyond its end; if that is intended, declare after=cycle or after=formula",
)
def check_after_the_end(subject: ScheduleSubject) -> None:
    """After its end the schedule holds, cycles, follows the formula or raises, as declared; no rate is negative."""
    seen = False
    for settings in corners_for(subject):
        end = subject.last_step(settings)
        if end is None:
            continue
        seen = True
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
                for index, (rate, expected) in enumerate(zip(run.rates, held, strict=True)):
                    bound = SCHEDULE_ATOL * run.base_lrs[index]
                    what = f"the learning rate of group {index} under {in_words(settings)}"
                    run.assert_close(index, rate, expected, bound, what, of="its end")
            elif subject.traits.after == "formula":
                run.assert_rates()
            beyond += run.rates
        peak = settings[subject.traits.peak] if subject.traits.peak else 0
        falls = len({subject.formula(settings, t) for t in range(peak, end + 1)}) > 1
        if subject.traits.after == "cycle" and falls:
            cycles = any(rate not in held for rate in beyond)
            subject.assert_true(cycles, "it is declared to cycle, but holds its last rate")
    if not seen:
        raise NotApplicable("it declares no end")


@check("L05", formula=True, hint="a phase is a step too long or too short, so that the curve leaves its range")
def check_the_rate_stays_within_the_formulas_range(subject: ScheduleSubject) -> None:
    """The rate is never below the formula's minimum, nor above its maximum."""
    for settings in corners_for(subject):
        steps = subject.reach(settings, BEYOND)
        curves = [[subject.rate(settings, base_lr, t) for t in range(steps + 1)] for base_lr in BASE_LRS]
        run = SchedulerRun(subject, settings)
        for _ in run.stepping(BEYOND):
            for index, (rate, base_lr) in enumerate(zip(run.rates, BASE_LRS, strict=True)):
                least, most = min(curves[index]), max(curves[index])
                slack = SCHEDULE_RTOL * max(abs(most), base_lr)
                outside = f"the learning rate {rate!r} is outside [{least!r}, {most!r}] under {in_words(settings)}"
                with run.showing(index, min(max(rate, least), most), slack):
                    subject.assert_true(least - slack <= rate <= most + slack, outside, step=run.t)


@check("L06", hint="the formula divides by the length of a phase that has no steps")
def check_degenerate_phases_are_finite(subject: ScheduleSubject) -> None:
    """If a phase has no steps, one step or all steps, the rate stays finite and no error is raised."""
    for settings in corners_for(subject):
        run = SchedulerRun(subject, settings)
        for _ in range(subject.reach(settings, BEYOND) + 1):
            finite = all(map(math.isfinite, run.rates))
            subject.assert_true(finite, f"not finite under {in_words(settings)}", step=run.t)
            if run.t < subject.reach(settings, BEYOND):
                run.step()


@check("L07", formula=True, hint="two phases do not meet at their joint")
def check_no_jump_beyond_the_formula(subject: ScheduleSubject) -> None:
    """Between any two steps, joints included, the rate changes as much as the formula does."""
    settings = subject.ordinary()
    run = SchedulerRun(subject, settings)
    for _ in range(subject.reach(settings, BEYOND)):
        before, t = run.rates, run.t
        run.step()
        for index, base_lr in enumerate(BASE_LRS):
            expected = subject.rate(settings, base_lr, run.t) - subject.rate(settings, base_lr, t)
            moved, bound = run.rates[index] - before[index], 1e-12 * base_lr
            with run.showing(index, before[index] + expected, bound):
                subject.assert_close(moved, expected, bound, f"the change of group {index}'s learning rate", step=run.t)


@check("L09", formula=True, hint="the warmup is counted from 1, or is a step longer or shorter than `warmup_steps`")
def check_the_peak(subject: ScheduleSubject) -> None:
    """At the declared peak the rate is exactly base_lr."""
    if subject.traits.peak is None:
        raise NotApplicable("it declares no peak")
    for settings in corners_for(subject):
        peak, end = settings[subject.traits.peak], subject.last_step(settings)
        if end is not None and peak >= end:
            continue
        run = SchedulerRun(subject, settings).run(peak)
        for index, (rate, base_lr) in enumerate(zip(run.rates, BASE_LRS, strict=True)):
            what = f"the peak of group {index} under {in_words(settings)}"
            run.assert_close(index, rate, base_lr, SCHEDULE_ATOL * base_lr, what, of="base_lr")


@check(
    "L10",
    formula=True,
    hint="each rate is computed from the last one, and rounding adds up; or a number of steps is capped",
)
def check_many_steps(subject: ScheduleSubject) -> None:
    """Over tens of thousands of steps, and beyond the end, the rate is the formula's to within 1e-10."""
    settings = subject.ordinary(total_steps=34567, warmup_steps=1373)
    settings = {name: _slow(value) for name, value in settings.items()}
    run = SchedulerRun(subject, settings)
    steps = subject.reach(settings, BEYOND)
    endless = subject.traits.after not in {"raise", "cycle"}
    for t in range(1, (max(steps, 5000) if endless else steps) + 1):
        run.step()
        if t % 500 == 0 or t == steps:
            run.assert_rates(rtol=1e-10)


def _slow(value: Any) -> Any:
    """A decay rate with which something is left after thousands of steps."""
    return value**0.002 if isinstance(value, float) and 0.5 < value < 1 else value


UNLIKE = (1.0, 0.001, 0.25, 0, 30.0, 3e-7, 1, 0.5, 1e-5, 0.3, 0.07)
"""Base learning rates: zero, integers, large ones and small ones; more than nine, whose numbers have two digits."""


@check("L12", hint="a group has the base rate of another; or a base rate of 0, an integer or a large one is special")
def check_each_group_has_its_own_base(subject: ScheduleSubject) -> None:
    """Each of eleven groups has its own base learning rate, be it 0, an integer, tiny or large, after a resume too."""
    for base_lrs in (UNLIKE, UNLIKE[::-1], (0.25, 0.25)):
        run = SchedulerRun(subject, base_lrs=base_lrs)
        for t in run.stepping(BEYOND):
            run.assert_rates()
            if t == 3:
                resumed = run.resumed()
                resumed.step()
                resumed.assert_rates("the rate after a resume")


@check("L13", formula=True, hint="each rate is a multiple of the last one, and so stays at zero")
def check_it_goes_on_after_a_rate_of_zero(subject: ScheduleSubject) -> None:
    """After a rate of zero the schedule continues by its formula."""
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
        raise NotApplicable("its formula is never zero before its end")
    subject.assert_true(seen, "no zero was seen")


@check("L14", hint="`get_last_lr` or `state_dict` returns the schedule's own list or dict")
def check_reading_changes_nothing(subject: ScheduleSubject) -> None:
    """Reading the rates and the state, and modifying what was read, does not affect the schedule."""
    run, plain = SchedulerRun(subject), SchedulerRun(subject)
    for _ in range(subject.reach(run.settings, BEYOND)):
        read = run.scheduler.get_last_lr()
        read[0] = 123.0
        run.scheduler.state_dict()
        run.note("scheduler.get_last_lr()[0] = 123.0; scheduler.state_dict()")
        run.assert_same(plain, "after reading", of="without it, it is")
        run.step()
        plain.step()
        run.assert_same(plain, "after reading", of="without it, it is")


@check("L11", hint="`get_last_lr` returns earlier values, not the current ones of the groups")
def check_last_lr_is_the_groups_lr(subject: ScheduleSubject) -> None:
    """`get_last_lr()` returns the groups' learning rates, at construction and after every step."""
    run = SchedulerRun(subject)
    for _ in run.stepping(BEYOND):
        run.assert_last_lr("get_last_lr()")


@check("L22", hint="a base rate is the group's own tensor, which the schedule writes to")
def check_tensor_rates(subject: ScheduleSubject) -> None:
    """Learning rates in tensors, one for each group, have the formula's values."""
    run = SchedulerRun(subject, tensor=True)
    for _ in run.stepping(BEYOND):
        run.assert_rates("the learning rate in a tensor")


@check("L15", Tier.SHOULD, hint="the group's tensor is replaced: write to it with `fill_`")
def check_a_tensor_rate_stays_the_same_tensor(subject: ScheduleSubject) -> None:
    """A learning rate in a tensor is updated in place."""
    run = SchedulerRun(subject, tensor=True)
    tensors = [group["lr"] for group in run.optimizer.param_groups]
    for _ in range(subject.reach(run.settings, BEYOND)):
        run.step()
        for index, (group, tensor) in enumerate(zip(run.optimizer.param_groups, tensors, strict=True)):
            subject.assert_true(group["lr"] is tensor, f"the learning rate of group {index} is another tensor now")


_unless_fed = unless(lambda subject: not subject.fed, "its steps take a metric, which torch's SequentialLR has not")
_unless_it_drives_more = unless(lambda subject: subject.traits.drives, "it drives only the learning rate")


@check(
    "L16", needs=_unless_it_drives_more, formula=True, hint="what is driven besides the rate is wrong, or not restored"
)
def check_what_is_driven_besides_the_rate(subject: ScheduleSubject) -> None:
    """Everything else that a schedule is declared to drive follows the reference, after a resume too."""
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
                value, expected = float(run.optimizer.param_groups[0][key]), float(expected)
                with run.showing(0, expected, 1e-12, show=f"optimizer.param_groups[{{i}}][{key!r}]"):
                    subject.assert_close(value, expected, 1e-12, f"{key} under {in_words(settings)}", step=t)


@check("L17", Tier.SHOULD, needs=_unless_fed, hint="it continues from the current rate, instead of starting at f(0)")
def check_it_is_a_part_of_a_sequence(subject: ScheduleSubject) -> None:
    """As the second part of torch's SequentialLR it starts at f(0) at the joint, at step 0 or later."""
    settings, compared = subject.ordinary(), False
    for joint in (0, 3):
        control = SchedulerRun(subject, settings)
        _begin_a_sequence(control, ScheduleLR(control.optimizer, partial(subject.formula, settings)), joint)
        if abs(control.run(joint).rates[0] - control.expected(0, 0)) > SCHEDULE_ATOL:
            continue  # this release of torch is wrong at such a joint, whatever the schedule is
        compared = True
        run = SchedulerRun(subject, settings)
        _begin_a_sequence(run, run.scheduler, joint)
        run.run(joint)
        for t in range(subject.reach(settings, BEYOND)):
            run.t = t
            run.assert_rates(f"{t} steps after a joint at {joint}, the learning rate")
            run.step()
    if not compared:
        raise NotApplicable("its rate is not a multiple of the base rate, or this release of torch is wrong at joints")


def _begin_a_sequence(run: SchedulerRun, second: LRScheduler, joint: int) -> None:
    """Put a constant learning rate before a schedule."""
    first = ConstantLR(run.optimizer, factor=0.5, total_iters=joint)
    run.scheduler = SequentialLR(run.optimizer, [first, second], [joint])
    run.note(f"first = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters={joint})")
    run.note(f"scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [first, scheduler], [{joint}])")


@check("L19", still=True, hint="the schedule remembers its calls, reads a clock, or does not return a float")
def check_it_is_a_pure_function(subject: ScheduleSubject) -> None:
    """A pure schedule gives the same multiplier for a step, in any order of calls, any number of times."""
    if not subject.pure:
        raise NotApplicable("it is an LRScheduler, not a pure schedule")
    for settings in corners_for(subject)[::5]:
        schedule = subject.implementation(**subject.own_arguments(settings))
        steps = range(subject.reach(settings, BEYOND) + 1)
        forward = [schedule(t) for t in steps]
        backward = [schedule(t) for t in reversed(steps)][::-1]
        subject.assert_equal(backward, forward, f"asked backwards under {in_words(settings)}")
        for t, value in zip(steps, forward, strict=True):
            number = isinstance(value, float | int) and not isinstance(value, bool)
            subject.assert_true(number, f"f({t}) is a {type(value).__name__}")
            _assert_multiplier(subject, settings, t, value, 1e-12)
    for settings, late in _long(subject):
        schedule = subject.implementation(**subject.own_arguments(settings))
        for t in late:
            _assert_multiplier(subject, settings, t, schedule(t), 1e-10)


LONG = (
    (2_345_678, 13_731, (101, 1_009, 13_729, 40_001, 1_000_003, 2_345_700)),
    (6_000_000_011, 70_001, (69_999, 20_000_003, 2**31 + 10, 2**32 + 7, 1_009)),
)
"""Numbers of steps, of a warm-up's too, that float32 or 32 bits cannot count, and steps in an order that goes back."""


def _long(subject: ScheduleSubject) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Settings of long runs, and steps at which the schedule may be asked."""
    end, peak = subject.traits.end or "total_steps", subject.traits.peak or "warmup_steps"
    for total, warmup, steps in LONG:
        settings = subject.ordinary(**{end: total, peak: warmup})
        settings = {name: _slow(value) for name, value in settings.items()}
        holds = subject.traits.after == "hold" or end not in settings
        yield settings, [t for t in steps if holds or t < settings[end]]


@check("L23", hint="the step is kept in float32 or in 32 bits, or the rate depends on what was asked before")
def check_a_scheduler_at_large_steps(subject: ScheduleSubject) -> None:
    """A scheduler whose checkpoint says that it is at a large step, or at an earlier one again, follows the formula."""
    if subject.pure:
        raise NotApplicable("it is a pure schedule, which L19 asks at large steps")
    if subject.fed:
        raise NotApplicable("what it does depends on all metrics so far, and on no count of steps")
    for settings, steps in _long(subject):
        for t in steps:
            run = SchedulerRun(subject, settings).run(4)
            earlier = copy.deepcopy(run.scheduler.state_dict())
            run.run(5).put_at(t, earlier)
            run.step()
            run.assert_rates(rtol=1e-10)
    if not subject.activity.comparisons:
        raise NotApplicable("it ends before it could be asked at a large step")


def _assert_multiplier(subject: ScheduleSubject, settings: dict[str, Any], t: int, value: float, rtol: float) -> None:
    expected = subject.formula(settings, t)
    bound = rtol * abs(expected) + SCHEDULE_ATOL
    subject.assert_close(value, expected, bound, f"f({t}) under {in_words(settings)}", step=t)


@check("L20", hint="`step(t)` advances by t, or ignores it")
def check_setting_the_step(subject: ScheduleSubject) -> None:
    """`step(t)` sets the schedule to step t, forwards and backwards."""
    if not subject.pure:
        raise NotApplicable("it is an LRScheduler, for which torch has deprecated `step(t)`")
    run = SchedulerRun(subject)
    for t in (3, 0, 7, 7, 1, subject.reach(run.settings, BEYOND)):
        run.jump(t)
        run.assert_rates()


@check("L21", formula=True, hint="the formula differs from the reference's, and matches no known mistake")
def check_the_curve(subject: ScheduleSubject) -> None:
    """The curve of 100 steps, which the report draws, is the formula's."""
    settings = subject.ordinary(total_steps=100, warmup_steps=20)
    run = SchedulerRun(subject, settings, (1.0,))
    actual = [run.rates[0] for _ in run.stepping(BEYOND)]
    expected = [subject.formula(settings, t) for t in range(len(actual))]
    subject.activity.curve = Curve(steps=list(range(len(actual))), actual=actual, expected=expected)
    for t, (rate, right) in enumerate(zip(actual, expected, strict=True)):
        subject.assert_close(rate, right, 1e-12 * abs(right) + SCHEDULE_ATOL, "the multiplier", step=t)
