"""Operations: the functions that a rule may use, one row each with all that tracing and the paths need.

All treat every element by itself. To add an operation, add a row: `tests/pointwise/test_operations.py` runs every row
on every path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Function:
    """A function of torch, or one of two of our own, into which tracing folds several operations.

    Args:
        name: torch's name, or ours.
        operands: the names of the operands, in order.
        defaults: the values of optional operands.
        is_truth: whether the result is a boolean tensor.
        truths: the operands that may be boolean tensors.
        out: how many of the first operands must be tensors for the function to accept `out=`; None if it never does.
        at_once: whether torch has the function for many tensors at once.
        aliases: other names.
        torch_name: the name of the torch function to call, if it differs from `name`.
        arguments: the arguments of the call, as a format string over the operands; empty: all operands in order.
        expression: what a compiled kernel computes, as a format string over the operands; empty: the call.
        summary: for our own functions, what they compute.
        steady: whether torch computes an element alike wherever it stands in a tensor. Some functions have other code
            for the last few elements, or for elements that are not next to each other in memory.
    """

    name: str
    operands: tuple[str, ...]
    defaults: Mapping[str, float | None] = field(default_factory=dict)
    is_truth: bool = False
    truths: tuple[str, ...] = ()
    out: int | None = 1
    at_once: bool = False
    aliases: tuple[str, ...] = ()
    torch_name: str = ""
    arguments: str = ""
    expression: str = ""
    summary: str = ""
    steady: bool = True

    @property
    def called(self) -> str:
        """The name of the torch function to call."""
        return self.torch_name or self.name

    def call(self, operands: Sequence[str]) -> str:
        """The arguments of a call as source text."""
        return self.arguments.format(*operands) if self.arguments else ", ".join(operands)

    def compiled(self, operands: Sequence[str]) -> str:
        """The expression in a compiled kernel, as source text."""
        return self.expression.format(*operands) if self.expression else f"torch.{self.called}({self.call(operands)})"


def _unary(name: str, *aliases: str, out: int | None = 1, **columns: Any) -> Function:
    return Function(name, ("input",), out=out, aliases=aliases, **columns)


def _binary(name: str, *aliases: str, out: int = 1, **columns: Any) -> Function:
    return Function(name, ("input", "other"), out=out, aliases=aliases, **columns)


def _logical(name: str, *operands: str) -> Function:
    return Function(name, operands, out=len(operands), is_truth=True, truths=operands)


_SCALED = ("input", "tensor1", "tensor2", "value")
_BY_VALUE = "{0}, {1}, {2}, value={3}"

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        _unary("abs", "absolute", at_once=True),
        _unary("acos", "arccos"),
        _unary("acosh", steady=False),
        _unary("asin", "arcsin"),
        _unary("asinh"),
        _unary("atan", "arctan"),
        _unary("atanh", steady=False),
        _unary("ceil", at_once=True),
        _unary("cos", at_once=True),
        _unary("cosh", steady=False),
        _unary("erf", at_once=True),
        _unary("erfc"),
        _unary("erfinv"),
        _unary("exp", at_once=True),
        _unary("exp2", steady=False),
        _unary("expm1", at_once=True),
        _unary("floor", at_once=True),
        _unary("frac"),
        _unary("isfinite", out=None, is_truth=True),
        _unary("isinf", out=None, is_truth=True),
        _unary("isnan", out=None, is_truth=True),
        _unary("lgamma"),
        _unary("log", at_once=True),
        _unary("log10"),
        _unary("log1p", at_once=True),
        _unary("log2"),
        _logical("logical_not", "input"),
        _unary("neg", "negative", at_once=True),
        _unary("reciprocal", at_once=True),
        _unary("round", at_once=True),
        _unary("rsqrt", at_once=True),
        _unary("sigmoid", "special_expit", at_once=True, steady=False),
        _unary("sign", "sgn", at_once=True),
        _unary("signbit", is_truth=True),
        _unary("sin", at_once=True),
        _unary("sinh", steady=False),
        _unary("sqrt", at_once=True),
        _unary("square"),
        _unary("tan", at_once=True),
        _unary("tanh", at_once=True),
        _unary("trunc", "fix", at_once=True),
        _binary("add", at_once=True),
        _binary("atan2", "arctan2", out=2, steady=False),
        _binary("copysign"),
        _binary("div", "divide", "true_divide", at_once=True),
        _binary("eq", is_truth=True),
        _binary("fmod"),
        _binary("ge", "greater_equal", is_truth=True),
        _binary("gt", "greater", is_truth=True),
        _binary("hypot", out=2, steady=False),
        _binary("le", "less_equal", is_truth=True),
        _logical("logical_and", "input", "other"),
        _logical("logical_or", "input", "other"),
        _logical("logical_xor", "input", "other"),
        _binary("lt", "less", is_truth=True),
        _binary("maximum", "max", at_once=True, out=2),
        _binary("minimum", "min", at_once=True, out=2),
        _binary("mul", "multiply", at_once=True),
        _binary("ne", "not_equal", is_truth=True),
        _binary("remainder"),
        _binary("sub", "subtract", at_once=True),
        Function("pow", ("input", "exponent"), out=0, at_once=True, steady=False),
        Function("lerp", ("input", "end", "weight")),
        Function("addcmul", _SCALED, {"value": 1.0}, out=3, arguments=_BY_VALUE, expression="{0} + {3} * ({1} * {2})"),
        Function("addcdiv", _SCALED, {"value": 1.0}, out=3, arguments=_BY_VALUE, expression="{0} + {3} * ({1} / {2})"),
        Function("clamp", ("input", "min", "max"), {"min": None, "max": None}, out=0, aliases=("clip",)),
        Function("where", ("condition", "input", "other"), truths=("condition",), out=3),
        Function(
            "axpy",
            ("x", "y", "a"),
            at_once=True,
            torch_name="add",
            arguments="{0}, {1}, alpha={2}",
            expression="{0} + {2} * {1}",
            summary="x + a y, for x and y tensors and a a number",
        ),
        Function(
            "mean",
            ("x", "y", "a", "b"),
            at_once=True,
            torch_name="lerp",
            arguments="{0}, {1}, {3}",
            expression="{2} * {0} + {3} * {1}",
            summary="a x + b y, for numbers a + b = 1",
        ),
    )
}
"""The functions by name."""

NAMES = {
    name: function.name
    for function in FUNCTIONS.values()
    if not function.summary
    for name in (function.name, *function.aliases)
}
"""The names by which a rule may call functions, with the name of each function's row."""
