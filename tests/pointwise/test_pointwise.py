"""Pointwise: a rule in ten lines is a whole optimizer; and what people do to optimizers does no harm."""

import copy
import inspect
import itertools
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch._dynamo
from executors import DEVICE, Descent, Rate, ones, parameters, params_of, ran, stepped
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn import Parameter
from torch.utils._pytree import tree_map

import optreg
from optreg import Decay, NonNegative, Pointwise
from optreg.errors import PluginError
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion
from optreg_plugins.momentum.optimizer import Momentum

PATHS = ["loop", "foreach", "auto", "compiled"]
every_path = pytest.mark.parametrize("execution", PATHS)
uncompiled = pytest.mark.parametrize("execution", PATHS[:3])


@dataclass
class Paper:
    """Step by the sign of an average.

    theta_t = theta_{t-1} - lr sign(m_t)
    """

    lr: NonNegative
    beta: Decay = 0.5
    clip: NonNegative | None = None
    kind: Literal["sign", "plain"] = "sign"
    nesterov: bool = False


class SignMomentum(Pointwise):
    """Ten lines."""

    reference = Paper
    state_names = ("exp_avg",)

    @staticmethod
    def update(p, g, m, *, lr, beta, clip, kind, nesterov):
        if clip is not None:
            g = g.clamp(-clip, clip)
        m = beta * m + (1 - beta) * g
        d = beta * m + (1 - beta) * g if nesterov else m
        return p - lr * (d.sign() if kind == "sign" else d), m


# The constructor


def test_the_signature_is_the_references_fields_and_the_options_by_name_alone():
    arguments = inspect.signature(SignMomentum).parameters
    assert list(arguments) == [
        "params", "lr", "beta", "clip", "kind", "nesterov", "maximize", "execution", "stochastic_rounding",
        "state_dtype", "seed",
    ]  # fmt: skip
    assert arguments["lr"].default is inspect.Parameter.empty
    assert arguments["beta"].default == 0.5
    assert arguments["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    assert arguments["kind"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert inspect.getdoc(SignMomentum) == "Ten lines."
    assert str(inspect.signature(Descent)).startswith("(params, lr: float = 0.5, *, maximize: bool = False, execu")


def test_the_signature_of_a_class_with_a_constructor_of_its_own_is_that_constructors():
    class Gentle(SignMomentum):
        def __init__(self, params, gentleness=2.0):
            super().__init__(params, 1.0 / gentleness)

    assert list(inspect.signature(Gentle).parameters) == ["params", "gentleness"]
    assert Gentle([ones(2)], 4.0).defaults["lr"] == 0.25


def test_options_of_a_base_class_are_inherited():
    @dataclass(frozen=True)
    class More(optreg.FusedPointwiseOptions):
        """One more."""

        extra: int = 3

    class WithMore(AdamW):
        options = More

    class Derived(WithMore):
        pass

    assert Derived.options is More
    assert Derived([ones(2)], extra=5).param_groups[0]["extra"] == 5


def test_hyperparameters_are_taken_by_place_or_by_name():
    by_place = SignMomentum([ones(2)], 0.1, 0.9, None, "plain", True, seed=3).defaults
    by_name = SignMomentum([ones(2)], nesterov=True, kind="plain", clip=None, beta=0.9, lr=0.1, seed=3).defaults
    assert by_place == by_name
    assert by_place == {
        "lr": 0.1, "beta": 0.9, "clip": None, "kind": "plain", "nesterov": True, "maximize": False,
        "execution": "auto", "stochastic_rounding": False, "state_dtype": None, "seed": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((), {}, ValueError, "SignMomentum needs 'lr', which has no default"),
        ((0.1, 0.9, None, "sign", True, False), {}, TypeError, "takes 5 hyperparameters, not 6"),
        ((0.1,), {"lr": 0.2}, TypeError, "got two values for 'lr'"),
        ((0.1,), {"betta": 0.2}, TypeError, "'betta'; did you mean 'beta'"),
        ((0.1,), {"maximise": True}, TypeError, "'maximise'; did you mean 'maximize'"),
        ((0.1,), {"foreach": True}, TypeError, "'foreach'; choose from: lr, beta"),
        ((-0.1,), {}, ValueError, "lr must be greater than or equal to 0, not -0.1"),
        (("0.1",), {}, ValueError, "lr must be .*; remove the quotes"),
        ((0.1, 1.0), {}, ValueError, "beta must be less than 1"),
        ((0.1,), {"kind": "sine"}, ValueError, "kind must be 'sign' or 'plain'"),
        ((0.1,), {"nesterov": 1}, ValueError, "nesterov must be"),
        (
            (0.1,),
            {"execution": "fused"},
            ValueError,
            "execution must be 'auto', 'loop', 'foreach' or 'compiled', not 'fused'",
        ),
        ((torch.tensor([0.1, 0.2]),), {}, ValueError, "lr must be"),
    ],
)
def test_wrong_arguments_are_refused_with_the_remedy(arguments, keywords, error, message):
    with pytest.raises(error, match=message):
        SignMomentum([ones(2)], *arguments, **keywords)


