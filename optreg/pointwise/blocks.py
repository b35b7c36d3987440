"""Blocks: tensors of any layout, walked through in pieces that stay in the processor's cache."""

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from optreg.pointwise.rounding import Noise, Rounding
from optreg.pointwise.slots import GRAD

Body = Callable[..., None]
"""`body(param, grad, *state)`: updates a block of the parameter and of its state in place."""

PER_THREAD = 2**17
"""Elements of a block for each thread: from 2^17 on, a call costs nothing beside its work, and float32 blocks of a
parameter, its gradient, state and scratch still fit the cache that a core has (docs/performance.md)."""

LARGEST = 2**21
"""Elements of the largest block, so that scratch stays below 64 MiB however many threads there are."""


def block_size(device: torch.device) -> int:
    """Elements of a block."""
    return min(PER_THREAD * torch.get_num_threads(), LARGEST) if device.type == "cpu" else LARGEST


class Workspace:
    """Scratch that is kept between updates."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.device, torch.dtype], list[Tensor]] = {}
        self._noise: dict[torch.device, Noise] = {}

    def take(
        self, purpose: str, shape: torch.Size, device: torch.device, count: int, dtype: torch.dtype
    ) -> list[Tensor]:
        """So many tensors, whose contents are anything; those of another purpose are others."""
        kept = self._kept.setdefault((purpose, device, dtype), [])
        elements = shape.numel()
        if kept and kept[0].numel() < elements:
            kept.clear()
        while len(kept) < count:
            with torch.inference_mode(False):  # or an ordinary step could not write to it
                kept.append(torch.empty(max(elements, kept[0].numel() if kept else 0), device=device, dtype=dtype))
        return [tensor[:elements].view(shape) for tensor in kept[:count]]

    def noise(self, device: torch.device) -> Noise:
        """The source of noise."""
        if device not in self._noise:
            with torch.inference_mode(False):
                self._noise[device] = Noise(device)
        return self._noise[device]


def walk(tensors: Sequence[Tensor], size: int) -> Iterator[tuple[Tensor, ...]]:
    """The tensors, which have one shape, in corresponding blocks of at most `size` elements."""
    flat = flattened(tensors)
    if flat is not None:
        if flat[0].numel() <= size:
            yield flat
        else:
            yield from zip(*(torch.split(tensor, size) for tensor in flat), strict=True)
        return
    first = tensors[0]
    order = sorted(range(first.ndim), key=first.stride, reverse=True)  # as they lie in the parameter's memory
    yield from _rows(tuple(tensor.permute(order) for tensor in tensors), size)


def _rows(tensors: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    first = tensors[0]
    if first.numel() <= size:
        yield tensors
        return
    outer = next(dim for dim in range(first.ndim) if first.shape[dim] > 1)
    rows = max(1, size // (first.numel() // first.shape[outer]))
    for parts in zip(*(torch.split(tensor, rows, outer) for tensor in tensors), strict=True):
        yield from _rows(parts, size)


def lie_alike(tensors: Sequence[Tensor]) -> bool:
    """Whether the tensors lie densely in memory, all in one order."""
    first = tensors[0]
    if first.is_contiguous():
        return all(map(Tensor.is_contiguous, tensors))
    strides = first.stride()
    return _is_dense(tuple(first.shape), strides) and all(tensor.stride() == strides for tensor in tensors)


def flattened(tensors: Sequence[Tensor]) -> tuple[Tensor, ...] | None:
    """The tensors as vectors over the same memory; None if they do not lie alike."""
    if not lie_alike(tensors):
        return None
    if tensors[0].is_contiguous():
        return tuple(tensor.view(-1) for tensor in tensors)
    return tuple(tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors)


@functools.lru_cache(maxsize=1024)
def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


Take = Callable[[int, torch.dtype], list[Tensor]]
"""Gives so many tensors of a dtype and of the block's shape, whose contents are anything."""


def run(
    tensors: Sequence[Tensor],
    make_body: Callable[[Take], Body],
    dtype: torch.dtype,
    workspace: Workspace,
    rounding: Rounding | None = None,
) -> None:
    """Update a parameter and its state, block by block.

    Args:
        tensors: parameter, gradient, state, all of one shape.
        make_body: makes the body for blocks of one shape.
        dtype: what is computed in; blocks of other dtypes are converted, and their results rounded.
        workspace: where scratch comes from.
        rounding: what is rounded at random.
    """
    device = tensors[0].device
    size = block_size(device)
    low = [slot for slot, tensor in enumerate(tensors) if tensor.dtype is not dtype]
    body: Body | None = None
    shape, start = torch.Size(), 0
    for block in walk(tensors, size):
        if body is None or block[0].shape != shape:
            shape = block[0].shape
            body = make_body(functools.partial(workspace.take, "scratch", shape, device))
            wide = workspace.take("wide", shape, device, len(low), dtype)
        given = list(block)
        for slot, tensor in zip(low, wide, strict=True):
            given[slot] = tensor.copy_(block[slot])
        body(*given)
        for slot in low:
            if rounding and slot in rounding.roles:
                rounding.store(workspace.noise(device), block[slot], given[slot], start, slot)
            elif slot != GRAD:
                block[slot].copy_(given[slot])
        start += block[0].numel()
