"""Low precision: updates far below a unit are not lost on the average; the same bits again, on every path, after resuming."""

import copy
from typing import Any

import pytest
import torch
from executors import (
    DEVICE,
    assert_same,
    clones_of,
    ones,
    parameters,
    params_of,
    plain,
    ran,
    stepped,
    strided,
    tensors_of,
    through_a_file,
    transposed,
)  # fmt: skip
from torch import Tensor
from torch.nn import Parameter

from optreg.pointwise import blocks
from optreg.pointwise.rounding import TILE, Noise, TensorRounding, rounded
from optreg.pointwise.slots import STATE
from optreg_plugins.adam.optimizer import Adam
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion
from optreg_plugins.momentum.optimizer import Momentum

BFLOAT16 = torch.bfloat16
SMALL = [(3,), (), (2, 3), (1,), (4, 5), (7,), (64,), (2, 2, 2), (9,), (31,)]
LARGE = [(20_000,), (150, 140)]


def run(cls: Any, shapes: list[tuple[int, ...]], count: int = 4, dtype: torch.dtype = BFLOAT16, **options: Any) -> Any:
    return ran(cls(parameters(shapes, dtype), **options), range(count))


def bits(*args: Any, **options: Any) -> list[Tensor]:
    """All numbers at the end of a run."""
    return tensors_of(run(*args, **options))


def differing(left: list[Tensor], right: list[Tensor]) -> float:
    """The fraction of numbers that differ."""
    assert [tensor.dtype for tensor in left] == [tensor.dtype for tensor in right]
    return sum(int((a != b).sum()) for a, b in zip(left, right, strict=True)) / sum(tensor.numel() for tensor in left)


def low(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.dtype is BFLOAT16]


def assert_moved_on_the_average(params: list[Parameter]) -> None:
    """After 100 updates of 1e-5 on 4096 numbers near 1, whose unit is 2^-8 below it and 2^-7 above.

    An update goes through with probability 1e-5 / 2^-8 each, so the total of one element has at most the variance
    100 * 1e-5 * 2^-8; it is judged by 5 standard errors of the mean of all 4096.
    """
    total = torch.cat([1 - param.detach().double() for param in params]).mean().item()
    assert abs(total - 100 * 1e-5) <= 5 * (100 * 1e-5 * 2.0**-8 / 4096) ** 0.5


RANDOM = [
    {"stochastic_rounding": True},
    {"stochastic_rounding": True, "state_dtype": "float32"},
    {"state_dtype": "bfloat16"},
]
every_option = pytest.mark.parametrize(
    "options", RANDOM, ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items())
)
every_rule = pytest.mark.parametrize("cls", [Lion, AdamW], ids=lambda cls: cls.__name__)


# Nothing is lost on the average


@pytest.mark.parametrize(
    ("execution", "shapes"),
    [
        pytest.param(execution, shapes, id=f"{execution}-{len(shapes)}")
        for execution in ("loop", "foreach", "auto", "compiled")
        for shapes in ([(4096,)], [(64,)] * 64)
        if (execution, len(shapes)) != ("loop", 64)  # takes seconds, and is tested as one tensor
    ],
)
def test_updates_far_below_half_a_unit_move_by_the_right_total_on_the_average(execution, shapes):
    """Without noise they stand still, also where state is rounded at random."""
    moving, still = ([ones(*shape, dtype=BFLOAT16) for shape in shapes] for _ in range(2))
    stepped(Lion(moving, lr=1e-5, stochastic_rounding=True, execution=execution), *[1.0] * 100)
    for state_dtype in (None, "bfloat16"):
        stepped(Lion(still, lr=1e-5, state_dtype=state_dtype, execution=execution), *[1.0] * 100)
        assert all(torch.equal(param, torch.ones_like(param)) for param in still)
    assert_moved_on_the_average(moving)


