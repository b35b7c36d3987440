"""Packs: many small parameters give what they give one by one, whatever is done to them from outside."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from executors import Descent, Rate, assert_same, parameters, params_of, ran, tensors_of, through_a_file
from torch import Tensor
from torch.nn import Parameter

import optreg
from optreg.pointwise import packs
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

pytestmark = pytest.mark.cpu


class Shrinking(optreg.Pointwise):
    """A rule that counts its updates, and whose steps shrink."""

    reference = Rate
    state_names = ("total", "last")
    counts_steps = True

    @staticmethod
    def update(p, g, total, last, *, t, lr):
        total = total + g.abs() / t
        return p - lr / t**0.5 * (g - 0.5 * last) / (1 + total), total, g


SETTINGS: dict[Any, dict[str, Any]] = {
    Lion: {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
    AdamW: {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    Shrinking: {"lr": 0.1},
    Descent: {"lr": 0.1},
}
every_rule = pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)

VECTORS = [(3,), (1,), (40,), (7,), (7,), (2,), (5,), (100,), (9,), (31,)]
MIXED = [(3,), (), (2, 3), (0,), (1,), (4, 1, 2), (), (5,), (3, 3), (2, 2, 2), (6,), (1, 1), (7,)]
LARGE = (packs.SMALL + 1,)


def is_packed(optimizer: torch.optim.Optimizer) -> bool:
    """Whether parameters' state lies in common memory."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if value.numel()]
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors}) < len(tensors)


def assert_close(left: torch.optim.Optimizer, right: torch.optim.Optimizer) -> None:
    """Parameters and state equal within rounding, place by place: kernels round otherwise than the rule as written."""
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
    for ours, theirs in zip(params_of(left), params_of(right), strict=True):
        tensors, others = {"param": ours, **left.state[ours]}, {"param": theirs, **right.state[theirs]}
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            allowed = max(tolerance[tensor.dtype], tolerance[ours.dtype])
            torch.testing.assert_close(tensor, others[name], rtol=allowed, atol=allowed)


class Twins:
    """The same run twice: packed, and one by one."""

    def __init__(
        self, cls: Any, shapes: list[tuple[int, ...]], *dtypes: torch.dtype, execution: str = "auto", **options: Any
    ) -> None:
        self.packed, self.alone = self.both = [
            cls(parameters(shapes, *dtypes), execution=how, **SETTINGS[cls], **options) for how in (execution, "loop")
        ]

    def go(self, count: int, **how: Any) -> None:
        for optimizer in self.both:
            ran(optimizer, range(count), **how)
        assert_close(*self.both)


# The same as one by one


@every_rule
@pytest.mark.parametrize(
    "shapes",
    [VECTORS, MIXED, [*MIXED, LARGE, *VECTORS], VECTORS[:1], VECTORS[:7]],
    ids=["vectors", "mixed", "large_too", "one", "seven"],
)
@pytest.mark.parametrize("execution", ["auto", "foreach"])
def test_many_small_parameters_give_what_they_give_one_by_one(cls, shapes, execution):
    twins = Twins(cls, shapes, execution=execution)
    for _ in range(3):
        twins.go(2)
    assert is_packed(twins.packed) == (cls is not Descent and len(shapes) > 1)
    assert not is_packed(twins.alone)


def test_a_packed_compiled_run_gives_the_same():
    twins = Twins(Lion, MIXED, execution="compiled")
    twins.go(4)
    assert is_packed(twins.packed)


@every_rule
def test_parameters_of_several_dtypes_are_packed_by_dtype(cls):
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    twins = Twins(cls, [(3,)] * 40, *dtypes, execution="foreach")
    twins.go(4)
    assert is_packed(twins.packed) == (cls is not Descent)


@every_rule
@pytest.mark.parametrize(
    "present",
    [
        lambda t, place: t < 2 or t > 4 or place != 3,
        lambda t, place: t % 3 != 2,
        lambda t, place: place % 2 == t % 2,
        lambda t, place: (place * 7 + t * 5) % 4 != 0,
        lambda t, place: place <= t,
        lambda t, place: place != 5,
    ],
    ids=["one_is_away", "all_are_away", "in_turns", "experts", "one_after_the_other", "one_never_comes"],
)
def test_gradients_come_and_go(cls, present):
    twins = Twins(cls, MIXED)
    twins.go(14, present=present)
    if cls in {AdamW, Shrinking}:
        steps = [twins.packed.state[param].get("step", torch.tensor(0)).item() for param in params_of(twins.packed)]
        assert steps == [sum(present(t, place) for t in range(14)) for place in range(len(MIXED))]


