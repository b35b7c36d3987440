"""Tracing: what is recorded of a rule, what is folded, what is refused; and that every way to run it does what the rule says."""

import math
import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from executors import DEVICE, by_blocks, by_kernel, by_lists, drawn, plainly
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from optreg.errors import PluginError
from optreg.pointwise.trace import Number, Program, Value, trace
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

UNIT = 2.0**-53

Rule = Callable[..., Any]


def names(program: Program) -> list[str]:
    return [operation.name for operation in program.operations]


# What is recorded


def test_lion_is_five_operations_and_six_numbers():
    program, numbers = trace(Lion.update, 1, {"lr": 0.125, "betas": (0.75, 0.5), "weight_decay": 2.0})
    assert names(program) == ["mean", "sign", "axpy", "axpy", "mean"]
    assert numbers == (0.75, 0.25, 2.0, -0.125, 0.5, 0.5)
    assert program.inputs == 3
    assert [output.index for output in program.outputs] == [3 + 3, 3 + 4]


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.3, 1 / 3, 0.7, 0.9, 0.999, 0.9999999, 1e-17, 1.0])
def test_an_average_is_a_mean_whatever_its_rate(beta):
    program, numbers = trace(lambda p, g, *, lr: beta * p + (1 - beta) * g, 0, {"lr": 1.0})
    assert names(program) == ["mean"]
    assert numbers == (beta, 1 - beta)


@pytest.mark.parametrize(
    ("rule", "kept", "numbers"),
    [
        (lambda p, g, *, lr: p - lr * g, ["axpy"], (-0.5,)),
        (lambda p, g, *, lr: p + g * lr, ["axpy"], (0.5,)),
        (lambda p, g, *, lr: lr * g + p, ["axpy"], (0.5,)),
        (lambda p, g, *, lr: p.add(g, alpha=-lr), ["axpy"], (-0.5,)),
        (lambda p, g, *, lr: torch.sub(p, g, alpha=lr), ["axpy"], (-0.5,)),
        (lambda p, g, *, lr: lr * g - p, ["mul", "sub"], (0.5,)),
        (lambda p, g, *, lr: p + -g, ["axpy"], (-1.0,)),
        (lambda p, g, *, lr: p - g, ["sub"], ()),
        (lambda p, g, *, lr: lr - p, ["neg", "add"], (0.5,)),
        # a mean, only if the weights sum to one
        (lambda p, g, *, lr: 0.75 * p + 0.25 * g, ["mean"], (0.75, 0.25)),
        (lambda p, g, *, lr: 1.5 * p + -lr * g, ["mean"], (1.5, -0.5)),
        (lambda p, g, *, lr: 0.75 * p + lr * g, ["mul", "axpy"], (0.75, 0.5)),
        (lambda p, g, *, lr: 0.75 * p + -0.25 * g, ["mul", "axpy"], (0.75, -0.25)),
        # a copy, only of another input
        (lambda p, g, *, lr: p, [], ()),
        (lambda p, g, *, lr: g, ["mul"], (1.0,)),
    ],
)
def test_sums_of_numbers_times_tensors_and_copies_are_as_few_operations_as_can_be(rule, kept, numbers):
    program, found = trace(rule, 0, {"lr": 0.5})
    assert names(program) == kept
    assert found == numbers


@pytest.mark.parametrize(
    ("divisor", "name"),
    [
        *((divisor, "mul") for divisor in (3.0, -3.0, 2.0**-126, 2.0**126)),
        *((divisor, "div") for divisor in (0.0, -0.0, 2.0**-127, 2.0**127, math.inf, math.nan)),
    ],
)
def test_division_is_multiplication_unless_a_reciprocal_would_overflow_or_be_lost(divisor, name):
    """In float32, which most is computed in."""
    program, numbers = trace(lambda p, g, *, lr: (g / divisor).exp() + p, 0, {"lr": 0.5})
    assert names(program) == [name, "exp", "add"]
    assert numbers == pytest.approx((1 / divisor if name == "mul" else divisor,), rel=0, abs=0, nan_ok=True)


