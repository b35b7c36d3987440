"""Lists: a program run on many tensors at once by torch's multi-tensor functions, for accelerators."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from optreg.pointwise.trace import Number, Operand, Operation, Program, Value

AT_ONCE = 2**21
"""Elements that are worked on at once, so that what is computed in between stays below 64 MiB."""

Tensors = list[Tensor]


def run(program: Program, numbers: Sequence[float], tensors: Sequence[Tensors], dtype: torch.dtype) -> None:
    """Update many parameters and their state.

    Args:
        program: what is done.
        numbers: the numbers in it.
        tensors: the parameters, the gradients, and for each kind of state theirs; lists of equal length.
        dtype: what is computed in.
    """
    for part in _portions(tensors):
        wide = [[tensor.to(dtype) for tensor in some] if some[0].dtype is not dtype else some for some in part]
        values = {Value(index): some for index, some in enumerate(wide)}
        for index, operation in enumerate(program.operations):
            values[Value(program.inputs + index)] = _result(operation, values, numbers)
        results = [values[output] for output in program.outputs]
        for targets, some in zip((part[0], *part[2:]), results, strict=True):
            if targets is not some:
                torch._foreach_copy_(targets, some)


def _portions(tensors: Sequence[Tensors]) -> Iterator[list[Tensors]]:
    """The lists in portions; tensors that are too large by themselves as several, along their first dimension."""
    portion: list[Tensors] = [[] for _ in tensors]
    elements = 0
    for group in zip(*tensors, strict=True):
        rows = max(1, AT_ONCE * group[0].size(0) // group[0].numel()) if group[0].numel() > AT_ONCE else 0
        pieces = zip(*(tensor.split(rows) for tensor in group), strict=True) if rows else [group]
        for piece in pieces:
            if elements and elements + piece[0].numel() > AT_ONCE:
                yield portion
                portion, elements = [[] for _ in tensors], 0
            for some, tensor in zip(portion, piece, strict=True):
                some.append(tensor)
            elements += piece[0].numel()
    if portion[0]:
        yield portion


def _result(operation: Operation, values: dict[Value, Tensors], numbers: Sequence[float]) -> Tensors:
    args = [_operand(arg, values, numbers) for arg in operation.args]
    keywords = {name: _operand(operand, values, numbers) for name, operand in operation.keywords}
    if operation.name == "axpy":
        return list(torch._foreach_add(args[0], args[1], alpha=args[2]))
    if operation.name == "mean":
        return list(torch._foreach_lerp(args[0], args[1], args[3]))
    at_once = getattr(torch, f"_foreach_{operation.name}", None)
    if at_once is not None and isinstance(args[0], list):
        return list(at_once(*args, **keywords))
    one = getattr(torch, operation.name)
    count = len(next(arg for arg in (*args, *keywords.values()) if isinstance(arg, list)))

    def of(operand: Any, index: int) -> Any:
        return operand[index] if isinstance(operand, list) else operand

    return [
        one(*(of(arg, index) for arg in args), **{name: of(value, index) for name, value in keywords.items()})
        for index in range(count)
    ]


def _operand(operand: Operand, values: dict[Value, Tensors], numbers: Sequence[float]) -> Any:
    if isinstance(operand, Value):
        return values[operand]
    if isinstance(operand, Number):
        return numbers[operand.index]
    return float(operand) if isinstance(operand, str) else operand
