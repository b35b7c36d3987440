"""Tracing: an update rule becomes a list of tensor operations, with the numbers in it apart.

The rule is called once a step with symbols in place of tensors and with its hyperparameters as they are. What it
does to the symbols is recorded; what it computes of the hyperparameters alone (`1 - beta1**t`) Python has computed, in
float64, by the time it meets a symbol. So the operations are the same in every step, and only the numbers change.
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
    """A tensor of a program: one of its inputs, or, counted on from them, the result of an operation."""

    index: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number that an operation takes, by its place among the program's numbers."""

    index: int


Operand = Value | Number | str | None
"""A text is an exponent that is part of the operation."""


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
    def values(self) -> tuple[Value, ...]:
        """The tensors that it takes."""
        return tuple(operand for operand in self.args if isinstance(operand, Value))

    def texts(self, value: Callable[[Value], str], number: Callable[[Number], str]) -> list[str]:
        """The operands as source text, given that of tensors and of numbers."""
        texts = []
        for operand in self.args:
            if isinstance(operand, Value):
                texts.append(value(operand))
            else:
                texts.append(number(operand) if isinstance(operand, Number) else operand or "None")
        return texts


@dataclass(frozen=True)
class Program:
    """An update as operations: those of one structure are equal, and hash alike, whatever their numbers are."""

    inputs: int
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it takes."""
        return sum(isinstance(operand, Number) for operation in self.operations for operand in operation.args)

    @property
    def results(self) -> list[tuple[int, Value]]:
        """The slots that are written to, with their new values."""
        return list(zip(written(self.inputs), self.outputs, strict=True))

    def result(self, index: int) -> Value:
        """What operation number `index` gives."""
        return Value(self.inputs + index)

    def is_truth(self, value: Value) -> bool:
        """Whether a tensor holds truth values."""
        return value.index >= self.inputs and self.operations[value.index - self.inputs].function.is_truth

    def last_readings(self) -> dict[Value, int]:
        """Which operation is the last to read each value; results are read once more, at the end."""
        last: dict[Value, int] = {}
        for index, operation in enumerate(self.operations):
            last.update(dict.fromkeys(operation.values, index))
        return last


class Symbol:
    """Stands for a tensor whose elements are all treated alike; records what is done to it."""

    __slots__ = ("_recorder", "value")
    __array_ufunc__ = None  # so that a number of numpy leaves the operation to its other operand
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

    def _do(self, name: str, *operands: Any) -> "Symbol":
        return self._recorder.call(name, *operands)

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
        return self._do("add", self._do("neg", self), other)

    def __rtruediv__(self, other: Any) -> "Symbol":
        return self._do("mul", self._do("reciprocal", self), other)

    def __rpow__(self, other: Any) -> "Symbol":
        return self._do("pow", other, self)

    def __neg__(self) -> "Symbol":
        return self._do("neg", self)

    def __pos__(self) -> "Symbol":
        return self

    def __abs__(self) -> "Symbol":
        return self._do("abs", self)

    def __invert__(self) -> "Symbol":
        return self._do("logical_not", self)


def _operator(name: str) -> Callable[[Symbol, Any], Symbol]:
    return lambda self, other: self._do(name, self, other)


for _method, _function in {
    "add": "add", "radd": "add", "sub": "sub", "mul": "mul", "rmul": "mul", "truediv": "div", "pow": "pow",
    "mod": "remainder", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "eq": "eq", "ne": "ne", "and": "logical_and",
    "or": "logical_or", "xor": "logical_xor", "rand": "logical_and", "ror": "logical_or", "rxor": "logical_xor",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_method}__", _operator(_function))


def _recorder_of(operands: Sequence[Any]) -> "_Recorder":
    """The recorder of a symbol among operands, or among what they hold."""
    for operand in operands:
        if isinstance(operand, Symbol):
            return operand._recorder
        if isinstance(operand, list | tuple) and any(isinstance(item, Symbol) for item in operand):
            return _recorder_of(operand)
    raise AssertionError("torch calls for symbols only")


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
    recorder = _Recorder(update, STATE + states)
    param, grad, *state = (Symbol(recorder, Value(index)) for index in range(recorder.inputs))
    results = update(param, -grad if maximize else grad, *state, **hyperparameters)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != 1 + states or not all(isinstance(result, Symbol) for result in results):
        names = ", ".join(["parameter", *(f"state {index}" for index in range(states))])
        recorder.refuse(f"has to return new tensors for ({names})")
    return recorder.program([result.value for result in results])


_LITERAL = frozenset({-2, -1, -0.5, 0.5, 2, 3})
"""Exponents that torch has special code for; they are part of the operation."""

_TINY = 2.0**-126
"""float32's smallest normal number. Division by a number becomes multiplication by its reciprocal, as in torch's CUDA
kernels, where neither overflows: at most one more rounding, and a kernel is not kept waiting by its divisions."""


class _Recorder:
    """Records operations, and folds those that torch does in one."""

    def __init__(self, update: Callable[..., Any], inputs: int) -> None:
        self.update = update
        self.inputs = inputs
        self.operations: list[Operation] = []
        self.numbers: list[float] = []
        self._scaled: dict[Value, tuple[Value, float]] = {}
        """Values that are another one times a number."""

    def refuse(self, what: str) -> NoReturn:
        name = getattr(self.update, "__qualname__", "update")
        raise PluginError(f"the rule '{name}' {what}")

    def refuse_coupling(self, what: str) -> NoReturn:
        self.refuse(
            f"uses {what}, which is none of the functions that treat every element by itself "
            f"({', '.join(dict.fromkeys(NAMES.values()))}); "
            "write it with these, or as an ordinary torch.optim.Optimizer"
        )

    def check(self, name: str) -> None:
        """Refuse what no rule may do."""
        if name.endswith("_"):
            self.refuse(f"changes a tensor in place by '{name}'; a rule is pure: write c = c.{name.rstrip('_')}(...)")
        if name not in NAMES and name not in _REWRITTEN:
            self.refuse_coupling(f"'{name}'")

    def call(self, name: str, *args: Any, **keywords: Any) -> Symbol:
        """The result of a function of torch."""
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
            self.refuse("uses 'where' with a condition that is no comparison")
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
        """What can be said by another function."""
        try:
            return _REWRITTEN[name](self, x, *args, **keywords)
        except TypeError:
            self.refuse_coupling(f"'{name}' with other arguments than are understood here")

    def _bound(self, function: Function, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The operands in the order of the function's."""
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
        """What was recorded, without that which nothing depends on; results that are other inputs, as copies."""
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
"""Functions that are said by others."""