def test_what_nothing_depends_on_is_dropped_with_its_numbers():
    def rule(p, g, m, *, lr):
        unused = (m * 17.0).exp() + 3.0
        unused = unused / 19.0
        return p - lr * g, m

    program, numbers = trace(rule, 1, {"lr": 0.5})
    assert names(program) == ["axpy"]
    assert numbers == (-0.5,)
    assert program.operations[0].args == (Value(0), Value(1), Number(0))
    assert program.outputs == (Value(3), Value(2))


def test_other_values_and_later_updates_are_the_same_program_with_other_numbers():
    def of(**hyperparameters: Any) -> tuple[Program, tuple[float, ...]]:
        return trace(AdamW.update, 2, hyperparameters)

    first = of(t=1, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    other = of(t=1000, lr=0.0, betas=(0.0, 0.5), eps=0.0, weight_decay=0.3)
    assert first[0] == other[0]
    assert hash(first[0]) == hash(other[0])
    assert first[1] != other[1]
    assert len(first[1]) == len(other[1])
    assert all(type(number) is float for number in (*first[1], *other[1]))


def test_control_flow_on_hyperparameters_is_pythons():
    def rule(p, g, *, lr, kind, clip, nesterov):
        if clip is not None:
            g = g.clamp(-clip, clip)
        if kind == "sign":
            g = g.sign()
        return p - lr * g if nesterov else p + lr * g

    def of(**options: Any) -> list[str]:
        return names(trace(rule, 0, {"lr": 0.5, "kind": "plain", "clip": None, "nesterov": True, **options})[0])

    assert of() == ["axpy"]
    assert of(clip=1.0) == ["clamp", "axpy"]
    assert of(kind="sign") == ["sign", "axpy"]
    assert trace(rule, 0, {"lr": 0.5, "kind": "", "clip": None, "nesterov": False})[1] == (0.5,)


def test_maximize_negates_the_gradient_first():
    program, numbers = trace(lambda p, g, *, lr: p - lr * g, 0, {"lr": 0.5}, maximize=True)
    assert names(program) == ["neg", "axpy"]
    assert program.operations[0].args == (Value(1),)
    assert numbers == (-0.5,)


def test_states_that_change_places_are_copies():
    assert names(trace(lambda p, g, m, *, lr: (m, p), 1, {"lr": 1.0})[0]) == ["mul", "mul"]


def test_exponents_that_torch_has_code_for_are_part_of_the_operation():
    program, numbers = trace(lambda p, g, *, lr: p**2 + g**0.5 + g**lr, 0, {"lr": 0.3})
    assert numbers == (0.3,)
    assert [operation.args[1] for operation in program.operations if operation.name == "pow"] == ["2", "0.5", Number(0)]


# What is refused


IN_PLACE = "changes a tensor in place"
COUPLED = "every element by itself"
DECIDES = "torch.where"
RETURNS = r"has to return new tensors for \(parameter\)"

REFUSED = {
    "p.add_(g)": (lambda p, g, *, lr: p.add_(g), IN_PLACE),
    "p.mul_(lr)": (lambda p, g, *, lr: p.mul_(lr) - g, IN_PLACE),
    "torch.neg_(p)": (lambda p, g, *, lr: torch.neg_(p), IN_PLACE),
    "p += g": (lambda p, g, *, lr: operator.iadd(p, lr * g), IN_PLACE),
    "g -= p": (lambda p, g, *, lr: p - operator.isub(g, lr * p), IN_PLACE),
    "p *= lr": (lambda p, g, *, lr: operator.imul(p, lr) - g, IN_PLACE),
    "p /= lr": (lambda p, g, *, lr: operator.itruediv(p, lr) - g, IN_PLACE),
    "torch.mul(p, g, out=g)": (lambda p, g, *, lr: torch.mul(p, g, out=g), "out"),
    "g.sum()": (lambda p, g, *, lr: p - g.sum(), COUPLED),
    "g.mean()": (lambda p, g, *, lr: p - g.mean(), COUPLED),
    "g.norm()": (lambda p, g, *, lr: p - g / g.norm(), COUPLED),
    "g.max()": (lambda p, g, *, lr: p - g / g.max(), COUPLED),
    "torch.max(g)": (lambda p, g, *, lr: p - g / torch.max(g), COUPLED),
    "torch.min(g)": (lambda p, g, *, lr: p - g / torch.min(g), COUPLED),
    "g.min(0)": (lambda p, g, *, lr: p - g.min(0), COUPLED),
    "torch.equal(p, g)": (lambda p, g, *, lr: p - torch.equal(p, g), ""),
    "g.cumsum(0)": (lambda p, g, *, lr: p - g.cumsum(0), COUPLED),
    "g.sort()": (lambda p, g, *, lr: p - g.sort(), COUPLED),
    "g.flip(0)": (lambda p, g, *, lr: p - g.flip(0), COUPLED),
    "p @ g": (lambda p, g, *, lr: p @ g, COUPLED),
    "p[0]": (lambda p, g, *, lr: p - g[0], COUPLED),
    "torch.softmax": (lambda p, g, *, lr: torch.softmax(p, 0), COUPLED),
    "torch.stack": (lambda p, g, *, lr: torch.stack([p, g]), COUPLED),
    "torch.cat": (lambda p, g, *, lr: torch.cat((p, g)), COUPLED),
    "torch.rrelu": (lambda p, g, *, lr: torch.rrelu(g), ""),
    "torch.rand_like": (lambda p, g, *, lr: p - torch.rand_like(g), ""),
    "axpy": (lambda p, g, *, lr: p.axpy(g, lr), ""),
    "if g > 0": (lambda p, g, *, lr: p - lr * g if g > 0 else p, DECIDES),
    "max(p, g)": (lambda p, g, *, lr: max(p, g), DECIDES),
    "p and g": (lambda p, g, *, lr: p and g, DECIDES),
    "not p": (lambda p, g, *, lr: p if not p else g, DECIDES),
    "while g.any()": (lambda p, g, *, lr: p if g.any() else g, ""),
    "float(g)": (lambda p, g, *, lr: p - float(g), ""),
    "g.item()": (lambda p, g, *, lr: p - g.item(), ""),
    "p.ndim": (lambda p, g, *, lr: p - g if p.ndim > 1 else p, ""),
    "p.is_cuda": (lambda p, g, *, lr: p - g if p.is_cuda else p, ""),
    "p.requires_grad": (lambda p, g, *, lr: p - g if p.requires_grad else p, ""),
    "p.shape": (lambda p, g, *, lr: p - g / p.shape[0], ""),
    "p.data": (lambda p, g, *, lr: p.data - g, ""),
    "torch.finfo(p.dtype)": (lambda p, g, *, lr: p - torch.finfo(p.dtype).eps * g, ""),
    "a tensor of its own": (lambda p, g, *, lr: p - torch.ones(3) * g, "mixes a tensor with a Tensor"),
    "a list": (lambda p, g, *, lr: p - g * [1.0], "mixes a tensor with a list"),
    "p + None": (lambda p, g, *, lr: p + None, "mixes a tensor with a NoneType"),
    "p * None": (lambda p, g, *, lr: p * None, "mixes a tensor with a NoneType"),
    "p // lr": (lambda p, g, *, lr: p // lr, COUPLED),
    "p // g": (lambda p, g, *, lr: p // g, COUPLED),
    "5 % p": (lambda p, g, *, lr: 5 % p, ""),
    "where(p, g, p)": (lambda p, g, *, lr: torch.where(p, g, p), ""),
    "returns None": (lambda p, g, *, lr: None, RETURNS),
    "returns a number": (lambda p, g, *, lr: 1.0, RETURNS),
    "returns a list": (lambda p, g, *, lr: [p - g], RETURNS),
    "returns too many": (lambda p, g, *, lr: (p - g, g), RETURNS),
    "returns nothing": (lambda p, g, *, lr: (), RETURNS),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_elementwise_rule_is_refused_with_the_remedy(what):
    rule, message = REFUSED[what]
    rule.__qualname__ = "Odd.update"
    with pytest.raises(PluginError, match=rf"^the rule 'Odd.update' .*{message}"):
        trace(rule, 0, {"lr": 0.5})


def test_too_few_results_are_refused_by_the_names_of_what_is_missing():
    with pytest.raises(PluginError, match=r"return new tensors for \(parameter, state 0, state 1\)"):
        trace(lambda p, g, m, v, *, lr: (p, m), 2, {"lr": 0.5})


# What may be written, and that it means the same


def positive(x: Tensor) -> Tensor:
    return x.abs() + 0.5


WRITTEN: dict[str, Rule] = {
    "2 + x": lambda p, g, *, lr: 2 + p,
    "2 - x": lambda p, g, *, lr: 2 - p,
    "2 * x": lambda p, g, *, lr: 2 * p,
    "2 / x": lambda p, g, *, lr: 2 / positive(p),
    "2 ** x": lambda p, g, *, lr: 2**p,
    "x ** 2": lambda p, g, *, lr: p**2,
    "x ** 3": lambda p, g, *, lr: p**3,
    "x ** -1": lambda p, g, *, lr: positive(p) ** -1,
    "x ** -0.5": lambda p, g, *, lr: positive(p) ** -0.5,
    "x ** 0.3": lambda p, g, *, lr: positive(p) ** 0.3,
    "x ** y": lambda p, g, *, lr: positive(p) ** g,
    "x % 2": lambda p, g, *, lr: p % 2,
    "+x": lambda p, g, *, lr: +p - g,
    "-x": lambda p, g, *, lr: -p,
    "abs(x)": lambda p, g, *, lr: abs(p),
    "x == 0": lambda p, g, *, lr: torch.where(g == 0, p, g),
    "x != 0": lambda p, g, *, lr: torch.where(g != 0, p, g),
    "0 < x": lambda p, g, *, lr: torch.where(0 < g, p, g),  # noqa: SIM300
    "x <= y": lambda p, g, *, lr: torch.where(p <= g, p, g),
    "x > y": lambda p, g, *, lr: torch.where(p > g, p, g),
    "x >= y": lambda p, g, *, lr: torch.where(p >= g, p, g),
    "a & b": lambda p, g, *, lr: torch.where((p > 0) & (g > 0), p, g),
    "a | b": lambda p, g, *, lr: torch.where((p > 0) | (g > 0), p, g),
    "a ^ b": lambda p, g, *, lr: torch.where((p > 0) ^ (g > 0), p, g),
    "~a": lambda p, g, *, lr: torch.where(~(p > 0), p, g),
    "a * b": lambda p, g, *, lr: torch.where((p > 0) * (g > 0), p, g),
    "where of truths": lambda p, g, *, lr: torch.where(torch.where(p > 0, g > 0, g < 0), p, g),
    "a * x": lambda p, g, *, lr: p - (g > 0) * g,
    "a * number": lambda p, g, *, lr: p - lr * (g > 0),
    "mean of truths": lambda p, g, *, lr: 0.75 * p + 0.25 * (g > 0),
    "sum of truths": lambda p, g, *, lr: p + ((g > 0) + 0.5 * (p > 0)),
    "where(a, x, 0.0)": lambda p, g, *, lr: torch.where(p * g > 0, p, 0.0),
    "where(a, 0.25, x)": lambda p, g, *, lr: torch.where(p * g > 0, 0.25, p),
    "where(a, 0.25, 0.5)": lambda p, g, *, lr: p - torch.where(p * g > 0, 0.25, 0.5),
    "x.where(a, y)": lambda p, g, *, lr: p.where(g > 0, g),
    "masked_fill": lambda p, g, *, lr: p.masked_fill(g > 0, 0.5),
    "clamp(-1, 1)": lambda p, g, *, lr: p.clamp(-1, 1),
    "clamp(min=)": lambda p, g, *, lr: p.clamp(min=lr),
    "clamp(max=)": lambda p, g, *, lr: torch.clamp(p, max=lr),
    "clip": lambda p, g, *, lr: p.clip(-lr, lr),
    "clamp_min": lambda p, g, *, lr: p.clamp_min(lr),
    "clamp by tensors": lambda p, g, *, lr: p.clamp(-g.abs(), g.abs()),
    "lerp(weight=)": lambda p, g, *, lr: torch.lerp(p, g, weight=0.25),
    "addcdiv": lambda p, g, *, lr: p.addcdiv(g, positive(p), value=-lr),
    "add(alpha=)": lambda p, g, *, lr: p.add(g, alpha=2),
    "add(other=)": lambda p, g, *, lr: torch.add(p, other=g),
    "mul(other=)": lambda p, g, *, lr: p.mul(other=lr),
    "rsub": lambda p, g, *, lr: torch.rsub(p, g),
    "div(rounding_mode=)": lambda p, g, *, lr: torch.div(p, lr, rounding_mode="floor"),
    "floor_divide": lambda p, g, *, lr: p.floor_divide(lr),
    "round(decimals=)": lambda p, g, *, lr: torch.round(p, decimals=1),
    "copysign to a number": lambda p, g, *, lr: p.copysign(-1.0),
    "float_power": lambda p, g, *, lr: positive(p).float_power(0.5),
    "nan_to_num": lambda p, g, *, lr: p - torch.nan_to_num(g, nan=lr),
    "positive": lambda p, g, *, lr: torch.positive(p) - g,
    "relu": lambda p, g, *, lr: torch.relu(p),
    "F.relu": lambda p, g, *, lr: F.relu(p),
    "F.softplus": lambda p, g, *, lr: F.softplus(p),
    "F.silu": lambda p, g, *, lr: F.silu(p),
    "F.hardtanh": lambda p, g, *, lr: F.hardtanh(p, -lr, lr),
    "torch.special.i1": lambda p, g, *, lr: torch.special.i1(p),
    "sum()": lambda p, g, *, lr: sum([p, g, p]),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_every_way_of_writing_means_the_same(what):
    """Or is refused: what is not understood must not fail with another error, and never be done otherwise."""
    rule = WRITTEN[what]
    random = torch.Generator().manual_seed(0)
    tensors = [drawn((64,), random) for _ in range(2)]
    tensors[1][::7] = 0.0
    wanted = plainly(rule, tensors, lr=0.5)
    try:
        program, numbers = trace(rule, 0, {"lr": 0.5})
    except PluginError as error:
        assert re.search("every element by itself|truth values", str(error))
        return
    for run in (by_blocks, by_lists):
        found = run(program, numbers, tensors)
        assert torch.equal(found[1], tensors[1]), f"{run.__name__} wrote to the gradient"
        # a folded sum of two products rounds otherwise: by at most two units of its largest term
        assert (found[0] - wanted[0]).abs().max() <= 4 * UNIT * wanted[0].abs().max(), run.__name__


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(3)], ids=lambda x: type(x).__name__)
def test_numpys_numbers_are_numbers(number):
    tensors = [torch.full((3,), 0.75, dtype=torch.float64), torch.ones(3, dtype=torch.float64)]
    for rule in (lambda p, g, *, lr: p - lr * g + g * lr, lambda p, g, *, lr: p**lr):
        program, numbers = trace(rule, 0, {"lr": number})
        assert torch.equal(by_blocks(program, numbers, tensors)[0], plainly(rule, tensors, lr=float(number))[0])


# Random programs


class Step(NamedTuple):
    """One operation of a random rule, on what was computed before."""

    name: str
    operands: tuple[int, int, int]
    number: float


class Drawn(NamedTuple):
    """A random rule: operations, then which values are the new parameter and the new state."""

    steps: list[Step]
    results: tuple[int, int, int]

    def __call__(self, *given: Any, lr: float) -> tuple[Any, ...]:
        """Run on tensors, or on symbols."""
        values = list(given)
        for step in self.steps:
            x, y, z = (values[index % len(values)] for index in step.operands)
            values.append(OPERATIONS[step.name](x, y, z, step.number))
        param, *state = (values[index % len(values)] for index in self.results)
        return param, *state


OPERATIONS: dict[str, Callable[..., Any]] = {
    "x + y": lambda x, y, z, a: x + y,
    "x - y": lambda x, y, z, a: x - y,
    "x + a": lambda x, y, z, a: x + a,
    "a - x": lambda x, y, z, a: a - x,
    "x * y": lambda x, y, z, a: x * y,
    "a * x": lambda x, y, z, a: a * x,
    "x + a y": lambda x, y, z, a: x + a * y,
    "a x + (1 - a) y": lambda x, y, z, a: a * x + (1 - a) * y,
    "add(alpha)": lambda x, y, z, a: x.add(y, alpha=a),
    "lerp": lambda x, y, z, a: torch.lerp(x, y, a),
    "addcmul": lambda x, y, z, a: x.addcmul(y, z, value=a),
    "-x": lambda x, y, z, a: -x,
    "abs": lambda x, y, z, a: x.abs(),
    "sign": lambda x, y, z, a: torch.sign(x),
    "clamp": lambda x, y, z, a: x.clamp(-1.0, 2.0),
    "clamp(min)": lambda x, y, z, a: torch.clamp(x, min=a),
    "maximum": lambda x, y, z, a: torch.maximum(x, y),
    "minimum": lambda x, y, z, a: torch.minimum(x, y),
    "where(x > a)": lambda x, y, z, a: torch.where(x > a, y, z),
    "where(x <= y)": lambda x, y, z, a: torch.where(x <= y, z, a),
    "where(x < y or z)": lambda x, y, z, a: torch.where(torch.logical_or(x < y, z >= a), x, z),
    "x ** 2": lambda x, y, z, a: x**2,
    "clone": lambda x, y, z, a: x.clone(),
    "x": lambda x, y, z, a: x,
    # rounded ones, of positive numbers
    "x / y": lambda x, y, z, a: x / y,
    "a / x": lambda x, y, z, a: a / x,
    "x / a": lambda x, y, z, a: x / a,
    "sqrt": lambda x, y, z, a: x.abs().sqrt(),
    "rsqrt": lambda x, y, z, a: torch.rsqrt(x),
    "x ** 0.5": lambda x, y, z, a: x**0.5,
    "x ** a": lambda x, y, z, a: x ** (a / 4),
    "addcdiv": lambda x, y, z, a: torch.addcdiv(x, y, z, value=a),
    "log1p": lambda x, y, z, a: torch.log1p(x),
}
ROUNDED = [
    "x + y", "x + a", "x * y", "a * x", "x + a y", "add(alpha)", "addcmul", "x", "clone", "abs", "maximum", "x / y",
    "a / x", "x / a", "sqrt", "rsqrt", "x ** 0.5", "x ** a", "addcdiv", "log1p",
]  # fmt: skip
EXACT = [name for name in OPERATIONS if name not in set(ROUNDED) - {"x + y", "x + a", "x * y", "a * x", "x + a y"}] + [
    "add(alpha)", "addcmul", "x", "clone", "abs", "maximum",
]  # fmt: skip


def rules(names: list[str], numbers: list[float]) -> st.SearchStrategy[Drawn]:
    index = st.integers(0, 11)
    three = st.tuples(index, index, index)
    step = st.builds(Step, st.sampled_from(names), three, st.sampled_from(numbers))
    return st.builds(Drawn, st.lists(step, max_size=8), three)


def dyadic() -> list[Tensor]:
    """Multiples of 1/4 from -4 to 4, zeros among them; 16 elements of every input."""
    random = torch.Generator().manual_seed(1)
    return [torch.randint(-16, 17, (16,), generator=random).to(DEVICE).double() / 4 for _ in range(4)]


def is_exact(rule: Drawn) -> bool:
    """Whether no result, however it is computed, needs more than 50 bits: (largest exponent, smallest bit) of each."""
    sizes = [(3, -2)] * 4
    for step in rule.steps:
        several = [sizes[index % len(sizes)] for index in step.operands]
        high = max(high for high, _ in several)
        low = min(low for _, low in several)
        match step.name:
            case "x * y" | "x ** 2":
                high, low = 2 * high, 2 * low
            case "addcmul":
                high, low = 2 * high + 3, 2 * low - 2
            case "-x" | "abs" | "clamp" | "maximum" | "minimum" | "where(x > a)" | "clone" | "x":
                pass
            case "sign":
                high, low = 1, 0
            case _:
                high, low = high + 3, low - 2
        if high - low > 50:
            return False
        sizes.append((max(high, 2), min(low, -2)))
    return True


def assert_as_written(rule: Drawn, tensors: list[Tensor], runs: tuple[Rule, ...], rtol: float = 0.0) -> None:
    wanted = plainly(rule, tensors, lr=1.0)
    program, numbers = trace(rule, 2, {"lr": 1.0})
    for run in runs:
        found = run(program, numbers, tensors)
        torch.testing.assert_close(found, wanted, rtol=rtol, atol=0.0, msg=lambda m, run=run: f"{run.__name__}: {m}")


@settings(derandomize=True, max_examples=300, deadline=None)
@given(rules(EXACT, [-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0]))
def test_random_rules_in_exact_arithmetic_are_the_same_on_every_executor(rule):
    """Dyadic numbers of few bits: nothing is rounded, so that not even a sign or a comparison may differ."""
    if not is_exact(rule):
        return
    assert_as_written(rule, dyadic(), (by_blocks, by_lists))


@settings(derandomize=True, max_examples=300, deadline=None)
@given(rules(ROUNDED, [0.3, 0.7, 1.1, 2.0]))
def test_random_rules_of_positive_numbers_are_the_same_within_rounding(rule):
    """Without subtraction an operation multiplies relative errors by at most 3, and adds 4 units of its own."""
    random = torch.Generator().manual_seed(2)
    tensors = [torch.rand(16, generator=random, dtype=torch.float64).to(DEVICE) + 0.5 for _ in range(4)]
    assert_as_written(rule, tensors, (by_blocks, by_lists), rtol=4 * UNIT * 3.0 ** len(rule.steps))


HANDFUL = {
    "all results from all inputs": Drawn(
        [
            Step("a x + (1 - a) y", (2, 1, 0), 0.75),
            Step("where(x < y or z)", (4, 3, 1), 0.5),
            Step("addcmul", (3, 5, 1), -0.5),
            Step("x + a y", (0, 6, 0), 0.25),
        ],
        (7, 4, 6),
    ),
    "state swapped": Drawn([Step("x + a y", (0, 1, 0), -0.5)], (4, 3, 2)),
    "parameter and state swapped": Drawn([], (2, 0, 3)),
    "the parameter before, and the gradient": Drawn([Step("x + a y", (0, 1, 0), -0.5)], (4, 0, 1)),
    "a copy of the parameter before": Drawn([Step("clone", (0, 0, 0), 0.0), Step("x - y", (0, 1, 0), 0.0)], (5, 4, 3)),
    "one result three times": Drawn([Step("x * y", (0, 1, 0), 0.0)], (4, 4, 4)),
}


@pytest.mark.parametrize("what", HANDFUL)
def test_rules_are_the_same_as_a_compiled_kernel(what):
    rule = HANDFUL[what]
    assert is_exact(rule)
    assert_as_written(rule, dyadic(), (by_blocks, by_lists, by_kernel))