def test_parameters_whose_first_gradient_comes_late_are_packed_too():
    for frozen in (None, 19):
        optimizer = ran(Lion(parameters([(3,)] * 20)), range(3), lambda t, place: place == 0)
        ran(optimizer, range(3), lambda t, place, frozen=frozen: place != frozen)
        assert is_packed(optimizer), frozen


def test_a_group_that_grows_changes_no_noise_of_those_that_are_packed_after_it():
    """Noise is a function of a parameter's place: of that which it has now, whether it is packed or looked at."""

    def run(looked_at: bool) -> list[Tensor]:
        params = parameters([(5,)] * 14, torch.bfloat16)
        groups = [{"params": params[:3]}, {"params": params[3:13]}]
        optimizer = ran(Lion(groups, lr=1e-4, stochastic_rounding=True), range(3))
        optimizer.param_groups[0]["params"].append(params[13])
        if looked_at:
            optimizer.state_dict()
        return tensors_of(ran(optimizer, range(3, 6)))

    assert_same(run(looked_at=True), run(looked_at=False))


def test_parameters_without_a_gradient_stay_untouched_in_a_pack():
    optimizer = ran(AdamW(parameters(MIXED)), range(3))
    idle = params_of(optimizer)[2]
    before = [idle.detach().clone(), *(value.clone() for value in optimizer.state[idle].values())]
    ran(optimizer, range(3, 6), lambda t, place: place != 2)
    assert_same([idle.detach(), *optimizer.state[idle].values()], before)


@pytest.mark.parametrize(
    "layout",
    [
        lambda grad: grad.t().contiguous().t() if grad.ndim == 2 else grad,
        lambda grad: grad.flatten()[:1].sum().expand(grad.shape) if grad.numel() else grad,
        lambda grad: torch.stack([grad, grad], -1)[..., 0],
        lambda grad: torch._neg_view(-grad),
        lambda grad: grad.clone().requires_grad_() * 1,
    ],
    ids=["transposed", "expanded", "strided", "negative", "with_a_history"],
)
@pytest.mark.parametrize("shapes", [VECTORS, MIXED], ids=["vectors", "mixed"])
def test_gradients_may_be_any_views(layout, shapes):
    Twins(AdamW, shapes).go(4, layout=layout)


@pytest.mark.skipif(
    not hasattr(torch.Tensor, "grad_dtype"), reason="in this torch a gradient has its parameter's dtype"
)
@pytest.mark.parametrize("shape", [(5,), (5, 1)], ids=str)
def test_gradients_of_a_wider_dtype_keep_it_in_a_pack(shape):
    """As gradients accumulated in float32 for bfloat16 parameters are."""
    twins = Twins(AdamW, [shape] * 10, torch.bfloat16, state_dtype="float32")
    for optimizer in twins.both:
        for param in params_of(optimizer):
            param.grad_dtype = None
        ran(optimizer, range(4), layout=lambda grad: grad.float() / 3)
    for ours, theirs in zip(*map(params_of, twins.both), strict=True):
        for name in ("exp_avg", "exp_avg_sq"):  # in float32
            found, wanted = twins.packed.state[ours][name], twins.alone.state[theirs][name]
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_groups_have_packs_of_their_own():
    runs = []
    for execution in ("auto", "loop"):
        params = parameters([*MIXED, *MIXED])
        groups = [{"params": params[:13], "lr": 0.1}, {"params": params[13:], "betas": (0.5, 0.6), "maximize": True}]
        runs.append(ran(Lion(groups, execution=execution), range(5)))
    assert_close(*runs)


# Changed from outside


def fill_state(optimizer, params):
    for name, value in optimizer.state[params[2]].items():
        value.fill_(3.0 if name == "step" else 0.5)


def move_the_memory_of_state(optimizer, params):
    for state in optimizer.state.values():
        for value in state.values():
            value.data = value.data.clone()  # as moving an optimizer to another device does


