"""Frozen at first, thawed later: what trains, what is loaded, what it costs. torch's own optimizer stands beside."""

import copy
import io

import pytest
import torch
from torch import nn

import optreg
from optreg import SpecError

NAMES = ["adamw", "lion", "torch.AdamW", "torch.SGD"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.backbone(x).tanh())


def spec(name):
    groups = [{"match": "backbone.*", "lr": 0.05}, {"ndim": 1, "weight_decay": 0.0}]
    return {
        "optimizer": {"name": name, "lr": 0.1, "weight_decay": 0.5},
        "groups": groups,
        "scheduler": {"name": "constant"},
    }


def train(model, optimizer, updates=3):
    for _ in range(updates):
        optimizer.zero_grad()
        model(torch.linspace(-1, 1, 12).view(3, 4)).square().sum().backward()
        optimizer.step()


def values(module):
    return [param.detach().clone() for param in module.parameters()]


def frozen():
    model = Net()
    model.backbone.requires_grad_(False)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_thawed_after_the_build_trains_as_it_does_in_torch(name):
    ours, theirs = frozen(), frozen()
    optimizer = optreg.build(spec(name), ours).optimizer
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.1)
    for model, made in ((ours, optimizer), (theirs, plain)):
        start = values(model.backbone)
        train(model, made)
        assert all(map(torch.equal, values(model.backbone), start))
        model.backbone.requires_grad_(True)
        train(model, made)
        assert not any(map(torch.equal, values(model.backbone), start))


@pytest.mark.parametrize("name", NAMES)
def test_groups_do_not_depend_on_what_is_frozen(name):
    def shape(model):
        return [
            (group["param_names"], group["lr"], group["weight_decay"])
            for group in optreg.build(spec(name), model).optimizer.param_groups
        ]

    assert shape(frozen()) == shape(Net())
    assert len(shape(Net())) == 4


@pytest.mark.parametrize("name", NAMES)
def test_frozen_parameters_have_no_state(name):
    model = frozen()
    optimizer = optreg.build(spec(name), model).optimizer
    train(model, optimizer)
    assert not any(optimizer.state.get(param) for param in model.backbone.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("thawed_first", [False, True])
def test_a_checkpoint_goes_from_a_partly_frozen_run_into_a_thawed_one_and_back(name, thawed_first):
    first, second = (Net(), frozen()) if thawed_first else (frozen(), Net())
    optimizer = optreg.build(spec(name), first).optimizer
    train(first, optimizer)
    stored = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, stored)
    stored.seek(0)
    checkpoint = torch.load(stored, weights_only=True)
    resumed = optreg.build(spec(name), second).optimizer
    second.load_state_dict(checkpoint["model"])
    resumed.load_state_dict(checkpoint["optimizer"])

    for param in (*first.parameters(), *second.parameters()):
        param.requires_grad_(True)
    train(first, optimizer)
    train(second, resumed)
    assert all(map(torch.equal, values(first), values(second)))


def test_a_frozen_parameter_that_the_optimizer_does_not_take_is_left_out_and_one_to_train_is_named():
    model = Net()
    model.backbone.bias.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    data = {"optimizer": {"name": "torch.Muon", "lr": 0.1}, "scheduler": {"name": "constant"}}
    (group,) = optreg.build(data, model).optimizer.param_groups
    assert group["param_names"] == ["backbone.weight", "head.weight"]
    model.head.bias.requires_grad_(True)
    with pytest.raises(SpecError) as caught:
        optreg.build(data, model)
    assert str(caught.value) == (
        "optimizer: torch.Muon takes real parameters of 2 dimensions, but 'head.bias' has 1; "
        "freeze them, or give them another optimizer by a rule: {match: ..., optimizer: {name: ...}}"
    )


@pytest.mark.parametrize("name", ["adamw", "torch.AdamW"])
def test_distributed_checkpoints_know_the_frozen_parameters_of_a_thawed_run(name):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    first, second = frozen(), Net()
    optimizer, resumed = (optreg.build(spec(name), model).optimizer for model in (first, second))
    train(first, optimizer)
    second.backbone.requires_grad_(False)
    stored = copy.deepcopy(get_optimizer_state_dict(first, optimizer))  # as on a disk
    set_optimizer_state_dict(second, resumed, stored)
    second.load_state_dict(first.state_dict())
    train(first, optimizer)
    train(second, resumed)
    assert all(map(torch.equal, values(first), values(second)))
