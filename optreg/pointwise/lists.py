"""Lists: runs a program on many tensors at once with torch's multi-tensor functions, for accelerators.

The code of a program is generated once. It frees intermediate results right after their last use.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from optreg import torch_internals
from optreg.pointwise.blocks import walk
from optreg.pointwise.trace import Operation, Program, Value

MEMORY = 2**26
"""The most bytes that intermediate results take: 64 MiB."""

_GRAIN = 512
"""The fewest bytes that accelerators' allocators allocate."""

Tensors = list[Tensor]


def run(program: Program, numbers: Sequence[float], tensors: Sequence[Tensors], dtype: torch.dtype) -> None:
    """Update many parameters and their state.

    Args:
        program: the operations.
        numbers: the numbers that they take.
        tensors: the parameters, the gradients, and the tensors of each kind of state; lists of equal length.
        dtype: the dtype of the computation.
    """
    if not tensors[0]:
        return
    converted = tuple(slot for slot, some in enumerate(tensors) if some[0].dtype is not dtype)
    code = _code(program, converted)
    for portion in _portions(tensors, MEMORY // max(code.most, 1), dtype.itemsize):
        code.update(portion, numbers, dtype)


def _portions(tensors: Sequence[Tensors], memory: int, itemsize: int) -> Iterator[list[Tensors]]:
    """Split the lists into portions of at most `memory` bytes a list. Larger tensors are split into blocks."""
    portion: list[Tensors] = [[] for _ in tensors]
    taken = 0
    most = max(memory // _GRAIN * _GRAIN // itemsize, 1)
    for group in zip(*tensors, strict=True):
        for block in walk(group, most) if group[0].numel() > most else [group]:
            size = -(-block[0].numel() * itemsize // _GRAIN) * _GRAIN
            if taken and taken + size > memory:
                yield portion
                portion, taken = [[] for _ in tensors], 0
            for some, tensor in zip(portion, block, strict=True):
                some.append(tensor)
            taken += size
    if portion[0]:
        yield portion


@dataclass(frozen=True, slots=True)
class _Code:
    update: Callable[[list[Tensors], Sequence[float], torch.dtype], None]
    """Updates one portion."""
    most: int
    """The most lists of intermediate results in memory at once."""


@functools.lru_cache(maxsize=256)
def _code(program: Program, converted: tuple[int, ...]) -> _Code:
    """The code of a program that converts the inputs at the slots `converted` to the dtype of the computation."""
    last = program.last_readings()
    names = {"copy": torch_internals.copy_each}
    lines = ["def update(tensors, numbers, dtype):"]
    lines += [f"v{slot} = tensors[{slot}]" for slot in range(program.inputs)]
    made: set[Value] = set()
    most = 0
    for index, operation in enumerate(program.operations):
        for value in dict.fromkeys(operation.values):
            if value.index in converted and value not in made:
                lines.append(f"v{value.index} = [tensor.to(dtype) for tensor in v{value.index}]")
                made.add(value)
        lines.append(f"v{program.result(index).index} = {_call(operation, names)}")
        made.add(program.result(index))
        most = max(most, len(made))
        for value in [value for value in made if last.get(value, -1) <= index and value not in program.outputs]:
            lines.append(f"del v{value.index}")
            made.remove(value)
    lines += [f"copy(tensors[{slot}], v{value.index})" for slot, value in program.results if value.index != slot]
    namespace: dict[str, Any] = dict(names)
    exec(compile("\n    ".join(lines), f"<update of {len(program.operations)} operations>", "exec"), namespace)
    return _Code(namespace["update"], most)


def _call(operation: Operation, names: dict[str, Any]) -> str:
    """A call on lists as source text. Its function is added to `names`."""
    function = operation.function
    shown = function.call(operation.texts(lambda value: "tensors", lambda number: "0.5"))
    at_once = function.at_once and isinstance(operation.args[0], Value)
    name = f"f{len(names)}"
    names[name] = (
        torch_internals.multi_tensor(function.called, shown) if at_once else torch_internals.loop(function.called)
    )
    return f"{name}({function.call(operation.texts(lambda v: f'v{v.index}', lambda n: f'numbers[{n.index}]'))})"
