"""Packs: many small parameters give what they give one by one, whatever is done to them from outside."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from executors import assert_same, through_a_file
from torch import Tensor
from torch.nn import Parameter

import optreg
from optreg.pointwise import packs
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

pytestmark = pytest.mark.cpu


@dataclass
class Paper:
    """A rule that counts its updates, and whose steps shrink."""

    lr: float = 0.1


class Shrinking(optreg.Pointwise):
    reference = Paper
    state_names = ("total", "last")
    counts_steps = True

    @staticmethod
    def update(p, g, total, last, *, t, lr):
        total = total + g.abs() / t
        return p - lr / t**0.5 * (g - 0.5 * last) / (1 + total), total, g


class Signed(optreg.Pointwise):
    """A rule without state."""

    reference = Paper

    @staticmethod
    def update(p, g, *, lr):
        return p - lr * g.sign()


SETTINGS: dict[Any, dict[str, Any]] = {
    Lion: {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
    AdamW: {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    Shrinking: {},
    Signed: {},
}
every_rule = pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)

VECTORS = [(3,), (1,), (40,), (7,), (7,), (2,), (5,), (100,), (9,), (31,)]
MIXED = [(3,), (), (2, 3), (0,), (1,), (4, 1, 2), (), (5,), (3, 3), (2, 2, 2), (6,), (1, 1), (7,)]
LARGE = (packs.SMALL + 1,)

Gradients = list[Tensor | None]


def parameters(shapes: list[tuple[int, ...]], dtypes: tuple[torch.dtype, ...] = (torch.float64,)) -> list[Parameter]:
    random = torch.Generator().manual_seed(0)
    return [
        Parameter(torch.randn(shape, generator=random, dtype=torch.float64).to(dtypes[index % len(dtypes)]))
        for index, shape in enumerate(shapes)
    ]


def gradients(params: list[Parameter], count: int, present: Callable[[int, int], bool]) -> list[Gradients]:
    """Gradients of several updates; `present(update, place)` tells which parameters have one."""
    random = torch.Generator().manual_seed(1)
    several = []
    for t in range(count):
        drawn = [torch.randn(param.shape, generator=random, dtype=torch.float64).to(param.dtype) for param in params]
        several.append([grad if present(t, place) else None for place, grad in enumerate(drawn)])
    return several


def go(optimizer: torch.optim.Optimizer, params: list[Parameter], several: list[Gradients]) -> None:
    for grads in several:
        for param, grad in zip(params, grads, strict=True):
            param.grad = None if grad is None else grad.clone()
        optimizer.step()


def always(t: int, place: int) -> bool:
    return True


def is_packed(optimizer: torch.optim.Optimizer) -> bool:
    """Whether parameters' state lies in common memory."""
    tensors = [value for state in optimizer.state.values() for value in state.values() if value.numel()]
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors}) < len(tensors)


def assert_close(left: torch.optim.Optimizer, right: torch.optim.Optimizer) -> None:
    """Parameters and state equal within rounding, place by place: kernels round otherwise than the rule as written."""
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
    pairs = zip(
        [param for group in left.param_groups for param in group["params"]],
        [param for group in right.param_groups for param in group["params"]],
        strict=True,
    )
    for ours, theirs in pairs:
        assert left.state[ours].keys() == right.state[theirs].keys()
        for a, b in [
            (ours, theirs),
            *((left.state[ours][name], right.state[theirs][name]) for name in left.state[ours]),
        ]:
            assert a.dtype is b.dtype
            allowed = max(tolerance[a.dtype], tolerance[ours.dtype])
            torch.testing.assert_close(a, b, rtol=allowed, atol=allowed)


