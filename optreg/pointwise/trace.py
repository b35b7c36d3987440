"""Tracing: turns an update rule into a list of tensor operations, and separately the numbers they take.

Each step calls the rule once, with symbols in place of tensors and with the real hyperparameters. The symbols record
what the rule does to them. What the rule computes from hyperparameters alone (`1 - beta1**t`), Python computes in
float64 before it reaches a symbol. So every step has the same operations; only the numbers change.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NoReturn

from optreg.errors import PluginError
from optreg.pointwise.operations import FUNCTIONS, NAMES, Function
from optreg.pointwise.slots import STATE, written


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of a program: an input, or the result of an operation. Results are numbered after the inputs."""

    index: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number that an operation takes, by its index in the program's numbers."""

    index: int


Operand = Value | Number | str | None
"""A string is an exponent that is part of the operation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A function, by its name in `FUNCTIONS`, with its operands in order."""

    name: str
    args: tuple[Operand, ...]

    @property
    def function(self) -> Function:
        """The function's row."""
        return FUNCTIONS[self.name]

    @property
    def is_steady(self) -> bool:
        """Whether an element's result does not depend on its place in a tensor."""
        return self.function.steady or any(isinstance(operand, str) for operand in self.args)

    @property
    def values(self) -> tuple[Value, ...]:
        """The tensors that it takes."""
        return tuple(operand for operand in self.args if isinstance(operand, Value))

    def texts(self, value: Callable[[Value], str], number: Callable[[Number], str]) -> list[str]:
        """The operands as source text; `value` and `number` give the text of a tensor and of a number."""

        def text(operand: Operand) -> str:
            if isinstance(operand, Value):
                return value(operand)
            return number(operand) if isinstance(operand, Number) else operand or "None"

        return list(map(text, self.args))


@dataclass(frozen=True)
class Program:
    """An update as operations. Programs of the same structure are equal, whatever their numbers are."""

    inputs: int
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]

    @property
    def numbers(self) -> int:
        """How many numbers the program takes."""
        return sum(isinstance(operand, Number) for operation in self.operations for operand in operation.args)

    @property
    def is_steady(self) -> bool:
        """Whether an element's result does not depend on its place in a tensor."""
        return all(operation.is_steady for operation in self.operations)

    @property
    def results(self) -> list[tuple[int, Value]]:
        """Each slot that the update writes, with its new value."""
        return list(zip(written(self.inputs), self.outputs, strict=True))

    def result(self, index: int) -> Value:
        """The result of operation number `index`."""
        return Value(self.inputs + index)

    def is_truth(self, value: Value) -> bool:
        """Whether a tensor holds truth values."""
        return value.index >= self.inputs and self.operations[value.index - self.inputs].function.is_truth

    def last_readings(self) -> dict[Value, int]:
        """The index of the last operation that reads each value. The final copy reads results once more."""
        last: dict[Value, int] = {}
        for index, operation in enumerate(self.operations):
            last.update(dict.fromkeys(operation.values, index))
        return last


class Symbol:
    """A stand-in for a tensor that records what the rule does to it."""

    __slots__ = ("_recorder", "value")
    __array_ufunc__ = None  # makes a numpy number leave the operation to the symbol
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recorder: "_Recorder", value: Value) -> None:
        self._recorder = recorder
        self.value = value

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> "Symbol":
        recorder = _recorder_of([*args, *(kwargs or {}).values()])
        return recorder.call(func.__name__, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., "Symbol"]:
        if name.startswith("__"):
            raise AttributeError(name)
        self._recorder.check(name)
        return functools.partial(self._recorder.call, name, self)

    def _decide(self) -> NoReturn:
        self._recorder.refuse("decides by a tensor's value; use torch.where")

    def _couple(self, *others: Any) -> NoReturn:
        self._recorder.refuse_coupling("indexing, matrix multiplication or rounded division")

    def _write(self, *others: Any) -> NoReturn:
        self._recorder.refuse("changes a tensor in place; a rule is pure: write c = c + ..., not c += ...")

    __bool__ = __float__ = __int__ = __index__ = _decide
    __floordiv__ = __rfloordiv__ = __rmod__ = __divmod__ = __rdivmod__ = __round__ = _couple
    __getitem__ = __setitem__ = __matmul__ = __rmatmul__ = __len__ = __iter__ = __contains__ = _couple
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = __iand__ = __ior__ = __ixor__ = _write
    __imod__ = __ifloordiv__ = __imatmul__ = _write

    def __rsub__(self, other: Any) -> "Symbol":
        return self._recorder.call("add", self._recorder.call("neg", self), other)

    def __rtruediv__(self, other: Any) -> "Symbol":
        return self._recorder.call("mul", self._recorder.call("reciprocal", self), other)

    def __rpow__(self, other: Any) -> "Symbol":
        return self._recorder.call("pow", other, self)

    def __pos__(self) -> "Symbol":
        return self


def _operator(name: str) -> Callable[..., Symbol]:
    return lambda self, *others: self._recorder.call(name, self, *others)


