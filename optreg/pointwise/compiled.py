"""Compiled: a program as one kernel, made by `torch.compile`, that reads and writes every tensor once.

A kernel takes vectors of any length, and its numbers in a tensor, so that neither another shape nor another learning
rate compiles it anew.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from optreg.pointwise.rounding import Rounding, TensorRounding, rounded
from optreg.pointwise.trace import Number, Operand, Operation, Program, Value

SMALLEST = 2
"""Elements of the smallest vector: torch.compile makes special kernels for those of one element and of none."""


def bears(rounding: Rounding | None, elements: int) -> TypeGuard[TensorRounding | None]:
    """Whether a kernel can make the noise: that of one tensor, whose places it counts in 31 bits."""
    return rounding is None or (isinstance(rounding, TensorRounding) and elements < 2**31)


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
    torch._dynamo.mark_static(given, 0)  # or torch takes it for one length with parameters that are as long by chance
    keys = torch.tensor([rounding.key if rounding else 0 for _, rounding in updates], dtype=torch.int32, device="cpu")
    for (tensors, _), key in zip(updates, torch.split(keys.to(device, non_blocking=True), 1), strict=True):
        kernel(*map(_vector, tensors), given, _vector(key))
        for place, tensor in enumerate(tensors):
            if place != 1:  # the gradient
                torch.autograd.graph.increment_version(tensor)


def _vector(tensor: Tensor) -> Tensor:
    """A vector over the same memory that is no view: of views, torch.compile looks at the base, whose shape is another
    one for every parameter. Writing to it does not count as a change of the tensor."""
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
            if not _is_of_compiling(error):
                raise  # else torch has compiled it often enough, say for other numbers of threads, and gives it up
        with warnings.catch_warnings():  # what torch says of itself while it compiles is not for our users
            warnings.simplefilter("ignore")
            self._compiled = self._first_run(tensors)

    def _first_run(self, tensors: tuple[Tensor, ...]) -> Callable[..., None]:
        attempts = _options(tensors[0].device)
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
                if options is attempts[-1] and _is_of_compiling(error):
                    raise RuntimeError(_told(error)) from error
                if options is attempts[-1]:
                    raise
            else:
                return compiled
        raise AssertionError("unreachable")


def _options(device: torch.device) -> list[dict[str, Any]]:
    """Options of the compiler, to be tried one after the other.

    A kernel is used for vectors of all lengths; but torch would make it for one thread if the first was short.

    torch finds out whether the processor's vector instructions can be used by compiling and running a program, which
    takes longer than the kernel; but it has looked at the processor already, to choose its own. So first without.
    """
    if device.type != "cpu":
        return [{}]
    always = {"cpp.dynamic_threads": True}
    known = torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}
    return [{**always, "cpp.vec_isa_ok": True}, always] if known else [always]


def _is_of_compiling(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))


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
    lines += [f"v{program.inputs + index} = {_expression(op)}" for index, op in enumerate(program.operations)]
    results = {0 if k == 0 else k + 1: f"v{output.index}" for k, output in enumerate(program.outputs)}
    for place, name in results.items():
        result = f"rounded({name}.float(), key, {place})" if place in random else name
        lines.append(f"x{place}.copy_({result})")
    return "\n    ".join(lines)


def _expression(operation: Operation) -> str:
    name, args = operation.name, [_operand(arg) for arg in operation.args]
    match name:
        case "axpy":
            return f"{args[0]} + {args[2]} * {args[1]}"
        case "mean":
            return f"{args[2]} * {args[0]} + {args[3]} * {args[1]}"
        case "addcmul" | "addcdiv":
            factor = f"{args[3]} * " if len(args) == 4 else ""
            return f"{args[0]} + {factor}({args[1]} {'*' if name == 'addcmul' else '/'} {args[2]})"
        case _:
            return f"torch.{name}({', '.join(args)})"


def _operand(operand: Operand) -> str:
    if isinstance(operand, Value):
        return f"v{operand.index}"
    if isinstance(operand, Number):
        return f"numbers[{operand.index}]"
    return operand or "None"