def test_a_group_may_set_what_has_no_default_but_the_optimizer_has_to_know_it_too():
    optimizer = SignMomentum([{"params": [ones(2)], "beta": 0.9}, {"params": [ones(3)], "lr": 0.7}], lr=0.1)
    assert [(group["lr"], group["beta"]) for group in optimizer.param_groups] == [(0.1, 0.9), (0.7, 0.5)]


# Rules of all kinds


@every_path
def test_a_rule_without_state_may_return_a_bare_tensor(execution):
    param = ones(3)
    optimizer = stepped(Descent([param], execution=execution), 1.0, 2.0)
    assert (param == -0.5).all()
    assert all(state == {} for state in optimizer.state_dict()["state"].values())


@uncompiled
@pytest.mark.parametrize("edited", [False, True])
def test_hyperparameters_may_be_truth_values_none_and_text_given_and_edited(execution, edited):
    def end(**settings: Any) -> float:
        param = ones(3)
        optimizer = SignMomentum([param], lr=1.0, execution=execution, **({} if edited else settings))
        for name, value in settings.items():
            stepped(optimizer, 0.0)  # which changes nothing
            optimizer.param_groups[0][name] = value
        stepped(optimizer, 4.0)
        return param[0].item()

    assert end() == 0.0
    assert end(kind="plain") == -1.0
    assert end(kind="plain", clip=1.0) == 0.5
    assert end(kind="plain", nesterov=True) == 1 - (0.5 * 2 + 0.5 * 4)


class Momentous(Pointwise):
    """Keeps the parameter before: a result that is an input."""

    reference = Rate
    state_names = ("before",)
    counts_steps = True

    @staticmethod
    def update(p, g, before, *, t, lr):
        d = p - before if t > 1 else 0.0 * p
        return p - lr * g + 0.5 * d, p


@dataclass
class NoRate:
    """No learning rate; and a default that is made anew."""

    size: NonNegative = 1.0
    weights: tuple[float, float] = field(default_factory=lambda: (0.25, 0.25))


class Exchanged(Pointwise):
    """Three that change places."""

    reference = NoRate
    state_names = ("a", "b")

    @staticmethod
    def update(p, g, a, b, *, size, weights):
        return a, b, p + size * sum(weights) * g


@every_path
def test_results_may_be_inputs_whatever_their_places(execution):
    param = ones(3)
    optimizer = stepped(Momentous([param], execution=execution), 1.0, 1.0)
    assert optimizer.state[param]["before"][0].item() == 0.5
    assert param[0].item() == 0.5 - 0.5 + 0.5 * (0.5 - 1)
    param = ones(3)
    optimizer = stepped(Exchanged([param], execution=execution), 1.0, 1.0)
    assert [x[0].item() for x in (param, *optimizer.state[param].values())] == [0.0, 1.5, 0.5]
    assert inspect.signature(Exchanged).parameters["weights"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def in_place(p, g, m, *, t, lr):
    g += 0.1 * p
    return p - lr * g, m


def coupled(p, g, m, *, t, lr):
    return p - lr * g / g.norm(), m


@uncompiled
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (in_place, "the rule 'in_place' changes a tensor in place"),
        (coupled, "the rule 'coupled' uses 'norm'.* ordinary torch.optim.Optimizer"),
    ],
)
def test_a_rule_that_is_not_elementwise_or_not_pure_is_refused_and_nothing_is_changed(execution, rule, message):
    class Refused(Pointwise):
        reference = Rate
        state_names = ("m",)
        counts_steps = True
        update = staticmethod(rule)

    param = ones(3)
    optimizer = Refused([param], execution=execution)
    with pytest.raises(PluginError, match=message):
        stepped(optimizer, 1.0)
    assert (param == 1).all()
    assert (param.grad == 1).all()
    assert all(state.get("step", 0) == 0 for state in optimizer.state.values()), "the step that failed was counted"


