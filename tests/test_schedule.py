"""ScheduleLR beyond what the conformance suite asks of every schedule that it drives."""

import copy
import dataclasses
import json
import pickle

import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, SequentialLR, StepLR

import optreg
from optreg_plugins.schedules.schedule import WarmupCosine

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


def test_step_t_sets_the_step_without_a_warning():
    optimizer = make_optimizer(2.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(7)
    assert rates(optimizer) == [2.0 * CURVE(7)]
    scheduler.step()
    assert rates(optimizer) == [2.0 * CURVE(8)]
    scheduler.step(1)
    assert scheduler.get_last_lr() == scheduler.get_lr() == rates(optimizer) == [2.0 * CURVE(1)]


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


def test_the_base_rates_of_a_checkpoint_beat_those_of_the_constructor():
    first = optreg.ScheduleLR(make_optimizer(1.0, 0.1), CURVE)
    first.step(5)
    optimizer = make_optimizer(0.7, 0.7)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.load_state_dict(first.state_dict())  # the optimizer's own checkpoint is not loaded
    assert rates(optimizer) == [1.0 * CURVE(5), 0.1 * CURVE(5)]
    scheduler.step()
    assert rates(optimizer) == [1.0 * CURVE(6), 0.1 * CURVE(6)]


def test_last_epoch_without_an_initial_rate_is_refused():
    with pytest.raises(KeyError, match="initial_lr"):
        optreg.ScheduleLR(make_optimizer(1.0), CURVE, last_epoch=4)


def test_a_changed_horizon_is_refused_unless_it_is_meant():
    scheduler = optreg.ScheduleLR(make_optimizer(1.0), CURVE)
    scheduler.step(6)
    longer = WarmupCosine(warmup_steps=3, total_steps=24)
    optimizer = make_optimizer(1.0)
    other = optreg.ScheduleLR(optimizer, longer)
    with pytest.raises(ValueError, match=r"scheduler\.total_steps: 12 in the checkpoint, 24 in the spec"):
        other.load_state_dict(scheduler.state_dict())
    assert rates(optimizer) == [longer(0)]  # the refused checkpoint has left no trace
    other = optreg.ScheduleLR(optimizer, longer, on_resume="follow")
    other.load_state_dict(scheduler.state_dict())
    assert rates(optimizer) == [longer(6)]


def test_a_checkpoint_of_another_number_of_groups_is_refused():
    state = optreg.ScheduleLR(make_optimizer(1.0, 2.0), CURVE).state_dict()
    with pytest.raises(ValueError, match="schedules 2 param groups, but this optimizer has 1"):
        optreg.ScheduleLR(make_optimizer(1.0), CURVE).load_state_dict(state)


def test_the_state_of_a_schedule_with_a_tuple_survives_json():
    first = optreg.ScheduleLR(make_optimizer(1.0), Staircase((2, 4)))
    first.step(3)
    state = json.loads(json.dumps(first.state_dict()))
    assert state == first.state_dict()
    optimizer = make_optimizer(1.0)
    optreg.ScheduleLR(optimizer, Staircase((2, 4))).load_state_dict(state)
    assert rates(optimizer) == [0.5]
    with pytest.raises(ValueError, match=r"milestones: \[2, 4\] in the checkpoint, \[2, 5\] in the spec"):
        optreg.ScheduleLR(optimizer, Staircase((2, 5))).load_state_dict(state)


def test_copies_go_on_by_themselves():
    optimizer = make_optimizer(1.0)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(4)
    for twin in (copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        twin.step()
        assert rates(twin.optimizer) == [CURVE(5)]
    assert rates(optimizer) == [CURVE(4)]


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


def test_reading_changes_nothing():
    optimizer = make_optimizer(1.0, 0.1)
    scheduler = optreg.ScheduleLR(optimizer, CURVE)
    scheduler.step(5)
    before = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    scheduler.get_last_lr()[0] = 9.0
    scheduler.get_lr()[0] = 9.0
    scheduler.state_dict()["base_lrs"][0] = 9.0
    assert (scheduler.state_dict(), optimizer.state_dict()) == before


def test_a_checkpoint_of_another_scheduler_is_told_and_followed_where_it_counts_steps():
    def after(on_resume, theirs):
        scheduler = optreg.ScheduleLR(make_optimizer(1.0), CURVE, on_resume=on_resume)
        scheduler.load_state_dict(theirs)
        return scheduler.get_last_lr()

    theirs = torch.optim.lr_scheduler.LambdaLR(make_optimizer(1.0), lambda t: 1.0)
    for _ in range(3):
        theirs.optimizer.step(), theirs.step()
    with pytest.raises(
        optreg.ResumeError,
        match=r"scheduler: another scheduler in the checkpoint, {'name'(.|\n)*takes follow or branch\n",
    ):
        after("refuse", theirs.state_dict())
    assert after("follow", theirs.state_dict()) == [CURVE(3)]
    assert after("branch", theirs.state_dict()) == [CURVE(0)]
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(make_optimizer(1.0))
    with pytest.raises(ValueError, match=r"lacks base_lrs, .* call step\(t\) instead of loading it"):
        after("follow", plateau.state_dict())