for _method, _function in {
    "neg": "neg", "abs": "abs", "invert": "logical_not", "add": "add", "radd": "add", "sub": "sub", "mul": "mul",
    "rmul": "mul", "truediv": "div", "pow": "pow", "mod": "remainder", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge",
    "eq": "eq", "ne": "ne", "and": "logical_and", "or": "logical_or", "xor": "logical_xor", "rand": "logical_and",
    "ror": "logical_or", "rxor": "logical_xor",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_method}__", _operator(_function))


def _recorder_of(operands: Sequence[Any]) -> "_Recorder":
    """The recorder of the first symbol among the operands or inside their lists and tuples."""
    for operand in operands:
        if isinstance(operand, Symbol):
            return operand._recorder
        if isinstance(operand, list | tuple) and any(isinstance(item, Symbol) for item in operand):
            return _recorder_of(operand)
    raise AssertionError("torch calls __torch_function__ only where an operand is a symbol")


def trace(
    update: Callable[..., Any], states: int, hyperparameters: Mapping[str, Any], *, maximize: bool = False
) -> tuple[Program, tuple[float, ...]]:
    """Record the operations of an update rule, and the numbers they take.

    Args:
        update: `update(param, grad, *state, **hyperparameters) -> (param, *state)`, pure.
        states: how many state tensors the rule takes.
        hyperparameters: the rule's keyword arguments: numbers and tuples of numbers.
        maximize: whether the rule gets the negated gradient.

    Raises:
        PluginError: the rule is not elementwise, or does not return a tensor for the parameter and for each state.
    """
    recorder = _Recorder(update, STATE + states)
    param, grad, *state = (Symbol(recorder, Value(index)) for index in range(recorder.inputs))
    results = update(param, recorder.call("neg", grad) if maximize else grad, *state, **hyperparameters)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != 1 + states or not all(isinstance(result, Symbol) for result in results):
        names = ", ".join(["parameter", *(f"state {index}" for index in range(states))])
        recorder.refuse(f"has to return new tensors for ({names})")
    return recorder.program([result.value for result in results])


_LITERAL = frozenset({-2, -1, -0.5, 0.5, 2, 3})
"""Exponents for which torch has special code. They are part of the operation."""

_TINY = 2.0**-126
"""float32's smallest normal number. Where neither a number nor its reciprocal overflows, division becomes
multiplication by the reciprocal, as in torch's CUDA kernels: that adds at most one rounding, and is faster."""