def test_a_rule_may_be_an_ordinary_method():
    class Method(Pointwise):
        reference = Rate
        factor = 2.0

        def update(self, p, g, *, lr):
            return p - self.factor * lr * g

    param = ones(3)
    stepped(Method([param]), 1.0)
    assert param[0].item() == 0.0


# Numbers of all kinds


KINDS = {
    "a list": ("betas", lambda x: [float(x), 0.99]),
    "numpy's float64 in a pair": ("betas", lambda x: (np.float64(x), np.float64(0.99))),
    "tensors in a pair": ("betas", lambda x: tuple(torch.tensor([x, 0.99], dtype=torch.float64))),
    "an array": ("betas", lambda x: tuple(np.array([x, 0.99]))),
    "numpy's float64": ("lr", np.float64),
    "numpy's float32": ("weight_decay", np.float32),
    "a tensor": ("lr", lambda x: torch.tensor(x).double()),
    "a tensor of one element": ("weight_decay", lambda x: torch.tensor([x]).double()),
    "a parameter": ("lr", lambda x: Parameter(torch.tensor(x).double())),
    "an integer": ("lr", int),
}


@uncompiled
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [Lion, AdamW])
def test_numbers_of_any_kind_are_what_they_hold_given_and_edited(execution, kind, cls):
    (name, made), params = KINDS[kind], [ones(3), ones(3)]
    ends = (made, (lambda x: (x, 0.99)) if name == "betas" else float)
    values = (0.875, 0.5, 0.0) if name == "betas" else (0.0, 1.0, 2.0)
    optimizers = [
        cls([param], **{"lr": 0.25, name: of(values[0])}, execution=execution)
        for param, of in zip(params, ends, strict=True)
    ]
    for value in values:
        for optimizer, of in zip(optimizers, ends, strict=True):
            group = optimizer.param_groups[0]
            if value == values[2] and isinstance(group[name], Tensor):
                group[name].detach().fill_(value)  # which acts at once too
            elif value != values[0]:
                group[name] = of(value)
            stepped(optimizer, 2.0, -1.0)
    torch.testing.assert_close(*params, rtol=1e-14, atol=0.0)


# Steps, closures, compiled steps


@pytest.fixture
def graphs_made() -> Iterator[Any]:
    """Counts what `torch.compile` has made of steps."""
    torch._dynamo.reset()
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


quiet = pytest.mark.filterwarnings(  # torch's compiler: as it is imported, as torch 2.6 saves its settings, on Python 3.13.0
    "ignore:`torch.jit.script_method` is deprecated", "ignore:Skipping serialization of", "ignore:Guards may run slower"
)


@quiet
@pytest.mark.parametrize("cls", [Lion, AdamW])
def test_a_compiled_step_is_not_compiled_anew_when_a_schedule_moves_a_tensor_lr(cls, graphs_made):
    runs = []
    for compiled in (True, False):
        optimizer = cls(parameters([(4, 3), (5,), ()], torch.float32), lr=torch.tensor(0.1))
        schedule = optreg.ScheduleLR(optimizer, lambda t: 1 / (1 + t))
        if compiled:
            optimizer.step = torch.compile(optimizer.step)
        graphs = []
        for t in range(7):
            with torch._dynamo.config.patch(error_on_recompile=t >= 2):
                ran(optimizer, [t])
            graphs.append(graphs_made())
            schedule.step()
        if compiled:
            assert graphs[1] >= 1
            assert set(graphs[1:]) == {graphs[1]}
        runs.append(params_of(optimizer))
    torch.testing.assert_close(*runs, rtol=1e-5, atol=1e-6)


