"""Resuming: state finds its way back by name, and whatever differs from the spec is told and settled."""

import contextlib
import copy
import io
import json
import pickle

import jsonschema
import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

import optreg
from optreg import ResumeError, ResumeWarning, SpecError
from optreg.cli.schema import make_schema

NAMES = ["adam", "adamw", "lion", "momentum", "rmsprop", "torch.SGD", "torch.Adam", "torch.AdamW", "torch.NAdam",
         "torch.RAdam", "torch.Adamax", "torch.Adagrad", "torch.Adadelta", "torch.RMSprop", "torch.Adafactor"]  # fmt: skip
SAME = {("adamw", "torch.AdamW"), ("adam", "torch.Adam"), ("torch.RMSprop", "rmsprop")}
SAME |= {(b, a) for a, b in SAME if a != "torch.RMSprop"}
OPTIMIZERS = {"torch.SGD": {"momentum": 0.9}}


class Net(nn.Module):
    """Named layers in a given order; those named `wide` have other shapes."""

    def __init__(self, *names, size=3):
        super().__init__()
        for name in names:
            self.add_module(name, nn.Linear(size, size))

    def named(self):
        return dict(self.named_parameters())


def spec(optimizer="adamw", scheduler="constant", groups=(), on_resume=None, **settings):
    return {
        "optimizer": {"name": optimizer, **OPTIMIZERS.get(optimizer, {}), **settings},
        "groups": list(groups),
        "scheduler": {"name": scheduler} if isinstance(scheduler, str) else scheduler,
        "on_resume": on_resume or {},
    }


def train(run, model, updates, seed=0):
    for update in range(updates):
        for index, (_, param) in enumerate(sorted(model.named_parameters())):
            param.grad = torch.randn(param.shape, generator=torch.Generator().manual_seed(seed + 100 * index + update))
        run.optimizer.step()
        run.scheduler.step()


def states(run, model):
    return {name: copy.deepcopy(run.optimizer.state[param]) for name, param in model.named_parameters()}


def assert_same_states(found, wanted):
    assert found.keys() == wanted.keys()
    for name, state in wanted.items():
        assert found[name].keys() == state.keys()
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(found[name][key]), torch.as_tensor(value)), (name, key)


