"""ScheduleLR: the step convention, several groups, tensor rates, and resuming."""

import copy
import dataclasses
import gc
import json
import pickle
import weakref

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, LRScheduler, SequentialLR, StepLR

import optreg
from optreg_plugins.warmup_cosine.schedule import WarmupCosine

CURVE = WarmupCosine(warmup_steps=3, total_steps=12)


@dataclasses.dataclass(frozen=True)
class Staircase:
    """A schedule with a parameter that JSON does not know: a tuple."""

    milestones: tuple[int, ...]

    def __call__(self, step):
        return 0.5 ** sum(step >= milestone for milestone in self.milestones)


def make_optimizer(*rates):
    params = [torch.nn.Parameter(torch.ones(2)) for _ in rates]
    return torch.optim.SGD([{"params": [param], "lr": rate} for param, rate in zip(params, rates, strict=True)], lr=1.0)


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def test_the_rate_is_that_of_step_zero_right_after_construction():
    optimizer = make_optimizer(0.5)
    scheduler = optreg.ScheduleLR(optimizer, lambda t: 0.25 + t)
    assert rates(optimizer) == [0.125]
    assert isinstance(scheduler, LRScheduler)


def test_each_group_follows_its_own_base_rate_and_stepping_equals_the_formula():
    optimizer = make_optimizer(1.0, 0.1)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    for t in range(20):
        assert rates(optimizer) == [1.0 * CURVE(t), 0.1 * CURVE(t)]
        assert scheduler.get_last_lr() == scheduler.get_lr() == rates(optimizer)
        scheduler.step()


def test_step_t_sets_the_step_without_a_warning():
    optimizer = make_optimizer(2.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(7)
    assert rates(optimizer) == [2.0 * CURVE(7)]
    scheduler.step()
    assert rates(optimizer) == [2.0 * CURVE(8)]
    scheduler.step(1)
    assert rates(optimizer) == [2.0 * CURVE(1)]


def test_five_thousand_steps_equal_the_closed_form_exactly():
    optimizer = make_optimizer(0.3)
    curve = WarmupCosine(warmup_steps=100, total_steps=6000)
    scheduler = optreg.ScheduleLR(optimizer, curve)
    for _ in range(5000):
        scheduler.step()
    assert rates(optimizer) == [0.3 * curve(5000)]


def test_a_group_added_later_is_scheduled_from_the_next_step_on():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.5})
    scheduler.step()
    assert rates(optimizer) == [CURVE(1), 0.5 * CURVE(1)]


def test_a_tensor_rate_stays_the_same_tensor_and_is_handed_out_as_a_copy():
    rate = torch.tensor(0.5, dtype=torch.float64)
    optimizer = make_optimizer(rate)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(2)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.5 * CURVE(2)
    scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": 4})
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.5 * CURVE(4)
    scheduler.step(2)
    scheduler.get_last_lr()[0].fill_(9.0)
    assert rate.item() == 0.5 * CURVE(2)


@pytest.mark.parametrize("scheduler_first", [True, False])
@pytest.mark.parametrize("k", range(14))
def test_a_run_resumed_at_any_step_goes_on_exactly(k, scheduler_first):
    whole = make_optimizer(1.0, 0.1)
    whole_scheduler = optreg.ScheduleLR(whole, CURVE)
    for _ in range(k):
        whole_scheduler.step()
    saved = whole.state_dict(), json.loads(json.dumps(whole_scheduler.state_dict()))

    resumed = make_optimizer(0.7, 0.7)
    scheduler = optreg.ScheduleLR(resumed, CURVE)
    loads = [lambda: resumed.load_state_dict(saved[0]), lambda: scheduler.load_state_dict(saved[1])]
    for load in reversed(loads) if scheduler_first else loads:
        load()
    for _ in range(15):
        assert rates(resumed) == rates(whole) == scheduler.get_last_lr()
        whole_scheduler.step()
        scheduler.step()


def test_the_base_rates_of_a_checkpoint_beat_those_of_the_constructor():
    first = optreg.ScheduleLR(make_optimizer(1.0, 0.1), CURVE)
    first.step(5)
    optimizer = make_optimizer(0.7, 0.7)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.load_state_dict(first.state_dict())  # the optimizer's own checkpoint is not loaded
    assert rates(optimizer) == [1.0 * CURVE(5), 0.1 * CURVE(5)]
    scheduler.step()
    assert rates(optimizer) == [1.0 * CURVE(6), 0.1 * CURVE(6)]


def test_loading_twice_is_loading_once():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(5)
    state = scheduler.state_dict()
    scheduler.load_state_dict(state)
    scheduler.load_state_dict(state)
    assert scheduler.state_dict() == state
    assert rates(optimizer) == [CURVE(5)]


