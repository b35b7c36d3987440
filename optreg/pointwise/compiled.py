"""Compiled: a program as one kernel, made by `torch.compile`, that reads and writes every tensor once.

A kernel takes vectors of any length, and its numbers in a tensor, so that neither another shape nor another learning
rate compiles it anew.
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
"""Elements of the smallest vector: torch.compile makes special kernels for those of one element and of none."""

LARGEST_ROUNDED = 2**31 - 1
"""Elements of the largest vector that is rounded at random: their places are counted in 31 bits."""


def run(
    program: Program,
    numbers: Sequence[float],
    updates: Sequence[tuple[Sequence[Tensor], TensorRounding | None]],
    dtype: torch.dtype,
) -> None:
    """Update parameters of one kind and their state.

    Args:
        program: what is done.
        numbers: the numbers in it.
        updates: for each parameter it, its gradient and its state, which lie densely in memory in one order, and how
            they are rounded at random; dtypes, devices and roles are the same for all.
        dtype: what is computed in.

    Raises:
        RuntimeError: the kernel could not be compiled.
    """
    tensors, rounding = updates[0]
    roles = rounding.roles if rounding else frozenset()
    kernel = _kernel(program, dtype, roles, tuple((tensor.device.type, tensor.dtype) for tensor in tensors))
    device = tensors[0].device
    given = torch.tensor(numbers, dtype=dtype, device="cpu").to(device, non_blocking=True)
    torch_internals.mark_static(given, 0)  # or torch takes it for one length with parameters that are as long by chance
    keys = torch.tensor([rounding.key if rounding else 0 for _, rounding in updates], dtype=torch.int32, device="cpu")
    for (tensors, _), key in zip(updates, torch.split(keys.to(device, non_blocking=True), 1), strict=True):
        kernel(*map(_vector, tensors), given, _vector(key))
        for slot in written(len(tensors)):
            torch.autograd.graph.increment_version(tensors[slot])


def _vector(tensor: Tensor) -> Tensor:
    """A vector over the same memory that is not a view: torch.compile looks at the base of a view, whose shape differs
    from parameter to parameter. Writing to it does not count as a change of the tensor."""
    vector = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return vector.set_(tensor.untyped_storage(), tensor.storage_offset(), (tensor.numel(),), (1,))


class _Kernel:
    """A program that is compiled when it is first run."""

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
                raise  # else torch has compiled it often enough, say for other numbers of threads, and gives it up
        with warnings.catch_warnings():  # what torch says of itself while it compiles is not for our users
            warnings.simplefilter("ignore")
            self._compiled = self._first_run(tensors)

    def _first_run(self, tensors: tuple[Tensor, ...]) -> Callable[..., None]:
        attempts = torch_internals.compiler_options(tensors[0].device)
        for options in attempts:
            # Without a module, torch 2.6 compiles it inside a function of its own, and refuses after eight kernels.
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
    """What is told where nothing can be compiled."""
    inner = getattr(error, "inner_exception", error)
    reason = next((line.strip() for line in str(inner).splitlines() if line.strip()), "")
    return (
        f"execution 'compiled' cannot compile its kernel here: {type(inner).__name__}: {reason}. On the CPU it needs a "
        "C++ compiler (g++, clang), on a GPU Triton: install it, or ask for execution 'auto'"
    )


@functools.lru_cache(maxsize=256)
def _kernel(program: Program, dtype: torch.dtype, random: frozenset[int], kinds: tuple[object, ...]) -> _Kernel:
    """The kernel of a program for tensors of given kinds, which are looked at when it is compiled."""
    return _Kernel(source(program, random), dtype)


def source(program: Program, random: frozenset[int]) -> str:
    """The kernel's source: a function of parameter, gradient, state, numbers and a key."""
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