def saved(run):
    stream = io.BytesIO()
    torch.save((run.optimizer.state_dict(), run.scheduler.state_dict()), stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


def load(run, checkpoint, first="optimizer"):
    pairs = [(run.optimizer, checkpoint[0]), (run.scheduler, checkpoint[1])]
    for part, state in pairs if first == "optimizer" else reversed(pairs):
        part.load_state_dict(state)


def started(a_spec, model, updates=3):
    run = optreg.build(a_spec, model)
    train(run, model, updates)
    return run


def rates(run):
    return [float(group["lr"]) for group in run.optimizer.param_groups]


order = pytest.mark.parametrize("first", ["optimizer", "scheduler"])


# State by name


@pytest.mark.parametrize("name", ["adamw", "lion", "torch.AdamW", "torch.SGD", "torch.Adagrad", "torch.Adafactor"])
def test_another_order_of_layers_is_right_and_silent(name):
    old, new = Net("query", "key"), Net("key", "query")
    first, second = started(spec(name), old), optreg.build(spec(name), new)
    new.load_state_dict(old.state_dict())
    load(second, saved(first))
    assert_same_states(states(second, new), states(first, old))
    assert second.optimizer.param_groups[0]["param_names"] == list(new.named())
    train(first, old, 3), train(second, new, 3)
    for key, param in old.named().items():
        assert torch.equal(new.named()[key], param)


@order
@pytest.mark.parametrize(
    "scheduler", [{"name": "cosine", "total_steps": 20}, {"name": "torch.CosineAnnealingLR", "T_max": 20}]
)
def test_the_same_parameters_grouped_in_another_order_are_right_and_silent(scheduler, first):
    rules = [{"match": "a.*", "lr": 0.5}, {"match": "b.*", "lr": 0.25, "weight_decay": 0.0}]
    old, new = Net("a", "b", "c"), Net("a", "b", "c")
    one = started(spec(scheduler=scheduler, groups=rules), old)
    new.load_state_dict(old.state_dict())
    other = optreg.build(spec(scheduler=scheduler, groups=rules[::-1]), new)
    load(other, saved(one), first)
    assert_same_states(states(other, new), states(one, old))
    train(one, old, 4), train(other, new, 4)
    for key, param in old.named().items():
        assert torch.equal(new.named()[key], param)
    assert rates(other) == [rates(one)[i] for i in (0, 2, 1)]


def test_everything_that_does_not_match_is_told_at_once_by_name():
    checkpoint = saved(started(spec(weight_decay=0.5), Net("stem", "encoder", "old")))
    model = Net("stem", "module", "brand_new")
    model.module = nn.Module()
    model.module.encoder = nn.Linear(3, 3)
    model.stem = nn.Linear(3, 4)
    run = optreg.build(spec(weight_decay=0.25), model)
    before = copy.deepcopy(run.optimizer.state_dict())
    with pytest.raises(ResumeError) as error:
        run.optimizer.load_state_dict(checkpoint[0])
    for line in (
        "'module.encoder.weight' is not in the checkpoint; it may be what was called 'encoder.weight'",
        "'brand_new.weight' is not in the checkpoint",
        "'old.bias' is in the checkpoint, but not among the optimizer's parameters",
        "'stem.weight' has shape (4, 3), but the checkpoint's 'exp_avg' of it (3, 3)",
        "optimizer.weight_decay: 0.5 in the checkpoint, 0.25 in the spec",
        "on_resume: {parameters: fresh}",
        "on_resume: {settings: spec}",
    ):
        assert line in str(error.value)
    assert run.optimizer.state_dict() == before


@order
@pytest.mark.parametrize(
    "scheduler", [{"name": "cosine", "total_steps": 20}, {"name": "torch.CosineAnnealingLR", "T_max": 20}]
)
@pytest.mark.parametrize("name", ["adamw", "torch.AdamW", "torch.Adagrad"])
def test_new_parameters_may_have_fresh_state_and_the_rest_goes_on(name, scheduler, first):
    old, new = Net("a", "gone"), Net("fresh", "a")
    one = started(spec(name, scheduler), old)
    run = optreg.build(spec(name, scheduler, on_resume={"parameters": "fresh"}), new)
    load(run, saved(one), first)
    wanted = {key: state for key, state in states(one, old).items() if key.startswith("a.")}
    assert_same_states({key: state for key, state in states(run, new).items() if key.startswith("a.")}, wanted)
    assert rates(run) == rates(one)
    train(run, new, 1)
    assert all(torch.isfinite(param).all() for param in new.parameters())


def test_a_group_that_is_all_new_gets_the_rate_of_its_schedule():
    scheduler = {"name": "linear", "total_steps": 10}
    one = started(spec(scheduler=scheduler, lr=1.0), Net("a"), 5)
    a_spec = spec(
        scheduler=scheduler, lr=1.0, groups=[{"match": "new.*", "lr": 0.5}], on_resume={"parameters": "fresh"}
    )
    run = optreg.build(a_spec, Net("a", "new"))
    load(run, saved(one))
    assert rates(run) == [0.5, 0.25]
    run = optreg.build({**a_spec, "scheduler": {"name": "torch.LinearLR", "total_iters": 10}}, Net("a", "new"))
    load(run, saved(started(spec(scheduler={"name": "torch.LinearLR", "total_iters": 10}, lr=1.0), Net("a"), 5)))
    assert rates(run) == pytest.approx([2 / 3, 1 / 3])


def test_a_checkpoint_without_names_loads_by_order():
    old, new = Net("a", "b"), Net("b", "a")
    plain = torch.optim.AdamW(old.parameters(), lr=1e-3)
    for param in old.parameters():
        param.grad = torch.ones_like(param)
    plain.step()
    run = optreg.build(spec(weight_decay=1e-2), new)
    run.optimizer.load_state_dict(plain.state_dict())
    assert torch.equal(run.optimizer.state[new.b.weight]["exp_avg"], plain.state[old.a.weight]["exp_avg"])
    assert run.optimizer.param_groups[0]["param_names"] == list(new.named())


@pytest.mark.parametrize(("full", "flat"), [(False, False), (True, False), (False, True)])  # torch fails with both
@pytest.mark.parametrize("name", ["adamw", "torch.AdamW"])
def test_distributed_state_dicts_load_in_another_order_too(name, full, flat):
    options = StateDictOptions(full_state_dict=full, flatten_optimizer_state_dict=flat)
    rules = [{"match": "*.bias", "weight_decay": 0.0}, {"match": "a.*", "lr": 0.5}]
    old, new = Net("a", "b"), Net("b", "a")
    one = started(spec(name, groups=rules), old)
    run = optreg.build(spec(name, groups=rules[:1] + rules[1:]), new)
    set_optimizer_state_dict(
        new, run.optimizer, get_optimizer_state_dict(old, one.optimizer, options=options), options=options
    )
    assert_same_states(states(run, new), states(one, old))
    assert [group["param_names"] for group in run.optimizer.param_groups] == [
        ["b.weight"], ["b.bias"], ["a.bias"], ["a.weight"],
    ]  # fmt: skip


def test_copies_and_pickles_of_a_run_look_after_their_checkpoints():
    run = optreg.build(spec(scheduler={"name": "torch.StepLR", "step_size": 3}), Net("a"))
    other = saved(started(spec(weight_decay=0.5, scheduler={"name": "torch.StepLR", "step_size": 4}), Net("a")))
    for twin in (run, copy.copy(run), copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        with pytest.raises(ResumeError, match=r"optimizer\.weight_decay: 0\.5"):
            twin.optimizer.load_state_dict(other[0])
        with pytest.raises(ResumeError, match=r"scheduler\.step_size: 4"):
            twin.scheduler.load_state_dict(other[1])


# Another optimizer's checkpoint


@pytest.mark.parametrize("updates", [0, 2])
@pytest.mark.parametrize("writer", NAMES)
def test_another_optimizers_checkpoint_is_refused_in_every_direction(writer, updates):
    model = Net("a")
    one = started(spec(writer), model, updates)
    checkpoint = saved(one)
    settings = {key: value for key, value in one.spec.optimizer.settings.items() if key in {"lr", "weight_decay"}}
    same = {*SAME, (writer, writer), *([] if updates else [("torch.RAdam", "torch.Adamax")])}
    for reader in NAMES:
        known = optreg.load_spec(spec(reader)).optimizer.settings
        run = optreg.build(spec(reader, **{key: value for key, value in settings.items() if key in known}), model)
        before = copy.deepcopy(run.optimizer.state_dict()["param_groups"])
        if (writer, reader) in same:
            load(run, checkpoint)
            train(run, model, 2)
            continue
        with pytest.raises(
            ValueError, match=r"another optimizer than|torch\.optim\.SGD's, whose buffer|as torch\.optim's RAdam"
        ):
            run.optimizer.load_state_dict(checkpoint[0])
        assert run.optimizer.state_dict()["param_groups"] == before, reader


def test_its_own_checkpoint_loads():
    for name in NAMES:
        one = started(spec(name, scheduler={"name": "cosine", "total_steps": 9}), Net("a"))
        run = optreg.build(one.spec, Net("a"))
        load(run, saved(one))
        assert run.optimizer.state_dict()["param_groups"] == one.optimizer.state_dict()["param_groups"], name


def test_what_switches_add_to_the_state_is_known():
    run = started(spec("torch.Adam", amsgrad=True), Net("a"))
    load(optreg.build(spec("torch.Adam", amsgrad=True), Net("a")), saved(run))
    with pytest.raises(ResumeError, match=r"optimizer\.amsgrad: True in the checkpoint, False in the spec"):
        load(optreg.build(spec("torch.Adam"), Net("a")), saved(run))


# Settings that differ


def test_changed_settings_are_told_as_values_and_by_group():
    rules = [{"match": "*.bias", "weight_decay": 0.0}]
    one = started(spec(lr=0.1, betas=[0.9, 0.99], groups=rules), Net("a"))
    rules = [{"match": "*.bias", "weight_decay": 0.125}]
    run = optreg.build(spec(lr=0.2, betas=[0.8, 0.99], groups=rules), Net("a"))
    with pytest.raises(ResumeError) as error:
        load(run, saved(one))
    told = str(error.value).splitlines()
    assert told[1:4] == [
        "  optimizer.lr: 0.1 in the checkpoint, 0.2 in the spec",
        "  optimizer.betas: [0.9, 0.99] in the checkpoint, [0.8, 0.99] in the spec",
        "  weight_decay of the rule 'match: *.bias': 0.0 in the checkpoint, 0.125 in the spec",
    ]


@order
@pytest.mark.parametrize(
    "scheduler", [{"name": "linear", "total_steps": 10}, {"name": "torch.PolynomialLR", "total_iters": 10}]
)
def test_settings_of_the_spec_or_of_the_checkpoint_hold_and_run_spec_tells_the_truth(scheduler, first):
    rules = [{"match": "*.bias", "weight_decay": 0.0}]
    one = started(spec(lr=1.0, weight_decay=0.25, scheduler=scheduler, groups=rules), Net("a"), 5)
    new = spec(lr=2.0, weight_decay=0.5, scheduler=scheduler, groups=[{"match": "*.bias", "weight_decay": 0.125}])
    run = optreg.build(new, Net("a"), on_resume={"settings": "spec"})
    load(run, saved(one), first)
    assert rates(run) == pytest.approx([1.0, 1.0])
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.5, 0.125]
    assert [group["initial_lr"] for group in run.optimizer.param_groups] == [2.0, 2.0]
    assert run.spec.optimizer.settings["lr"] == 2.0
    train(run, Net("a"), 1)
    assert rates(run) == pytest.approx([0.8, 0.8])

    run = optreg.build(new, Net("a"), on_resume={"settings": "checkpoint"})
    load(run, saved(one), first)
    assert rates(run) == pytest.approx([0.5, 0.5])
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.25, 0.0]
    assert run.spec.optimizer.settings["lr"] == 1.0
    assert run.spec.optimizer.settings["weight_decay"] == 0.25
    assert run.spec.groups[0].settings == {"weight_decay": 0.0}
    again = optreg.build(run.spec, Net("a"), on_resume={"settings": "refuse"})
    load(again, saved(run))


