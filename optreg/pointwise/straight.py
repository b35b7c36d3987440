"""Straight-line code: turns a program into Python source that calls torch's operations without allocating tensors.

Results go into scratch, which is reused right after its last reading, or straight into the parameter or state whose new
value they are. The code of a program is generated once, as `dataclasses` generate methods.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from optreg.pointwise.trace import Operation, Program, Value


@dataclass(frozen=True, slots=True)
class Straight:
    """A program's code, and how much scratch it needs.

    `bind(scratch, truths, numbers)` returns `body(param, grad, *state)`, which updates the parameter and the state in
    place. `scratch` holds tensors of the dtype of the computation, `truths` boolean tensors. All have the shape of the
    body's arguments.
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
        self.last = program.last_readings()

    def written(self) -> Straight:
        program = self.program
        destinations = {output: slot for slot, output in reversed(program.results)}
        lines = []
        for index, operation in enumerate(program.operations):
            value = program.result(index)
            lines.append(self._line(index, operation, value, destinations.get(value)))
        for slot, output in program.results:
            if self.places[output] != f"x{slot}":
                lines.append(f"x{slot}.copy_({self.places[output]})")
        names = [f"x{index}" for index in range(program.inputs)]
        head = [
            "def bind(scratch, truths, numbers):",
            *_unpacked("scratch", "s", self.made["s"]),
            *_unpacked("truths", "b", self.made["b"]),
            *_unpacked("numbers", "k", program.numbers),
            f"    def body({', '.join(names)}):",
        ]
        source = "\n".join([*head, *(f"        {line}" for line in lines or ["pass"]), "    return body"])
        namespace: dict[str, Any] = {name: getattr(torch, name) for name in self.functions}
        exec(compile(source, f"<update of {len(program.operations)} operations>", "exec"), namespace)
        return Straight(namespace["bind"], self.made["s"], self.made["b"], source)

    def _line(self, index: int, operation: Operation, value: Value, destination: int | None) -> str:
        function = operation.function
        self.functions.add(function.called)
        arguments = function.call(operation.texts(self.places.__getitem__, lambda number: f"k{number.index}"))
        call = f"{function.called}({arguments}"
        if function.out is None or not all(isinstance(operand, Value) for operand in operation.args[: function.out]):
            self._release(index, operation)
            self.places[value] = f"t{index}"
            return f"t{index} = {call})"
        kind = "b" if self.program.is_truth(value) else "s"
        self._release(index, operation)
        if destination is not None and self.last.get(Value(destination), -1) <= index:
            place = f"x{destination}"
        else:
            if not self.free[kind]:
                self.free[kind].append(f"{kind}{self.made[kind]}")
                self.made[kind] += 1
            place = self.free[kind].pop()
        self.places[value] = place
        return f"{call}, out={place})"

    def _release(self, index: int, operation: Operation) -> None:
        """Free the scratch that this operation is the last to read."""
        for value in dict.fromkeys(operation.values):
            place = self.places[value]
            if place[0] in self.free and self.last[value] == index and value not in self.program.outputs:
                self.free[place[0]].append(place)


def _unpacked(name: str, prefix: str, count: int) -> list[str]:
    return [f"    {', '.join(f'{prefix}{i}' for i in range(count))}, = {name}"] if count else []
