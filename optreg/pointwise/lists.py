"""Lists: a program run on many tensors at once by torch's multi-tensor functions, for accelerators."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from optreg.pointwise.blocks import walk
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
    """The lists in portions; tensors that are too large by themselves in blocks."""
    portion: list[Tensors] = [[] for _ in tensors]
    elements = 0
    for group in zip(*tensors, strict=True):
        for block in walk(group, AT_ONCE) if group[0].numel() > AT_ONCE else [group]:
            if elements and elements + block[0].numel() > AT_ONCE:
                yield portion
                portion, elements = [[] for _ in tensors], 0
            for some, tensor in zip(portion, block, strict=True):
                some.append(tensor)
            elements += block[0].numel()
    if portion[0]:
        yield portion


def _result(operation: Operation, values: dict[Value, Tensors], numbers: Sequence[float]) -> Tensors:
    name, args = operation.name, [_operand(arg, values, numbers) for arg in operation.args]
    if name == "axpy":
        return list(torch._foreach_add(args[0], args[1], alpha=args[2]))
    if name == "mean":
        return list(torch._foreach_lerp(args[0], args[1], args[3]))
    at_once = getattr(torch, f"_foreach_{name}", None) if name in _AT_ONCE else None
    if at_once is not None and isinstance(args[0], list):
        return list(at_once(*args))
    keywords = {"value": args.pop()} if name in {"addcmul", "addcdiv"} and len(args) == 4 else {}
    count = len(next(arg for arg in args if isinstance(arg, list)))
    one = getattr(torch, name)
    return [one(*(arg[index] if isinstance(arg, list) else arg for arg in args), **keywords) for index in range(count)]


_AT_ONCE = frozenset(
    {
        "abs", "add", "ceil", "cos", "div", "erf", "exp", "expm1", "floor", "log", "log1p", "maximum", "minimum", "mul",
        "neg", "pow", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "sub", "tan", "tanh", "trunc",
    }
)  # fmt: skip
"""Functions that torch has for many tensors at once."""


def _operand(operand: Operand, values: dict[Value, Tensors], numbers: Sequence[float]) -> Any:
    if isinstance(operand, Value):
        return values[operand]
    if isinstance(operand, Number):
        return numbers[operand.index]
    return None if operand is None else float(operand)