RULES = [{"match": "*.bias", "weight_decay": 0.0}, {"match": "a.*", "lr": 0.5}]


def test_settings_of_rules_that_combine_are_told_once_with_the_rule_that_states_them():
    one = started(spec(lr=0.25, groups=RULES), Net("a", "b"))
    changed = [{**RULES[0], "weight_decay": 0.125}, {**RULES[1], "lr": 1.0}]
    with pytest.raises(ResumeError) as error:
        load(optreg.build(spec(lr=0.25, groups=changed), Net("a", "b")), saved(one))
    assert str(error.value).splitlines()[1:3] == [
        "  weight_decay of the rule 'match: *.bias': 0.0 in the checkpoint, 0.125 in the spec",
        "  lr of the rule 'match: a.*': 0.5 in the checkpoint, 1.0 in the spec",
    ]


def test_what_a_checkpoint_brings_stands_in_the_rule_that_states_it():
    one = started(spec(lr=0.25, groups=RULES), Net("a", "b"))
    changed = [{**RULES[0], "weight_decay": 0.125}, {**RULES[1], "lr": 1.0}]
    run = optreg.build(spec(lr=0.25, groups=changed), Net("a", "b"), on_resume={"settings": "checkpoint"})
    load(run, saved(one))
    assert run.spec.as_dict()["groups"] == optreg.load_spec(spec(groups=RULES)).as_dict()["groups"]
    load(optreg.build(run.spec, Net("a", "b"), on_resume={"settings": "refuse"}), saved(run))


SCALED = [{"match": "a.*", "lr_scale": 0.1}, {"ndim": 1, "weight_decay": 0.0}]


def test_a_changed_rate_is_told_once_although_other_groups_have_multiples_of_it():
    one = started(spec(lr=0.25, groups=SCALED), Net("a", "b"))
    with pytest.raises(ResumeError) as error:
        load(optreg.build(spec(lr=0.5, groups=SCALED), Net("a", "b")), saved(one))
    assert [line for line in str(error.value).splitlines() if "in the checkpoint" in line] == [
        "  optimizer.lr: 0.25 in the checkpoint, 0.5 in the spec"
    ]
    other = [{**SCALED[0], "lr_scale": 0.2}, SCALED[1]]
    with pytest.raises(
        ResumeError, match=r"lr of the rule 'match: a\.\*': 0\.025 in the checkpoint, 0\.05 in the spec"
    ):
        load(optreg.build(spec(lr=0.25, groups=other), Net("a", "b")), saved(one))