@pytest.mark.parametrize("dtype", [torch.float32, BFLOAT16], ids=str)
@pytest.mark.parametrize("execution", ["loop", "foreach", "auto", "fused"])
@pytest.mark.parametrize("shapes", [[(1024,)], [(64,)] * 16], ids=["large", "packed"])
def test_a_mean_square_in_bfloat16_does_not_stall(dtype, execution, shapes):
    """From 1/2, under gradients 1, it comes to 1 - 0.999^100 / 2. Its steps, 0.0005, are an eighth of a unit: rounded to
    nearest it would stay, and rounded at random the sum of 100 has the variance 100 * 0.0005 * 2^-8, of one element.
    """
    params = [ones(*shape, dtype=dtype) for shape in shapes]
    optimizer = stepped(AdamW(params, lr=0.0, state_dtype="bfloat16", execution=execution), 1.0)
    for param in params:
        optimizer.state[param]["exp_avg_sq"].fill_(0.5)
    stepped(optimizer, *[1.0] * 100)
    squares = torch.cat([optimizer.state[param]["exp_avg_sq"] for param in params])
    assert squares.dtype is BFLOAT16
    error = squares.double().mean().item() - (1 - 0.999**100 / 2)
    assert abs(error) <= 5 * (100 * 0.0005 * 2.0**-8 / 1024) ** 0.5


@every_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("state_dtype", ["bfloat16", "float32", None])
def test_parameters_and_state_keep_their_dtypes(cls, dtype, state_dtype):
    for shapes in (SMALL, LARGE):
        optimizer = run(cls, shapes, dtype=dtype, state_dtype=state_dtype)
        wanted = {"bfloat16": BFLOAT16, "float32": torch.float32, None: dtype}[state_dtype]
        for param in params_of(optimizer):
            assert param.dtype is dtype
            for name, value in optimizer.state[param].items():
                counts = torch.float64 if state_dtype == "bfloat16" else torch.float32
                assert value.dtype is (counts if name == "step" else wanted)


def test_state_in_bfloat16_follows_state_in_float32():
    exact, rough = (
        params_of(run(AdamW, [(4096,)], 20, torch.float32, lr=0.1, state_dtype=state_dtype))[0]
        for state_dtype in (None, "bfloat16")
    )
    assert (rough - exact).abs().max() <= 20 * 0.1 * 2.0**-5
    assert (rough - exact).mean().abs() <= 20 * 0.1 * 2.0**-8


@pytest.mark.parametrize("cls", [Lion, Momentum, Adam, AdamW], ids=lambda cls: cls.__name__)
def test_parameters_of_other_dtypes_are_rounded_as_ever(cls):
    for dtype in (torch.float32, torch.float64, torch.float16):
        for shapes in (SMALL, LARGE):
            nearest = run(cls, shapes, dtype=dtype)
            asked = run(cls, shapes, dtype=dtype, stochastic_rounding=True, execution="foreach")
            torch.testing.assert_close(params_of(asked), params_of(nearest))


def test_complex_parameters_have_state_of_their_own_dtype_alone():
    param = ones(3, dtype=torch.complex64)
    stepped(Lion([param], stochastic_rounding=True), 1.0)
    for state_dtype in ("bfloat16", "float32"):
        with pytest.raises(ValueError, match=rf"state_dtype={state_dtype} is for real parameters"):
            stepped(Lion([param], state_dtype=state_dtype), 1.0)


# The same bits


@every_rule
@every_option
def test_the_same_seed_gives_the_same_bits_and_another_others(cls, options):
    for shapes in (SMALL, LARGE):
        first = bits(cls, shapes, seed=3, **options)
        assert_same(bits(cls, shapes, seed=3, **options), first)
        assert differing(bits(cls, shapes, seed=4, **options), first) > 0.02


PATHS = [(cls, options, execution) for cls in (Lion, AdamW) for options in RANDOM for execution in ("foreach", "auto")]
PATHS += [(Lion, RANDOM[0], "compiled"), (AdamW, RANDOM[2], "compiled")]  # of those that take seconds, two


@pytest.mark.parametrize(("cls", "options", "execution"), PATHS)
def test_every_path_gives_the_same_bits_but_where_float32_arithmetic_differs(cls, options, execution):
    """An element differs where the paths' results lie on either side of what the noise decides by: units apart in
    float32, 2^16 of which are one of bfloat16, and once apart the element stays so: below one in a hundred."""
    shapes = [*SMALL, *LARGE]
    loop, other = (bits(cls, shapes, execution=how, **options) for how in ("loop", execution))
    assert differing(low(other), low(loop)) <= 0.01
    torch.testing.assert_close(other, loop, rtol=2.0**-6, atol=2.0**-6)


