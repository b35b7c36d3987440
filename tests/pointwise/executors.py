"""What the engine's tests share: a device, the ways to run a program, and what the rule itself says."""

import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from optreg.pointwise import blocks, compiled, lists
from optreg.pointwise.straight import straight
from optreg.pointwise.trace import Program

DEVICE = torch.device(os.environ.get("OPTREG_DEVICE", "cpu"))

Numbers = Sequence[float]
Tensors = Sequence[Tensor]


def drawn(shape: tuple[int, ...], random: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normally distributed numbers, the same on every device and in every dtype."""
    return torch.randn(shape, generator=random, dtype=torch.float64).to(DEVICE, dtype)


def ones(*shape: int) -> Parameter:
    return Parameter(torch.ones(shape, dtype=torch.float64, device=DEVICE))


def stepped(optimizer: torch.optim.Optimizer, *grads: float) -> torch.optim.Optimizer:
    for grad in grads:
        for group in optimizer.param_groups:
            for param in group["params"]:
                param.grad = torch.full_like(param, grad)
        optimizer.step()
    return optimizer


def plainly(rule: Callable[..., Any], tensors: Tensors, **hyperparameters: Any) -> list[Tensor]:
    """What the rule says: new parameter and state; the gradient as it was."""
    results = rule(*[tensor.clone() for tensor in tensors], **hyperparameters)
    param, *state = [result.clone() for result in (results if isinstance(results, tuple) else (results,))]
    return [param, tensors[1].clone(), *state]


def by_blocks(program: Program, numbers: Numbers, tensors: Tensors, rounding: Any = None) -> list[Tensor]:
    """The same by straight-line code in blocks."""
    given = [tensor.clone() for tensor in tensors]
    code = straight(program)
    wide = torch.float64 if given[0].dtype is torch.float64 else torch.float32
    blocks.run(
        given,
        lambda take: code.bind(take(code.scratch, wide), take(code.truths, torch.bool), numbers),
        wide,
        blocks.Workspace(),
        rounding,
    )
    return given


def by_lists(program: Program, numbers: Numbers, tensors: Tensors) -> list[Tensor]:
    """The same by multi-tensor functions."""
    given = [[tensor[:1].clone(), tensor[1:].clone()] for tensor in tensors]
    lists.run(program, numbers, given, tensors[0].dtype)
    return [torch.cat(some) for some in given]


def by_kernel(program: Program, numbers: Numbers, tensors: Tensors, rounding: Any = None) -> list[Tensor]:
    """The same by one compiled kernel."""
    given = [tensor.clone() for tensor in tensors]
    wide = torch.float64 if given[0].dtype is torch.float64 else torch.float32
    compiled.run(program, numbers, [(given, rounding)], wide)
    return given


class Made(TorchDispatchMode):
    """Counts operations, and the tensors that they make, by the memory that they lie in."""

    def __init__(self, known: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.made: list[str] = []
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.known:
                self.made.append(str(func))
        return result


def assert_same(left: Any, right: Any) -> None:
    """Equal bits, dtypes and shapes, through all containers."""
    if isinstance(left, Tensor):
        assert left.dtype is right.dtype
        assert left.shape == right.shape
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    else:
        assert left == right


def through_a_file(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