@order
def test_a_rate_of_a_checkpoint_carries_its_multiples_along(first):
    one = started(spec(lr=0.3, groups=SCALED), Net("a", "b"))
    run = optreg.build(spec(lr=0.5, groups=SCALED), Net("a", "b"), on_resume={"settings": "checkpoint"})
    load(run, saved(one), first)
    assert rates(run) == rates(one)
    assert run.spec.optimizer.settings["lr"] == 0.3
    assert run.spec.groups == one.spec.groups
    load(optreg.build(run.spec, Net("a", "b"), on_resume={"settings": "refuse"}), saved(run))


@pytest.mark.parametrize("scaled", [{"lr_scale": 0.1}, {"layers": "{layer}.*", "layer_decay": 0.5}])
def test_rates_of_a_checkpoint_that_are_no_such_multiples_are_stated(scaled):
    rules = [{"match": "*.bias", "lr": 0.125}, {"match": "0.*", "weight_decay": 0.0, **scaled}]
    if "layers" in scaled:
        del rules[1]["match"]
    one = started(spec(lr=0.3, groups=[{"match": "0.weight", "lr": 0.7}]), Net("0", "1"))
    run = optreg.build(spec(lr=0.5, groups=rules), Net("0", "1"), on_resume={"settings": "checkpoint"})
    load(run, saved(one))
    again = optreg.build(run.spec, Net("0", "1"), on_resume={"settings": "refuse"})
    load(again, saved(run))
    found = {name: group["lr"] for group in again.optimizer.param_groups for name in group["param_names"]}
    assert found == {"0.weight": 0.7, "0.bias": 0.3, "1.weight": 0.3, "1.bias": 0.3}


@pytest.mark.parametrize("named", [True, False])
def test_what_no_rule_of_the_spec_can_state_is_stated_by_rules_of_its_own(named):
    def parameters():
        model = Net("a", "b")
        return model if named else model.parameters()

    groups = [{"ndim": 1, "weight_decay": 0.0}, {"ndim": [1, 2], "lr": 0.5}]
    one = optreg.build(spec(groups=groups), parameters())
    one.optimizer.param_groups[0]["eps"] = 0.25  # of the group of matrices alone, by hand
    run = optreg.build(spec(groups=groups), parameters(), on_resume={"settings": "checkpoint"})
    load(run, saved(one))
    assert [group["eps"] for group in run.optimizer.param_groups] == [0.25, 1e-8]
    again = optreg.build(run.spec, parameters(), on_resume={"settings": "refuse"})
    load(again, saved(run))
    settings = [
        sorted((group["lr"], group["weight_decay"], group["eps"]) for group in each.optimizer.param_groups)
        for each in (again, run)
    ]
    assert settings[0] == settings[1] == [(0.5, 0.0, 0.25), (0.5, 0.01, 1e-8)]


def test_execution_options_stay_as_they_are():
    one = started(spec("torch.AdamW", foreach=True), Net("a"))
    run = optreg.build(spec("torch.AdamW", foreach=False), Net("a"))
    load(run, saved(one))
    assert run.optimizer.param_groups[0]["foreach"] is False
    run = optreg.build(spec("adamw", execution="loop", weight_decay=0.01), Net("a"))
    load(run, saved(one))
    assert run.optimizer.param_groups[0]["execution"] == "loop"


def test_what_the_schedule_drives_is_no_setting():
    scheduler = {"name": "torch.OneCycleLR", "max_lr": 1.0, "total_steps": 10}
    for name in ("adamw", "torch.SGD"):
        one = started(spec(name, scheduler, lr=0.5), Net("a"), 6)
        run = optreg.build(spec(name, scheduler, lr=0.125), Net("a"))  # the base rate has no effect
        load(run, saved(one))
        assert run.optimizer.state_dict()["param_groups"] == one.optimizer.state_dict()["param_groups"]
    other = optreg.build(spec("adamw", scheduler, betas=[0.9, 0.9]), Net("a"))
    one = started(spec("adamw", scheduler), Net("a"), 6)
    with pytest.raises(ResumeError, match=r"optimizer\.betas"):
        load(other, saved(one))


def test_what_was_changed_by_hand_may_be_saved_and_loaded_in_place():
    model = Net("a")
    run = optreg.build(spec(), model, on_resume={"settings": "checkpoint"})
    other = started(spec(weight_decay=0.25), Net("a"))
    run.optimizer.load_state_dict(saved(other)[0])
    run.optimizer.load_state_dict(run.optimizer.state_dict())
    assert run.spec.optimizer.settings["weight_decay"] == 0.25
    run = optreg.build(spec(), model)
    run.optimizer.param_groups[0]["weight_decay"] = 0.125  # accelerate loads the optimizer's own state to move it
    run.optimizer.load_state_dict(run.optimizer.state_dict())
    train(run, model, 2)
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.125


def test_rates_that_the_caller_drives_are_no_setting():
    model = Net("a")
    optimizer = optreg.optimizer("adamw", model, lr=1.0)
    optimizer.param_groups[0]["lr"] = 0.125
    other = optreg.optimizer("adamw", Net("a"), lr=1.0)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.125


def test_an_optimizer_built_in_python_has_choices_too():
    optimizer = optreg.optimizer("adamw", Net("a"), weight_decay=0.5)
    with pytest.raises(ResumeError, match="weight_decay"):
        optreg.optimizer("adamw", Net("a"), weight_decay=0.25).load_state_dict(optimizer.state_dict())
    other = optreg.optimizer("adamw", Net("a"), weight_decay=0.25, on_resume={"settings": "spec"})
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["weight_decay"] == 0.25
    with pytest.raises(SpecError, match="on_resume has no parameter 'setting'; did you mean 'settings'"):
        optreg.optimizer("adamw", Net("a"), on_resume={"setting": "spec"})


# A changed schedule

