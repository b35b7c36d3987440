"""Straight-line code: a program as Python source that runs torch's operations on given tensors, without a new one.

Results go into scratch, which is used again as soon as nobody reads it any more, or at once into the parameter or the
state whose new value they are. Made once for each program, as `dataclasses` make their methods.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from optreg.pointwise.trace import Number, Operand, Operation, Program, Value

_HAVE_OUT = {
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atanh", "ceil", "copysign", "cos", "cosh", "div", "eq",
    "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "fmod", "frac", "ge", "gt", "le", "lerp", "lgamma",
    "log", "log10", "log1p", "log2", "logical_not", "lt", "mul", "ne", "neg", "reciprocal", "remainder", "round",
    "rsqrt", "sigmoid", "sign", "signbit", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "trunc",
}  # fmt: skip
"""Functions of torch that write where they are told, whether they are given tensors or numbers."""


@dataclass(frozen=True, slots=True)
class Straight:
    """A program's code, and the scratch that it takes.

    `bind(scratch, truths, numbers)` gives `body(param, grad, *state)`, which updates the parameter and the state in
    place. `scratch` are tensors of the dtype that is computed in, `truths` of truth values, all of the shape of what
    the body is given.
    """

    bind: Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[float]], Callable[..., None]]
    scratch: int
    truths: int
    source: str


@functools.lru_cache(maxsize=256)
def straight(program: Program) -> Straight:
    """The code of a program."""
    return _Writer(program).written()


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.places = {Value(index): f"x{index}" for index in range(program.inputs)}
        self.free: dict[str, list[str]] = {"s": [], "b": []}
        self.made = {"s": 0, "b": 0}
        self.functions: set[str] = set()
        self.last = self._last_readings()

    def _last_readings(self) -> dict[Value, int]:
        """After which operation each value is not read any more; results are read at the end."""
        last: dict[Value, int] = {}
        for index, operation in enumerate(self.program.operations):
            last.update(dict.fromkeys(operation.values, index))
        return last

    def written(self) -> Straight:
        program = self.program
        destinations = {output: (0 if k == 0 else k + 1) for k, output in reversed(list(enumerate(program.outputs)))}
        lines = []
        for index, operation in enumerate(program.operations):
            value = Value(program.inputs + index)
            lines.append(self._line(index, operation, value, destinations.get(value)))
        for k, output in enumerate(program.outputs):
            target = f"x{0 if k == 0 else k + 1}"
            if self.places[output] != target:
                lines.append(f"{target}.copy_({self.places[output]})")
        numbers = sum(isinstance(o, Number) for operation in program.operations for o in operation.args)
        names = [f"x{index}" for index in range(program.inputs)]
        head = [
            "def bind(scratch, truths, numbers):",
            *_unpacked("scratch", "s", self.made["s"]),
            *_unpacked("truths", "b", self.made["b"]),
            *_unpacked("numbers", "k", numbers),
            f"    def body({', '.join(names)}):",
        ]
        source = "\n".join([*head, *(f"        {line}" for line in lines or ["pass"]), "    return body"])
        namespace: dict[str, Any] = {name: getattr(torch, name) for name in self.functions}
        exec(compile(source, f"<update of {len(program.operations)} operations>", "exec"), namespace)
        return Straight(namespace["bind"], self.made["s"], self.made["b"], source)

    def _line(self, index: int, operation: Operation, value: Value, destination: int | None) -> str:
        call, out = self._call(operation)
        if not out:
            self._release(index, operation)
            self.places[value] = f"t{index}"
            return f"t{index} = {call})"
        kind = "b" if self.program.is_truth(value) else "s"
        if destination is not None and self.last.get(Value(destination), -1) <= index:
            place = f"x{destination}"
            self._release(index, operation)
        else:
            self._release(index, operation)
            if not self.free[kind]:
                self.free[kind].append(f"{kind}{self.made[kind]}")
                self.made[kind] += 1
            place = self.free[kind].pop()
        self.places[value] = place
        return f"{call}, out={place})"

    def _release(self, index: int, operation: Operation) -> None:
        """Give back the scratch of what this operation is the last to read."""
        for value in dict.fromkeys(operation.values):
            place = self.places[value]
            if place[0] in self.free and self.last[value] == index and value not in self.program.outputs:
                self.free[place[0]].append(place)

    def _call(self, operation: Operation) -> tuple[str, bool]:
        """The call without its end, and whether it can be told where to write."""
        name, args = operation.name, [self._operand(arg) for arg in operation.args]
        tensors = [isinstance(arg, Value) for arg in operation.args]
        match name:
            case "axpy":
                return self._named("add", [args[0], args[1], f"alpha={args[2]}"]), True
            case "mean":
                return self._named("lerp", [args[0], args[1], args[3]]), True
            case "addcmul" | "addcdiv" if len(args) == 4:
                return self._named(name, [*args[:3], f"value={args[3]}"]), all(tensors[:3])
            case "pow" | "clamp":
                return self._named(name, args), True
            case "where":
                return self._named(name, args), all(tensors)
            case "maximum" | "minimum" | "atan2" | "hypot" | "logical_and" | "logical_or" | "logical_xor":
                return self._named(name, args), all(tensors)
            case _:
                return self._named(name, args), tensors[0] and name in _HAVE_OUT

    def _named(self, name: str, parts: list[str]) -> str:
        self.functions.add(name)
        return f"{name}({', '.join(parts)}"

    def _operand(self, operand: Operand) -> str:
        if isinstance(operand, Value):
            return self.places[operand]
        if isinstance(operand, Number):
            return f"k{operand.index}"
        return operand or "None"


def _unpacked(name: str, prefix: str, count: int) -> list[str]:
    return [f"    {', '.join(f'{prefix}{i}' for i in range(count))}, = {name}"] if count else []
