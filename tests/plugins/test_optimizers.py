"""The first-party optimizers against their references, against torch's own, and against themselves."""

import copy
import importlib
import inspect
import io
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from optreg import Pointwise
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

HOSTILE: dict[type[Pointwise], dict[str, Any]] = {
    Momentum: {"momentum": 0.8},
    RMSprop: {"alpha": 0.95, "eps": 1e-3},
    Adam: {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    AdamW: {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    Lion: {"betas": (0.8, 0.95), "weight_decay": 0.1},
}
PATHS = [
    pytest.param(
        cls,
        {"execution": name},
        id=f"{cls.__name__}-{name}",
        marks=[pytest.mark.compiler] if name == "compiled" else [],
    )
    for cls in HOSTILE
    for name in get_args(get_type_hints(cls.options)["execution"])
]
every_path = pytest.mark.parametrize(("cls", "path"), PATHS)
every_optimizer = pytest.mark.parametrize("cls", HOSTILE, ids=lambda cls: cls.__name__)
TWINS = [
    pytest.param(*param.values, getattr(torch.optim, param.values[0].__name__), id=param.id, marks=param.marks)
    for param in PATHS
    if param.values[0] in {Adam, AdamW}
]
every_twin = pytest.mark.parametrize(("cls", "path", "twin"), TWINS)

Layout = Callable[[np.ndarray], Tensor]


class Step(NamedTuple):
    """What one update is given."""

    lr: float
    grads: list[np.ndarray | None]


class Trajectory(NamedTuple):
    """Where the parameters start, and what every update is given."""

    starts: list[np.ndarray]
    steps: list[Step]


def hostile(shapes: list[tuple[int, ...]] = SHAPES, *, broadcast: bool = False) -> Trajectory:
    """Gradient scales from 1e-6 to 1e2 by coordinate, both signs, one all-zero step, missing gradients, a moving lr."""
    random = np.random.default_rng(7)
    scales = [10 ** random.uniform(-6, 2, shape) for shape in shapes]
    steps = []
    for t in range(STEPS):
        grads: list[np.ndarray | None] = []
        for i, scale in enumerate(scales):
            g = scale * random.uniform(0.5, 1.5, scale.shape) * random.choice([-1.0, 1.0], scale.shape)
            if broadcast:
                g = np.broadcast_to(g[:1], g.shape)
            grads.append(None if (i, t) in NO_GRADIENT else np.asarray(g * (t != ALL_ZERO)))
        steps.append(Step(1e-2 * (1.5 + math.sin(t)), grads))
    return Trajectory([random.normal(size=shape) for shape in shapes], steps)


def parameters(
    trajectory: Trajectory, layout: Layout = torch.tensor, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """Fresh parameters at the start of a trajectory."""
    return [Parameter(layout(start).to(dtype)) for start in trajectory.starts]


def run(
    optimizer: torch.optim.Optimizer, params: list[Tensor], steps: list[Step], layout: Layout = torch.tensor
) -> Iterator[int]:
    """Make the updates one by one; yields the number made so far."""
    for t, step in enumerate(steps, start=1):
        for group in optimizer.param_groups:
            group["lr"] = step.lr
        for param, grad in zip(params, step.grads, strict=True):
            param.grad = None if grad is None else layout(grad).to(param.dtype)
        optimizer.step()
        yield t


def finish(*args: Any, **kwargs: Any) -> None:
    """Make all updates at once."""
    for _ in run(*args, **kwargs):
        pass


class Judge:
    """The references of all parameters, stepped along with the optimizer and compared after every step.

    err_t <= u (8 + t) S. For a parameter S = max|p| + sum of lr. A state is judged coordinate by coordinate, S being
    the largest value that the coordinate has had: its scale is the gradient's, not the parameter's. Where the gradient
    gains lambda p, the error that p may have reaches the state too: lambda S of p, and in the square 2 |g| lambda S.
    """

    def __init__(self, cls: type[Pointwise], trajectory: Trajectory, **settings: Any) -> None:
        self.references = [cls.reference(**settings) for _ in trajectory.starts]
        self.generators = [
            reference.trajectory(start) for reference, start in zip(self.references, trajectory.starts, strict=True)
        ]
        self.now = [next(generator) for generator in self.generators]
        self.peaks = [{name: np.abs(value) for name, value in state.items()} for _, state in self.now]
        self.size = [float(np.abs(theta).max(initial=0)) for theta, _ in self.now]
        self.gradients = [np.zeros_like(theta) for theta, _ in self.now]
        self.coupled = settings["weight_decay"] if cls is Adam else 0.0
        self.started = [False for _ in self.now]
        self.total_lr = 0.0
        self.t = 0

    def follow(self, step: Step) -> None:
        """Take the step in every reference."""
        self.t += 1
        self.total_lr += step.lr
        for i, grad in enumerate(step.grads):
            self.references[i].lr = step.lr
            if grad is None:
                continue
            self.started[i] = True
            theta, state = self.now[i] = self.generators[i].send(grad)
            self.size[i] = max(self.size[i], float(np.abs(theta).max(initial=0)))
            self.gradients[i] = np.maximum(self.gradients[i], np.abs(grad))
            self.peaks[i] = {name: np.maximum(self.peaks[i][name], np.abs(state[name])) for name in state}

    def compare(self, optimizer: torch.optim.Optimizer, params: list[Tensor]) -> None:
        """Every parameter and every state, against the reference's."""
        rounding = UNIT * (8 + self.t)
        for i, param in enumerate(params):
            theta, state = self.now[i]
            scale = self.size[i] + self.total_lr
            self._within(f"parameter {i}", param, theta, rounding * scale)
            pull = self.coupled * scale
            slack = {"exp_avg": pull, "exp_avg_sq": 2 * (self.gradients[i] + pull) * pull}
            found = optimizer.state.get(param, {})
            assert set(found) == (set(state) if self.started[i] else set()), f"state of parameter {i}, step {self.t}"
            for name, value in found.items():
                bound = rounding * (self.peaks[i][name] + slack.get(name, 0.0))
                self._within(f"{name} of parameter {i}", value, state[name], bound)

    def _within(self, what: str, found: Tensor, wanted: np.ndarray, bound: np.ndarray | float) -> None:
        error = np.abs(found.detach().double().numpy() - wanted)
        assert error.shape == wanted.shape, f"{what} has shape {error.shape}, not {wanted.shape}"
        assert np.all(error <= bound), f"{what}, step {self.t}: off by {np.max(error)}, allowed {np.max(bound)}"


def assert_follows_the_reference(
    cls: type[Pointwise],
    path: dict[str, Any],
    trajectory: Trajectory,
    layout: Layout = torch.tensor,
    grad_layout: Layout = torch.tensor,
) -> None:
    judge = Judge(cls, trajectory, **HOSTILE[cls])
    params = parameters(trajectory, layout)
    optimizer = cls(params, **HOSTILE[cls], **path)
    for t in run(optimizer, params, trajectory.steps, grad_layout):
        judge.follow(trajectory.steps[t - 1])
        judge.compare(optimizer, params)
    assert judge.t == STEPS


def snapshot(optimizer: torch.optim.Optimizer, params: list[Tensor]) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Copies of the parameters and their state, complex ones as pairs of reals."""

    def real(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().clone()
        return torch.view_as_real(tensor) if tensor.is_complex() else tensor

    return [(real(p), {name: real(v) for name, v in optimizer.state.get(p, {}).items()}) for p in params]


def assert_equal(left: Any, right: Any, where: str = "") -> None:
    """Bit-equal, through all containers."""
    if isinstance(left, Tensor):
        assert isinstance(right, Tensor), where
        assert left.dtype == right.dtype, where
        assert torch.equal(left, right), f"{where}: {left} != {right}"
    elif isinstance(left, dict):
        assert list(left) == list(right), where
        for key in left:
            assert_equal(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_equal(a, b, f"{where}[{i}]")
    else:
        assert left == right, where


def started(cls: type[Pointwise], path: dict[str, Any], count: int = 4) -> tuple[Pointwise, list[Tensor], list[Step]]:
    """An optimizer that has made `count` updates of the hostile trajectory, its parameters, and the steps left."""
    trajectory = hostile()
    params = parameters(trajectory)
    optimizer = cls(params, **HOSTILE[cls], **path)
    finish(optimizer, params, trajectory.steps[:count])
    return optimizer, params, trajectory.steps[count:]


def clones(params: list[Tensor]) -> list[Tensor]:
    return [Parameter(param.detach().clone()) for param in params]


def transposed(array: np.ndarray) -> Tensor:
    """The same values, the last axis outermost in memory."""
    return torch.tensor(np.moveaxis(array, -1, 0).copy()).movedim(0, -1)


def strided(array: np.ndarray) -> Tensor:
    """The same values, every second element of the memory."""
    padded = torch.full((*array.shape, 2), torch.nan, dtype=torch.float64)
    padded[..., 0] = torch.tensor(array)
    return padded[..., 0]


def expanded(array: np.ndarray) -> Tensor:
    """The same values, one row in memory for all."""
    return torch.tensor(array[:1]).expand(array.shape)


def channels_last(array: np.ndarray) -> Tensor:
    tensor = torch.tensor(array)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


# The mathematics


@every_path
def test_every_step_of_a_hostile_trajectory_follows_the_reference(cls, path):
    assert_follows_the_reference(cls, path, hostile())


def test_lion_is_compared_only_where_the_sign_is_certain():
    trajectory = hostile()
    judge = Judge(Lion, trajectory, **HOSTILE[Lion])
    beta1, _ = HOSTILE[Lion]["betas"]
    for step in trajectory.steps:
        for i, g in enumerate(step.grads):
            if g is not None:
                c = beta1 * judge.now[i][1]["exp_avg"] + (1 - beta1) * g
                scale = np.maximum(judge.peaks[i]["exp_avg"], np.abs(g))
                assert np.all(np.abs(c) > 1e6 * UNIT * scale), f"parameter {i}, step {judge.t + 1}"
        judge.follow(step)


@every_twin
def test_it_agrees_with_torch_after_every_step(cls, path, twin):
    trajectory = hostile()
    ours, theirs = parameters(trajectory), parameters(trajectory)
    optimizer = cls(ours, **HOSTILE[cls], **path)
    other = twin(theirs, **HOSTILE[cls], foreach=False)
    judge = Judge(cls, trajectory, **HOSTILE[cls])
    for t, _ in zip(run(optimizer, ours, trajectory.steps), run(other, theirs, trajectory.steps), strict=True):
        judge.follow(trajectory.steps[t - 1])
        for i, param in enumerate(theirs):  # torch's run takes the reference's place
            judge.now[i] = (
                param.detach().numpy().copy(),
                {k: v.numpy().copy() for k, v in other.state.get(param, {}).items()},
            )
        judge.compare(optimizer, ours)


@pytest.mark.parametrize("path", [param.values[1] for param in PATHS if param.values[0] is AdamW], ids=str)
def test_adamw_under_a_constant_gradient_has_its_closed_form(path):
    lr, eps, decay = 0.05, 1e-3, 0.1
    start = np.array([1.0, -2.0, 0.5, 3.0, -0.25])
    g = np.array([1e-6, -1e-3, 0.3, -2.0, 100.0])
    param = Parameter(torch.tensor(start))
    optimizer = AdamW([param], lr=lr, betas=(0.8, 0.95), eps=eps, weight_decay=decay, **path)
    a = 1 - lr * decay
    for t in range(1, STEPS + 1):
        param.grad = torch.tensor(g)
        optimizer.step()
        expected = a**t * start - lr * g / (np.abs(g) + eps) * sum(a**k for k in range(t))
        size = max(np.abs(start).max(), np.abs(expected).max()) + t * lr
        error = np.abs(param.detach().numpy() - expected).max()
        assert error <= UNIT * (8 + t) * size, f"step {t}: {error}"


@every_path
@pytest.mark.parametrize("t", [1, 3])
def test_every_hyperparameter_of_a_group_acts_on_the_very_next_step(cls, path, t):
    changed = {"momentum": 0.3, "alpha": 0.5, "betas": (0.3, 0.5), "eps": 0.5, "weight_decay": 0.7}
    for name in HOSTILE[cls]:
        trajectory = hostile()
        judge = Judge(cls, trajectory, **HOSTILE[cls])
        params = parameters(trajectory)
        optimizer = cls(params, **HOSTILE[cls], **path)
        for done in run(optimizer, params, trajectory.steps):
            judge.follow(trajectory.steps[done - 1])
            judge.compare(optimizer, params)
            if done == t:
                optimizer.param_groups[0][name] = changed[name]
                for reference in judge.references:
                    setattr(reference, name, changed[name])


def test_one_step_of_lion_in_dyadic_numbers_is_exact_in_float32():
    param = Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = Lion([param], lr=0.125, betas=(0.5, 0.75), weight_decay=0.5)
    param.grad = torch.tensor([0.25, -0.5, 0.0])
    optimizer.step()
    assert torch.equal(param, torch.tensor([0.9375 - 0.125, -1.875 + 0.125, 0.46875]))
    assert torch.equal(optimizer.state[param]["exp_avg"], torch.tensor([0.0625, -0.125, 0.0]))


@every_path
def test_maximising_g_equals_minimising_minus_g(cls, path):
    trajectory = hostile()
    mirrored = [Step(lr, [None if g is None else -g for g in grads]) for lr, grads in trajectory.steps]
    up, down = parameters(trajectory), parameters(trajectory)
    ascending = cls(up, **HOSTILE[cls], **path, maximize=True)
    descending = cls(down, **HOSTILE[cls], **path)
    for _ in zip(run(ascending, up, trajectory.steps), run(descending, down, mirrored), strict=True):
        assert_equal(snapshot(ascending, up), snapshot(descending, down))
    assert torch.equal(up[0].grad, torch.tensor(trajectory.steps[-1].grads[0])), "the gradient was written to"


@every_path
def test_the_gradient_is_not_written_to(cls, path):
    optimizer, params, steps = started(cls, path)
    for t in run(optimizer, params, steps):
        for param, grad in zip(params, steps[t - 1].grads, strict=True):
            assert grad is None or torch.equal(param.grad, torch.tensor(grad))


@every_path
def test_a_tensor_lr_equals_a_float_lr_and_is_not_written_to(cls, path):
    trajectory = hostile()
    lr = torch.tensor(0.01, dtype=torch.float64)
    left, right = parameters(trajectory), parameters(trajectory)
    with_tensor = cls(left, lr=lr, **HOSTILE[cls], **path)
    with_float = cls(right, lr=0.01, **HOSTILE[cls], **path)
    for step in trajectory.steps:
        for a, b, grad in zip(left, right, step.grads, strict=True):
            a.grad = b.grad = None if grad is None else torch.tensor(grad)
        with_tensor.step()
        with_float.step()
        assert_equal(snapshot(with_tensor, left), snapshot(with_float, right))
    assert with_tensor.param_groups[0]["lr"] is lr
    assert lr.item() == 0.01
    assert lr._version == 0


@every_path
def test_without_a_gradient_parameter_and_state_stay_untouched(cls, path):
    optimizer, params, steps = started(cls, path)
    idle, moving = params[0], params[1]
    for step in steps[:3]:
        before = snapshot(optimizer, [idle])
        tensors = [idle, *optimizer.state[idle].values()]
        versions = [tensor._version for tensor in tensors]
        place = moving.detach().clone()
        idle.grad, moving.grad = None, torch.ones_like(moving)
        optimizer.param_groups[0]["lr"] = step.lr
        optimizer.step()
        assert_equal(snapshot(optimizer, [idle]), before)
        assert [tensor._version for tensor in tensors] == versions
        assert not torch.equal(moving, place)


@every_path
def test_a_step_without_any_gradient_makes_no_state(cls, path):
    param = Parameter(torch.ones(2))
    optimizer = cls([param], **path)
    optimizer.step()
    assert torch.equal(param, torch.ones(2))
    assert optimizer.state_dict()["state"] == {}


# Closures


@every_path
def test_a_closure_is_called_once_with_gradients_enabled_and_its_loss_returned(cls, path):
    param, twin = Parameter(torch.tensor([1.0, -2.0])), Parameter(torch.tensor([1.0, -2.0]))
    optimizer, manual = cls([param], **path), cls([twin], **path)
    losses = []

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        losses.append((param**2).sum())
        losses[-1].backward()
        return losses[-1]

    with torch.no_grad():
        returned = optimizer.step(closure)
    assert len(losses) == 1
    assert returned is losses[0]
    (twin**2).sum().backward()
    assert manual.step() is None
    assert_equal(snapshot(optimizer, [param]), snapshot(manual, [twin]))
    assert not any(value.requires_grad for value in optimizer.state[param].values())
    assert param.requires_grad
    assert param.is_leaf


# Shapes, layouts, dtypes


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
        assert_equal(snapshot(of_whole, [whole]), snapshot(of_pairs, [pairs]))


@every_path
def test_a_sparse_gradient_is_refused_by_the_parameters_name(cls, path):
    layer = torch.nn.Embedding(4, 2, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    optimizer = cls(layer.named_parameters(), **path)
    with pytest.raises(RuntimeError, match=rf"{cls.__name__} does not support sparse gradients: parameter weight"):
        optimizer.step()
    optimizer = cls(layer.parameters(), **path)
    with pytest.raises(RuntimeError, match=r"parameter number 0 of group 0 .*sparse=False"):
        optimizer.step()


@every_path
@pytest.mark.parametrize("layout", [torch.tensor, transposed, strided, channels_last], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "grad_layout", [torch.tensor, transposed, strided, expanded, channels_last], ids=lambda f: f.__name__
)
def test_memory_layouts_do_not_matter(cls, path, layout, grad_layout):
    trajectory = hostile([(4, 3), (3, 5, 2), (2, 3, 2, 4)], broadcast=grad_layout is expanded)
    assert_follows_the_reference(cls, path, trajectory, layout, grad_layout)


@every_path
def test_0_dim_and_empty_parameters_are_stepped_like_any(cls, path):
    assert_follows_the_reference(cls, path, hostile([(0,), (), (3,), (2, 0), (5, 2), (0,)]))


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("settings", ["default", "hostile"])
def test_low_precision_stays_finite_and_in_its_dtype(cls, path, dtype, settings):
    trajectory = hostile()
    params = parameters(trajectory, dtype=dtype)
    optimizer = cls(params, **path, **(HOSTILE[cls] if settings == "hostile" else {}))
    finish(optimizer, params, trajectory.steps)
    starts = parameters(trajectory, dtype=dtype)
    assert not any(torch.equal(params[i], starts[i]) for i in range(3)), "a parameter did not move"
    for i, param in enumerate(params):
        assert param.isfinite().all(), f"parameter {i}"
        for name, value in optimizer.state[param].items():
            assert value.isfinite().all(), f"{name} of parameter {i}"
            assert value.dtype == (torch.float32 if name == "step" else dtype)


@every_path
def test_mixed_dtypes_equal_separate_runs(cls, path):
    trajectory = hostile([(3,), (4,)])
    wide, narrow = parameters(trajectory)[0], parameters(trajectory, dtype=torch.float32)[1]
    alone = [parameters(trajectory)[0], parameters(trajectory, dtype=torch.float32)[1]]
    together = cls([wide, narrow], **HOSTILE[cls], **path)
    apart = [cls([param], **HOSTILE[cls], **path) for param in alone]
    finish(together, [wide, narrow], trajectory.steps)
    for i in range(2):
        finish(apart[i], [alone[i]], [Step(lr, [grads[i]]) for lr, grads in trajectory.steps])
        assert_equal(snapshot(together, [[wide, narrow][i]]), snapshot(apart[i], [alone[i]]))


# Checkpoints


def through_a_file(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@every_path
@pytest.mark.parametrize("stop", [0, 1, 7])
@pytest.mark.parametrize("carry", [lambda value: value, through_a_file], ids=["in_memory", "through_a_file"])
def test_a_run_resumes_exactly_from_its_checkpoint(cls, path, stop, carry):
    optimizer, params, steps = started(cls, path, stop)
    saved = optimizer.state_dict()
    original = copy.deepcopy(saved)
    others = clones(params)
    resumed = cls(others, lr=0.5, **path)
    resumed.load_state_dict(carry(saved))
    assert_equal(resumed.state_dict(), original)
    finish(resumed, others, steps)
    assert_equal(saved, original, "the loaded run wrote to the checkpoint")
    finish(optimizer, params, steps)
    assert_equal(snapshot(resumed, others), snapshot(optimizer, params))
    assert_equal(resumed.state_dict(), optimizer.state_dict())


@every_path
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))], ids=["deepcopy", "pickle"]
)
def test_copies_go_on_exactly(cls, path, copied):
    optimizer, params, steps = started(cls, path)
    other, others = copied((optimizer, params))
    assert_equal(other.state_dict(), optimizer.state_dict())
    before = snapshot(optimizer, params)
    finish(other, others, steps)
    assert_equal(snapshot(optimizer, params), before, "the copy wrote to the original")
    finish(optimizer, params, steps)
    assert_equal(snapshot(other, others), snapshot(optimizer, params))


@every_twin
@pytest.mark.parametrize("direction", ["ours_to_theirs", "theirs_to_ours"])
@pytest.mark.parametrize(
    "twin_path", [{"foreach": False}, {"foreach": True}, {"fused": True}], ids=["loop", "foreach", "fused"]
)
def test_a_checkpoint_crosses_to_torch_and_back_and_the_run_goes_on_the_same(cls, path, twin, direction, twin_path):
    trajectory = hostile()
    judge = Judge(cls, trajectory, **HOSTILE[cls])
    params = parameters(trajectory)
    ours = lambda: cls(params, lr=0.5, **path)  # noqa: E731
    theirs = lambda: twin(params, lr=0.5, **HOSTILE[cls], **twin_path)  # noqa: E731
    first = cls(params, **HOSTILE[cls], **path) if direction == "ours_to_theirs" else theirs()
    for t in run(first, params, trajectory.steps[:6]):
        judge.follow(trajectory.steps[t - 1])
        judge.compare(first, params)
    second = theirs() if direction == "ours_to_theirs" else ours()
    second.load_state_dict(through_a_file(first.state_dict()))
    for t in run(second, params, trajectory.steps[6:]):
        judge.follow(trajectory.steps[t + 5])
        judge.compare(second, params)
    assert judge.t == STEPS


@every_path
def test_a_checkpoint_crosses_between_paths(cls, path):
    optimizer, params, steps = started(cls, path)
    for other_path in [param.values[1] for param in PATHS if param.values[0] is cls]:
        judge = Judge(cls, hostile(), **HOSTILE[cls])
        for step in hostile().steps[:4]:
            judge.follow(step)
        others = clones(params)
        other = cls(others, **other_path)
        other.load_state_dict(optimizer.state_dict())
        assert other.param_groups[0]["execution"] == other_path["execution"], "the checkpoint brought its path along"
        for t in run(other, others, steps):
            judge.follow(steps[t - 1])
            judge.compare(other, others)


@pytest.mark.parametrize("cls", [Adam, AdamW])
def test_a_checkpoint_of_amsgrad_is_refused_and_changes_nothing(cls):
    optimizer, params, _ = started(cls, {})
    before = copy.deepcopy(optimizer.state_dict())
    twin = getattr(torch.optim, cls.__name__)(clones(params), amsgrad=True)
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: group 0 of the checkpoint has amsgrad=True"):
        optimizer.load_state_dict(twin.state_dict())
    assert_equal(optimizer.state_dict(), before)


@pytest.mark.parametrize(("cls", "twin"), [(Adam, torch.optim.AdamW), (AdamW, torch.optim.Adam)])
def test_a_checkpoint_of_the_other_weight_decay_is_refused(cls, twin):
    optimizer, params, _ = started(cls, {})
    saved = twin(clones(params)).state_dict()
    saved["param_groups"][0]["decoupled_weight_decay"] = cls is Adam
    with pytest.raises(ValueError, match=rf"has decoupled_weight_decay={cls is Adam}; load it into adam"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize(("cls", "other"), [(Adam, AdamW), (AdamW, Adam)])
def test_a_checkpoint_of_the_sister_is_refused(cls, other):
    optimizer, params, _ = started(cls, {})
    with pytest.raises(ValueError, match=rf"has decoupled_weight_decay={cls is Adam}; load it into adam"):
        optimizer.load_state_dict(other(clones(params)).state_dict())


@pytest.mark.parametrize(
    ("cls", "twin", "settings", "message"),
    [
        (Momentum, torch.optim.SGD, {"momentum": 0.9}, "is torch.optim.SGD's, whose buffer is a sum"),
        (RMSprop, torch.optim.RMSprop, {"centered": True}, "has centered=True"),
        (RMSprop, torch.optim.RMSprop, {"momentum": 0.5}, "has momentum=0.5"),
        (RMSprop, torch.optim.RMSprop, {"weight_decay": 0.1}, "has weight_decay=0.1"),
    ],
)
def test_a_checkpoint_of_another_algorithm_is_refused_and_changes_nothing(cls, twin, settings, message):
    optimizer, params, _ = started(cls, {})
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: group 0 of the checkpoint {message}"):
        optimizer.load_state_dict(twin(clones(params), **settings).state_dict())
    assert_equal(optimizer.state_dict(), before)


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
    finish(other, other.param_groups[0]["params"], steps)


@pytest.mark.parametrize("cls", [Adam, AdamW])
@pytest.mark.parametrize("old", [float, torch.Tensor.double, int], ids=["float", "float64", "int"])
def test_a_step_count_of_an_older_checkpoint_goes_on(cls, old):
    optimizer, params, steps = started(cls, {})
    saved = optimizer.state_dict()
    saved["state"] = {key: {**values, "step": old(values["step"])} for key, values in saved["state"].items()}
    others = clones(params)
    other = cls(others)
    other.load_state_dict(saved)
    finish(other, others, steps)
    finish(optimizer, params, steps)
    assert_equal(snapshot(other, others), snapshot(optimizer, params))


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
    assert_equal(optimizer.state_dict(), before)


@every_optimizer
def test_named_parameters_survive_a_checkpoint(cls):
    def built():
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))
        named = list(model.named_parameters())
        return model, cls([{"params": named[:2], "lr": 0.5}, {"params": named[2:]}])

    model, optimizer = built()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    saved = through_a_file(optimizer.state_dict())
    assert [group["param_names"] for group in saved["param_groups"]] == [["0.weight", "0.bias"], ["1.weight", "1.bias"]]
    _, other = built()
    other.load_state_dict(saved)
    assert_equal(other.state_dict(), optimizer.state_dict())


# The contract


WRONG = {
    "lr": [-1e-9, math.inf, math.nan, torch.tensor(-1.0)],
    "momentum": [-0.1, 1.0, math.nan],
    "alpha": [-0.1, 1.0, math.nan],
    "betas": [(-0.1, 0.9), (0.9, 1.0), (1.0, 0.9), (0.9, math.nan), (0.9,), 0.9],
    "eps": [-1e-9, math.inf, math.nan],
    "weight_decay": [-1e-9, math.inf, math.nan],
}


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        pytest.param(cls, field.name, value, id=f"{cls.__name__}-{field.name}={value}")
        for cls in HOSTILE
        for field in fields(cls.reference)
        for value in WRONG[field.name]
    ],
)
def test_a_hyperparameter_out_of_its_range_is_refused(cls, name, value):
    with pytest.raises(ValueError, match=rf"^{cls.__name__}(: {name}.* must be | needs '{name})"):
        cls([Parameter(torch.ones(2))], **{name: value})
    optimizer = cls([Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match=rf"^{cls.__name__}(: {name}.* must be | needs '{name})"):
        optimizer.add_param_group({"params": [Parameter(torch.ones(2))], name: value})
    assert len(optimizer.param_groups) == 1


@every_path
def test_a_group_added_later_is_stepped_as_a_fresh_optimizer_would(cls, path):
    optimizer, params, steps = started(cls, path)
    start = hostile([(3,)])
    late, alone = parameters(start)[0], parameters(start)[0]
    optimizer.add_param_group({"params": [late]})
    fresh = cls([alone], **HOSTILE[cls], **path)
    joined = [Step(a.lr, [*a.grads, *b.grads]) for a, b in zip(steps, start.steps[4:], strict=True)]
    finish(optimizer, [*params, late], joined)
    finish(fresh, [alone], [Step(step.lr, step.grads[-1:]) for step in joined])
    assert_equal(snapshot(optimizer, [late]), snapshot(fresh, [alone]))


@every_optimizer
def test_the_signature_has_the_defaults_of_the_reference(cls):
    arguments = inspect.signature(cls).parameters
    for field in fields(cls.reference):
        assert arguments[field.name].default == field.default, field.name
    optimizer = cls([Parameter(torch.ones(2))])
    assert {field.name: optimizer.defaults[field.name] for field in fields(cls.reference)} == {
        field.name: field.default for field in fields(cls.reference)
    }


@every_optimizer
def test_the_declaration_names_the_class_its_reference_and_its_options(cls):
    name = cls.__name__.lower()
    (record,) = importlib.import_module(f"optreg_plugins.{name}").optreg_optimizers()
    module, attribute = record.implementation.split(":")
    assert record.name == name
    assert getattr(importlib.import_module(module), attribute) is cls
    assert record.reference is cls.reference
    arguments = inspect.signature(cls).parameters
    options = {field.name: field.default for field in fields(record.options)}
    hyperparameters = {field.name for field in fields(cls.reference)}
    assert set(arguments) == {"params"} | hyperparameters | set(options)
    assert options == {key: arguments[key].default for key in options}
