"""A composite beside its members, stepped by hand: the same bits, in everything that is done with one optimizer."""

import copy
import io
import pickle
from collections import defaultdict, namedtuple

import pytest
import torch
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.optimizer import register_optimizer_step_pre_hook

import optreg
from optreg.composite import Composite

AdamW = optreg.default_registry().optimizer("adamw").implementation()
Lion = optreg.default_registry().optimizer("lion").implementation()


def muon(params):
    """torch's own, which has no step count and refuses all but matrices."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    return torch.optim.Muon(params, lr=0.02, weight_decay=0.1)


PAIRS = {
    "Muon and our AdamW": (muon, lambda params: AdamW(params, lr=1e-2)),
    "our Lion and our AdamW": (lambda params: Lion(params, lr=1e-3), lambda params: AdamW(params, lr=1e-2)),
    "SGD and torch's AdamW": (
        lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        lambda params: torch.optim.AdamW(params, lr=1e-2),
    ),
    "Adagrad, whose state begins in the constructor, and RMSprop": (
        lambda params: torch.optim.Adagrad(params, lr=0.1),
        lambda params: torch.optim.RMSprop(params, lr=1e-2),
    ),
    "two of one class": (
        lambda params: AdamW(params, lr=1e-2),
        lambda params: AdamW(params, lr=1e-3, betas=(0.5, 0.9)),
    ),
}

pairs = pytest.mark.parametrize("makers", PAIRS.values(), ids=PAIRS.keys())


def net(seed=0):
    """A small model: three matrices, and vectors."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 4), nn.Linear(4, 3, bias=False))


def members(makers, model):
    """One optimizer for the matrices, in two groups, and one for the vectors, in one."""
    named = [*model.named_parameters()]
    matrices = [pair for pair in named if pair[1].ndim == 2]
    others = [pair for pair in named if pair[1].ndim != 2]
    first, second = makers
    return [first([{"params": matrices[:1]}, {"params": matrices[1:]}]), second([{"params": others}])]


def composite(makers, model):
    """The groups of the two optimizers stand in another order than member by member."""
    return Composite(members(makers, model), order=[0, 1, 0])


def loss_of(model, number):
    """The loss on the batch of this number."""
    generator = torch.Generator().manual_seed(number)
    x, y = (torch.randn(8, size, generator=generator) for size in (6, 3))
    return (model(x) - y).square().mean()


def train(model, optimizers, numbers):
    """Make an update for each batch with one optimizer, or with several one after the other."""
    for number in numbers:
        for each in optimizers:
            each.zero_grad()
        loss_of(model, number).backward()
        for each in optimizers:
            each.step()


def assert_same(model, other):
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name


