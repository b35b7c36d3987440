"""The first-party optimizers beyond what the conformance suite asks of every one: torch's own, and what is refused."""

import copy
import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import pytest
import torch
from executors import assert_same, through_a_file
from torch import Tensor
from torch.nn import Parameter

from optreg import Pointwise, default_registry
from optreg_plugins.adam.optimizer import Adam
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion
from optreg_plugins.momentum.optimizer import Momentum
from optreg_plugins.rmsprop.optimizer import RMSprop

UNIT = 2.0**-53  # unit roundoff of float64
STEPS = 12
NO_GRADIENT = {(1, 2), (1, 6), (1, 7), (2, 0), (2, 1), (2, 9), (3, 11)}  # (parameter, step)
ALL_ZERO = 5  # the step whose gradients are all zero
SHAPES = [(6,), (4, 3), (2, 3, 2), ()]
VALUES = {"momentum": 0.8, "alpha": 0.95, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}

DECLARED = {
    registration.implementation(): registration.plugin
    for entry in default_registry().entries("optimizer")
    if entry.distribution == "optreg" and not entry.name.startswith("torch.")
    for registration in [default_registry().optimizer(entry.qualified)]
    if issubclass(registration.implementation(), Pointwise)
}
HOSTILE: dict[type[Pointwise], dict[str, Any]] = {
    cls: {field.name: VALUES[field.name] for field in fields(cls.reference) if field.name in VALUES} for cls in DECLARED
}
PATHS = [
    pytest.param(
        cls, {"execution": name}, id=f"{cls.__name__}-{name}", marks=[pytest.mark.compiler] * (name == "compiled")
    )
    for cls in DECLARED
    for name in get_args(get_type_hints(cls.options)["execution"])
]
every_path = pytest.mark.parametrize(("cls", "path"), PATHS)
every_optimizer = pytest.mark.parametrize("cls", DECLARED, ids=lambda cls: cls.__name__)
TWINS = [
    pytest.param(*param.values, getattr(torch.optim, param.values[0].__name__), id=param.id, marks=param.marks)
    for param in PATHS
    if param.values[0] in {Adam, AdamW}
]
every_twin = pytest.mark.parametrize(("cls", "path", "twin"), TWINS)


class Step(NamedTuple):
    """What one update is given."""

    lr: float
    grads: list[Tensor | None]


def hostile() -> tuple[list[Tensor], list[Step]]:
    """Starts; gradient scales from 1e-6 to 1e2, both signs, one all-zero step, missing gradients, a moving lr."""
    random = np.random.default_rng(7)
    scales = [10 ** random.uniform(-6, 2, shape) for shape in SHAPES]
    steps = []
    for t in range(STEPS):
        grads: list[Tensor | None] = []
        for i, scale in enumerate(scales):
            g = scale * random.uniform(0.5, 1.5, scale.shape) * random.choice([-1.0, 1.0], scale.shape)
            grads.append(None if (i, t) in NO_GRADIENT else torch.tensor(g * (t != ALL_ZERO)))
        steps.append(Step(1e-2 * (1.5 + math.sin(t)), grads))
    return [torch.tensor(random.normal(size=shape)) for shape in SHAPES], steps


