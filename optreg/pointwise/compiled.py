"""Compiled: runs a program as one kernel, made by `torch.compile`, that reads and writes every tensor once.

A kernel takes vectors of any length, and its numbers in a tensor. So neither a new shape nor a new learning rate
recompiles it.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from optreg import torch_internals
from optreg.pointwise.rounding import TensorRounding, rounded
from optreg.pointwise.slots import written
from optreg.pointwise.trace import Program

SMALLEST = 2
"""Elements of the smallest vector: torch.compile specializes kernels for zero elements and for one."""

LARGEST_ROUNDED = 2**31 - 1
"""Elements of the largest vector that is rounded at random: an element's index takes 31 bits."""


def run(
    program: Program,
    numbers: Sequence[float],
    updates: Sequence[tuple[Sequence[Tensor], TensorRounding | None]],
    dtype: torch.dtype,
) -> None:
    """Update parameters of one kind and their state.

    Args:
        program: the operations.
        numbers: the numbers that they take.
        updates: for each parameter, its tensors (parameter, gradient, state), which are dense in memory in the same
            order, and how to round them at random. Dtypes, devices and roles are the same for all.
        dtype: the dtype of the computation.

    Raises:
        RuntimeError: the kernel cannot be compiled.
    """
    tensors, rounding = updates[0]
    roles = rounding.roles if rounding else frozenset()
    kernel = _kernel(program, dtype, roles, tuple((tensor.device.type, tensor.dtype) for tensor in tensors))
    device = tensors[0].device
    given = torch.tensor(numbers, dtype=dtype, device="cpu").to(device, non_blocking=True)
    torch_internals.mark_static(given, 0)  # else torch may equate it with a parameter's length
    keys = torch.tensor([rounding.key if rounding else 0 for _, rounding in updates], dtype=torch.int32, device="cpu")
    for (tensors, _), key in zip(updates, torch.split(keys.to(device, non_blocking=True), 1), strict=True):
        kernel(*map(_vector, tensors), given, _vector(key))
        for slot in written(len(tensors)):
            torch.autograd.graph.increment_version(tensors[slot])


def _vector(tensor: Tensor) -> Tensor:
    """A vector over the same memory that is not a view, since torch.compile specializes on the shape of a view's base.
    Writing to the vector does not increment the tensor's version."""
    vector = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return vector.set_(tensor.untyped_storage(), tensor.storage_offset(), (tensor.numel(),), (1,))


class _Kernel:
    """A kernel that is compiled on its first run."""

    def __init__(self, text: str, dtype: torch.dtype) -> None:
        self._text = text
        self._dtype = dtype
        self._compiled: Callable[..., None] | None = None

    def __call__(self, *tensors: Tensor) -> None:
        try:
            if self._compiled is not None:
                self._compiled(*tensors)
                return
        except Exception as error:
            if not torch_internals.is_of_compiling(error):
                raise  # else torch reached its limit of recompilations, say for other numbers of threads: compile anew
        with warnings.catch_warnings():  # torch's warnings about its own compiler
            warnings.simplefilter("ignore")
            self._compiled = self._first_run(tensors)

    def _first_run(self, tensors: tuple[Tensor, ...]) -> Callable[..., None]:
        attempts = torch_internals.compiler_options(tensors[0].device)
        for options in attempts:
            # Without `__name__`, torch 2.6 compiles it inside its own function, and refuses after eight kernels.
            namespace: dict[str, Any] = {"__name__": __name__, "torch": torch, "rounded": rounded, "wide": self._dtype}
            exec(compile(self._text, "<kernel>", "exec"), namespace)
            try:
                compiled: Callable[..., None] = torch.compile(
                    namespace["kernel"], dynamic=True, fullgraph=True, options=options
                )
                compiled(*tensors)
            except Exception as error:
                if options is attempts[-1] and torch_internals.is_of_compiling(error):
                    raise RuntimeError(_told(error)) from error
                if options is attempts[-1]:
                    raise
            else:
                return compiled
        raise AssertionError("unreachable")


def _told(error: Exception) -> str:
    """The message for a kernel that cannot be compiled."""
    inner = getattr(error, "inner_exception", error)
    reason = next((line.strip() for line in str(inner).splitlines() if line.strip()), "")
    return (
        f"execution 'compiled' cannot compile its kernel here: {type(inner).__name__}: {reason}. On the CPU it needs a "
        "C++ compiler (g++, clang), on a GPU Triton: install it, or set execution to 'auto'"
    )


@functools.lru_cache(maxsize=256)
def _kernel(program: Program, dtype: torch.dtype, random: frozenset[int], kinds: tuple[object, ...]) -> _Kernel:
    """The kernel of a program for tensors of the given device types and dtypes."""
    return _Kernel(source(program, random), dtype)


def source(program: Program, random: frozenset[int]) -> str:
    """The source of the function `kernel(parameter, gradient, *state, numbers, key)`."""
    names = [f"x{index}" for index in range(program.inputs)]
    lines = [f"def kernel({', '.join(names)}, numbers, key):"]
    lines += [f"v{index} = {name}.to(wide)" for index, name in enumerate(names)]
    for index, operation in enumerate(program.operations):
        operands = operation.texts(lambda value: f"v{value.index}", lambda number: f"numbers[{number.index}]")
        lines.append(f"v{program.inputs + index} = {operation.function.compiled(operands)}")
    values = {slot: f"v{output.index}" for slot, output in program.results}
    for slot, value in values.items():
        result = f"rounded({value}.float(), key, {slot})" if slot in random else value
        lines.append(f"x{slot}.copy_({result})")
    return "\n    ".join(lines)