HORIZONS = [
    ("warmup_cosine", "total_steps", {"warmup_steps": 3}),
    ("torch.CosineAnnealingLR", "T_max", {}),
    ("torch.OneCycleLR", "total_steps", {"max_lr": 1.0}),
    ("torch.LinearLR", "total_iters", {}),
    ("torch.PolynomialLR", "total_iters", {}),
    ("torch.MultiStepLR", "milestones", {}),
]
horizons = pytest.mark.parametrize(("name", "key", "more"), HORIZONS)


def horizon(name, key, more, end, **settings):
    return spec(scheduler={"name": name, key: [end] if key == "milestones" else end, **more}, lr=1.0, **settings)


def curve(a_spec, updates):
    model = Net("a")
    run, seen = optreg.build(a_spec, model), []
    for _ in range(updates):
        seen.append(rates(run)[0])
        train(run, model, 1)
    return seen


@order
@horizons
def test_a_changed_horizon_is_told_and_refused(name, key, more, first):
    one = started(horizon(name, key, more, 12), Net("a"), 6)
    run = optreg.build(horizon(name, key, more, 24), Net("a"))
    with pytest.raises(ResumeError, match=rf"scheduler\.{key}: \[?12\]? in the checkpoint, \[?24\]? in the spec"):
        load(run, saved(one), first)
    load(optreg.build(horizon(name, key, more, 12), Net("a")), saved(one), first)


@order
@horizons
def test_follow_takes_the_specs_schedule_from_the_next_update_on(name, key, more, first):
    one = started(horizon(name, key, more, 12), Net("a"), 6)
    model = Net("a")
    run = optreg.build(horizon(name, key, more, 24), model, on_resume={"schedule": "follow"})
    load(run, saved(one), first)
    wanted = curve(horizon(name, key, more, 24), 20)
    for t in range(6, 12):
        assert rates(run) == pytest.approx([wanted[t]], abs=1e-12)
        train(run, model, 1)
    again = optreg.build(horizon(name, key, more, 24), Net("a"))
    load(again, saved(run), first)
    assert rates(again) == pytest.approx([wanted[12]], abs=1e-12)
    train(again, Net("a"), 1)
    assert rates(again) == pytest.approx([wanted[13]], abs=1e-12)


@order
@horizons
def test_branch_begins_the_specs_schedule_anew(name, key, more, first):
    one = started(horizon(name, key, more, 12), Net("a"), 6)
    model = Net("a")
    run = optreg.build(horizon(name, key, more, 24), model, on_resume={"schedule": "branch"})
    load(run, saved(one), first)
    wanted = curve(horizon(name, key, more, 24), 20)
    for t in range(4):
        assert rates(run) == pytest.approx([wanted[t]], abs=1e-12)
        train(run, model, 1)
    again = optreg.build(horizon(name, key, more, 24), Net("a"))  # a resume of the branch needs no choice
    load(again, saved(run), first)
    assert rates(again) == pytest.approx([wanted[4]], abs=1e-12)


@order
@horizons
def test_the_checkpoints_schedule_goes_on_and_run_spec_tells_it(name, key, more, first):
    one = started(horizon(name, key, more, 12), Net("a"), 6)
    run = optreg.build(horizon(name, key, more, 24), Net("a"), on_resume={"schedule": "checkpoint"})
    load(run, saved(one), first)
    assert run.spec.scheduler.settings[key] == ((12,) if key == "milestones" else 12)
    for _ in range(3):
        assert rates(run) == rates(one)
        train(run, Net("a"), 1), train(one, Net("a"), 1)
    load(optreg.build(run.spec, Net("a"), on_resume={"schedule": "refuse"}), saved(run), first)


@order
def test_stretch_is_continuous_and_exact_at_both_ends_and_resumes_again(first):
    old = curve(horizon("cosine", "total_steps", {}, 10), 12)
    one = started(horizon("cosine", "total_steps", {}, 10), Net("a"), 4)
    run = optreg.build(horizon("cosine", "total_steps", {}, 16), Net("a"), on_resume={"schedule": "stretch"})
    load(run, saved(one), first)
    seen = []
    for _ in range(4, 9):
        seen.append(rates(run)[0])
        train(run, Net("a"), 1)
    assert seen[0] == old[4]
    assert seen[2] == pytest.approx(old[5])  # twelve steps for the old six
    assert seen[1] == pytest.approx((old[4] + old[5]) / 2)
    state = json.loads(json.dumps(run.scheduler.state_dict()))
    again = optreg.build(horizon("cosine", "total_steps", {}, 16), Net("a"))
    again.optimizer.load_state_dict(run.optimizer.state_dict())
    again.scheduler.load_state_dict(state)
    assert rates(again) == rates(run)
    twice = optreg.build(horizon("cosine", "total_steps", {}, 30), Net("a"), on_resume={"schedule": "stretch"})
    load(twice, saved(again), first)
    assert rates(twice) == rates(run)
    twice.scheduler.step(30)
    assert rates(twice) == [old[10]]
    twice.scheduler.step(29)
    assert old[10] < rates(twice)[0] < old[9]


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"name": "exponential", "gamma": 0.5}, "exponential cannot be stretched, because it has no end"),
        ({"name": "torch.PolynomialLR"}, "torch.PolynomialLR cannot be stretched, because it is not a function"),
    ],
)
def test_a_stretch_that_cannot_be_is_told_when_the_run_is_built(scheduler, message):
    with pytest.raises(SpecError, match=message):
        optreg.build(spec(scheduler=scheduler), Net("a"), on_resume={"schedule": "stretch"})


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"name": "warmup_cosine", "warmup_steps": 2, "total_steps": 24}, "more than 'total_steps' differs"),
        ({"name": "linear", "total_steps": 24}, "scheduler: .*needs the same schedule"),
        ({"name": "warmup_cosine", "warmup_steps": 3, "total_steps": 5}, "the new end, 5, lies before step 6"),
    ],
)
def test_a_stretch_of_more_than_the_end_is_refused(scheduler, message):
    one = started(horizon("warmup_cosine", "total_steps", {"warmup_steps": 3}, 12), Net("a"), 6)
    run = optreg.build(spec(scheduler=scheduler, lr=1.0), Net("a"), on_resume={"schedule": "stretch"})
    with pytest.raises(ResumeError, match=f"(?s){message}"):
        load(run, saved(one))