def assert_same_state(one, other):
    """Two checkpoints hold the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, its in zip(one, other, strict=True):
            assert_same_state(mine, its)
    else:
        assert one == other


# Steps


@pairs
def test_steps_are_those_of_its_members(makers):
    model, by_hand = net(), net()
    train(model, [composite(makers, model)], range(5))
    train(by_hand, members(makers, by_hand), range(5))
    assert_same(model, by_hand)
    with pytest.raises(AssertionError):
        assert_same(model, net())


@pairs
def test_the_param_groups_are_the_members_own_dicts_in_the_order_asked_for(makers):
    model = net()
    made = composite(makers, model)
    first, second = made.members
    assert isinstance(made, torch.optim.Optimizer)
    expected = [first.param_groups[0], second.param_groups[0], first.param_groups[1]]
    assert [id(group) for group in made.param_groups] == [id(group) for group in expected]
    assert made.places == [0, 1, 0]
    by_hand = net()
    theirs = members(makers, by_hand)
    for group in made.param_groups:
        group["lr"] *= 0.5
    for each in theirs:
        for group in each.param_groups:
            group["lr"] *= 0.5
    train(model, [made], range(2))
    train(by_hand, theirs, range(2))
    assert_same(model, by_hand)


@pairs
def test_a_closure_is_evaluated_once_with_gradients_and_its_loss_returned(makers):
    model, by_hand = net(), net()
    made, seen = composite(makers, model), []

    def closure():
        assert torch.is_grad_enabled()
        made.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        seen.append(loss)
        return loss

    with torch.no_grad():
        assert made.step(closure) is seen[0]
        assert made.step(closure=closure) is seen[1]
    assert len(seen) == 2
    train(by_hand, members(makers, by_hand), [0, 0])
    assert_same(model, by_hand)


@pytest.mark.parametrize("to_none", [True, False])
@pairs
def test_zero_grad_reaches_all_gradients(makers, to_none):
    model = net()
    made = composite(makers, model)
    loss_of(model, 0).backward()
    made.zero_grad(set_to_none=to_none)
    for param in model.parameters():
        assert param.grad is None if to_none else torch.count_nonzero(param.grad) == 0


@pairs
def test_clipped_gradients_lead_to_the_same_update(makers):
    model, by_hand = net(), net()
    theirs = members(makers, by_hand)
    made = composite(makers, model)
    for each, optimizers in ((model, [made]), (by_hand, theirs)):
        loss_of(each, 0).backward()
        nn.utils.clip_grad_norm_(each.parameters(), 1e-3)
        for optimizer in optimizers:
            optimizer.step()
    assert_same(model, by_hand)


@pytest.mark.no_cover
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated"
)  # torch's own, when it compiles its classes
@pytest.mark.parametrize("name", ["Muon and our AdamW", "two of one class", "SGD and torch's AdamW"])
def test_a_compiled_step_is_that_of_its_members_compiled(name):
    torch.compiler.reset()
    model, by_hand = net(), net()
    made, theirs = composite(PAIRS[name], model), members(PAIRS[name], by_hand)
    whole = "torch" not in name  # the steps of torch's own classes break graphs
    compiled = torch.compile(made.step, backend="eager", fullgraph=whole)
    by_one = [torch.compile(each.step, backend="eager") for each in theirs]
    for number in range(3):
        for each in (model, by_hand):
            each.zero_grad()
            loss_of(each, number).backward()
        for step in (compiled, *by_one):
            step()
    assert_same(model, by_hand)
    torch.compiler.reset()


def test_a_member_that_needs_a_closure_is_refused():
    with pytest.raises(ValueError, match=r"LBFGS needs a closure in every step.*use such an optimizer alone"):
        Composite([torch.optim.LBFGS(net().parameters())])


# Hooks


def test_its_step_hooks_run_once_around_the_steps_of_its_members():
    model, order = net(), []
    made = composite(PAIRS["two of one class"], model)
    made.register_step_pre_hook(lambda each, args, kwargs: order.append(("before", each is made)))
    made.register_step_post_hook(lambda each, args, kwargs: order.append(("after", each is made)))
    for place, member in enumerate(made.members):
        member.register_step_pre_hook(lambda *_, place=place: order.append(f"before {place}"))
        member.register_step_post_hook(lambda *_, place=place: order.append(f"after {place}"))
    train(model, [made], [0])
    assert order == [("before", True), "before 0", "after 0", "before 1", "after 1", ("after", True)]


def test_a_step_hook_may_change_the_closure():
    model, seen = net(), []
    made = composite(PAIRS["two of one class"], model)
    made.register_step_pre_hook(lambda each, *_: ((each, lambda: seen.append("other")), {}))
    made.step(lambda: seen.append("given"))
    assert seen == ["other"]


def test_hooks_of_all_optimizers_run_for_it_and_for_each_member():
    model, seen = net(), []
    made = composite(PAIRS["two of one class"], model)
    handle = register_optimizer_step_pre_hook(lambda each, *_: seen.append(each))
    try:
        made.step()
    finally:
        handle.remove()
    assert [id(each) for each in seen] == [id(each) for each in (made, *made.members)]


def test_hooks_of_checkpoints_run_on_the_whole_and_on_the_parts():
    model, order = net(), []
    made = composite(PAIRS["two of one class"], model)
    train(model, [made], [0])

    def note(name, result=None):
        return lambda *given: order.append((name, sorted(given[-1]["state"]) if len(given) == 2 else None)) or result

    made.register_state_dict_pre_hook(note("whole before"))
    made.register_state_dict_post_hook(note("whole after"), prepend=True)
    made.members[0].register_state_dict_post_hook(note("first"))
    made.members[1].register_state_dict_post_hook(note("second"))
    checkpoint = made.state_dict()
    assert [name for name, _ in order] == ["whole before", "first", "second", "whole after"]
    assert [len(state or ()) for _, state in order] == [0, 3, 4, 7]

    order.clear()
    changed = {**checkpoint, "param_groups": [{**group, "lr": 0.25} for group in checkpoint["param_groups"]]}
    made.register_load_state_dict_pre_hook(note("whole", changed))
    made.register_load_state_dict_post_hook(lambda _: order.append(("loaded", [g["lr"] for g in made.param_groups])))
    made.members[1].register_load_state_dict_pre_hook(note("part"))
    made.load_state_dict(checkpoint)
    assert order == [("whole", [*range(7)]), ("part", [*range(4)]), ("loaded", [0.25] * 3)]


# State


@pairs
def test_its_state_is_that_of_its_members(makers):
    model = net()
    made = composite(makers, model)
    train(model, [made], range(2))
    param, weight = model[0].bias, model[0].weight
    assert dict(made.state)[param] is made.members[1].state[param]
    assert len(made.state) == len([*made.state]) == len([*made.state.items()]) == 7
    assert weight in made.state
    made.state[weight] = {"other": 1}
    assert made.members[0].state[weight] == {"other": 1}
    assert made.state.pop(weight) == {"other": 1}
    assert weight not in made.members[0].state
    assert made.state.get(weight) is None
    assert weight not in made.state
    assert made.state.setdefault(weight, {"mine": 2}) == {"mine": 2}
    assert made.state.pop(weight) == {"mine": 2}
    assert made.state.pop(weight, "none") == "none"
    assert made.state[weight] == {}
    assert weight in made.members[0].state
    del made.state[weight]
    assert weight not in made.members[0].state
    made.state = defaultdict(dict, {weight: {"new": 3}})
    assert [dict(member.state) for member in made.members] == [{weight: {"new": 3}}, {}]
    made.state["what is no parameter's"] = 4
    assert made.members[0].state["what is no parameter's"] == 4
    made.state.clear()
    assert not made.state
    assert not made.members[0].state


def test_a_copy_of_its_state_is_an_ordinary_mapping():
    model = net()
    made = composite(PAIRS["two of one class"], model)
    train(model, [made], [0])
    for taken in (copy.copy(made.state), copy.deepcopy(made.state), pickle.loads(pickle.dumps(made.state))):
        assert type(taken) is defaultdict
        assert len(taken) == 7
    assert repr(made.state).startswith("defaultdict(")
    before = made.state[model[0].bias]["step"]
    copy.deepcopy(made.state)[model[0].bias]["step"] = None
    assert made.state[model[0].bias]["step"] is before


# Checkpoints


@pairs
def test_a_checkpoint_has_the_form_of_a_simple_optimizers(makers):
    model = net()
    made = composite(makers, model)
    train(model, [made], range(2))
    checkpoint = made.state_dict()
    assert checkpoint.keys() == {"state", "param_groups"}
    assert [group["params"] for group in checkpoint["param_groups"]] == [[0], [1, 2, 3, 4], [5, 6]]
    assert checkpoint["param_groups"][1]["param_names"] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    params = [param for group in made.param_groups for param in group["params"]]
    assert list(checkpoint["state"]) == [*range(7)]
    for number, param in enumerate(params):
        assert_same_state(checkpoint["state"][number], made.state[param])


@pairs
def test_a_resumed_run_goes_on_as_if_never_stopped(makers):
    model, other = net(), net(seed=1)
    made = composite(makers, model)
    train(model, [made], range(3))
    file = io.BytesIO()
    torch.save((model.state_dict(), made.state_dict()), file)
    file.seek(0)
    weights, checkpoint = torch.load(file)
    other.load_state_dict(weights)
    resumed = composite(makers, other)
    resumed.load_state_dict(checkpoint)
    assert_same_state(resumed.state_dict(), made.state_dict())
    assert [id(group) for group in resumed.members[0].param_groups] == [
        id(resumed.param_groups[place]) for place in (0, 2)
    ]
    train(model, [made], range(3, 6))
    train(other, [resumed], range(3, 6))
    assert_same(model, other)


def test_state_in_another_dtype_than_the_parameters_survives():
    model = net().bfloat16()
    made = composite(PAIRS["our Lion and our AdamW"], model)
    for group in made.param_groups:
        group["state_dtype"] = "float32"
    for param in model.parameters():
        param.grad = torch.full_like(param, 0.3)
    made.step()
    resumed = composite(PAIRS["our Lion and our AdamW"], copy.deepcopy(model))
    for group in resumed.param_groups:
        group["state_dtype"] = "float32"
    resumed.load_state_dict(made.state_dict())
    assert resumed.state[resumed.param_groups[0]["params"][0]]["exp_avg"].dtype is torch.float32
    assert_same_state(resumed.state_dict(), made.state_dict())


def test_the_groups_of_another_model_are_refused_as_torch_does():
    made = composite(PAIRS["two of one class"], net())
    checkpoint = made.state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        made.load_state_dict({**checkpoint, "param_groups": checkpoint["param_groups"][:2]})
    checkpoint["param_groups"][0]["params"] = []
    with pytest.raises(ValueError, match="doesn't match the size"):
        made.load_state_dict(checkpoint)


def test_if_a_member_refuses_its_part_all_keep_what_they_have():
    model = net()
    made = composite(PAIRS["our Lion and our AdamW"], model)
    train(model, [made], [0])
    before = copy.deepcopy(made.state_dict())
    wrong = copy.deepcopy(before)
    wrong["state"][0]["exp_avg"] += 1
    wrong["state"][1]["exp_avg"] = torch.zeros(77)
    groups = [id(group) for group in made.param_groups]
    with pytest.raises(ValueError, match="shape"):
        made.load_state_dict(wrong)
    assert_same_state(made.state_dict(), before)
    assert [id(group) for group in made.param_groups] == groups
    train(model, [made], [1])


class Remembering(torch.optim.SGD):
    """SGD whose checkpoints have an entry of their own, and state that is no parameter's, or that torch cannot load."""

    def state_dict(self):
        return {**super().state_dict(), "memory": self.memory}

    def load_state_dict(self, state_dict):
        self.memory = state_dict["memory"]
        params = self.param_groups[0]["params"]
        pairs = [state_dict["state"][number].pop("pair") for number in range(len(params))]
        super().load_state_dict(state_dict)
        for param, pair in zip(params, pairs, strict=True):
            self.state[param]["pair"] = pair


