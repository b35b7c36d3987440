"""The steps of a scheduler beside the updates of its optimizer: what is refused, what is told, what stays silent."""

import copy
import functools
import gc
import math
import pickle
import warnings
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, SequentialLR

import optreg
from optreg import StepWarning

SCHEDULE = {"name": "cosine", "total_steps": 5000}
TORCHS = {"name": "torch.CosineAnnealingLR", "T_max": 5000}
CURVE = optreg.default_registry().scheduler("cosine").implementation()(total_steps=5000)


def build(scheduler=SCHEDULE):
    """A run of SGD on one parameter that has a gradient."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    model.weight.grad = torch.ones(1, 1)
    return optreg.build({"optimizer": {"name": "torch.SGD", "lr": 1.0}, "scheduler": scheduler}, model)


def go(run, pattern, times=1):
    """Make updates (u) and steps (s) in the order of the pattern."""
    for act in pattern * times:
        run.optimizer.step() if act == "u" else run.scheduler.step()


# Steps are integers


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (2.5, TypeError, r"a step is a non-negative integer, not 2.5 \(float\)"),
        (3.0, TypeError, r"a step is a non-negative integer, not 3.0 \(float\)"),
        (math.nan, TypeError, r"not nan \(float\)"),
        (True, TypeError, r"not True \(bool\)"),
        (np.bool_(True), TypeError, "not .*True"),
        ("3", TypeError, r"not '3' \(str\)"),
        (torch.tensor(3), TypeError, r"not tensor\(3\) \(Tensor\)"),
        (np.array(3), TypeError, r"not array\(3\) \(ndarray\)"),
        (-2, ValueError, "a step is a non-negative integer, not -2"),
        (np.int64(-3), ValueError, "a step is a non-negative integer, not -3"),
        (2**53 + 1, ValueError, r"at most 2\^53, to be exact in float64, not a number of 54 bits"),
        (2**500, ValueError, "not a number of 501 bits"),
    ],
)
@pytest.mark.parametrize("place", ["step", "last_epoch"])
def test_what_is_not_a_step_is_refused_by_what_was_given_and_leaves_no_trace(step, error, message, place):
    run = build()
    run.scheduler.step(7)
    before = run.scheduler.state_dict(), run.scheduler._step_count, run.optimizer.param_groups[0]["lr"]
    act = run.scheduler.step if place == "step" else functools.partial(optreg.ScheduleLR, run.optimizer, CURVE)
    with pytest.raises(error, match=message):
        act(step)
    assert before == (run.scheduler.state_dict(), run.scheduler._step_count, run.optimizer.param_groups[0]["lr"])


def test_the_number_that_stands_for_a_beginning_is_not_a_step():
    run = build()
    assert optreg.ScheduleLR(run.optimizer, CURVE, -1).last_epoch == 0
    with pytest.raises(ValueError, match="a step is a non-negative integer, not -1"):
        run.scheduler.step(-1)


@pytest.mark.parametrize("step", [0, 3, 10**12, 2**53, np.int64(3), np.uint8(200)])
def test_integers_of_python_and_numpy_are_steps(step):
    run = build()
    run.scheduler.step(step)
    assert (run.scheduler.last_epoch, type(run.scheduler.last_epoch)) == (step, int)


# Steps and updates in proportion

whoever = pytest.mark.parametrize("scheduler", [SCHEDULE, TORCHS], ids=["ours", "torchs"])
untold = pytest.mark.filterwarnings(r"ignore:Detected call of .lr_scheduler.step\(\). before")  # as torch has it


@untold
@whoever
@pytest.mark.parametrize(
    ("pattern", "times", "message"),
    [
        ("ssssssssu", 10, "scheduler has made 39 steps beside 4 updates of the optimizer, so update number 4 would run at"),
        ("ssu", 100, "not for each micro-batch"),
        ("s", 1000, "33 steps beside 0 updates"),
        ("u" * 300 + "s", 3, "has made 200 updates beside 0 steps .* update number 200 runs at the rate of step 0"),
        ("u" * 100 + "s", 6, "'interval': 'step'"),
        ("u", 1000, "200 updates beside 0 steps"),
    ],
)  # fmt: skip
def test_steps_out_of_proportion_are_told_once_where_step_was_called(scheduler, pattern, times, message):
    run = build(scheduler)
    with pytest.warns(StepWarning, match=message) as caught:
        go(run, pattern, times)
    assert [warning.filename for warning in caught if warning.category is StepWarning] == [__file__]


@untold
@whoever
@pytest.mark.parametrize(
    ("pattern", "times"),
    [
        ("us", 600),
        ("su", 600),  # in the order of torch before 1.1
        ("s" * 17 + "us" * 300 + "s" + "us" * 300, 1),  # a gradient scaler finds its scale, and skips one update later
        ("uuuuus", 150),  # five updates of a critic for each of the generator
        ("u" * 180 + "s", 1),
    ],
)
def test_steps_in_proportion_are_not_told(scheduler, pattern, times):
    go(build(scheduler), pattern, times)


def test_a_gradient_scaler_that_skips_updates_is_no_reason_to_warn():
    run = build()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    param = run.optimizer.param_groups[0]["params"][0]
    for t in range(150):
        param.grad = None
        loss = (param * (math.inf if t < 24 or t % 50 == 0 else 1.0)).sum()
        scaler.scale(loss).backward()
        scaler.step(run.optimizer)
        scaler.update()
        run.scheduler.step()


def test_a_closure_that_is_called_many_times_is_one_update():
    param = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.LBFGS([param], max_iter=20)
    scheduler = optreg.scheduler("linear", optimizer, total_steps=400)

    def closure():
        optimizer.zero_grad()
        loss = ((param - torch.tensor([1.0, 3.0])) ** 4).sum()
        loss.backward()
        return loss

    for _ in range(40):
        optimizer.step(closure)
        scheduler.step()


@untold
@pytest.mark.parametrize("pattern", ["u" * 1000, "s" * 1000])
@pytest.mark.parametrize("name", ["constant", "torch.ConstantLR"])
def test_a_proportion_that_changes_no_rate_is_not_told(name, pattern):
    settings = {"factor": 1.0} if name == "torch.ConstantLR" else {}
    go(build({"name": name, **settings}), pattern)


def test_it_is_told_when_the_proportion_begins_to_matter():
    run = build({"name": "linear_warmup", "warmup_steps": 0})
    go(run, "s", 500)
    optimizer = build().optimizer
    held = optreg.Run(optimizer, optreg.ScheduleLR(optimizer, lambda t: 1.0 if t < 600 else 0.5), run.spec)
    with pytest.warns(StepWarning, match="8[0-9][0-9] steps beside 0 updates"):
        go(held, "s", 900)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@whoever
def test_a_place_that_is_set_is_not_counted_as_steps(scheduler):
    run = build(scheduler)
    go(run, "us", 2)
    run.scheduler.step(4000)
    go(run, "us", 50)
    run.scheduler.last_epoch = 3000
    go(run, "us", 50)
    other = build(scheduler)
    other.optimizer.load_state_dict(run.optimizer.state_dict())
    other.scheduler.load_state_dict(run.scheduler.state_dict())
    go(other, "us", 100)
    with pytest.warns(StepWarning, match="[0-9]{3} steps beside 1[0-9]{2} updates"):
        go(other, "ssss" + "u", 50)


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")  # torch's own says so of copies
@whoever
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))])
def test_copies_of_a_run_count_by_themselves(copied, scheduler):
    twin = copied(build(scheduler))
    go(twin, "us", 300)
    with pytest.warns(StepWarning):
        go(copied(twin), "u", 300)


def test_schedulers_that_wait_in_a_sequence_or_follow_another_are_silent():
    run = build()
    parts = [optreg.ScheduleLR(run.optimizer, f) for f in (lambda t: 1 / (2 + t), lambda t: 1 / (5 + t))]
    sequence = SequentialLR(run.optimizer, parts, milestones=[300])
    del run.scheduler.optimizer.step  # the first scheduler of the run is out of use
    for _ in range(600):
        run.optimizer.step()
        sequence.step()


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # older torches say so of their own SequentialLR
@pytest.mark.parametrize("made_of", [SequentialLR, ChainedScheduler])
def test_torchs_schedulers_in_a_sequence_or_a_chain_are_told_like_others(made_of):
    def build_one():
        optimizer = build().optimizer
        first = optreg.scheduler("torch.LinearLR", optimizer, total_iters=5)
        second = optreg.scheduler("torch.StepLR", optimizer, step_size=100)
        parts = [first, second]
        made = SequentialLR(optimizer, parts, [300]) if made_of is SequentialLR else ChainedScheduler(parts, optimizer)
        return optreg.Run(optimizer, made, None)

    go(build_one(), "us", 700)
    with pytest.warns(StepWarning, match="200 updates beside 0 steps"):
        go(build_one(), "u", 300)
    with pytest.warns(StepWarning, match="(39 steps beside 4|103 steps beside 11) updates") as caught:
        go(build_one(), "u" + "s" * 10, 30)
    assert {warning.filename for warning in caught} == {__file__}


def test_a_scheduler_that_steps_by_more_than_a_count_is_not_judged(schedule):
    schedule("plateau", "patience: int = 2", implementation="torch.optim.lr_scheduler:ReduceLROnPlateau")
    run = build({"name": "plateau"})
    for t in range(300):
        run.optimizer.step()
        if t % 250 == 0:
            run.scheduler.step(1.0)


def test_a_schedule_that_is_undefined_beyond_its_end_does_not_stop_an_update():
    run = build()
    scheduler = optreg.ScheduleLR(run.optimizer, lambda t: 1 / (t < 10))
    with pytest.warns(StepWarning, match="200 updates beside 0 steps"):
        go(optreg.Run(run.optimizer, scheduler, run.spec), "u", 300)


def test_an_optimizer_whose_hooks_never_run_is_not_judged():
    class Bare(torch.optim.Optimizer):
        """As accelerate wraps an optimizer: without a constructor."""

        def __init__(self, inner):
            self.inner, self.param_groups, self.defaults = inner, inner.param_groups, inner.defaults

        def step(self, closure=None):
            self.inner.step(closure)

    class WithHooks(Bare):
        """As timm wraps one: with a place for hooks that nothing calls."""

        def __init__(self, inner):
            super().__init__(inner)
            self._optimizer_step_pre_hooks = OrderedDict()

    for wrapper in (Bare, WithHooks):
        optimizer = wrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0))
        scheduler = optreg.scheduler("linear", optimizer, total_steps=1000)
        for _ in range(300):
            optimizer.step()
            scheduler.step()


def test_a_compiled_step_is_not_compiled_anew_by_counting():
    run = build()
    step = torch.compile(lambda: run.optimizer.step(), backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler warns of the profiler, and of rates that are numbers
        for _ in range(5):
            step()
    go(run, "s", 100)  # uncounted, so nothing is told


def test_nothing_of_it_keeps_optimizer_or_scheduler_alive():
    run = build()
    optimizer, scheduler = weakref.ref(run.optimizer), weakref.ref(run.scheduler)
    kept = run.optimizer
    del run
    gc.collect()
    assert scheduler() is None
    kept.step()
    del kept
    gc.collect()
    assert optimizer() is None


# Groups that are added


@pytest.mark.parametrize("tensor", [True, False])
def test_an_added_group_is_scheduled_from_its_first_update(tensor):
    run = build({"name": "linear", "total_steps": 10})
    go(run, "us", 4)
    rates = [torch.tensor(0.5, dtype=torch.float64) if tensor else 0.5, 0.25]
    for rate in rates:
        param = torch.nn.Parameter(torch.ones(1))
        run.optimizer.add_param_group({"params": [("late", param)], "lr": rate})
    seen = []
    run.optimizer.register_step_post_hook(
        lambda optimizer, *_: seen.append([float(group["lr"]) for group in optimizer.param_groups])
    )
    go(run, "us", 3)
    factors = [1 - t / 10 for t in (4, 5, 6)]
    assert seen == [pytest.approx([factor, 0.5 * factor, 0.25 * factor]) for factor in factors]
    assert run.scheduler.base_lrs == [1.0, 0.5, 0.25]
    assert (run.optimizer.param_groups[1]["lr"] is rates[0]) == tensor


def test_a_group_that_is_added_in_a_sequence_is_scheduled_by_the_one_whose_turn_it_is():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    parts = [optreg.ScheduleLR(optimizer, f) for f in (lambda t: 0.5, lambda t: 1 / (4 + t))]
    sequence = SequentialLR(optimizer, parts, milestones=[2])
    seen = []
    optimizer.register_step_post_hook(
        lambda optimizer, *_: seen.append([group["lr"] for group in optimizer.param_groups])
    )
    for t in range(5):
        if t == 3:
            optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 2.0})
        optimizer.step()
        sequence.step()
    assert seen == [[0.5], [0.5], [0.25], [0.2, 0.4], [1 / 6, 2 / 6]]