class Twins:
    """The same run twice: packed, and one by one."""

    def __init__(
        self,
        cls: Any,
        shapes: list[tuple[int, ...]],
        dtypes: tuple[torch.dtype, ...] = (torch.float64,),
        execution: str = "auto",
        **options: Any,
    ) -> None:
        self.params = [parameters(shapes, dtypes) for _ in range(2)]
        self.optimizers = [
            cls(params, execution=how, **SETTINGS[cls], **options)
            for params, how in zip(self.params, (execution, "loop"), strict=True)
        ]
        self.packed, self.alone = self.optimizers

    def go(self, count: int, present: Callable[[int, int], bool] = always) -> None:
        for optimizer, params in zip(self.optimizers, self.params, strict=True):
            go(optimizer, params, gradients(params, count, present))
        assert_close(self.packed, self.alone)


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
    assert is_packed(twins.packed) == (cls is not Signed and len(shapes) > 1)
    assert not is_packed(twins.alone)


def test_a_packed_compiled_run_gives_the_same():
    twins = Twins(Lion, MIXED, execution="compiled")
    twins.go(4)
    assert is_packed(twins.packed)


@every_rule
def test_parameters_of_several_dtypes_are_packed_by_dtype(cls):
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    twins = Twins(cls, [(3,)] * 40, dtypes, execution="foreach")
    twins.go(4)
    if cls is not Signed:
        assert is_packed(twins.packed)


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
    twins.go(14, present)
    if cls in {AdamW, Shrinking}:
        steps = [twins.packed.state[param].get("step", torch.tensor(0)).item() for param in twins.params[0]]
        assert steps == [sum(present(t, place) for t in range(14)) for place in range(len(MIXED))]


def test_parameters_whose_first_gradient_comes_late_are_packed_too():
    params = parameters([(3,)] * 20)
    for frozen in (None, 19):
        optimizer = Lion(params)
        go(optimizer, params, gradients(params, 3, lambda t, place: place == 0))
        go(optimizer, params, gradients(params, 3, lambda t, place, frozen=frozen: place != frozen))
        assert is_packed(optimizer), frozen


def test_a_group_that_grows_changes_no_noise_of_those_that_are_packed_after_it():
    """Noise is a function of a parameter's place: of that which it has now, whether it is packed or looked at."""

    def run(looked_at: bool) -> list[Tensor]:
        params = parameters([(5,)] * 14, (torch.bfloat16,))
        groups = [{"params": params[:3]}, {"params": params[3:13]}]
        optimizer = Lion(groups, lr=1e-4, stochastic_rounding=True)
        several = gradients(params, 6, always)
        go(optimizer, params[:13], [grads[:13] for grads in several[:3]])
        optimizer.param_groups[0]["params"].append(params[13])
        if looked_at:
            optimizer.state_dict()
        go(optimizer, params, several[3:])
        return [param.detach() for param in params]

    assert_same(run(looked_at=True), run(looked_at=False))


def test_parameters_without_a_gradient_stay_untouched_in_a_pack():
    twins = Twins(AdamW, MIXED)
    twins.go(3)
    idle = twins.params[0][2]
    tensors = [idle, *twins.packed.state[idle].values()]
    before = [tensor.detach().clone() for tensor in tensors]
    twins.go(3, lambda t, place: place != 2)
    assert_same([tensor.detach() for tensor in tensors], before)


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
    twins = Twins(AdamW, shapes)
    for _ in range(4):
        for optimizer, params in zip(twins.optimizers, twins.params, strict=True):
            for param, grad in zip(params, gradients(params, 1, always)[0], strict=True):
                param.grad = layout(grad)
            optimizer.step()
    assert_close(twins.packed, twins.alone)


@pytest.mark.skipif(
    not hasattr(torch.Tensor, "grad_dtype"), reason="in this torch a gradient has its parameter's dtype"
)
@pytest.mark.parametrize("shape", [(5,), (5, 1)], ids=str)
def test_gradients_of_a_wider_dtype_keep_it_in_a_pack(shape):
    """As gradients accumulated in float32 for bfloat16 parameters are."""
    twins = Twins(AdamW, [shape] * 10, (torch.bfloat16,), state_dtype="float32")
    random = torch.Generator().manual_seed(0)
    for _ in range(4):
        grads = [torch.randn(shape, generator=random) for _ in range(10)]
        for optimizer, params in zip(twins.optimizers, twins.params, strict=True):
            for param, grad in zip(params, grads, strict=True):
                param.grad_dtype = None
                param.grad = grad.clone()
            optimizer.step()
    for ours, theirs in zip(*twins.params, strict=True):
        for name in ("exp_avg", "exp_avg_sq"):  # in float32
            found, wanted = twins.packed.state[ours][name], twins.alone.state[theirs][name]
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_groups_have_packs_of_their_own():
    runs = []
    for execution in ("auto", "loop"):
        params = parameters([*MIXED, *MIXED])
        groups = [{"params": params[:13], "lr": 0.1}, {"params": params[13:], "betas": (0.5, 0.6), "maximize": True}]
        optimizer = Lion(groups, execution=execution)
        go(optimizer, params, gradients(params, 5, always))
        runs.append(optimizer)
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


