"""Groups added without names to an optimizer whose groups have names."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import optreg

SPEC = {"optimizer": {"name": "adamw", "lr": 0.1}, "scheduler": {"name": "constant"}}
NAMES = ["adamw", "torch.AdamW"]


def built(name, model):
    return optreg.build({**SPEC, "optimizer": {"name": name, "lr": 0.1}}, model).optimizer


def test_torch_refuses_what_is_taken_here():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.named_parameters())
    with pytest.raises(ValueError, match="all optimizer param groups should be with/without names"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})


@pytest.mark.parametrize("name", NAMES)
def test_names_are_found_in_the_model_as_it_is_by_then(name):
    model = nn.Sequential(nn.Linear(2, 2))
    optimizer = built(name, model)
    model.append(nn.Linear(2, 2))
    group = {"params": model[1].parameters(), "lr": 0.5}
    optimizer.add_param_group(group)
    added = optimizer.param_groups[1]
    assert added is group
    assert (added["param_names"], added["lr"]) == (["1.weight", "1.bias"], 0.5)

    before = model[1].weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[1].weight, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [lambda param: param, lambda param: [param], lambda param: iter([param])])
def test_names_that_cannot_be_found_are_made_up_and_told(name, form):
    optimizer = built(name, nn.Linear(2, 2).named_parameters())
    with pytest.warns(UserWarning, match=r"not in the model; they are called added\.1\.0; to name them, add them as"):
        optimizer.add_param_group({"params": form(nn.Parameter(torch.ones(2)))})
    assert optimizer.param_groups[1]["param_names"] == ["added.1.0"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))])
def test_a_copy_of_a_run_takes_groups_without_names_too(name, copied):
    run = copied(optreg.build({**SPEC, "optimizer": {"name": name}}, nn.Linear(2, 2)))
    with pytest.warns(UserWarning, match=r"called added\.1\.0"):  # the copy of the model is not known
        run.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    run.optimizer.add_param_group({"params": [("scale", nn.Parameter(torch.ones(2)))]})
    assert [group["param_names"] for group in run.optimizer.param_groups[1:]] == [["added.1.0"], ["scale"]]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_given_stay(name):
    optimizer = built(name, nn.Linear(2, 2))
    optimizer.add_param_group({"params": [("scale", nn.Parameter(torch.ones(2)))]})
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "param_names": ["shift"]})
    assert [group["param_names"] for group in optimizer.param_groups[1:]] == [["scale"], ["shift"]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({nn.Parameter(torch.ones(1))}, TypeError, "ordered collections"),
        ([("a", nn.Parameter(torch.ones(1))), nn.Parameter(torch.ones(1))], ValueError, "names are missing"),
    ],
)
def test_what_torch_refuses_for_another_reason_is_still_refused(name, params, error, message):
    optimizer = built(name, nn.Linear(2, 2))
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": params})


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_that_is_in_a_group_is_not_added_again(name):
    model = nn.Linear(2, 2)
    optimizer = built(name, model)
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optimizer.add_param_group({"params": [model.bias]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", NAMES)
def test_neither_optimizer_nor_model_is_kept_alive_by_it(name):
    gc.collect()
    gc.disable()
    try:
        model = nn.Linear(2, 2)
        optimizer = optreg.optimizer(name, model)
        alive, add = weakref.ref(optimizer), optimizer.add_param_group
        del optimizer
        assert alive() is None
        add({"params": [nn.Parameter(torch.ones(2))]})  # there is nothing to add to
    finally:
        gc.enable()


def test_without_names_all_stays_as_in_torch():
    optimizer = built("adamw", nn.Linear(2, 2).parameters())
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert all("param_names" not in group for group in optimizer.param_groups)