@quiet
def test_a_step_may_be_compiled_now_and_plain_then(graphs_made):
    params, twins = ([ones(3) for _ in range(10)] for _ in range(2))
    optimizer, plain = AdamW(params, lr=torch.tensor(0.1)), AdamW(twins, lr=0.1, execution="loop")
    eager, compiled = optimizer.step, torch.compile(optimizer.step)
    for t in range(6):
        optimizer.step = compiled if t % 4 in {2, 3} else eager
        stepped(optimizer, 1.0 + t)
        stepped(plain, 1.0 + t)
    torch.testing.assert_close(params, twins, rtol=1e-6, atol=0.0)
    assert all(optimizer.state[param]["step"] == 6 for param in params)


# Tensors of all kinds


class Wrapper(Tensor):
    """A tensor around another, as those of distributed and quantized libraries are."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> Any:
        return Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=inner.device)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def unwrap(value: Any) -> Any:
            return value.inner if isinstance(value, Wrapper) else value

        result = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {}))
        if func._schema.name.endswith("_"):
            return args[0]
        return tree_map(lambda value: Wrapper(value) if isinstance(value, Tensor) else value, result)


@every_path
def test_subclasses_of_tensors_go_the_plain_way(execution):
    inner = torch.ones(4)
    params = [Parameter(Wrapper(inner)), *(Parameter(torch.ones(4)) for _ in range(9))]
    optimizer = stepped(AdamW(params, lr=0.1, execution=execution), 1.0, 2.0, 3.0)
    assert isinstance(params[0].grad, Wrapper)
    assert isinstance(optimizer.state[params[0]]["exp_avg"], Wrapper)
    torch.testing.assert_close(inner, params[1].detach(), rtol=1e-6, atol=0.0)


@uncompiled
@pytest.mark.parametrize("count", [1, 10])
def test_parameters_on_the_meta_device_are_stepped(execution, count):
    params = [Parameter(torch.ones(3, device="meta")) for _ in range(count)]
    optimizer = stepped(AdamW(params, execution=execution), 1.0, 1.0, 1.0)
    assert optimizer.state[params[0]]["step"] == 3
    assert optimizer.state[params[0]]["exp_avg"].is_meta


@every_path
@pytest.mark.parametrize("cls", [Lion, AdamW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autograd_notices_that_parameters_were_changed(execution, cls, dtype):
    params = [ones(3, dtype=dtype) for _ in range(10)]
    optimizer = cls(params, execution=execution, stochastic_rounding=True)
    for _ in range(3):
        losses = [(param**3).sum() for param in params]
        for loss in losses:
            loss.backward(retain_graph=True)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            losses[0].backward()


@every_path
@pytest.mark.parametrize("cls", [Lion, AdamW])
def test_a_gradient_may_be_a_lazy_negation(cls, execution):
    """As that of the imaginary part of a conjugate is."""
    real, imaginary = Parameter(torch.tensor(1.0)), Parameter(torch.tensor(1.0))
    (torch.complex(real, imaginary).conj() * (1 + 2j)).real.backward()
    assert imaginary.grad.is_neg()
    cls([real, imaginary], lr=0.5, weight_decay=0.0, execution=execution).step()
    torch.testing.assert_close(torch.stack([real, imaginary]), torch.tensor([0.5, 0.5]))


@uncompiled
def test_a_conjugate_parameter_is_trained_or_refused(execution):
    param = Parameter(torch.ones(3, dtype=torch.complex64).conj())
    param.grad = torch.ones_like(param)
    try:
        Lion([param], lr=0.5, execution=execution).step()
    except RuntimeError:
        return
    assert torch.equal(param.detach(), torch.full((3,), 0.5 + 0j))


def test_optimizers_may_run_in_threads_side_by_side():
    def run(place: int) -> float:
        params = [ones(2 + place) for _ in range(10)] + [ones(20_000)]
        stepped(AdamW(params, lr=0.1 * (1 + place), execution="foreach"), *[1.0] * 20)
        return sum(param.sum().item() for param in params)

    alone = list(map(run, range(4)))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == alone


@every_path
def test_very_long_runs_go_on(execution):
    param = ones(3)
    optimizer = stepped(AdamW([param], lr=0.1, weight_decay=0.0, execution=execution), 1.0)
    optimizer.state[param]["step"].fill_(2.0**24)
    before = param[0].item()
    for _ in range(3):
        optimizer.step()
    assert optimizer.state[param]["step"] >= 2.0**24
    assert 0 < before - param[0].item() < 3.3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_default_dtype_does_not_matter(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        for execution, options, param_dtype in itertools.product(
            PATHS[:3],
            (
                {},
                {"stochastic_rounding": True},
                {"stochastic_rounding": True, "state_dtype": "float32"},
                {"state_dtype": "bfloat16"},
            ),
            (torch.float32, torch.bfloat16),
        ):
            kept = {None: param_dtype, "float32": torch.float32, "bfloat16": torch.bfloat16}[options.get("state_dtype")]
            counts = torch.float64 if options else torch.float32
            params = [ones(3, dtype=param_dtype) for _ in range(10)] + [ones(20_000, dtype=param_dtype)]
            optimizer = stepped(AdamW(params, lr=0.25, execution=execution, **options), 1.0, 1.0, 1.0)
            for param in params:
                dtypes = {name: value.dtype for name, value in optimizer.state[param].items()}
                assert dtypes == {"step": counts, "exp_avg": kept, "exp_avg_sq": kept}
                assert param.dtype is param_dtype
                assert ((param - 0.25).abs() <= 0.05 * 0.25).all()
    finally:
        torch.set_default_dtype(before)


def test_a_sparse_gradient_among_others_changes_nothing_in_its_group():
    params = [ones(3), ones(3)]
    optimizer = AdamW(params)
    params[0].grad = torch.ones_like(params[0])
    params[1].grad = torch.ones_like(params[1]).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert (params[0] == 1).all()
    assert all(state.get("step", 0) == 0 for state in optimizer.state.values())


# Copies


def test_what_is_kept_for_speed_is_in_no_copy():
    optimizer = stepped(Lion([ones(3) for _ in range(10)]), 1.0, 1.0, 1.0)
    assert set(optimizer.__getstate__()) == {"defaults", "state", "param_groups"}
    small = len(pickle.dumps(Lion([ones(3)])))
    stepped(used := Lion([ones(3)], execution="foreach"), 1.0, 1.0)
    assert len(pickle.dumps(used)) < small + 2000


def test_a_shallow_copy_goes_on_beside_the_original():
    params = [ones(3) for _ in range(10)]
    optimizer = stepped(Momentum(params, lr=0.1), 1.0, 1.0)
    other = copy.copy(optimizer)
    stepped(optimizer, 1.0, 1.0)
    stepped(other, 1.0, 1.0)
    stepped(optimizer, 1.0)
    twins = [ones(3) for _ in range(10)]
    stepped(Momentum(twins, lr=0.1, execution="loop"), *[1.0] * 7)
    torch.testing.assert_close(params[0], twins[0], rtol=1e-13, atol=0.0)


def test_a_step_returns_the_closures_loss_and_has_gradients_enabled_in_it():
    param = ones(3)
    optimizer = SignMomentum([param], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 3.0
    assert optimizer.step(lambda: 7) == 7
    assert optimizer.step(lambda: None) is None


@uncompiled
@pytest.mark.parametrize(
    "view",
    [lambda x: x[:1, :1].expand(4, 4), lambda x: x[:, ::2], lambda x: x[:, :4]],
    ids=["expanded", "strided", "of the same memory as another's"],
)
def test_gradients_may_be_views(execution, view):
    params = [ones(4, 4), ones(4, 4)]
    shared = torch.full((4, 8), 2.0, dtype=torch.float64, device=DEVICE)
    for param in params:
        param.grad = view(shared)
    optimizer = Lion(params, lr=0.5, weight_decay=0.5, execution=execution)
    optimizer.step()
    for param in params:
        assert (param == 1 - 0.5 * 1.5).all()
        torch.testing.assert_close(optimizer.state[param]["exp_avg"], torch.full_like(param, 0.02))


def test_parameters_are_left_leaves_that_require_gradients_and_state_does_not():
    params = [ones(3) for _ in range(10)]
    params[0].requires_grad_(False)
    optimizer = stepped(AdamW(params), 1.0, 1.0, 1.0)
    assert [param.requires_grad for param in params] == [False] + [True] * 9
    assert all(param.is_leaf for param in params)
    assert not any(value.requires_grad for state in optimizer.state.values() for value in state.values())
    assert params[0][0] < 1.0
