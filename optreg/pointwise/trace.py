"""Tracing: an update rule becomes a list of tensor operations, with the numbers in it apart.

The rule is called once a step with symbols in place of tensors and with its hyperparameters as they are. What it
does to the symbols is recorded; what it computes of the hyperparameters alone (`1 - beta1**t`) Python has computed, in
float64, by the time it meets a symbol. So the operations are the same in every step, and only the numbers change.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from optreg.errors import PluginError


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of a program: one of its inputs, or, counted on from them, the result of an operation."""

    index: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number that an operation takes, by its place among the program's numbers."""

    index: int


Operand = Value | Number | bool | str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """A function of torch, by name, with what it takes. Two names are ours: `axpy` and `mean` (see `FOLDED`)."""

    name: str
    args: tuple[Operand, ...]
    keywords: tuple[tuple[str, Operand], ...] = ()

    @property
    def operands(self) -> tuple[Operand, ...]:
        """All that it takes."""
        return (*self.args, *(operand for _, operand in self.keywords))

    @property
    def values(self) -> tuple[Value, ...]:
        """The tensors that it takes."""
        return tuple(operand for operand in self.operands if isinstance(operand, Value))


FOLDED = {
    "axpy": "x + a y, for x and y tensors and a a number",
    "mean": "a x + b y, for numbers a + b = 1",
}
"""Operations that two or three recorded ones become, since torch does them in one."""

COMPARISONS = frozenset(
    {
        "eq",
        "ge",
        "gt",
        "isfinite",
        "isinf",
        "isnan",
        "le",
        "logical_and",
        "logical_not",
        "logical_or",
        "lt",
        "ne",
        "signbit",
    }
)
"""Operations whose result is a truth value for every element."""


@dataclass(frozen=True)
class Program:
    """An update as operations: those of one structure are equal, and hash alike, whatever their numbers are."""

    inputs: int
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]

    def is_truth(self, value: Value) -> bool:
        """Whether a tensor holds truth values."""
        return value.index >= self.inputs and self.operations[value.index - self.inputs].name in COMPARISONS