class _Recorder:
    """Records operations, and folds several into one where torch has a function for it."""

    def __init__(self, update: Callable[..., Any], inputs: int) -> None:
        self.update = update
        self.inputs = inputs
        self.operations: list[Operation] = []
        self.numbers: list[float] = []
        self._scaled: dict[Value, tuple[Value, float]] = {}
        """For each value that is another value times a number: that value and the number."""

    def refuse(self, what: str) -> NoReturn:
        name = getattr(self.update, "__qualname__", "update")
        raise PluginError(f"the rule '{name}' {what}")

    def refuse_coupling(self, what: str) -> NoReturn:
        self.refuse(
            f"uses {what}, which is not one of the functions that treat every element by itself "
            f"({', '.join(dict.fromkeys(NAMES.values()))}); "
            "write it with these, or as an ordinary torch.optim.Optimizer"
        )

    def check(self, name: str) -> None:
        """Refuse functions that a rule may not call."""
        if name.endswith("_"):
            self.refuse(f"changes a tensor in place by '{name}'; a rule is pure: write c = c.{name.rstrip('_')}(...)")
        if name not in NAMES and name not in _REWRITTEN:
            self.refuse_coupling(f"'{name}'")

    def call(self, name: str, *args: Any, **keywords: Any) -> Symbol:
        """Record a call of a torch function, by its name."""
        self.check(name)
        if name in _REWRITTEN:
            return self._rewritten(name, *args, **keywords)
        if name in {"max", "min"} and not all(isinstance(operand, Symbol) for operand in (*args, *keywords.values())):
            self.refuse_coupling(f"'{name}' of one tensor")
        name = NAMES[name]
        function = FUNCTIONS[name]
        if name == "where" and args and not self._is_truth(args[0]):  # x.where(condition, other)
            args = (args[1], args[0], *args[2:]) if len(args) > 1 else args
        if name in {"add", "sub"} and set(keywords) <= {"other", "alpha"}:
            return self._sum(name, *args, **keywords)
        operands = self._bound(function, args, keywords)
        if name == "where" and not self._is_truth(operands[0]):
            self.refuse("uses 'where' with a condition that is not a comparison")
        for operand, role in zip(operands, function.operands, strict=True):
            if operand is None and function.defaults.get(role, 0.0) is not None:
                self.refuse("mixes a tensor with a NoneType")
            if self._is_truth(operand) and role not in function.truths:
                self.refuse(f"calculates with truth values by '{name}'; use torch.where(condition, x, 0.0)")
        if name == "div" and _is_number(operands[1]) and _TINY <= abs(operands[1]) <= 1 / _TINY:
            return self.call("mul", operands[0], 1.0 / float(operands[1]))
        result = self._append(
            Operation(name, tuple(self._operand(operand, literal=name == "pow") for operand in operands))
        )
        if name == "mul" and isinstance(operands[0], Symbol) and _is_number(operands[1]):
            self._scaled[result.value] = (operands[0].value, float(operands[1]))
        elif name == "mul" and _is_number(operands[0]):
            self._scaled[result.value] = (operands[1].value, float(operands[0]))
        elif name == "neg":
            self._scaled[result.value] = (operands[0].value, -1.0)
        return result

    def _rewritten(self, name: str, x: Any, *args: Any, **keywords: Any) -> Symbol:
        """Record a call of a function that is expressed by another one."""
        try:
            return _REWRITTEN[name](self, x, *args, **keywords)
        except TypeError:
            self.refuse_coupling(f"'{name}' with arguments that are not supported here")

    def _bound(self, function: Function, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The operands in the function's order, with defaults filled in."""
        names = function.operands
        unknown = keywords.keys() - set(names)
        given = {**dict(zip(names, args, strict=False)), **keywords}
        if unknown or len(args) > len(names) or not given.keys() | function.defaults.keys() >= set(names):
            told = f" with '{min(unknown)}'" if unknown else f" of {len(given)} operands"
            self.refuse_coupling(f"'{function.name}'{told}")
        return [given[name] if name in given else function.defaults[name] for name in names]

    def _is_truth(self, operand: Any) -> bool:
        if not isinstance(operand, Symbol) or operand.value.index < self.inputs:
            return False
        return self.operations[operand.value.index - self.inputs].function.is_truth

    def _sum(self, name: str, input: Any, other: Any, *, alpha: float = 1.0) -> Symbol:
        x, y, sign = input, other, float(alpha) if name == "add" else -float(alpha)
        if self._is_truth(x) or self._is_truth(y):
            self.refuse(f"calculates with truth values by '{name}'; use torch.where(condition, x, 0.0)")
        if not isinstance(x, Symbol):  # torch.add(2.0, x)
            return self._sum("add", self.call("mul", y, sign), x)
        if _is_number(y):
            return self._append(Operation("add", (x.value, self._number(sign * float(y)))))
        if not isinstance(y, Symbol):
            self.refuse(f"mixes a tensor with a {type(y).__name__}")
        left, right = self._scaled.get(x.value), self._scaled.get(y.value)
        if left and right and left[1] + sign * right[1] == 1.0:
            return self._fold("mean", (left[0], right[0]), (left[1], sign * right[1]))
        if right:
            return self._fold("axpy", (x.value, right[0]), (sign * right[1],))
        if left and sign == 1.0:
            return self._fold("axpy", (y.value, left[0]), (left[1],))
        if sign in {1.0, -1.0}:
            return self._append(Operation("add" if sign > 0 else "sub", (x.value, y.value)))
        return self._fold("axpy", (x.value, y.value), (sign,))

    def _fold(self, name: str, values: tuple[Value, ...], numbers: tuple[float, ...]) -> Symbol:
        return self._append(Operation(name, (*values, *map(self._number, numbers))))

    def _append(self, operation: Operation) -> Symbol:
        self.operations.append(operation)
        return Symbol(self, Value(self.inputs + len(self.operations) - 1))

    def _operand(self, value: Any, *, literal: bool) -> Operand:
        if isinstance(value, Symbol):
            return value.value
        if value is None:
            return None
        if not _is_number(value):
            self.refuse(f"mixes a tensor with a {type(value).__name__}")
        if not literal or value not in _LITERAL:
            return self._number(value)
        return repr(int(value)) if value == int(value) else repr(float(value))

    def _number(self, value: float) -> Number:
        self.numbers.append(float(value))
        return Number(len(self.numbers) - 1)

    def program(self, outputs: list[Value]) -> tuple[Program, tuple[float, ...]]:
        """The recorded program, without unused operations. A result that is another input becomes a copy of it."""
        for position, (slot, output) in enumerate(zip(written(self.inputs), outputs, strict=True)):
            if output.index < self.inputs and output.index != slot:
                outputs[position] = self._append(Operation("mul", (output, self._number(1.0)))).value
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
                kept.append(Operation(operation.name, tuple(map(moved, operation.args))))
                values[value] = Value(self.inputs + len(kept) - 1)
        return Program(self.inputs, tuple(kept), tuple(values[output] for output in outputs)), tuple(numbers)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_REWRITTEN: dict[str, Callable[..., Symbol]] = {
    "clone": lambda self, x: self.call("mul", x, 1.0),
    "clamp_max": lambda self, x, max: self.call("clamp", x, max=max),
    "clamp_min": lambda self, x, min: self.call("clamp", x, min=min),
    "masked_fill": lambda self, x, mask, value: self.call("where", mask, value, x),
    "positive": lambda self, x: x,
    "relu": lambda self, x: self.call("clamp", x, min=0.0),
    "rsub": lambda self, x, other, alpha=1.0: self.call("sub", other, x, alpha=alpha),
}
"""Functions that are expressed by others."""