def add_one(optimizer, params, to_the_group=True):
    params.append(Parameter(torch.full((3,), 0.25, dtype=torch.float64)))
    if to_the_group:
        optimizer.param_groups[0]["params"].append(params[-1])
    else:
        optimizer.add_param_group({"params": [params[-1]]})


def remove_one(optimizer, params):
    optimizer.state.pop(params[4])
    del optimizer.param_groups[0]["params"][4], params[4]


def reorder(optimizer, params):
    optimizer.param_groups[0]["params"].reverse()
    params.reverse()


def replace_two(optimizer, params):
    """As densifying or pruning does: a new parameter in the place of an old one, with its state; one is too large."""
    for place in (0, -1):
        state = optimizer.state.pop(params[place])
        params[place] = Parameter(params[place].detach() + 1.0)
        optimizer.param_groups[0]["params"][place] = params[place]
        optimizer.state[params[place]] = {name: value.clone() for name, value in state.items()}


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
    "add one to the group": add_one,
    "add a group": lambda o, params: add_one(o, params, to_the_group=False),
    "remove one": remove_one,
    "replace the list": lambda o, params: o.param_groups[0].update(params=list(params)),
    "reorder": reorder,
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
    for optimizer, params in zip(twins.optimizers, twins.params, strict=True):
        CHANGES[change](optimizer, params)
    twins.go(1)
    twins.go(3)
    twins.packed.state_dict()
    assert_close(twins.packed, twins.alone)