@pytest.mark.parametrize(
    "changed", [{"pct_start": 0.5}, {"div_factor": 10.0}, {"anneal_strategy": "linear"}, {"max_lr": 2.0}]
)
def test_settings_that_torch_does_not_save_by_name_are_noticed_too(changed):
    more = {"max_lr": 1.0}
    one = started(horizon("torch.OneCycleLR", "total_steps", more, 20), Net("a"), 6)
    new = horizon("torch.OneCycleLR", "total_steps", more | changed, 20)
    with pytest.raises(ResumeError, match=r"scheduler\."):
        load(optreg.build(new, Net("a")), saved(one))
    run = optreg.build(new, Net("a"), on_resume={"schedule": "follow"})
    load(run, saved(one))
    assert rates(run) == pytest.approx([curve(new, 7)[6]])


LINEAR = {"name": "linear", "total_steps": 12}
STEPS = {"name": "torch.StepLR", "step_size": 3}


@pytest.mark.parametrize(
    ("old", "new", "choices"),
    [
        (LINEAR, {**LINEAR, "total_steps": 24}, "follow, stretch, branch or checkpoint"),
        (LINEAR, {**LINEAR, "end_factor": 0.5}, "follow, branch or checkpoint"),
        (LINEAR, {**LINEAR, "warmup_steps": 2}, "follow or branch"),
        (LINEAR, {"name": "cosine", "total_steps": 12}, "follow or branch"),
        (LINEAR, STEPS, "follow or branch"),
        (STEPS, LINEAR, "follow or branch"),
        (STEPS, {**STEPS, "gamma": 0.5}, "follow, branch or checkpoint"),
        ({"name": "exponential", "gamma": 0.9}, {"name": "exponential", "gamma": 0.8}, "follow, branch or checkpoint"),
    ],
)
def test_a_refusal_names_the_choices_that_can_be_taken(old, new, choices):
    checkpoint = saved(started(spec(scheduler=old), Net("a"), 6))
    for choice in ("refuse", "follow", "stretch", "branch", "checkpoint"):
        if choice in choices:
            load(optreg.build(spec(scheduler=new), Net("a"), on_resume={"schedule": choice}), checkpoint)
        else:
            with pytest.raises((ResumeError, SpecError), match=rf"takes {choices}\n|cannot be stretched, because"):
                load(optreg.build(spec(scheduler=new), Net("a"), on_resume={"schedule": choice}), checkpoint)


def test_another_scheduler_of_torch_is_told():
    one = started(spec(scheduler={"name": "torch.StepLR", "step_size": 2}), Net("a"), 5)
    run = optreg.build(spec(scheduler={"name": "torch.CosineAnnealingLR", "T_max": 7}), Net("a"))
    with pytest.raises(ResumeError, match=r"scheduler\.T_max: nothing in the checkpoint, 7 in the spec"):
        load(run, saved(one))
    run = optreg.build(run.spec, Net("a"), on_resume={"schedule": "follow"})
    load(run, saved(one))
    assert "step_size" not in run.scheduler.state_dict()


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step")  # torch's own says so of copies too
@pytest.mark.parametrize("name", ["torch.StepLR", "torch.OneCycleLR", "torch.CosineAnnealingLR"])
def test_a_scheduler_of_torch_is_and_saves_what_torchs_own_does(name):
    settings = {"torch.StepLR": {"step_size": 2}, "torch.OneCycleLR": {"max_lr": 1.0, "total_steps": 9}}
    settings = settings.get(name, {"T_max": 9})
    run = optreg.build(spec("torch.SGD", {"name": name, **settings}, lr=0.5), Net("a"))
    theirs = getattr(torch.optim.lr_scheduler, name.removeprefix("torch."))
    twin = theirs(torch.optim.SGD(Net("a").parameters(), lr=0.5, momentum=0.9), **settings)
    assert isinstance(run.scheduler, theirs)
    assert run.scheduler.state_dict() == twin.state_dict()
    assert type(run.scheduler).__name__ == theirs.__name__
    for scheduler in (pickle.loads(pickle.dumps(run.scheduler)), copy.deepcopy(run.scheduler)):
        assert isinstance(scheduler, theirs)
        assert scheduler.state_dict() == twin.state_dict()
        scheduler.optimizer.step()
        scheduler.step()
        assert scheduler.last_epoch == 1


def test_the_section_of_a_file_is_checked_with_positions_and_the_call_wins(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "optimizer: {name: lion}\nscheduler: {name: constant}\non_resume:\n  settings: old\n  shedule: follow\n"
    )
    with pytest.raises(SpecError) as error:
        optreg.load_spec(path)
    assert str(error.value).splitlines() == [
        f"{path}:4:13: on_resume: settings must be 'refuse', 'spec' or 'checkpoint', not 'old'",
        f"{path}:5:3: on_resume has no parameter 'shedule'; did you mean 'schedule'?",
    ]
    path.write_text(
        "optimizer: {name: lion}\nscheduler: {name: constant}\non_resume: {settings: spec, schedule: branch}\n"
    )
    recipe = optreg.build(path, on_resume={"schedule": "follow"})
    assert recipe.spec.as_dict()["on_resume"] == {"settings": "spec", "schedule": "follow"}
    assert optreg.load_spec(recipe.spec) == recipe.spec
    with pytest.raises(SpecError, match="on_resume is a mapping such as"):
        optreg.build(path, on_resume="follow")


