"""Rules that name optimizers of their own: what is built, resumed and refused, from specs."""

import copy
import io

import pytest
import torch
from torch import nn

import optreg
from optreg import ResumeError, SpecError
from optreg.composite import Composite

MATRICES = {"ndim": 2, "optimizer": {"name": "torch.SGD", "lr": 0.1, "momentum": 0.9}}
COSINE = {"name": "cosine", "total_steps": 20, "warmup_steps": 2}


def spec(*groups, scheduler=COSINE, **optimizer):
    return {"optimizer": {"name": "adamw", "lr": 1e-2, **optimizer}, "groups": [*groups], "scheduler": scheduler}


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3))


def train(model, run, numbers):
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        x, y = (torch.randn(8, size, generator=generator) for size in (6, 3))
        run.optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        run.optimizer.step()
        run.scheduler.step()


def started(*groups, updates=3, **settings):
    model = net()
    run = optreg.build(spec(*groups, **settings), model)
    train(model, run, range(updates))
    return model, run


def assert_same(model, other):
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_one_optimizer_is_made_of_several_in_the_order_of_the_rules():
    decay = {"match": "3.*", "weight_decay": 0.0}
    run = optreg.build(spec(MATRICES, decay), net())
    assert isinstance(run.optimizer, Composite)
    assert run.optimizer.labels == ("adamw", "torch.SGD")
    names = [group["param_names"] for group in run.optimizer.param_groups]
    assert names == [["0.bias", "1.weight", "1.bias"], ["0.weight"], ["3.weight"], ["3.bias"]]
    assert run.optimizer.places == [0, 1, 1, 0]
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.01, 0.0, 0.0, 0.0]
    assert [group["initial_lr"] for group in run.optimizer.param_groups] == [1e-2, 0.1, 0.1, 1e-2]
    assert [entry.name for entry in run.plugins] == ["adamw", "torch.sgd", "cosine"]


def test_it_trains_as_its_optimizers_would():
    model, _ = started(MATRICES)
    by_hand = net()
    named = dict(by_hand.named_parameters())
    parts = [
        optreg.build(spec(), [(name, param) for name, param in named.items() if param.ndim == 1]),
        optreg.build(
            {"optimizer": MATRICES["optimizer"], "scheduler": COSINE},
            [(name, param) for name, param in named.items() if param.ndim == 2],
        ),
    ]
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        x, y = (torch.randn(8, size, generator=generator) for size in (6, 3))
        by_hand.zero_grad()
        (by_hand(x) - y).square().mean().backward()
        for part in parts:
            part.optimizer.step()
            part.scheduler.step()
    assert_same(model, by_hand)


def test_equal_optimizers_of_several_rules_are_one_member():
    first, second = {**MATRICES, "match": "0.*"}, {**MATRICES, "match": "3.*", "weight_decay": 0.5}
    run = optreg.build(spec(first, second), net())
    assert run.optimizer.labels == ("adamw", "torch.SGD")
    assert run.optimizer.places == [0, 1, 1]
    other = {**second, "optimizer": {"name": "torch.SGD", "momentum": 0.5}}
    assert optreg.build(spec(first, other), net()).optimizer.labels == ("adamw", "torch.SGD", "torch.SGD 2")


def test_if_one_optimizer_has_all_parameters_it_is_a_simple_one():
    run = optreg.build(spec({"match": "*", "optimizer": {"name": "lion", "lr": 0.5}}), net())
    assert type(run.optimizer).__name__ == "Lion"
    assert [group["initial_lr"] for group in run.optimizer.param_groups] == [0.5]