@every_option
@pytest.mark.parametrize("per_thread", [100, 4097, 2**16])
def test_the_size_of_blocks_does_not_matter(options, per_thread, monkeypatch):
    whole = bits(Lion, LARGE, 2, execution="foreach", **options)
    monkeypatch.setattr(blocks, "PER_THREAD", per_thread)
    assert_same(bits(Lion, LARGE, 2, execution="foreach", **options), whole)


LAYOUTS = [transposed, strided, plain]


@pytest.mark.parametrize("of_param", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("of_grad", LAYOUTS, ids=lambda f: f.__name__)
def test_neither_blocks_nor_packs_matter_to_parameters_of_any_layout(of_param, of_grad, monkeypatch):
    """An element's noise is a function of its place, whoever works on it, and however large his blocks are."""

    def run(shapes: list[tuple[int, ...]], execution: str) -> list[Tensor]:
        params = [Parameter(of_param(param.detach())) for param in parameters(shapes, BFLOAT16)]
        optimizer = Lion(params, lr=1e-3, stochastic_rounding=True, execution=execution)
        return tensors_of(ran(optimizer, range(4), layout=of_grad))

    large, small = [(90, 100)], [(5, 6)] * 10
    wanted = run(large, "loop")
    assert differing(run(small, "foreach"), run(small, "loop")) <= 0.01, "packed"
    for per_thread in (1000, 300):
        monkeypatch.setattr(blocks, "PER_THREAD", per_thread)
        assert differing(run(large, "loop"), wanted) <= 0.01, per_thread


def test_every_device_rounds_with_the_same_noise():
    """In blocks, and as a kernel does it: integers are the same everywhere."""
    wide = torch.randn(TILE + 1000, generator=torch.Generator().manual_seed(0))
    key = torch.tensor([12345], dtype=torch.int32)
    wanted = rounded(wide.clone(), key, STATE)
    assert torch.equal(rounded(wide.to(DEVICE), key.to(DEVICE), STATE).cpu(), wanted)
    target = torch.empty(wide.shape, dtype=BFLOAT16, device=DEVICE)
    TensorRounding(12345, frozenset({STATE})).store(Noise(DEVICE), target, wide.to(DEVICE), 0, STATE)
    assert torch.equal(target.cpu().float(), wanted)


def test_a_parameters_noise_depends_on_its_place_alone():
    """Not on who else has a gradient, nor on how the others are packed."""
    everyone = params_of(run(Lion, SMALL, stochastic_rounding=True))
    for chosen in (0, 4, 9):
        optimizer = Lion(parameters(SMALL, BFLOAT16), stochastic_rounding=True)
        ran(optimizer, range(4), lambda t, place, chosen=chosen: place == chosen)
        assert torch.equal(params_of(optimizer)[chosen], everyone[chosen])


# Checkpoints


@every_rule
@every_option
@pytest.mark.parametrize("shapes", [SMALL, LARGE, [*SMALL, *LARGE]], ids=["packed", "large", "both"])
@pytest.mark.parametrize("carry", [through_a_file, copy.deepcopy], ids=["through_a_file", "deepcopy"])
def test_a_run_resumes_exactly_in_the_middle(cls, options, shapes, carry):
    optimizer = run(cls, shapes, 5, **options)
    saved = carry(optimizer.state_dict())
    assert all("step" in state for state in saved["state"].values())
    other = cls(clones_of(optimizer), **options)
    other.load_state_dict(saved)
    assert_same(tensors_of(ran(other, range(5, 9))), tensors_of(ran(optimizer, range(5, 9))))


@pytest.mark.parametrize("before", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("after", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, BFLOAT16], ids=str)
def test_a_checkpoint_crosses_between_state_dtypes(before, after, dtype):
    kept = {None: dtype, "float32": torch.float32, "bfloat16": BFLOAT16}
    optimizer = run(AdamW, [*SMALL, *LARGE], dtype=dtype, state_dtype=before)
    means = torch.cat([state["exp_avg"].flatten().double() for state in optimizer.state.values()])
    assert torch.equal(means, means.bfloat16().double()) == (kept[before] is BFLOAT16)
    other = AdamW(clones_of(optimizer), state_dtype=after)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    for mine, theirs in zip(params_of(other), params_of(optimizer), strict=True):
        for name in AdamW.state_names:
            assert_same(other.state[mine][name], optimizer.state[theirs][name].to(kept[after]))
        assert other.state[mine]["step"] == 4
    ran(other, range(4, 7))
    assert all(other.state[param]["exp_avg"].dtype is kept[after] for param in params_of(other))


def test_how_it_is_run_stays_the_constructors_and_what_is_computed_comes_from_the_checkpoint():
    how = {"execution": "foreach", "stochastic_rounding": True, "state_dtype": "float32", "seed": 5}
    optimizer = run(AdamW, SMALL, lr=0.5, betas=(0.5, 0.6), maximize=True, execution="loop", seed=9)
    other = AdamW(parameters(SMALL, BFLOAT16), **how)
    other.load_state_dict(optimizer.state_dict())
    group = other.param_groups[0]
    assert {name: group[name] for name in how} == how
    assert (group["lr"], group["betas"], group["maximize"]) == (0.5, (0.5, 0.6), True)


def test_a_hook_after_loading_sees_how_it_is_run():
    optimizer, seen = Lion(parameters(SMALL, BFLOAT16), execution="foreach", state_dtype="float32"), []

    def look(loaded: Any) -> None:
        kept = {value.dtype for state in loaded.state.values() for value in state.values()}
        seen.append((loaded.param_groups[0]["execution"], kept))

    optimizer.register_load_state_dict_post_hook(look)
    optimizer.load_state_dict(run(Lion, SMALL, execution="loop").state_dict())
    assert seen == [("foreach", {torch.float32})]


def test_a_checkpoint_without_step_counts_goes_on_under_stochastic_rounding():
    optimizer = run(Lion, SMALL)
    assert all("step" not in state for state in optimizer.state.values())
    other = Lion(parameters(SMALL, BFLOAT16), stochastic_rounding=True)
    other.load_state_dict(optimizer.state_dict())
    ran(other, range(4, 7))
    assert {float(state["step"]) for state in other.state.values()} == {3.0}


@pytest.mark.parametrize("shapes", [[(4096,)], [(64,)] * 64], ids=["large", "packed"])
@pytest.mark.parametrize("change", ["switched_on", "moved"])
def test_rounding_at_random_may_begin_in_the_middle(shapes, change):
    """Once the option is set, or the parameters are bfloat16, nothing is lost."""
    switched = change == "switched_on"
    params = [ones(*shape, dtype=BFLOAT16 if switched else torch.float32) for shape in shapes]
    optimizer = stepped(Lion(params, lr=0.0, stochastic_rounding=not switched), 1.0, 1.0, 1.0)
    optimizer.param_groups[0].update(lr=1e-5, stochastic_rounding=True)
    for param in params:
        param.data = param.data.bfloat16()
        param.grad = None
    stepped(optimizer, *[1.0] * 100)
    assert all("step" in optimizer.state[param] for param in params)
    assert_moved_on_the_average(params)
    optimizer.param_groups[0]["stochastic_rounding"] = False
    before = [param.detach().clone() for param in params]
    stepped(optimizer, 1.0, 1.0, 1.0)
    assert_same([param.detach() for param in params], before)


def test_noise_goes_on_changing_in_very_long_runs():
    """float32 counts to 2^24: beyond, the same noise in every update would round the same elements up for ever."""
    param = ones(4096, dtype=BFLOAT16)
    optimizer = stepped(Lion([param], lr=1e-3, stochastic_rounding=True), 1.0)
    optimizer.state[param]["step"].fill_(2.0**24)
    with torch.no_grad():
        param.fill_(1.0)
    moved = []
    for _ in range(4):
        before = param.detach().clone()
        optimizer.step()
        moved.append(param.detach() != before)
        with torch.no_grad():
            param.fill_(1.0)
    assert not any(map(torch.equal, moved, moved[1:]))
