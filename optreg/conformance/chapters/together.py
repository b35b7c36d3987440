"""Schedule and optimizer together: the learning rates of the updates in a real loop."""

import copy
import gc
import warnings
import weakref
from typing import Any

import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.harness.scheduler_run import BASE_LRS, SchedulerRun, make_optimizer
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.conformance.subjects.subject import ScheduleSubject


@check("X01", hint="the rate is set a step early or late in `step` or `load_state_dict`")
def check_every_update_sees_its_rate(subject: ScheduleSubject) -> None:
    """The learning rate of update t is base_lr * f(t), after a resume too."""
    run = SchedulerRun(subject)
    seen: list[list[float]] = []

    def watch(optimizer: Any) -> None:
        optimizer.register_step_pre_hook(lambda o, *_: seen.append([float(group["lr"]) for group in o.param_groups]))

    watch(run.optimizer)
    for t in range(subject.reach(run.settings)):
        if t in (2, 9):
            run = run.resumed()
            watch(run.optimizer)
        run.step()
        subject.assert_equal(len(seen), t + 1, "the number of updates seen")
        for index, base_lr in enumerate(BASE_LRS):
            expected, what = run.expected(index, t), f"the rate of group {index} that the update saw"
            bound = SCHEDULE_RTOL * abs(expected) + SCHEDULE_ATOL * base_lr
            subject.assert_close(seen[t][index], expected, bound, what, step=t)


@check("X02", Tier.SHOULD, hint="the base rates are a list that is made once, at construction")
def check_a_group_added_later_is_scheduled(subject: ScheduleSubject) -> None:
    """A group added after some steps is scheduled from then on, or an error says that it is not."""
    run = SchedulerRun(subject).run(3)
    try:
        run.add_group(0.7)
        run.step()
    except (ValueError, RuntimeError) as error:
        subject.assert_true("group" in str(error), f"the error does not mention groups: {error}")
        return
    for t in run.stepping():
        subject.assert_equal(len(run.rates), 3, "the number of groups", step=t)
        run.assert_rates("with a group added later, the rate")


@check("X03", hint="the groups are kept from the constructor: read `optimizer.param_groups` in every step")
def check_the_groups_driven_are_the_live_ones(subject: ScheduleSubject) -> None:
    """After the optimizer has loaded a checkpoint, which replaces its groups, the new groups are scheduled."""
    run = SchedulerRun(subject).run(2)
    run.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    run.note("optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))")
    for _ in run.stepping():
        run.assert_rates("the rate after the optimizer loaded a checkpoint")


@check("X04", hint="`step` raises if the optimizer has not stepped before")
def check_a_skipped_update(subject: ScheduleSubject) -> None:
    """If a gradient scaler skips the first update, the schedule advances all the same."""
    run = SchedulerRun(subject)
    run.advance()
    run.assert_rates()
    run.run(subject.reach(run.settings) - 1)
    run.assert_rates()


@check("X09", Tier.SHOULD, hint="torch's check warns that `optimizer.step()` was not called before `step`")
def check_a_skipped_update_is_no_reason_to_warn(subject: ScheduleSubject) -> None:
    """If a gradient scaler skips the first update, the schedule does not warn."""
    run = SchedulerRun(subject)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.advance()
    messages = "; ".join(str(warning.message)[:100] for warning in caught)
    subject.assert_true(not caught, f"a step after a skipped update warns: {messages}")
    run.assert_rates()


@check("X10", still=True, hint="the constructor or `step` changes parameters, the optimizer or a global switch")
def check_nothing_else_is_touched(subject: ScheduleSubject) -> None:
    """Parameters, gradients, defaults, what `step` returns, random numbers and torch's switches are not changed."""
    for enabled in (True, False):
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(enabled):
            torch.manual_seed(12_345)  # no subject's own seed
            before = _world(make_optimizer(subject))
            run = SchedulerRun(subject)
            subject.assert_equal(_world(run.optimizer), before, "what is around it, after it was constructed,")
            run.advance()
            subject.assert_equal(_world(run.optimizer), before, "what is around it, after a step,")
            subject.assert_equal(run.optimizer.step(lambda: 1.5), 1.5, "what the optimizer returns of its closure")
            before = _world(run.optimizer)
            run.advance()
            subject.assert_equal(_world(run.optimizer), before, "what is around it, after another step,")


def _world(optimizer: Any) -> dict[str, Any]:
    """What a schedule must not change."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    return {
        "parameters": [param.tolist() for param in params],
        "gradients": [None if param.grad is None else param.grad.tolist() for param in params],
        "requires_grad": [param.requires_grad for param in params],
        "the optimizer's defaults": {key: repr(value) for key, value in optimizer.defaults.items()},
        "whether gradients are enabled": torch.is_grad_enabled(),
        "the default dtype": str(torch.get_default_dtype()),
        "the state of torch's random numbers": torch.get_rng_state().tolist(),
    }


@check("X06", Tier.SHOULD, hint="a closure, a global or a cycle with `__del__` keeps the optimizer alive")
def check_nothing_keeps_the_model_alive(subject: ScheduleSubject) -> None:
    """Optimizer, scheduler and parameters are freed when nothing refers to them any more."""
    run = SchedulerRun(subject).run(8)
    dying = [weakref.ref(thing) for thing in (run.optimizer, run.optimizer.param_groups[0]["params"][0])]
    del run
    gc.collect()
    for what, thing in zip(("the optimizer", "a parameter"), dying, strict=True):
        subject.assert_true(thing() is None, f"{what} is still alive")


@check("X07", hint="the rate depends on the number of updates, through a hook or the optimizer's state")
def check_it_counts_its_own_steps(subject: ScheduleSubject) -> None:
    """The rate depends on the number of scheduler steps, not on the number of updates."""
    run = SchedulerRun(subject)
    for t in run.stepping():
        run.assert_rates()
        for _ in range(t % 3):
            run.update()


@check("X08", hint="the schedule writes to other keys of the groups than the learning rate")
def check_the_optimizer_is_left_whole(subject: ScheduleSubject) -> None:
    """Only the learning rate, and what the schedule is declared to drive, changes in the groups."""
    keys = {*make_optimizer(subject).param_groups[0]} - {"params", "lr", *subject.traits.drives}
    before = make_optimizer(subject).param_groups
    run = SchedulerRun(subject)
    run.run(subject.reach(run.settings))
    for index, group in enumerate(run.optimizer.param_groups):
        for key in sorted(keys):
            expected, what = before[index][key], f"'{key}' of group {index}"
            with run.showing(index, expected, 0.0, show=f"optimizer.param_groups[{{i}}][{key!r}]"):
                subject.assert_equal(group[key], expected, what, of="before the schedule it was")
