"""The plan of a spec: what `explain --at`, `diff` and `plot` tell is what a built run does."""

import pytest
import torch

import optreg
from optreg.cli.plan import plan, stretches

SPEC = {
    "optimizer": {"name": "adamw", "lr": 0.1, "weight_decay": {"name": "linear", "from": 0.1, "to": 0.3}},
    "groups": [
        {"match": "0.weight", "lr_scale": 0.5},
        {"match": "0.bias", "lr": 0.02},
        {"match": "1.weight", "optimizer": {"name": "lion", "lr": 0.03}, "lr_scale": 2.0},
        {"match": "1.bias", "lr": [{"name": "linear", "from": 0, "to": 1, "for": 5}, {"name": "constant"}], "lr_scale": 0.1},
    ],
    "scheduler": [{"name": "cosine", "for": 6, "to": "10%", "warmup_steps": 2}, {"name": "linear", "for": 6, "to": 0.05}],
}  # fmt: skip


def test_every_group_has_the_values_that_a_built_run_has_at_every_update():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    optimizer, scheduler = optreg.build(SPEC, model)
    plans = {group.name: group for group in plan(optreg.load_spec(SPEC))}
    assert len(plans) == 5
    for t in range(14):
        for group in optimizer.param_groups:
            name = group["param_names"][0] if not group["param_names"][0].startswith("2") else None
            planned = plans[f"match: {name}" if name else "default"].at(t)
            assert group["lr"] == pytest.approx(planned["lr"], rel=1e-12, abs=1e-15), (t, name)
            if planned["optimizer"] == "adamw":
                assert group["weight_decay"] == pytest.approx(planned["weight_decay"], rel=1e-12)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()


def test_a_rate_that_decays_by_layer_is_that_of_the_last_layer():
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    spec = {
        "optimizer": {"name": "adamw", "lr": 0.1},
        "groups": [{"layers": "{layer}.*", "layer_decay": 0.75, "lr_scale": 2.0}],
    }
    optimizer = optreg.build(spec, model).optimizer
    last = next(group for group in optimizer.param_groups if "2.weight" in group["param_names"])
    assert last["lr"] == pytest.approx(0.15)
    assert plan(optreg.load_spec(spec))[1].at(0)["lr"] == last["lr"]


def test_the_phases_of_a_rules_own_optimizer_are_among_the_stretches():
    own = {"name": "momentum", "lr": 0.1, "momentum": {"name": "linear", "from": 0.85, "to": 0.95, "for": 30}}
    spec = {"optimizer": {"name": "adamw"}, "groups": [{"match": "head.*", "optimizer": own}]}
    (found,) = stretches(optreg.load_spec(spec))
    assert (found.name, found.begin, found.end) == ("linear", 0, 30)
    assert "head.*" in found.of