Pair = namedtuple("Pair", "one other")


def test_what_members_keep_besides_comes_back_to_each():
    def made():
        model = net()
        matrices = [param for param in model.parameters() if param.ndim == 2]
        others = [param for param in model.parameters() if param.ndim != 2]
        return Composite({"one": Remembering(matrices, lr=0.1), "other": Remembering(others, lr=0.1)})

    one = made()
    for place, member in enumerate(one.members):
        member.memory = place
        member.state["noise"] = {"seed": place}
        for param in member.param_groups[0]["params"]:
            member.state[param]["pair"] = Pair(place, place)
    other = made()
    other.load_state_dict(one.state_dict())
    assert [member.memory for member in other.members] == [0, 1]
    assert [member.state["noise"] for member in other.members] == [{"seed": 0}, {"seed": 1}]
    params = [member.param_groups[0]["params"][0] for member in other.members]
    assert [other.state[param]["pair"] for param in params] == [Pair(0, 0), Pair(1, 1)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A process group of this process alone; one that another test has left is as good."""
    if distributed.is_initialized():
        yield
        return
    store = tmp_path_factory.mktemp("world") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
@pairs
def test_a_distributed_checkpoint_comes_back(makers, flat, world, tmp_path):
    model, other = net(), net(seed=1)
    made = composite(makers, model)
    train(model, [made], range(3))
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    saved = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, made, options=options)}
    distributed.checkpoint.save(saved, checkpoint_id=tmp_path)
    if not flat:
        assert saved["optimizer"]["state"].keys() == {name for name, _ in model.named_parameters()}

    resumed = composite(makers, other)
    found = {"model": other.state_dict(), "optimizer": get_optimizer_state_dict(other, resumed, options=options)}
    distributed.checkpoint.load(found, checkpoint_id=tmp_path)
    other.load_state_dict(found["model"])
    set_optimizer_state_dict(other, resumed, found["optimizer"], options=options)
    assert_same_state(resumed.state_dict()["state"], made.state_dict()["state"])
    train(model, [made], range(3, 6))
    train(other, [resumed], range(3, 6))
    assert_same(model, other)


@pytest.mark.parametrize("name", ["our Lion and our AdamW", "SGD and torch's AdamW"])
def test_sharded_parameters_come_back_from_a_distributed_checkpoint(name, world, tmp_path):
    def sharded(seed):
        model = net(seed)
        for layer in model:
            if any(True for _ in layer.parameters()):
                fully_shard(layer)
        return fully_shard(model)

    model, other = sharded(0), sharded(1)
    made, resumed = composite(PAIRS[name], model), composite(PAIRS[name], other)
    train(model, [made], range(3))
    distributed.checkpoint.save(
        {"model": get_model_state_dict(model), "optimizer": get_optimizer_state_dict(model, made)},
        checkpoint_id=tmp_path,
    )
    found = {"model": get_model_state_dict(other), "optimizer": get_optimizer_state_dict(other, resumed)}
    distributed.checkpoint.load(found, checkpoint_id=tmp_path)
    set_model_state_dict(other, found["model"])
    set_optimizer_state_dict(other, resumed, found["optimizer"])
    train(model, [made], range(3, 6))
    train(other, [resumed], range(3, 6))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.full_tensor(), two.full_tensor())


@pairs
def test_a_distributed_checkpoint_of_a_run_that_has_not_begun_changes_nothing(makers):
    model, by_hand = net(), net()
    made = composite(makers, model)
    scheduler = optreg.scheduler("constant", made)
    for _ in range(2):
        checkpoint = get_optimizer_state_dict(model, made)
    for member in made.members:
        if hasattr(member, "state_names"):
            names = [name for group in member.param_groups for name in group["param_names"]]
            assert all(torch.count_nonzero(v) == 0 for name in names for v in checkpoint["state"][name].values())
    train(model, [made], range(3))
    train(by_hand, members(makers, by_hand), range(3))
    assert_same(model, by_hand)
    assert scheduler.last_epoch == 0


def test_state_that_begins_in_the_constructor_is_not_that_of_an_update():
    model = net()
    made = composite(PAIRS["Adagrad, whose state begins in the constructor, and RMSprop"], model)
    checkpoint = get_optimizer_state_dict(model, made)
    assert float(checkpoint["state"]["0.weight"]["step"]) == 0
    assert float(checkpoint["state"]["0.bias"]["step"]) == 1


def loaded(pair):
    model, made = pair
    found = composite(PAIRS["two of one class"], model)
    found.load_state_dict(made.state_dict())
    return model, found


@pytest.mark.parametrize("way", [lambda pair: pair, loaded, copy.deepcopy], ids=["itself", "loaded", "copied"])
def test_a_distributed_checkpoint_makes_no_state_of_members_that_rest(way):
    model = net()
    made = composite(PAIRS["two of one class"], model)
    for param in made.members[0].param_groups[0]["params"]:
        param.grad = torch.ones_like(param)
    made.step()
    made.zero_grad()
    model, again = way((model, made))
    get_optimizer_state_dict(model, again)
    assert len(again.members[0].state) == 1
    assert not again.members[1].state


# Copies


@pytest.mark.parametrize("way", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"])
@pairs
def test_a_copy_goes_on_by_itself(makers, way):
    model = net()
    made = composite(makers, model)
    train(model, [made], range(2))
    other, copied = way((model, made))
    assert [id(group) for group in copied.param_groups] == [
        id(copied.members[place].param_groups[number]) for place, number in ((0, 0), (1, 0), (0, 1))
    ]
    train(other, [copied], range(2, 4))
    with pytest.raises(AssertionError):
        assert_same(model, other)
    train(model, [made], range(2, 4))
    assert_same(model, other)
    assert_same_state(made.state_dict(), copied.state_dict())


# Groups


@pairs
def test_an_added_group_goes_to_the_member_that_it_names_or_to_the_first(makers):
    model, by_hand = net(), net()
    made, theirs = composite(makers, model), members(makers, by_hand)
    extra = {each: (nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))) for each in (model, by_hand)}
    made.add_param_group({"params": [("more.0", extra[model][0])], "lr": 0.5})
    theirs[0].add_param_group({"params": [("more.0", extra[by_hand][0])], "lr": 0.5})
    made.add_param_group({"params": [("more.1", extra[model][1])], "optimizer": made.labels[1]})
    theirs[1].add_param_group({"params": [("more.1", extra[by_hand][1])]})
    assert made.places == [0, 1, 0, 0, 1]
    assert "optimizer" not in made.param_groups[4]
    for each, optimizers in ((model, [made]), (by_hand, theirs)):
        for param in extra[each]:
            param.grad = torch.eye(2)
        loss_of(each, 0).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert_same(model, by_hand)
    for one, two in zip(extra[model], extra[by_hand], strict=True):
        assert torch.equal(one, two)
    assert made.state_dict()["param_groups"][3]["params"] == [7]


def test_a_group_that_cannot_be_added_changes_nothing():
    model = net()
    made = composite(PAIRS["two of one class"], model)
    new = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="no member is called 'adam'; the members are 'AdamW', 'AdamW 2'"):
        made.add_param_group({"params": [("new", new)], "optimizer": "adam"})
    with pytest.raises(ValueError, match=r"the parameter '0\.bias' is in several members, 'AdamW' and 'AdamW 2'"):
        made.add_param_group({"params": [("0.bias", model[0].bias)]})
    assert [len(member.param_groups) for member in made.members] == [2, 1]
    with pytest.raises(ValueError, match="names"):
        made.add_param_group({"params": [new]})
    with pytest.raises(TypeError):
        made.add_param_group([new])
    assert [len(member.param_groups) for member in made.members] == [2, 1]
    del made.param_groups[1]
    with pytest.raises(ValueError, match="name all or none"):  # of a member without groups
        made.add_param_group({"params": [new], "optimizer": "AdamW 2"})
    assert [len(member.param_groups) for member in made.members] == [2, 0]
    assert len(made.param_groups) == 2


def test_another_list_of_groups_reaches_the_members():
    model, by_hand = net(), net()
    made, theirs = composite(PAIRS["SGD and torch's AdamW"], model), members(PAIRS["SGD and torch's AdamW"], by_hand)
    del made.param_groups[0]
    del theirs[0].param_groups[0]
    train(model, [made], range(2))
    train(by_hand, theirs, range(2))
    assert_same(model, by_hand)
    made.param_groups = [{**group} for group in made.param_groups]
    train(model, [made], range(2))
    train(by_hand, theirs, range(2))
    assert_same(model, by_hand)
    assert made.places == [1, 0]


def test_what_cannot_be_one_optimizer_is_refused():
    model = net()
    params = [*model.parameters()]
    with pytest.raises(ValueError, match="at least one optimizer"):
        Composite([])
    with pytest.raises(TypeError, match=r"the member 'Linear' is not a torch\.optim\.Optimizer"):
        Composite([nn.Linear(1, 1)])
    with pytest.raises(ValueError, match=r"the parameter of shape \(5,\) is in several members, 'SGD' and 'SGD 2'"):
        Composite([torch.optim.SGD(params[:2]), torch.optim.SGD(params[1:])])
    with pytest.raises(ValueError, match="name all or none"):
        Composite([torch.optim.SGD(params[:2]), torch.optim.SGD([("other", params[2])])])
    with pytest.raises(ValueError, match=r"the members have \[1, 1\] param groups, but the order counts others: \[0\]"):
        Composite([torch.optim.SGD(params[:2]), torch.optim.SGD(params[2:])], order=[0])


def test_it_tells_which_member_has_which_group():
    model = net()
    told = repr(composite(PAIRS["SGD and torch's AdamW"], model))
    assert told.startswith("Composite (\nParameter Group 0, of SGD\n    dampening: 0\n")
    assert "\nParameter Group 1, of AdamW\n" in told
    first, second = members(PAIRS["SGD and torch's AdamW"], model)
    assert "\nParameter Group 0, of body (SGD)\n" in repr(Composite({"body": first, "rest": second}))


def test_its_defaults_are_those_that_all_members_have():
    made = composite(PAIRS["SGD and torch's AdamW"], net())
    assert made.defaults["lr"] == 0.1
    assert "momentum" not in made.defaults
    assert "betas" not in made.defaults


# Modes


class WithModes(torch.optim.SGD):
    """An optimizer with two modes of its weights."""

    mode = "train"

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "eval"


def test_it_has_modes_if_a_member_has():
    model = net()
    matrices, others = ([param for param in model.parameters() if (param.ndim == 2) is flag] for flag in (True, False))
    made = Composite([WithModes(matrices, lr=0.1), torch.optim.SGD(others, lr=0.1)])
    made.eval()
    assert made.members[0].mode == "eval"
    made.train()
    assert made.members[0].mode == "train"
    assert not hasattr(composite(PAIRS["two of one class"], net()), "train")
    assert not hasattr(composite(PAIRS["two of one class"], net()), "eval")


# Gradient scalers

FUSED = {
    "all fused": (
        lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, fused=True),
        lambda params: torch.optim.AdamW(params, lr=1e-2, fused=True),
    ),
    "one fused": (
        lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        lambda params: torch.optim.AdamW(params, lr=1e-2, fused=True),
    ),
}


@pytest.mark.parametrize("makers", [*PAIRS.values(), *FUSED.values()], ids=[*PAIRS, *FUSED])
@pytest.mark.parametrize("unscaled", [False, True], ids=["in the step", "before it"])
def test_a_gradient_scaler_scales_and_skips_as_for_its_members(makers, unscaled):
    def run(model, optimizers):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
        scales = []
        for number in range(6):
            for each in optimizers:
                each.zero_grad()
            scaler.scale(loss_of(model, number)).backward()
            if number == 3:  # in every member, since each is skipped by itself
                for param in model.parameters():
                    param.grad[..., 0] = float("inf")
            for each in optimizers:
                if unscaled:
                    scaler.unscale_(each)
                scaler.step(each)
            scaler.update()
            scales.append(scaler.get_scale())
        return scales

    model, by_hand = net(), net()
    made = composite(makers, model)
    assert made._step_supports_amp_scaling is (makers is FUSED["all fused"])
    assert run(model, [made]) == run(by_hand, members(makers, by_hand))
    assert_same(model, by_hand)
    assert not any(hasattr(each, "grad_scale") or hasattr(each, "found_inf") for each in (made, *made.members))


def test_an_infinite_gradient_of_one_member_skips_the_update_of_all():
    for makers in (*FUSED.values(), PAIRS["two of one class"]):
        model = net()
        made, scaler = composite(makers, model), torch.amp.GradScaler("cpu")
        scaler.scale(loss_of(model, 0)).backward()
        model[0].bias.grad[0] = float("nan")
        scaler.step(made)
        assert_same(model, net())


# Schedulers

SCHEDULERS = {
    "LambdaLR": lambda optimizer: LambdaLR(optimizer, [lambda t: 0.9**t, lambda t: 0.8**t, lambda t: 0.7**t]),
    "StepLR": lambda optimizer: StepLR(optimizer, 2),
    "restarts": lambda optimizer: CosineAnnealingWarmRestarts(optimizer, 3),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, [0.1, 0.2, 0.3], total_steps=9, cycle_momentum=False),
    "cyclic": lambda optimizer: CyclicLR(optimizer, 0.01, 0.1, cycle_momentum=False),
    "chained": lambda optimizer: ChainedScheduler([LinearLR(optimizer), ExponentialLR(optimizer, 0.9)]),
    "sequence": lambda optimizer: SequentialLR(
        optimizer, [LinearLR(optimizer, total_iters=2), ExponentialLR(optimizer, 0.9)], [2]
    ),
    "ours": lambda optimizer: optreg.scheduler("cosine", optimizer, total_steps=8, warmup_steps=2),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS.values(), ids=SCHEDULERS.keys())
@pytest.mark.parametrize("makers", [PAIRS["Muon and our AdamW"], PAIRS["two of one class"]], ids=["Muon", "two AdamW"])
def test_a_scheduler_drives_all_groups(makers, scheduler):
    model, by_hand = net(), net()
    made, theirs = composite(makers, model), members(makers, by_hand)
    for group in made.param_groups[:2]:
        group["lr"] *= 3
    for group in (theirs[0].param_groups[0], theirs[1].param_groups[0]):
        group["lr"] *= 3
    twin = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": g["lr"]} for g in made.param_groups])
    drives, follows = scheduler(made), scheduler(twin)
    for number in range(6):
        rates = [group["lr"] for group in twin.param_groups]
        assert [group["lr"] for group in made.param_groups] == rates
        for group, rate in zip(
            (theirs[0].param_groups[0], theirs[1].param_groups[0], theirs[0].param_groups[1]), rates, strict=True
        ):
            group["lr"] = rate
        train(model, [made], [number])
        train(by_hand, theirs, [number])
        twin.step()
        drives.step()
        follows.step()
    assert_same(model, by_hand)
    resumed = scheduler(composite(makers, net()))
    resumed.load_state_dict(drives.state_dict())
    assert resumed.state_dict() == drives.state_dict()


def test_a_plateau_lowers_all_rates():
    made = composite(PAIRS["two of one class"], net())
    scheduler = ReduceLROnPlateau(made, patience=0, factor=0.5)
    for _ in range(2):
        scheduler.step(1.0)
    assert [group["lr"] for group in made.param_groups] == [5e-3, 5e-4, 5e-3]


def test_momentum_is_cycled_where_all_members_have_it_alike_and_refused_else():
    model = net()
    made = composite(PAIRS["two of one class"], model)
    scheduler = OneCycleLR(made, 0.1, total_steps=8)
    train(model, [made], [0])
    scheduler.step()
    assert len({group["betas"][0] for group in made.param_groups}) == 1
    assert made.param_groups[0]["betas"][0] != 0.9
    with pytest.raises(ValueError, match="must support momentum or beta1"):
        OneCycleLR(composite(PAIRS["SGD and torch's AdamW"], net()), 0.1, total_steps=8)