def copy_all_state(optimizer, params):
    for param in params:
        optimizer.state[param] = {name: value.clone() for name, value in optimizer.state[param].items()}


def replace_all_state(optimizer, params):
    optimizer.state = type(optimizer.state)(dict, {param: dict(state) for param, state in optimizer.state.items()})


def set_data(change, which=slice(None)):
    def apply(optimizer, params):
        for param in params[which]:
            param.data = change(param.data)

    return apply


def another() -> Parameter:
    return Parameter(torch.full((3,), 0.25, dtype=torch.float64))


def remove_one(optimizer, params):
    optimizer.state.pop(params[4])
    del optimizer.param_groups[0]["params"][4]


def replace_two(optimizer, params):
    """As densifying or pruning does: a new parameter in the place of an old one, with its state; one is too large."""
    for place in (0, -1):
        state = optimizer.state.pop(params[place])
        new = optimizer.param_groups[0]["params"][place] = Parameter(params[place].detach() + 1.0)
        optimizer.state[new] = {name: value.clone() for name, value in state.items()}


def edit(**settings):
    return lambda optimizer, params: optimizer.param_groups[0].update(settings)


def edit_state_dtype(optimizer, params):
    optimizer.param_groups[0]["state_dtype"] = "float32"
    optimizer.state[params[0]].clear()


def load_an_early_state_dict(optimizer, params):
    optimizer.load_state_dict(type(optimizer)(params, **SETTINGS[type(optimizer)]).state_dict())


CHANGES: dict[str, Callable[[Any, list[Parameter]], object]] = {
    "exchange state": lambda o, params: o.state[params[0]].update(exp_avg=torch.full_like(params[0], 0.5)),
    "fill state": fill_state,
    "move the memory of state": move_the_memory_of_state,
    "clear one state": lambda o, params: o.state[params[3]].clear(),
    "remove one state": lambda o, params: o.state.pop(params[0]),
    "clear all state": lambda o, params: o.state.clear(),
    "replace all state": replace_all_state,
    "copy all state": copy_all_state,
    "one to float32": set_data(Tensor.float, slice(2, 3)),
    "all to float32": set_data(Tensor.float),
    "other memory": set_data(lambda data: data.clone() + 1.0),
    "write to parameters": set_data(lambda data: data.mul_(0.5)),
    "add one to the group": lambda o, params: o.param_groups[0]["params"].append(another()),
    "add a group": lambda o, params: o.add_param_group({"params": [another()]}),
    "remove one": remove_one,
    "replace the list": lambda o, params: o.param_groups[0].update(params=list(params)),
    "reorder": lambda o, params: o.param_groups[0]["params"].reverse(),
    "replace two": replace_two,
    "edit hyperparameters": edit(lr=0.3, betas=(0.1, 0.2), weight_decay=0.5),
    "edit to lists": edit(betas=[0.1, 0.2]),
    "edit maximize": edit(maximize=True),
    "edit execution": edit(execution="loop"),
    "edit state_dtype": edit_state_dtype,
    "take a state dict": lambda o, params: o.state_dict(),
    "load its own state dict": lambda o, params: o.load_state_dict(o.state_dict()),
    "load an early state dict": load_an_early_state_dict,
}