def test_a_parameter_that_its_optimizer_does_not_take_is_told_at_the_rule_before_anything_is_built(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("optimizer: {name: adamw}\ngroups:\n  - match: '0.*'\n    optimizer: {name: torch.Muon}\n")
    with pytest.raises(SpecError) as caught:
        optreg.build(str(file), net())
    (problem,) = caught.value.problems
    assert (problem.where.line, problem.where.column) == (4, 23)
    assert (
        "torch.Muon, the optimizer of the rule 'match: 0.*', takes real parameters of 2 dimensions" in problem.message
    )
    assert "but '0.bias' has 1" in problem.message


# Resuming


@pytest.mark.parametrize("scheduler", [COSINE, {"name": "torch.CosineAnnealingLR", "T_max": 20}])
@pytest.mark.parametrize("first", ["optimizer", "scheduler"])
def test_a_run_goes_on_with_the_same_bits(scheduler, first):
    rules = MATRICES, {"match": "3.*", "weight_decay": 0.0}
    model, run = started(*rules, scheduler=scheduler)
    file = io.BytesIO()
    torch.save((model.state_dict(), run.optimizer.state_dict(), run.scheduler.state_dict()), file)
    file.seek(0)
    weights, of_optimizer, of_scheduler = torch.load(file)
    other = net(seed=1)
    resumed = optreg.build(spec(*rules[::-1], scheduler=scheduler), other)  # groups in another order
    other.load_state_dict(weights)
    parts = [(resumed.optimizer, of_optimizer), (resumed.scheduler, of_scheduler)]
    for part, state in parts if first == "optimizer" else parts[::-1]:
        part.load_state_dict(state)
    train(model, run, range(3, 8))
    train(other, resumed, range(3, 8))
    assert_same(model, other)


def test_a_copy_of_a_run_goes_on_by_itself_and_is_looked_after():
    model, run = started(MATRICES)
    checkpoint = copy.deepcopy(run.state_dict())
    other, copied = copy.deepcopy((model, run))
    train(model, run, range(3, 5))
    train(other, copied, range(3, 5))
    assert_same(model, other)
    checkpoint["optimizer"]["param_groups"][1]["momentum"] = 0.5
    with pytest.raises(
        ResumeError, match=r"momentum of torch\.SGD in the rule 'ndim: 2': 0\.5 in the checkpoint, 0\.9"
    ):
        copied.load_state_dict(checkpoint)


def test_each_part_of_a_checkpoint_is_judged_by_its_own_optimizer():
    _, simple = started()
    _, several = started(MATRICES)
    with pytest.raises(ResumeError) as caught:
        several.optimizer.load_state_dict(simple.optimizer.state_dict())
    told = str(caught.value)
    assert told.startswith("another optimizer than torch.SGD wrote its part of the checkpoint:\n  its group 0 has no ")
    assert "adamw" not in told
    with pytest.raises(ResumeError, match="another optimizer than adamw wrote the checkpoint:\n  its group 1 has no"):
        simple.optimizer.load_state_dict(several.optimizer.state_dict())


def test_a_checkpoint_without_names_is_judged_in_parts_too():
    swapped = {"ndim": 1, "optimizer": MATRICES["optimizer"]}

    def run(rule):
        model = net()
        return optreg.build(spec(rule), list(model.parameters()))

    checkpoint = run(MATRICES).optimizer.state_dict()
    assert "param_names" not in checkpoint["param_groups"][0]
    run(MATRICES).optimizer.load_state_dict(checkpoint)
    with pytest.raises(ValueError, match="size of optimizer's group"):
        run(swapped).optimizer.load_state_dict(checkpoint)


def test_parameters_may_move_between_optimizers_of_one_algorithm():
    fast = {"ndim": 2, "optimizer": {"name": "adamw", "lr": 0.5}}
    model, run = started()
    other = net()
    moved = optreg.build(spec(fast), other, on_resume={"settings": "spec"})
    moved.load_state_dict(run.state_dict())
    assert moved.optimizer.labels == ("adamw", "adamw 2")
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        for key, value in run.optimizer.state[one].items():
            assert torch.equal(moved.optimizer.state[two][key], value), (name, key)
    assert [group["initial_lr"] for group in moved.optimizer.param_groups] == [1e-2, 0.5]


@pytest.mark.parametrize("choice", ["spec", "checkpoint"])
def test_settings_of_one_optimizer_are_settled_as_asked(choice):
    _, run = started(MATRICES)
    own = {**MATRICES, "optimizer": {**MATRICES["optimizer"], "momentum": 0.5}}
    resumed = optreg.build(spec(own), net(), on_resume={"settings": choice})
    resumed.load_state_dict(run.state_dict())
    momentum = {"spec": 0.5, "checkpoint": 0.9}[choice]
    assert [group.get("momentum") for group in resumed.optimizer.param_groups] == [None, momentum]
    (rule,) = resumed.spec.as_dict()["groups"]
    assert rule["optimizer"]["momentum"] == momentum
    assert "momentum" not in resumed.spec.as_dict()["optimizer"]
    again = optreg.build(resumed.spec.as_dict(), net())
    again.load_state_dict(resumed.state_dict())


def test_shapes_are_asked_where_an_optimizer_is_elementwise():
    _, run = started(MATRICES)
    checkpoint = run.optimizer.state_dict()
    number = checkpoint["param_groups"][0]["params"][0]
    checkpoint["state"][number]["exp_avg"] = torch.zeros(7)
    with pytest.raises(ResumeError, match=r"'0\.bias' has shape \(5,\), but the checkpoint's 'exp_avg' of it \(7,\)"):
        run.optimizer.load_state_dict(checkpoint)


def test_execution_options_stay_as_they_are_in_the_members_that_have_them():
    _, run = started(MATRICES)
    resumed = optreg.build(spec(MATRICES, execution="loop"), net())
    resumed.load_state_dict(run.state_dict())
    assert [group.get("execution") for group in resumed.optimizer.param_groups] == ["loop", None]


def test_an_added_group_goes_to_the_optimizer_that_it_names():
    model, run = started(MATRICES)
    for label in run.optimizer.labels:
        param = nn.Parameter(torch.ones(2, 2))
        model.register_parameter(label.replace(".", "_"), param)
        run.optimizer.add_param_group({"params": param, "optimizer": label})
        param.grad = torch.ones(2, 2)
    run.optimizer.step()
    assert run.optimizer.places == [0, 1, 0, 1]
    assert [group["param_names"] for group in run.optimizer.param_groups[2:]] == [["adamw"], ["torch_SGD"]]
    assert [group["lr"] for group in run.optimizer.param_groups[2:]] == [
        group["lr"] for group in run.optimizer.param_groups[:2]
    ]


def test_a_model_on_the_meta_device_is_told_at_the_first_step():
    model = net().to("meta")
    run = optreg.build(spec(MATRICES), model)
    with pytest.raises(RuntimeError, match=r"6 of its parameters .* are on the meta device"):
        run.optimizer.step()