@order
def test_a_peak_that_torch_keeps_in_the_groups_follows_the_choice(first):
    one = started(horizon("torch.OneCycleLR", "total_steps", {"max_lr": 1.0}, 20), Net("a"), 6)
    new = horizon("torch.OneCycleLR", "total_steps", {"max_lr": 2.0}, 20)
    run = optreg.build(new, Net("a"), on_resume={"schedule": "follow"})
    load(run, saved(one), first)
    assert rates(run) == pytest.approx([curve(new, 7)[6]])
    run = optreg.build(new, Net("a"), on_resume={"schedule": "checkpoint"})
    load(run, saved(one), first)
    assert rates(run) == rates(one)
    assert run.spec.scheduler.settings["max_lr"] == 1.0
    load(optreg.build(run.spec, Net("a"), on_resume={"schedule": "refuse"}), saved(run), first)
    unsaid = horizon("torch.OneCycleLR", "total_steps", {"max_lr": 1.0, "div_factor": 5.0}, 20)
    with pytest.raises(ResumeError, match=r"scheduler\.initial_lr"):
        load(optreg.build(unsaid, Net("a"), on_resume={"schedule": "checkpoint"}), saved(one))


def test_a_run_saves_and_loads_as_a_whole():
    run = started(spec(scheduler={"name": "cosine", "total_steps": 9}), Net("a"))
    state = run.state_dict()
    assert optreg.load_spec(state["spec"]) == run.spec
    assert [each["name"] for each in state["plugins"]] == ["adamw", "cosine"]
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    other = optreg.build(run.spec, Net("a"))
    other.load_state_dict(torch.load(stream, weights_only=True))
    assert rates(other) == rates(run)
    assert other.optimizer.state_dict()["param_groups"] == run.optimizer.state_dict()["param_groups"]


def test_a_scheduler_of_other_groups_is_loaded_after_the_optimizer():
    for scheduler in ({"name": "cosine", "total_steps": 9}, {"name": "torch.StepLR", "step_size": 2}):
        one = started(spec(scheduler=scheduler), Net("a"))
        run = optreg.build(spec(scheduler=scheduler, groups=[{"match": "*.bias", "weight_decay": 0.01}]), Net("a"))
        with pytest.raises(ResumeError, match="load the optimizer's state_dict before the scheduler's"):
            load(run, saved(one), "scheduler")
        load(run, saved(one))
        assert rates(run) == rates(one) * 2


@order
@pytest.mark.parametrize(
    "scheduler",
    [{"name": "linear", "total_steps": 9}, {"name": "torch.StepLR", "step_size": 2},
     {"name": "torch.CosineAnnealingLR", "T_max": 9}],
)  # fmt: skip
def test_a_group_that_was_added_later_is_loaded_too(scheduler, first):
    def build():
        model = Net("a", "b")
        run = optreg.build(spec(scheduler=scheduler), model.a)
        run.optimizer.add_param_group({"params": [*model.b.named_parameters(prefix="b")], "lr": 0.5})
        return run, model

    (one, model), (other, _) = build(), build()
    train(one, model, 3)
    load(other, saved(one), first)
    assert rates(other) == rates(one)
    assert other.spec == one.spec
    train(one, model, 3), train(other, Net("a", "b"), 3)
    assert rates(other) == rates(one)


def test_a_schedule_and_settings_may_both_change():
    one = started(horizon("linear", "total_steps", {}, 10), Net("a"), 5)
    new = {**horizon("linear", "total_steps", {}, 20), "optimizer": {"name": "adamw", "lr": 2.0}}
    choices = {"schedule": "follow", "settings": "spec"}
    for first in ("optimizer", "scheduler"):
        run = optreg.build(new, Net("a"), on_resume=choices)
        load(run, saved(one), first)
        assert rates(run) == pytest.approx([1.5])


def test_editors_know_the_section():
    schema = make_schema(optreg.Registry([]))["properties"]["on_resume"]
    for section, right in (
        ({"schedule": "stretch"}, True),
        ({"schedule": "old"}, False),
        ({"shedule": "follow"}, False),
    ):
        assert jsonschema.Draft202012Validator(schema).is_valid(section) == right


# What was forgotten


def test_a_scheduler_that_was_not_loaded_is_noticed():
    model = Net("a")
    for scheduler in ({"name": "linear_warmup", "warmup_steps": 3}, {"name": "torch.LinearLR"}):
        one = started(spec(scheduler=scheduler), model, 5)
        run = optreg.build(spec(scheduler=scheduler), model)
        run.optimizer.load_state_dict(saved(one)[0])
        with pytest.warns(ResumeWarning, match="Load the scheduler's state_dict too"):
            run.optimizer.step()
        run.optimizer.step()
        for first in ("optimizer", "scheduler"):
            run = optreg.build(spec(scheduler=scheduler), model)
            load(run, saved(one), first)
            run.optimizer.step()


def test_a_second_scheduler_that_starts_from_a_stale_rate_is_noticed():
    model = Net("a")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    first = optreg.scheduler("constant", optimizer)
    optimizer.param_groups[0]["lr"] = 0.01
    second = optreg.scheduler("constant", optimizer)
    with pytest.warns(ResumeWarning, match=r"starts from initial_lr, 1, not from the rate 0\.01"):
        optimizer.step()
    assert first.get_last_lr() == second.get_last_lr() == [1.0]


