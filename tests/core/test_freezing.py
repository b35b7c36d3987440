"""Parameters that are frozen for the first updates: nothing moves, and nothing is kept, until they thaw."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import optreg
from optreg import ResumeError

NAMES = ["adamw", "lion", "torch.AdamW", "torch.SGD"]
THAW = 3

PURE = {"name": "linear", "total_steps": 20}
TORCH = {"name": "torch.StepLR", "step_size": 4}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(4, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.body(x).tanh())


def spec(name="adamw", scheduler=PURE, freeze=THAW, **more):
    rules = [{"match": "last.*", "freeze": freeze}] if freeze is not None else []
    return {"optimizer": {"name": name, "lr": 0.1}, "groups": rules, "scheduler": scheduler, **more}


def started(name="adamw", scheduler=PURE, freeze=THAW, **more):
    model = Net()
    return model, optreg.build(spec(name, scheduler, freeze, **more), model)


def backward(model):
    model.zero_grad()
    loss = model(torch.linspace(-1, 1, 12).view(3, 4)).square().sum()
    loss.backward()
    return loss


def train(model, run, updates):
    for _ in range(updates):
        backward(model)
        run.optimizer.step()
        run.scheduler.step()


def values(module):
    return [param.detach().clone() for param in module.parameters()]


def same(ours, theirs):
    return all(map(torch.equal, values(ours), values(theirs)))


def rates(run):
    return {group["param_names"][0].split(".")[0]: float(group["lr"]) for group in run.optimizer.param_groups}


def plainly(name, scheduler, updates, thaw=THAW):
    """The same training by hand: the last layer has no gradient before it thaws."""
    model = Net()
    run = optreg.build(spec(name, scheduler, None), model)
    for update in range(updates):
        backward(model)
        if update < thaw:
            model.last.zero_grad()
        run.optimizer.step()
        run.scheduler.step()
    return model


@pytest.mark.parametrize("scheduler", [PURE, TORCH], ids=["pure", "torch"])
@pytest.mark.parametrize("name", NAMES)
def test_frozen_parameters_move_from_the_update_on_at_which_they_thaw(name, scheduler):
    model, run = started(name, scheduler)
    before = values(model.last)
    train(model, run, THAW)
    assert all(map(torch.equal, values(model.last), before))
    assert not any(run.optimizer.state.get(param) for param in model.last.parameters())
    assert same(model, plainly(name, scheduler, THAW))
    train(model, run, 1)
    assert not any(map(torch.equal, values(model.last), before))
    train(model, run, 3)
    assert same(model, plainly(name, scheduler, THAW + 4))


def test_the_rate_of_frozen_parameters_is_zero():
    model, run = started()
    seen = []
    for _ in range(THAW + 2):
        seen.append(rates(run))
        assert run.scheduler.get_lr() == [group["lr"] for group in run.optimizer.param_groups]
        train(model, run, 1)
    assert [each["last"] for each in seen] == [0.0] * THAW + [seen[THAW]["body"], seen[THAW + 1]["body"]]
    assert seen[0]["body"] == 0.1
    assert run.scheduler.base_lrs == [0.1, 0.1]


def test_a_rate_that_follows_a_schedule_of_its_own_is_zero_too():
    model = Net()
    phases = [{"name": "linear", "from": 1.0, "to": 0.5, "for": 10}]
    rule = {"match": "last.*", "freeze": THAW, "lr": phases}
    run = optreg.build({**spec(), "groups": [rule]}, model)
    seen = []
    for _ in range(5):
        seen.append(rates(run)["last"])
        train(model, run, 1)
    assert seen == [0.0, 0.0, 0.0, 0.85, 0.8]


def test_a_tensor_rate_is_set_in_place():
    model = Net()
    rate = torch.tensor(0.1)
    rules = [{"match": "last.*", "freeze": 1}]
    optimizer = optreg.optimizer("torch.AdamW", model, lr=rate, foreach=False, groups=rules)
    scheduler = optreg.scheduler("constant", optimizer)
    frozen = optimizer.param_groups[1]["lr"]
    assert float(frozen) == 0.0
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)
    backward(model)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[1]["lr"] is frozen
    assert float(frozen) == pytest.approx(0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keyword", [False, True])
def test_what_a_closure_computes_is_dropped_too(name, keyword):
    model, run = started(name)
    before = values(model.last)
    for update in range(THAW + 1):
        loss = (
            run.optimizer.step(closure=lambda: backward(model))
            if keyword
            else run.optimizer.step(lambda: backward(model))
        )
        assert loss.item() > 0
        run.scheduler.step()
        assert all(map(torch.equal, values(model.last), before)) == (update < THAW)
    assert same(model, plainly(name, PURE, THAW + 1))


@pytest.mark.parametrize("name", ["adamw", "torch.AdamW"])
def test_a_gradient_scaler_steps_over_what_is_frozen(name):
    model, run = started(name)
    before = values(model.last)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for update in range(THAW + 1):
        model.zero_grad()
        loss = model(torch.linspace(-1, 1, 12).view(3, 4)).square().sum()
        scaler.scale(loss).backward()
        scaler.step(run.optimizer)
        scaler.update()
        run.scheduler.step()
        assert all(map(torch.equal, values(model.last), before)) == (update < THAW)


@pytest.mark.parametrize("first", ["optimizer", "scheduler"])
@pytest.mark.parametrize("scheduler", [PURE, TORCH], ids=["pure", "torch"])
@pytest.mark.parametrize("updates", [0, 2, THAW, 5])
@pytest.mark.parametrize("name", ["adamw", "torch.AdamW"])
def test_a_resume_on_either_side_of_the_thaw_goes_on_to_the_bit(name, updates, scheduler, first):
    model, run = started(name, scheduler)
    train(model, run, updates)
    file = io.BytesIO()
    torch.save([model.state_dict(), run.optimizer.state_dict(), run.scheduler.state_dict()], file)
    file.seek(0)
    weights, of_optimizer, of_scheduler = torch.load(file, weights_only=True)
    resumed, again = started(name, scheduler)
    resumed.load_state_dict(weights)
    loads = [(again.optimizer, of_optimizer), (again.scheduler, of_scheduler)]
    for part, state in loads if first == "optimizer" else reversed(loads):
        part.load_state_dict(state)
    assert rates(again) == rates(run)
    train(resumed, again, 4)
    assert same(resumed, plainly(name, scheduler, updates + 4))


def test_copies_and_pickles_of_a_run_thaw_at_the_same_update():
    for twin in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        model, run = started()
        train(model, run, 1)
        copied, other = twin((model, run))
        optimizer, scheduler = twin((run.optimizer, run.scheduler))
        assert optimizer is not run.optimizer
        train(copied, other, THAW)
        assert same(copied, plainly("adamw", PURE, THAW + 1))
        assert scheduler.optimizer is optimizer
        params = [param for group in optimizer.param_groups for param in group["params"]]
        before = [param.detach().clone() for param in params]
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
        assert list(map(torch.equal, before, params)) == [False, False, True, True]


def test_a_group_that_is_added_may_be_frozen():
    model, run = started(freeze=None)
    extra = nn.Linear(2, 2)
    train(model, run, 1)
    run.optimizer.add_param_group({"params": list(extra.named_parameters(prefix="extra")), "freeze_steps": 3})
    before = values(extra)
    for update in range(1, 5):
        extra(torch.ones(1, 2)).sum().backward()
        run.optimizer.step()
        run.scheduler.step()
        assert all(map(torch.equal, values(extra), before)) == (update < 3)


def test_without_a_scheduler_that_counts_updates_the_update_is_refused():
    model = Net()
    optimizer = optreg.optimizer("adamw", model, groups=[{"match": "last.*", "freeze": 3}])
    backward(model)
    with pytest.raises(RuntimeError, match=r"there is no scheduler to count them; keep the one that optreg\.build"):
        optimizer.step()
    scheduler = optreg.scheduler("constant", optimizer)
    optimizer.step()
    assert scheduler.last_epoch == 0


def test_a_jump_of_the_scheduler_thaws_and_freezes():
    model, run = started()
    before = values(model.last)
    run.scheduler.step(THAW)
    assert rates(run)["last"] > 0
    run.scheduler.step(THAW - 1)
    backward(model)
    run.optimizer.step()
    assert all(map(torch.equal, values(model.last), before))


def test_a_run_whose_scheduler_is_never_stepped_is_told_so():
    model, run = started(scheduler={"name": "constant"})

    def without_steps():
        for _ in range(300):
            backward(model)
            run.optimizer.step()

    with pytest.warns(optreg.StepWarning, match=r"call scheduler\.step"):
        without_steps()


def test_how_long_is_a_quantity_that_the_clock_of_the_spec_converts():
    data = spec(freeze="1 epoch", epoch="100 samples", batch="30 samples")
    assert optreg.load_spec(data).as_dict()["groups"] == [{"match": ["last.*"], "freeze": 4}]
    data["epoch"] = "trainer"
    recipe = optreg.build(data)
    with pytest.raises(optreg.SpecError, match="the spec leaves the epoch to the trainer"):
        recipe(Net())
    run = recipe(Net(), facts={"epoch": "2 steps"})
    assert [group.get("freeze_steps") for group in run.optimizer.param_groups] == [None, 2]
    assert optreg.load_spec(recipe.spec) == recipe.spec


def test_another_length_in_a_checkpoint_is_told_and_settled_as_settings_are():
    def saved(freeze):
        model, run = started(freeze=freeze)
        train(model, run, 1)
        return run.state_dict()

    for theirs, ours, message in (
        (2, THAW, r"freeze of the rule 'match: last\.\*': 2 in the checkpoint, 3 in the spec"),
        (None, THAW, r"freeze of the rule 'match: last\.\*': 0 in the checkpoint, 3 in the spec"),
        (2, None, "groups: freeze: 2 in the checkpoint, 0 in the spec"),
    ):
        with pytest.raises(ResumeError, match=message):
            started(freeze=ours)[1].load_state_dict(saved(theirs))
        for first in (0, 1):
            choice = {"on_resume": {"settings": "spec"}}
            _, run = started(freeze=ours, **choice)
            parts = [(run.optimizer, "optimizer"), (run.scheduler, "scheduler")]
            if first and (theirs is None) != (ours is None):
                continue  # other numbers of groups: the optimizer comes first
            for part, key in reversed(parts) if first else parts:
                part.load_state_dict(saved(theirs)[key])
            assert rates(run)["body"] == pytest.approx(0.095)
            assert rates(run).get("last", 0.0) == 0.0


def test_a_length_that_a_checkpoint_brings_is_in_the_spec_of_the_run():
    model, run = started(freeze=5)
    train(model, run, 1)
    _, other = started(on_resume={"settings": "checkpoint"})
    other.load_state_dict(run.state_dict())
    assert other.optimizer.param_groups[1]["freeze_steps"] == 5
    assert other.spec.as_dict()["groups"] == [{"match": ["last.*"], "freeze": 5}]
    optreg.build(other.spec, Net(), on_resume={"settings": "refuse"}).load_state_dict(other.state_dict())


def test_a_length_that_no_rule_states_stands_in_a_rule_of_its_own():
    model = Net()
    rules = [{"match": "last.*", "weight_decay": 0.5}, {"match": "*.bias", "freeze": 2}]
    one = optreg.build({**spec(), "groups": rules}, model)
    train(model, one, 1)
    without = [rules[0], {"match": "*.bias", "lr": 0.1}]
    run = optreg.build({**spec(), "groups": without}, Net(), on_resume={"settings": "checkpoint"})
    run.load_state_dict(one.state_dict())
    again = optreg.build(run.spec, Net(), on_resume={"settings": "refuse"})
    again.load_state_dict(run.state_dict())
    steps = {name: group.get("freeze_steps", 0) for group in again.optimizer.param_groups
             for name in group["param_names"]}  # fmt: skip
    assert steps == {"body.weight": 0, "body.bias": 2, "last.weight": 0, "last.bias": 2}


@pytest.mark.parametrize("updates", [1, THAW + 1])
@pytest.mark.parametrize("name", ["adamw", "torch.AdamW"])
def test_distributed_checkpoints_load_on_either_side_of_the_thaw(name, updates):
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    model, run = started(name)
    train(model, run, updates)
    stored = copy.deepcopy(get_optimizer_state_dict(model, run.optimizer))
    other, resumed = started(name)
    other.load_state_dict(model.state_dict())
    options = StateDictOptions(strict=updates > THAW)  # else torch misses the state of what is frozen
    set_optimizer_state_dict(other, resumed.optimizer, stored, options=options)
    resumed.scheduler.load_state_dict(run.scheduler.state_dict())
    train(other, resumed, 4)
    assert same(other, plainly(name, PURE, updates + 4))


def test_members_of_a_composite_are_frozen_too():
    model = Net()
    rules = [
        {"match": "*.weight", "optimizer": {"name": "lion", "lr": 0.1}},
        {"match": "last.*", "freeze": THAW},
    ]
    run = optreg.build({**spec(), "groups": rules}, model)
    before, moved = values(model.last), values(model.body)
    train(model, run, THAW)
    assert all(map(torch.equal, values(model.last), before))
    assert not any(map(torch.equal, values(model.body), moved))
    train(model, run, 1)
    assert not any(map(torch.equal, values(model.last), before))