@pytest.mark.parametrize("cls", [Lion, AdamW], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_from_outside_acts_as_it_does_one_by_one(cls, change):
    twins = Twins(cls, [*MIXED, LARGE])
    twins.go(3)
    assert is_packed(twins.packed)
    for optimizer in twins.both:
        CHANGES[change](optimizer, params_of(optimizer))
    twins.go(1)
    twins.go(3)
    twins.packed.state_dict()
    assert_close(twins.packed, twins.alone)


@every_rule
def test_parameters_over_the_same_memory_are_updated_one_after_the_other(cls):
    """As those are whose `.data` is another's."""

    def run(execution):
        memory = torch.ones(3, dtype=torch.float64)
        ran(cls([Parameter(memory) for _ in range(10)], execution=execution, **SETTINGS[cls]), range(4))
        return memory

    torch.testing.assert_close(run("auto"), run("loop"), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("options", [{}, {"stochastic_rounding": True}], ids=["plain", "rounded_at_random"])
@pytest.mark.parametrize("shape", [(3,), LARGE], ids=["small", "large"])
def test_steps_in_inference_mode_leave_an_optimizer_that_goes_on(shape, options):
    optimizer = ran(Lion(parameters([shape] * 10, torch.bfloat16), **options), range(2))
    other = Lion(params_of(optimizer), **options)
    other.load_state_dict(optimizer.state_dict())
    for each in (other, optimizer):  # in its first step, and later
        with torch.inference_mode():
            each.step()
            each.step()
        ran(each, range(2))


def test_a_default_device_moves_nothing():
    twins = Twins(AdamW, MIXED)
    with torch.device("meta"):
        twins.packed.step()
    twins.go(2)
    with torch.device("meta"):
        for optimizer in twins.both:
            optimizer.step()
            optimizer.state_dict()
            optimizer.step()
    assert_close(twins.packed, twins.alone)


def test_two_optimizers_may_own_the_same_parameters():
    pairs = []
    for execution in ("auto", "loop"):
        params = parameters(MIXED)
        pairs.append([cls(params, lr=0.1, execution=execution) for cls in (Lion, AdamW)])
        for t in range(4):
            for optimizer in pairs[-1]:
                ran(optimizer, [t])
    for packed, alone in zip(*pairs, strict=True):
        assert_close(packed, alone)


# Checkpoints and copies


def started(cls: Any) -> Any:
    """A packed optimizer in the middle of a run of eight updates."""
    optimizer = ran(cls(parameters([*MIXED, LARGE]), **SETTINGS[cls]), range(4))
    assert is_packed(optimizer) == (cls is not Descent)
    return optimizer


@every_rule
def test_tensors_of_a_state_dict_have_memory_of_their_own(cls):
    optimizer = started(cls)
    tensors = [value for state in optimizer.state_dict()["state"].values() for value in state.values() if value.numel()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
    for tensor in tensors:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        assert tensor.is_contiguous()


@every_rule
@pytest.mark.parametrize("carry", [lambda value: value, through_a_file], ids=["in_memory", "through_a_file"])
@pytest.mark.parametrize("into", ["fresh", "packed"])
def test_a_packed_run_resumes_exactly(cls, carry, into):
    optimizer = started(cls)
    saved = optimizer.state_dict()
    original = copy.deepcopy(saved)
    other = started(cls) if into == "packed" else cls(parameters([*MIXED, LARGE]))
    other.param_groups[0]["lr"] = 0.7
    for mine, theirs in zip(params_of(other), params_of(optimizer), strict=True):
        mine.data = theirs.data.clone()
    other.load_state_dict(carry(saved))
    assert_same(other.state_dict()["state"], original["state"])
    ran(other, range(4, 8))
    assert_same(saved, original)
    ran(optimizer, range(4, 8))
    assert_same(other.state_dict(), optimizer.state_dict())
    assert_same(tensors_of(other), tensors_of(optimizer))


@every_rule
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))], ids=["deepcopy", "pickle"]
)
def test_copies_of_a_packed_optimizer_go_on_exactly(cls, copied):
    optimizer = started(cls)
    other, before = copied(optimizer), tensors_of(optimizer)
    ran(other, range(4, 8))
    assert_same(tensors_of(optimizer), before)
    ran(optimizer, range(4, 8))
    assert_same(other.state_dict(), optimizer.state_dict())
    assert_same(tensors_of(other), tensors_of(optimizer))


@every_rule
def test_a_run_whose_state_is_looked_at_is_the_run_without(cls):
    optimizer, other = started(cls), started(cls)
    for t in range(4, 8):
        ran(optimizer, [t]).state_dict()
        ran(other, [t])
    assert_same(tensors_of(other), tensors_of(optimizer))


@pytest.mark.parametrize("direction", ["ours_to_theirs", "theirs_to_ours"])
def test_packed_adamw_and_torchs_load_each_other_and_go_on_the_same(direction):
    ours = started(AdamW)
    torchs = ran(torch.optim.AdamW(parameters([*MIXED, LARGE]), **SETTINGS[AdamW], foreach=False), range(4))
    assert_close(ours, torchs)
    writer, reader = (ours, torchs) if direction == "ours_to_theirs" else (torchs, ours)
    reader.load_state_dict(through_a_file(writer.state_dict()))
    ran(ours, range(4, 8))
    ran(torchs, range(4, 8))
    assert is_packed(ours)
    assert_close(ours, torchs)