def clones(params: list[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [Parameter(param.detach().to(dtype, copy=True)) for param in params]


def run(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: list[Step]) -> None:
    list(running(optimizer, params, steps))


def running(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: list[Step]) -> Iterator[None]:
    """Make the updates one by one."""
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = step.lr
        for param, grad in zip(params, step.grads, strict=True):
            param.grad = None if grad is None else grad.to(param.dtype)
        optimizer.step()
        yield


def started(cls: type[Pointwise], path: dict[str, Any], count: int = 4) -> tuple[Pointwise, list[Tensor], list[Step]]:
    """An optimizer that has made `count` updates of the hostile trajectory, its parameters, and the steps left."""
    starts, steps = hostile()
    params = clones(starts)
    optimizer = cls(params, **HOSTILE[cls], **path)
    run(optimizer, params, steps[:count])
    return optimizer, params, steps[count:]


def snapshot(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Copies of the parameters and their state, complex ones as pairs of reals."""

    def real(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().clone()
        return torch.view_as_real(tensor) if tensor.is_complex() else tensor

    return [(real(p), {name: real(v) for name, v in optimizer.state.get(p, {}).items()}) for p in params]


# torch's own classes


def history(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: list[Step]) -> list[dict[Any, Tensor]]:
    """Parameters and state after every update."""
    return [
        {
            (i, name): value.detach().double().clone()
            for i, param in enumerate(params)
            for name, value in {"param": param, **optimizer.state.get(param, {})}.items()
        }
        for _ in running(optimizer, params, steps)
    ]


def assert_same_history(cls: type[Pointwise], ours: list[dict[Any, Tensor]]) -> None:
    """Ours against that of torch's class, parameters and state after every update.

    err_t <= u (8 + t) S. For a parameter S = max|p| + sum of lr. A state is judged coordinate by coordinate, S being
    the largest value that the coordinate has had: its scale is the gradient's, not the parameter's. Where the gradient
    gains lambda p, the error that p may have reaches the state too: lambda S of p, and in the square 2 |g| lambda S.
    """
    starts, steps = hostile()
    params = clones(starts)
    twin = getattr(torch.optim, cls.__name__)(params, **HOSTILE[cls], foreach=False)
    theirs = history(twin, params, steps)
    decay = HOSTILE[cls]["weight_decay"] if cls is Adam else 0.0
    size, largest, peaks = [start.abs().max() for start in starts], [start * 0 for start in starts], {}
    for t, step in enumerate(steps, start=1):
        assert ours[t - 1].keys() == theirs[t - 1].keys()
        size = [torch.maximum(each, theirs[t - 1][i, "param"].abs().max()) for i, each in enumerate(size)]
        total_lr = sum(each.lr for each in steps[:t])
        largest = [
            g if new is None else torch.maximum(g, new.abs()) for g, new in zip(largest, step.grads, strict=True)
        ]
        for (i, name), value in theirs[t - 1].items():
            peak = peaks[i, name] = torch.maximum(peaks.get((i, name), value.abs()), value.abs())
            pull = decay * (size[i] + total_lr)
            slack = {"exp_avg": pull, "exp_avg_sq": 2 * (largest[i] + pull) * pull}
            scale = size[i] + total_lr if name == "param" else peak + slack.get(name, 0.0)
            error = (ours[t - 1][i, name] - value).abs()
            assert (error <= UNIT * (8 + t) * scale).all(), f"{name} of parameter {i}, step {t}: off by {error.max()}"


@every_twin
def test_it_agrees_with_torch_after_every_step(cls, path, twin):
    starts, steps = hostile()
    params = clones(starts)
    assert_same_history(cls, history(cls(params, **HOSTILE[cls], **path), params, steps))


@every_twin
@pytest.mark.parametrize("direction", ["ours_to_theirs", "theirs_to_ours"])
@pytest.mark.parametrize(
    "twin_path", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=["loop", "foreach", "fused"]
)
def test_a_checkpoint_crosses_to_torch_and_back_and_the_run_goes_on_the_same(cls, path, twin, direction, twin_path):
    starts, steps = hostile()
    params = clones(starts)
    ours = lambda **settings: cls(params, **settings, **path)  # noqa: E731
    theirs = lambda **settings: twin(params, **settings, **twin_path)  # noqa: E731
    write, read = (ours, theirs) if direction == "ours_to_theirs" else (theirs, ours)
    first = write(**HOSTILE[cls])
    before = history(first, params, steps[:6])
    second = read(lr=0.5)
    second.load_state_dict(through_a_file(first.state_dict()))
    assert_same_history(cls, before + history(second, params, steps[6:]))


# Worked by hand


def test_one_step_of_lion_in_dyadic_numbers_is_exact_in_float32():
    param = Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = Lion([param], lr=0.125, betas=(0.5, 0.75), weight_decay=0.5)
    param.grad = torch.tensor([0.25, -0.5, 0.0])
    optimizer.step()
    assert torch.equal(param, torch.tensor([0.9375 - 0.125, -1.875 + 0.125, 0.46875]))
    assert torch.equal(optimizer.state[param]["exp_avg"], torch.tensor([0.0625, -0.125, 0.0]))


# What the suite asks of one path, asked of every one


@every_path
def test_complex_parameters_equal_their_pairs_of_reals(cls, path):
    random = torch.Generator().manual_seed(3)
    start = torch.randn(4, 3, 2, generator=random, dtype=torch.float64)
    pairs, whole = Parameter(start.clone()), Parameter(torch.view_as_complex(start.clone()))
    of_pairs, of_whole = cls([pairs], **HOSTILE[cls], **path), cls([whole], **HOSTILE[cls], **path)
    for t in range(STEPS):
        g = torch.randn(4, 3, 2, generator=random, dtype=torch.float64)
        pairs.grad = g * torch.tensor([1.0, -1.0]) if t % 2 else g
        whole.grad = torch.view_as_complex(g).conj() if t % 2 else torch.view_as_complex(g)
        of_pairs.step()
        of_whole.step()
        assert_same(snapshot(of_whole, [whole]), snapshot(of_pairs, [pairs]))


def transposed(tensor: Tensor) -> Tensor:
    """The same values, the last axis outermost in memory."""
    return tensor.movedim(-1, 0).contiguous().movedim(0, -1) if tensor.ndim else tensor


def strided(tensor: Tensor) -> Tensor:
    """The same values, every second element of the memory."""
    return torch.stack([tensor, tensor * torch.nan], -1)[..., 0]


@every_optimizer
@pytest.mark.parametrize("layout", [torch.clone, transposed, strided], ids=lambda f: f.__name__)
@pytest.mark.parametrize("grad_layout", [torch.clone, transposed, strided], ids=lambda f: f.__name__)
def test_the_loop_maximises_in_any_layout_which_the_suite_leaves_out(cls, layout, grad_layout):
    starts, steps = hostile()
    laid, plain = [Parameter(layout(start)) for start in starts], clones(starts)
    up = cls(laid, **HOSTILE[cls], execution="loop", maximize=True)
    down = cls(plain, **HOSTILE[cls], execution="loop")
    turned = [Step(lr, [None if g is None else -g for g in grads]) for lr, grads in steps]
    steps = [Step(lr, [None if g is None else grad_layout(g) for g in grads]) for lr, grads in steps]
    for step, _, _ in zip(steps, running(up, laid, steps), running(down, plain, turned), strict=True):
        assert_same(snapshot(up, laid), snapshot(down, plain))
        assert_same([g for g in step.grads if g is not None], [-p.grad for p in plain if p.grad is not None])


@every_path
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_stays_finite_and_in_its_dtype(cls, path, dtype):
    starts, steps = hostile()
    params = clones(starts, dtype)
    optimizer = cls(params, **path)
    run(optimizer, params, steps)
    assert not any(torch.equal(params[i], starts[i].to(dtype)) for i in range(3)), "a parameter did not move"
    for i, param in enumerate(params):
        assert param.isfinite().all(), f"parameter {i}"
        for name, value in optimizer.state[param].items():
            assert value.isfinite().all(), f"{name} of parameter {i}"
            assert value.dtype == (torch.float32 if name == "step" else dtype)


@every_path
def test_a_run_resumes_exactly_from_its_checkpoint(cls, path):
    optimizer, params, steps = started(cls, path, 7)
    others = clones(params)
    resumed = cls(others, lr=0.5, **path)
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    run(resumed, others, steps)
    run(optimizer, params, steps)
    assert_same(snapshot(resumed, others), snapshot(optimizer, params))
    assert_same(resumed.state_dict(), optimizer.state_dict())


# Checkpoints


@pytest.mark.parametrize(
    ("cls", "writer", "settings", "noted", "message"),
    [
        (Adam, torch.optim.Adam, {"amsgrad": True}, {}, "has amsgrad=True"),
        (AdamW, torch.optim.AdamW, {"amsgrad": True}, {}, "has amsgrad=True"),
        (Adam, AdamW, {}, {}, "has decoupled_weight_decay=True; load it into adamw"),
        (AdamW, Adam, {}, {}, "has decoupled_weight_decay=False; load it into adam"),
        (
            Adam,
            torch.optim.AdamW,
            {},
            {"decoupled_weight_decay": True},
            "has decoupled_weight_decay=True; load it into",
        ),
        (
            AdamW,
            torch.optim.Adam,
            {},
            {"decoupled_weight_decay": False},
            "has decoupled_weight_decay=False; load it in",
        ),
        (Momentum, torch.optim.SGD, {"momentum": 0.9}, {}, "is torch.optim.SGD's, whose buffer is a sum"),
        (RMSprop, torch.optim.RMSprop, {"centered": True}, {}, "has centered=True"),
        (RMSprop, torch.optim.RMSprop, {"momentum": 0.5}, {}, "has momentum=0.5"),
        (RMSprop, torch.optim.RMSprop, {"weight_decay": 0.1}, {}, "has weight_decay=0.1"),
    ],
)
def test_a_checkpoint_of_another_algorithm_is_refused_and_changes_nothing(cls, writer, settings, noted, message):
    optimizer, params, _ = started(cls, {})
    before = copy.deepcopy(optimizer.state_dict())
    saved = writer(clones(params), **settings).state_dict()
    saved["param_groups"][0].update(noted)
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: group 0 of the checkpoint {message}"):
        optimizer.load_state_dict(saved)
    assert_same(optimizer.state_dict(), before)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"execution": "fast"}, "execution must be 'auto', 'loop', 'foreach', 'fused' or 'compiled', not 'fast'"),
        ({"maximize": 1}, "maximize must be a valid boolean"),
        ({"seed": -1}, "seed must be greater than or equal to 0"),
        ({"state_dtype": "float16"}, "state_dtype must be 'float32' or 'bfloat16'"),
    ],
)
def test_a_group_with_a_wrong_option_is_refused(group, message):
    with pytest.raises(ValueError, match=message):
        AdamW([{"params": [Parameter(torch.ones(2))], **group}])


@every_optimizer
def test_a_key_that_an_older_checkpoint_lacks_means_the_default(cls):
    optimizer, params, steps = started(cls, {"execution": "foreach"})
    saved = optimizer.state_dict()
    for key in set(saved["param_groups"][0]) - {"params", "lr"}:
        del saved["param_groups"][0][key]
    other = cls(clones(params), **HOSTILE[cls])
    other.load_state_dict(saved)
    for key, default in other.defaults.items():
        assert other.param_groups[0][key] == (optimizer.param_groups[0]["lr"] if key == "lr" else default)
    run(other, other.param_groups[0]["params"], steps)


@pytest.mark.parametrize("cls", [Adam, AdamW])
@pytest.mark.parametrize("old", [float, torch.Tensor.double, int], ids=["float", "float64", "int"])
def test_a_step_count_of_an_older_checkpoint_goes_on(cls, old):
    optimizer, params, steps = started(cls, {})
    saved = optimizer.state_dict()
    saved["state"] = {key: {**values, "step": old(values["step"])} for key, values in saved["state"].items()}
    others = clones(params)
    other = cls(others)
    other.load_state_dict(saved)
    run(other, others, steps)
    run(optimizer, params, steps)
    assert_same(snapshot(other, others), snapshot(optimizer, params))


@every_optimizer
def test_a_checkpoint_of_another_shape_is_refused_and_changes_nothing(cls):
    optimizer, _, _ = started(cls, {})
    before = copy.deepcopy(optimizer.state_dict())
    saved = copy.deepcopy(before)
    name = cls.state_names[-1]
    saved["state"][1][name] = saved["state"][1][name].T
    message = rf"'{name}' has shape \(3, 4\), its parameter \(4, 3\); the checkpoint belongs to another model"
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
    assert_same(optimizer.state_dict(), before)


# The contract


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("lr", value) for value in (-1e-9, math.inf, math.nan, torch.tensor(-1.0))),
        *(("betas", value) for value in ((-0.1, 0.9), (0.9, 1.0), (1.0, 0.9), (0.9, math.nan), (0.9,), 0.9)),
        *((name, value) for name in ("eps", "weight_decay") for value in (-1e-9, math.inf, math.nan)),
    ],
)
def test_a_hyperparameter_out_of_its_range_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^AdamW(: {name}.* must be | needs '{name})"):
        AdamW([Parameter(torch.ones(2))], **{name: value})
    optimizer = AdamW([Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match=rf"^AdamW(: {name}.* must be | needs '{name})"):
        optimizer.add_param_group({"params": [Parameter(torch.ones(2))], name: value})
    assert len(optimizer.param_groups) == 1


def test_a_sparse_gradient_is_refused_by_the_parameters_name():
    layer = torch.nn.Embedding(4, 2, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"Lion does not support sparse gradients: parameter weight"):
        Lion(layer.named_parameters()).step()
    with pytest.raises(RuntimeError, match=r"parameter number 0 of group 0 .*sparse=False"):
        Lion(layer.parameters()).step()


@every_optimizer
def test_a_step_without_any_gradient_makes_no_state(cls):
    optimizer = cls([Parameter(torch.ones(2))])
    optimizer.step()
    assert optimizer.state_dict()["state"] == {}


@every_optimizer
def test_the_declaration_has_the_classes_own_reference_and_options(cls):
    assert (DECLARED[cls].reference, DECLARED[cls].options) == (cls.reference, cls.options)


def param():
    return torch.nn.Parameter(torch.ones(2))


A, B, C = param(), param(), param()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[A], [B], [A]], "some parameters appear in more than one parameter group"),
        ([[A], [A]], "some parameters appear in more than one parameter group"),
        ([[("a", A)], [("b", B)], [("c", A)]], "some parameters appear in more than one parameter group"),
        ([[("a", A)], [B]], "should be with/without names. cannot add param group without names"),
        ([[A], [B], [("c", C)]], "should be with/without names. cannot add param group with names"),
    ],
)
def test_groups_that_torch_refuses_are_refused_with_its_words(groups, message):
    for make in (torch.optim.AdamW, AdamW):
        with pytest.raises(ValueError, match=message):
            make([{"params": params} for params in groups])


def test_groups_are_not_each_compared_with_all_before(monkeypatch):
    seen = []
    plain = torch.Tensor.__hash__

    def counted(tensor):
        seen.append(tensor)
        return plain(tensor)

    monkeypatch.setattr(torch.Tensor, "__hash__", counted)

    def tries(make):
        seen.clear()
        make([{"params": [param()]} for _ in range(200)])
        return len(seen)

    assert tries(torch.optim.AdamW) > 200**2 / 2
    assert tries(AdamW) < 10 * 200


@pytest.mark.parametrize("cls", [Adam, AdamW, Lion])
def test_betas_may_be_a_list_and_are_a_tuple_in_every_group(cls):
    betas, seen = [0.5, 0.75], [0.25, 0.5]
    weights = [param() for _ in range(3)]
    optimizer = cls([{"params": weights[:1]}, {"params": weights[1:2], "betas": seen}], betas=betas)
    optimizer.add_param_group({"params": weights[2:], "betas": [0.0, 0.5]})
    betas[0] = seen[0] = 7.0  # nobody else's list
    assert [group["betas"] for group in optimizer.param_groups] == [(0.5, 0.75), (0.25, 0.5), (0.0, 0.5)]
    twin = cls([{"params": (other := param())}], betas=(0.5, 0.75))
    for weight in (*weights, other):
        weight.grad = torch.tensor([1.0, -2.0])
    optimizer.step()
    twin.step()
    assert torch.equal(weights[0], other)