@pytest.mark.parametrize(
    ("name", "settings", "starts_from"),
    [
        ("torch.StepLR", {"step_size": 3}, 0.5),
        ("torch.LinearLR", {"start_factor": 0.5}, 0.25),
        ("torch.OneCycleLR", {"max_lr": 1.0, "total_steps": 9, "div_factor": 8.0}, 0.125),
        ("odd", {}, 1.0),  # by the base rate, as LambdaLR does
    ],
)
def test_a_second_scheduler_of_torch_is_told_only_if_it_starts_from_a_stale_rate(schedule, name, settings, starts_from):
    schedule(fields="T_0: PositiveSteps = 9", implementation="torch.optim.lr_scheduler:CosineAnnealingWarmRestarts")
    run = started(spec(scheduler={"name": "cosine", "total_steps": 10}, lr=1.0), Net("a"), 5)
    second = optreg.scheduler(name, run.optimizer, **settings)
    assert isinstance(second, LRScheduler)
    assert rates(run) == pytest.approx([starts_from])
    told = pytest.warns(ResumeWarning, match=r"it starts from initial_lr, 1, not from the rate 0\.5")
    with told if name == "odd" else contextlib.nullcontext():
        run.optimizer.step()


def test_a_scheduler_that_is_made_after_loading_and_then_loaded_is_right():
    model = Net("a")
    one = started(spec(scheduler={"name": "cosine", "total_steps": 10}), model, 5)
    optimizer = optreg.optimizer("adamw", model)
    optimizer.load_state_dict(saved(one)[0])
    scheduler = optreg.scheduler("cosine", optimizer, total_steps=10)
    scheduler.load_state_dict(saved(one)[1])
    assert scheduler.get_last_lr() == one.scheduler.get_last_lr()
    optimizer.step()


def test_several_schedulers_in_a_sequence_are_no_surprise():
    model = Net("a")
    optimizer = optreg.optimizer("adamw", model)
    parts = [
        optreg.scheduler("linear_warmup", optimizer, warmup_steps=2),
        optreg.scheduler("cosine", optimizer, total_steps=5),
    ]
    sequence = SequentialLR(optimizer, parts, milestones=[2])
    run = optreg.Run(optimizer, sequence, None)
    train(run, model, 4)
    checkpoint = saved(run)
    for first in ("optimizer", "scheduler"):
        other = optreg.optimizer("adamw", model)
        parts = [
            optreg.scheduler("linear_warmup", other, warmup_steps=2),
            optreg.scheduler("cosine", other, total_steps=5),
        ]
        again = optreg.Run(other, SequentialLR(other, parts, milestones=[2]), None)
        load(again, checkpoint, first)
        assert rates(again) == rates(run)
        train(again, model, 1)


# torch's distributed state dict before the first update


@pytest.mark.parametrize("name", ["adamw", "adam", "lion", "torch.AdamW", "torch.NAdam", "torch.SGD"])
def test_a_checkpoint_before_the_first_update_does_not_change_it(name):
    model = Net(*"abcdefghij")  # enough small tensors for a pack
    twin = copy.deepcopy(model)
    a_spec = spec(name, {"name": "linear_warmup", "warmup_steps": 4})  # whose first update has the rate 0
    looked, straight = optreg.build(a_spec, model), optreg.build(a_spec, twin)
    for _ in range(2):
        get_optimizer_state_dict(model, looked.optimizer)
    train(looked, model, 3), train(straight, twin, 3)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
    assert_same_states(states(looked, model), states(straight, twin))


@pytest.mark.parametrize("name", ["adamw", "torch.AdamW"])
def test_a_first_update_without_rate_and_gradient_is_a_real_one(name):
    model = Net("a")
    run = optreg.build(spec(name, {"name": "linear_warmup", "warmup_steps": 4}), model)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    run.optimizer.step()
    run.scheduler.step()
    assert {int(state["step"]) for state in saved(run)[0]["state"].values()} == {1}
    train(run, model, 2)
    get_optimizer_state_dict(model, run.optimizer)
    assert {int(state["step"]) for state in states(run, model).values()} == {3}


@pytest.mark.parametrize("name", ["adamw", "adam", "lion"])
def test_a_run_resumed_from_a_checkpoint_before_the_first_update_begins_at_the_first(name):
    model, straight = Net("a"), Net("a")
    a_spec = spec(name, **({} if name == "lion" else {"weight_decay": 0.5}))
    checkpoint = get_optimizer_state_dict(model, optreg.build(a_spec, model).optimizer)
    straight.load_state_dict(model.state_dict())
    run, other = optreg.build(a_spec, model), optreg.build(a_spec, straight)
    set_optimizer_state_dict(model, run.optimizer, checkpoint)
    train(run, model, 3), train(other, straight, 3)
    for one, two in zip(model.parameters(), straight.parameters(), strict=True):
        assert torch.equal(one, two)


def test_beside_a_scheduled_element_the_others_of_a_tuple_are_compared():
    def run(second):
        betas = [{"name": "linear", "from": 0.8, "to": 0.9, "for": 10}, second]
        return optreg.build({"optimizer": {"name": "adamw", "betas": betas}}, torch.nn.Linear(2, 1))

    first = run(0.99)
    for _ in range(4):
        first.optimizer.step()
        first.scheduler.step()
    checkpoint = copy.deepcopy(first.state_dict())
    again = run(0.99)
    again.load_state_dict(checkpoint)
    betas = again.optimizer.param_groups[0]["betas"]
    assert betas == first.optimizer.param_groups[0]["betas"]
    assert betas == pytest.approx((0.84, 0.99), rel=2**-52)  # one rounding
    with pytest.raises(optreg.ResumeError, match=r"optimizer.betas: .*0.99.* in the checkpoint, .*0.95"):
        run(0.95).load_state_dict(checkpoint)
