"""Models on the meta device: a step that would train nothing is told, and all that is right goes on."""

import copy

import pytest
import torch
from torch import nn

import optreg

SPEC = {"optimizer": {"name": "adamw", "lr": 0.1}, "scheduler": {"name": "constant"}}
NAMES = ["adamw", "torch.AdamW"]


def built(name, copied=lambda both: both):
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    model, run = copied((model, optreg.build({**SPEC, "optimizer": {"name": name}}, model)))
    return model, run.optimizer


def materialise(model):
    model.to_empty(device="cpu")
    for param in model.parameters():
        nn.init.ones_(param)


def test_torch_trains_nothing_and_says_nothing():
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    materialise(model)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight, torch.ones(2, 2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copied", [lambda both: both, copy.deepcopy])
def test_a_step_after_materialising_is_refused_with_the_remedy(name, copied):
    model, optimizer = built(name, copied)
    materialise(model)
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(RuntimeError) as caught:
        optimizer.step()
    assert str(caught.value) == (
        "the optimizer trains nothing: 2 of its parameters ('weight', ...) are on the meta device and have no gradient; "
        "it was built before the model was materialised, which makes new parameters; build it afterwards"
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_that_is_given_the_new_parameters_trains_them(name):
    model, optimizer = built(name)
    materialise(model)
    optimizer.param_groups[0]["params"] = list(model.parameters())  # as trainers do that shard the model
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, torch.ones(2, 2))


def test_parameters_that_stay_the_same_when_materialised_are_trained():
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model, optimizer = built("adamw")
        materialise(model)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, torch.ones(2, 2))


def test_a_run_without_memory_goes_through():
    model, optimizer = built("torch.AdamW")
    model(torch.ones(1, 2, device="meta")).sum().backward()
    optimizer.step()
    assert optimizer.state[model.weight]["exp_avg"].is_meta