class Symbol:
    """Stands for a tensor whose elements are all treated alike; records what is done to it."""

    __slots__ = ("_recorder", "value")

    def __init__(self, recorder: "_Recorder", value: Value) -> None:
        self._recorder = recorder
        self.value = value

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> "Symbol":
        symbol = next(a for a in (*args, *(kwargs or {}).values()) if isinstance(a, Symbol))
        return symbol._recorder.call(func.__name__, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., "Symbol"]:
        return functools.partial(self._recorder.call, name, self)

    def __bool__(self) -> bool:
        self._recorder.refuse("decides by a tensor's value; use torch.where")
        return False

    def __add__(self, other: Any) -> "Symbol":
        return self._recorder.call("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Symbol":
        return self._recorder.call("sub", self, other)

    def __rsub__(self, other: Any) -> "Symbol":
        return self._recorder.call("add", self._recorder.call("neg", self), other)

    def __mul__(self, other: Any) -> "Symbol":
        return self._recorder.call("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Symbol":
        return self._recorder.call("div", self, other)

    def __rtruediv__(self, other: Any) -> "Symbol":
        return self._recorder.call("mul", self._recorder.call("reciprocal", self), other)

    def __pow__(self, other: Any) -> "Symbol":
        return self._recorder.call("pow", self, other)

    def __neg__(self) -> "Symbol":
        return self._recorder.call("neg", self)

    def __abs__(self) -> "Symbol":
        return self._recorder.call("abs", self)

    def __lt__(self, other: Any) -> "Symbol":
        return self._recorder.call("lt", self, other)

    def __le__(self, other: Any) -> "Symbol":
        return self._recorder.call("le", self, other)

    def __gt__(self, other: Any) -> "Symbol":
        return self._recorder.call("gt", self, other)

    def __ge__(self, other: Any) -> "Symbol":
        return self._recorder.call("ge", self, other)


def trace(
    update: Callable[..., Any], states: int, hyperparameters: Mapping[str, Any], *, maximize: bool = False
) -> tuple[Program, tuple[float, ...]]:
    """The operations of an update rule, and the numbers in them.

    Args:
        update: `update(param, grad, *state, **hyperparameters) -> (param, *state)`, pure.
        states: how many state tensors it takes.
        hyperparameters: what it takes by name; numbers and tuples of numbers.
        maximize: whether it is given the negated gradient.

    Raises:
        PluginError: the rule does what cannot be done element by element, or returns something else.
    """
    recorder = _Recorder(update, 2 + states)
    param, grad, *state = (Symbol(recorder, Value(index)) for index in range(recorder.inputs))
    results = update(param, -grad if maximize else grad, *state, **hyperparameters)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != 1 + states or not all(isinstance(result, Symbol) for result in results):
        names = ", ".join(["parameter", *(f"state {index}" for index in range(states))])
        recorder.refuse(f"has to return new tensors for ({names})")
    return recorder.program([result.value for result in results])


_ALIASES = {
    "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div", "negative": "neg", "absolute": "abs",
    "clip": "clamp", "sgn": "sign",
}  # fmt: skip
_LITERAL = frozenset({-2, -1, -0.5, 0.5, 2, 3})
"""Exponents that torch has special code for; they are part of the operation."""


class _Recorder:
    """Records operations, and folds those that torch does in one."""

    def __init__(self, update: Callable[..., Any], inputs: int) -> None:
        self.update = update
        self.inputs = inputs
        self.operations: list[Operation] = []
        self.numbers: list[float] = []
        self._scaled: dict[Value, tuple[Value, float]] = {}
        """Values that are another one times a number."""

    def refuse(self, what: str) -> None:
        name = getattr(self.update, "__qualname__", "update")
        raise PluginError(f"the rule '{name}' {what}")

    def call(self, name: str, *args: Any, **keywords: Any) -> Symbol:
        """The result of a function of torch."""
        name = _ALIASES.get(name, name)
        if name.endswith("_") and not name.startswith("_"):
            self.refuse(f"changes a tensor in place by '{name}'; a rule is pure: write c = c.{name.rstrip('_')}(...)")
        if not _is_pointwise(name):
            self.refuse(
                f"uses '{name}', which does not treat every element by itself; write it as an ordinary "
                "torch.optim.Optimizer"
            )
        if name in {"add", "sub"}:
            return self._sum(name, *args, **keywords)
        result = self._record(name, args, keywords)
        if name == "mul" and _is_number(args[1]):
            self._scaled[result.value] = (args[0].value, float(args[1]))
        elif name == "neg":
            self._scaled[result.value] = (args[0].value, -1.0)
        return result

    def _sum(self, name: str, x: Any, y: Any, *, alpha: float = 1.0) -> Symbol:
        sign = alpha if name == "add" else -alpha
        if not isinstance(x, Symbol):  # torch.add(2.0, x)
            return self._sum("add", self._record("mul", (y, sign), {}), x)
        if not isinstance(y, Symbol):
            return self._record("add", (x, sign * y), {})
        left, right = self._scaled.get(x.value), self._scaled.get(y.value)
        if left and right and left[1] + sign * right[1] == 1.0:
            return self._fold("mean", (left[0], right[0]), (left[1], sign * right[1]))
        if right:
            return self._fold("axpy", (x.value, right[0]), (sign * right[1],))
        if left and sign == 1.0:
            return self._fold("axpy", (y.value, left[0]), (left[1],))
        if sign in {1.0, -1.0}:
            return self._record("add" if sign > 0 else "sub", (x, y), {})
        return self._fold("axpy", (x.value, y.value), (sign,))

    def _fold(self, name: str, values: tuple[Value, ...], numbers: tuple[float, ...]) -> Symbol:
        return self._append(Operation(name, (*values, *map(self._number, numbers))))

    def _record(self, name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Symbol:
        exponent = name == "pow"
        taken = tuple(self._operand(arg, literal=exponent) for arg in args)
        named = tuple((key, self._operand(value, literal=exponent)) for key, value in sorted(keywords.items()))
        return self._append(Operation(name, taken, named))

    def _append(self, operation: Operation) -> Symbol:
        self.operations.append(operation)
        return Symbol(self, Value(self.inputs + len(self.operations) - 1))

    def _operand(self, value: Any, *, literal: bool) -> Operand:
        if isinstance(value, Symbol):
            return value.value
        if value is None or isinstance(value, bool | str):
            return value
        if not _is_number(value):
            self.refuse(f"mixes a tensor with a {type(value).__name__}")
        return repr(value) if literal and value in _LITERAL else self._number(value)

    def _number(self, value: float) -> Number:
        self.numbers.append(float(value))
        return Number(len(self.numbers) - 1)

    def program(self, outputs: list[Value]) -> tuple[Program, tuple[float, ...]]:
        """What was recorded, without that which nothing depends on; results that are other inputs, as copies."""
        for position, output in enumerate(outputs):
            place = position + (position > 0)  # the gradient is the second input, and no output
            if output.index < self.inputs and output.index != place:
                outputs[position] = self._append(Operation("clone", (output,))).value
        needed = set(outputs)
        for index in reversed(range(len(self.operations))):
            if Value(self.inputs + index) in needed:
                needed.update(self.operations[index].values)
        values = {Value(index): Value(index) for index in range(self.inputs)}
        numbers: list[float] = []
        kept: list[Operation] = []

        def moved(operand: Operand) -> Operand:
            if isinstance(operand, Number):
                numbers.append(self.numbers[operand.index])
                return Number(len(numbers) - 1)
            return values[operand] if isinstance(operand, Value) else operand

        for index, operation in enumerate(self.operations):
            value = Value(self.inputs + index)
            if value in needed:
                args = tuple(map(moved, operation.args))
                kept.append(Operation(operation.name, args, tuple((k, moved(o)) for k, o in operation.keywords)))
                values[value] = Value(self.inputs + len(kept) - 1)
        return Program(self.inputs, tuple(kept), tuple(values[output] for output in outputs)), tuple(numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@functools.cache
def _is_pointwise(name: str) -> bool:
    """Whether torch says of a function that it treats every element by itself."""
    packet = getattr(torch.ops.aten, name, None)
    if packet is None:
        return False
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads())