def test_last_epoch_is_the_last_update_made():
    optimizer = make_optimizer(1.0)
    first = optreg.ScheduleLR(optimizer, CURVE)
    first.step(5)
    again = optreg.ScheduleLR(optimizer, CURVE, last_epoch=4)
    assert again.last_epoch == 5
    loaded = optreg.ScheduleLR(make_optimizer(1.0), CURVE)
    loaded.load_state_dict(first.state_dict())
    assert again.state_dict() == loaded.state_dict() == first.state_dict()
    assert rates(optimizer) == [CURVE(5)]
    with pytest.raises(KeyError, match="initial_lr"):
        optreg.ScheduleLR(make_optimizer(1.0), CURVE, last_epoch=4)


def test_a_changed_horizon_is_refused_unless_it_is_meant():
    scheduler = optreg.ScheduleLR(make_optimizer(1.0), CURVE)
    scheduler.step(6)
    longer = WarmupCosine(warmup_steps=3, total_steps=24)
    optimizer = make_optimizer(1.0)
    other = optreg.ScheduleLR(optimizer, longer)
    with pytest.raises(ValueError, match=r"'total_steps': 12.*'total_steps': 24.*keep_schedule=True"):
        other.load_state_dict(scheduler.state_dict())
    assert rates(optimizer) == [longer(0)]  # the refused checkpoint has left no trace
    other.load_state_dict(scheduler.state_dict(), keep_schedule=True)
    assert rates(optimizer) == [longer(6)]


def test_a_checkpoint_of_another_number_of_groups_is_refused():
    state = optreg.ScheduleLR(make_optimizer(1.0, 2.0), CURVE).state_dict()
    with pytest.raises(ValueError, match="schedules 2 param groups, this optimizer has 1"):
        optreg.ScheduleLR(make_optimizer(1.0), CURVE).load_state_dict(state)