@every_rule
def test_parameters_over_the_same_memory_are_updated_one_after_the_other(cls):
    """As those are whose `.data` is another's."""

    def run(execution):
        memory = torch.ones(3, dtype=torch.float64)
        params = [Parameter(memory) for _ in range(10)]
        optimizer = cls(params, execution=execution, **SETTINGS[cls])
        go(optimizer, params, gradients(params, 4, always))
        return memory

    torch.testing.assert_close(run("auto"), run("loop"), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("options", [{}, {"stochastic_rounding": True}], ids=["plain", "rounded_at_random"])
@pytest.mark.parametrize("shape", [(3,), LARGE], ids=["small", "large"])
def test_steps_in_inference_mode_leave_an_optimizer_that_goes_on(shape, options):
    params = parameters([shape] * 10, (torch.bfloat16,))
    optimizer = Lion(params, **options)
    go(optimizer, params, gradients(params, 2, always))
    other = Lion(params, **options)
    other.load_state_dict(optimizer.state_dict())
    for stepped in (other, optimizer):  # in its first step, and later
        with torch.inference_mode():
            stepped.step()
            stepped.step()
        go(stepped, params, gradients(params, 2, always))


def test_a_default_device_moves_nothing():
    twins = Twins(AdamW, MIXED)
    with torch.device("meta"):
        twins.packed.step()
    twins.go(2)
    grads = [gradients(params, 1, always)[0] for params in twins.params]
    for optimizer, params, some in zip(twins.optimizers, twins.params, grads, strict=True):
        for param, grad in zip(params, some, strict=True):
            param.grad = grad
        with torch.device("meta"):
            optimizer.step()
            optimizer.state_dict()
            optimizer.step()
    assert_close(twins.packed, twins.alone)


def test_two_optimizers_may_own_the_same_parameters():
    params = parameters(MIXED)
    first, second = Lion(params, lr=0.1), AdamW(params, lr=0.1)
    twins = parameters(MIXED)
    first_twin, second_twin = Lion(twins, lr=0.1, execution="loop"), AdamW(twins, lr=0.1, execution="loop")
    for grads in gradients(params, 4, always):
        go(first, params, [grads])
        go(second, params, [grads])
        go(first_twin, twins, [grads])
        go(second_twin, twins, [grads])
    assert_close(first, first_twin)
    assert_close(second, second_twin)


# Checkpoints and copies


def started(cls: Any, **options: Any) -> tuple[Any, list[Parameter], list[Gradients]]:
    """A packed optimizer in the middle of a run, and the gradients that are still to come."""
    params = parameters([*MIXED, LARGE])
    several = gradients(params, 8, always)
    optimizer = cls(params, **SETTINGS[cls], **options)
    go(optimizer, params, several[:4])
    assert is_packed(optimizer)
    return optimizer, params, several[4:]


stateful = pytest.mark.parametrize("cls", [Lion, AdamW, Shrinking], ids=lambda cls: cls.__name__)


@stateful
def test_tensors_of_a_state_dict_have_memory_of_their_own(cls):
    optimizer, _, _ = started(cls)
    tensors = [value for state in optimizer.state_dict()["state"].values() for value in state.values() if value.numel()]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
    for tensor in tensors:
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        assert tensor.is_contiguous()


@stateful
@pytest.mark.parametrize("carry", [lambda value: value, through_a_file], ids=["in_memory", "through_a_file"])
@pytest.mark.parametrize("into", ["fresh", "packed"])
def test_a_packed_run_resumes_exactly(cls, carry, into):
    optimizer, params, left = started(cls)
    saved = optimizer.state_dict()
    original = copy.deepcopy(saved)
    others = parameters([*MIXED, LARGE])
    other = cls(others, lr=0.7)
    if into == "packed":
        go(other, others, gradients(others, 3, always))
        assert is_packed(other)
    for mine, theirs in zip(others, params, strict=True):
        mine.data = theirs.data.clone()
    other.load_state_dict(carry(saved))
    assert_same(other.state_dict()["state"], original["state"])
    go(other, others, left)
    assert_same(saved, original)
    go(optimizer, params, left)
    assert_same(other.state_dict(), optimizer.state_dict())
    assert_same([p.detach() for p in others], [p.detach() for p in params])


@stateful
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))], ids=["deepcopy", "pickle"]
)
def test_copies_of_a_packed_optimizer_go_on_exactly(cls, copied):
    optimizer, params, left = started(cls)
    other, others = copied((optimizer, params))
    before = [param.detach().clone() for param in params], copy.deepcopy(optimizer.state_dict())
    go(other, others, left)
    assert_same(([param.detach() for param in params], optimizer.state_dict()), before)
    go(optimizer, params, left)
    assert_same(other.state_dict(), optimizer.state_dict())
    assert_same([p.detach() for p in others], [p.detach() for p in params])


@stateful
def test_a_run_whose_state_is_looked_at_is_the_run_without(cls):
    optimizer, params, left = started(cls)
    other, others, _ = started(cls)
    for t in range(len(left)):
        go(optimizer, params, left[t : t + 1])
        optimizer.state_dict()
        go(other, others, left[t : t + 1])
    assert_same(other.state_dict(), optimizer.state_dict())


@pytest.mark.parametrize("direction", ["ours_to_theirs", "theirs_to_ours"])
def test_packed_adamw_and_torchs_load_each_other_and_go_on_the_same(direction):
    settings = SETTINGS[AdamW]
    optimizer, params, left = started(AdamW)
    theirs = parameters([*MIXED, LARGE])
    torchs = torch.optim.AdamW(theirs, **settings, foreach=False)
    go(torchs, theirs, gradients(theirs, 8, always)[:4])
    assert_close(optimizer, torchs)
    if direction == "ours_to_theirs":
        torchs.load_state_dict(through_a_file(optimizer.state_dict()))
    else:
        optimizer.load_state_dict(through_a_file(torchs.state_dict()))
    go(optimizer, params, left)
    go(torchs, theirs, left)
    assert is_packed(optimizer)
    assert_close(optimizer, torchs)