def test_the_state_is_plain_data_that_torch_loads_with_weights_only(tmp_path):
    scheduler = optreg.ScheduleLR(make_optimizer(1.0), CURVE)
    torch.save(scheduler.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == scheduler.state_dict()


def test_the_state_of_a_schedule_with_a_tuple_survives_json():
    first = optreg.ScheduleLR(make_optimizer(1.0), Staircase((2, 4)))
    first.step(3)
    state = json.loads(json.dumps(first.state_dict()))
    assert state == first.state_dict()
    optimizer = make_optimizer(1.0)
    optreg.ScheduleLR(optimizer, Staircase((2, 4))).load_state_dict(state)
    assert rates(optimizer) == [0.5]
    with pytest.raises(ValueError, match=r"\[2, 4\].*\[2, 5\]"):
        optreg.ScheduleLR(optimizer, Staircase((2, 5))).load_state_dict(state)


def test_copies_go_on_by_themselves():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(4)
    for twin in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        twin.step()
        assert rates(twin.optimizer) == [CURVE(5)]
    assert rates(optimizer) == [CURVE(4)]


def test_it_takes_its_place_in_a_sequence_of_torch():
    optimizer = make_optimizer(1.0)
    up = optreg.ScheduleLR(optimizer, lambda t: t / 3)
    down = optreg.ScheduleLR(optimizer, lambda t: 1 - t / 10)
    sequence = SequentialLR(optimizer, [up, down], milestones=[3])
    seen = []
    for _ in range(6):
        seen.append(rates(optimizer)[0])
        optimizer.step()
        sequence.step()
    assert seen == pytest.approx([0, 1 / 3, 2 / 3, 1, 0.9, 0.8])


@pytest.mark.parametrize("scheduler_first", [True, False])
@pytest.mark.parametrize("tensor", [True, False])
@pytest.mark.parametrize("k", range(10))
def test_a_sequence_resumed_at_any_step_goes_on_exactly(k, tensor, scheduler_first):
    def build():
        optimizer = make_optimizer(torch.tensor(0.5, dtype=torch.float64) if tensor else 0.5)
        parts = [optreg.ScheduleLR(optimizer, f) for f in (lambda t: (t + 1) / 4, lambda t: 1 - t / 10, CURVE)]
        return optimizer, SequentialLR(optimizer, parts, milestones=[3, 6])

    whole, whole_sequence = build()
    for _ in range(k):
        whole.step()
        whole_sequence.step()
    saved = whole.state_dict(), whole_sequence.state_dict()
    resumed, sequence = build()
    loads = [lambda: resumed.load_state_dict(saved[0]), lambda: sequence.load_state_dict(saved[1])]
    for load in reversed(loads) if scheduler_first else loads:
        load()
    for _ in range(12):
        assert rates(resumed) == rates(whole)
        for part in (whole, whole_sequence, resumed, sequence):
            part.step()


def test_a_sequence_may_have_its_joint_at_zero():
    optimizer = make_optimizer(1.0)
    SequentialLR(optimizer, [StepLR(optimizer, 1), ConstantLR(optimizer, factor=0.5)], milestones=[0])
    if rates(optimizer) != [0.5]:
        pytest.skip("in this torch a sequence begins with its first scheduler, wherever the joint is")
    optimizer = make_optimizer(1.0)
    parts = [optreg.ScheduleLR(optimizer, lambda t: 9.0), optreg.ScheduleLR(optimizer, lambda t: 1 / (1 + t))]
    sequence = SequentialLR(optimizer, parts, milestones=[0])
    assert rates(optimizer) == sequence.get_last_lr() == [1.0]


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # torch 2.6 begins the next one by it
def test_a_sequence_may_go_on_with_a_scheduler_of_torch():
    optimizer = make_optimizer(1.0)
    parts = [optreg.ScheduleLR(optimizer, lambda t: t / 2), StepLR(optimizer, 1, gamma=0.5)]
    sequence = SequentialLR(optimizer, parts, milestones=[2])
    seen = []
    for _ in range(5):
        seen.append(rates(optimizer)[0])
        optimizer.step()
        sequence.step()
    assert seen == [0.0, 0.5, 1.0, 0.5, 0.25]


def test_the_last_one_in_a_chain_sets_the_rate():
    optimizer = make_optimizer(1.0)
    chain = ChainedScheduler([StepLR(optimizer, 1, gamma=0.5), optreg.ScheduleLR(optimizer, CURVE)], optimizer)
    for t in range(15):
        assert rates(optimizer) == [CURVE(t)]
        optimizer.step()
        chain.step()
        assert chain.get_last_lr() == rates(optimizer)


def test_a_chain_resumes_exactly():
    def build():
        optimizer = make_optimizer(0.5)
        return optimizer, ChainedScheduler([optreg.ScheduleLR(optimizer, CURVE)], optimizer)

    whole, whole_chain = build()
    for _ in range(5):
        whole.step()
        whole_chain.step()
    resumed, chain = build()
    chain.load_state_dict(whole_chain.state_dict())
    assert rates(resumed) == rates(whole) == [0.5 * CURVE(5)]


def test_an_update_that_the_gradient_scaler_skipped_brings_no_warning():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, lambda t: 1 / (1 + t))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    (param,) = optimizer.param_groups[0]["params"]
    for factor, expected in ((float("inf"), 1.0), (1.0, 0.5)):  # skipped at the rate 1, made at the rate 1/2
        optimizer.zero_grad()
        scaler.scale((param * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        assert param.tolist() == [expected, expected]
    assert rates(optimizer) == [1 / 3]


def test_a_scheduler_may_be_stepped_without_its_optimizer_and_the_optimizer_without_it():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    for _ in range(4):
        scheduler.step()
    (param,) = optimizer.param_groups[0]["params"]
    param.grad = torch.ones(2)
    optimizer.step()
    optimizer.step()
    assert rates(optimizer) == [CURVE(4)]
    assert param.tolist() == pytest.approx([1 - 2 * CURVE(4)] * 2)


def test_reading_changes_nothing():
    optimizer = make_optimizer(1.0, 0.1)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(5)
    before = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    scheduler.get_last_lr()[0] = 9.0
    scheduler.get_lr()[0] = 9.0
    scheduler.state_dict()["base_lrs"][0] = 9.0
    assert (scheduler.state_dict(), optimizer.state_dict()) == before


def test_it_goes_on_rightly_after_a_rate_of_zero():
    optimizer = make_optimizer(0.5)
    scheduler = optreg.ScheduleLR(optimizer, lambda t: float(t % 2))
    seen = []
    for _ in range(4):
        seen += rates(optimizer)
        scheduler.step()
    assert seen == [0.0, 0.5, 0.0, 0.5]


def test_nothing_keeps_the_model_alive():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    dying = [weakref.ref(thing) for thing in (optimizer, scheduler, optimizer.param_groups[0]["params"][0])]
    scheduler.step()
    del optimizer, scheduler
    gc.collect()
    assert [thing() for thing in dying] == [None, None, None]


def test_a_checkpoint_of_torchs_own_scheduler_is_refused_by_name():
    scheduler = optreg.ScheduleLR(make_optimizer(1.0), CURVE)
    theirs = torch.optim.lr_scheduler.LambdaLR(make_optimizer(1.0), lambda t: 1.0).state_dict()
    with pytest.raises(ValueError, match="lacks schedule, so another scheduler than ScheduleLR wrote it"):
        scheduler.load_state_dict(theirs)
