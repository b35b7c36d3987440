"""What the engine's tests share: a device, the ways to run a program, and what the rule itself says."""

import io
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from optreg import Pointwise
from optreg.pointwise import blocks, compiled, lists
from optreg.pointwise.straight import straight
from optreg.pointwise.trace import Program

DEVICE = torch.device(os.environ.get("OPTREG_DEVICE", "cpu"))

Numbers = Sequence[float]
Tensors = Sequence[Tensor]


def drawn(shape: tuple[int, ...], random: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normally distributed numbers, the same on every device and in every dtype."""
    return torch.randn(shape, generator=random, dtype=torch.float64).to(DEVICE, dtype)


def ones(*shape: int, dtype: torch.dtype = torch.float64) -> Parameter:
    return Parameter(torch.ones(shape, dtype=dtype, device=DEVICE))


def parameters(shapes: Iterable[tuple[int, ...]], *dtypes: torch.dtype) -> list[Parameter]:
    """A parameter of each shape; the dtypes take turns."""
    random = torch.Generator().manual_seed(0)
    return [
        Parameter(drawn(shape, random, dtype))
        for shape, dtype in zip(shapes, itertools.cycle(dtypes or [torch.float64]), strict=False)
    ]


def params_of(optimizer: torch.optim.Optimizer) -> list[Parameter]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def clones_of(optimizer: torch.optim.Optimizer) -> list[Parameter]:
    return [Parameter(param.detach().clone()) for param in params_of(optimizer)]


def tensors_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Copies of all parameters, each with its state, in order."""
    several = [(param, *optimizer.state[param].values()) for param in params_of(optimizer)]
    return [tensor.detach().clone() for tensors in several for tensor in tensors]


def stepped(optimizer: Any, *grads: float) -> Any:
    """Make an update for each gradient, which is the same for all elements."""
    for grad in grads:
        for param in params_of(optimizer):
            param.grad = torch.full_like(param, grad)
        optimizer.step()
    return optimizer


def always(t: int, place: int) -> bool:
    return True


def ran(
    optimizer: Any,
    updates: Iterable[int],
    present: Callable[[int, int], bool] = always,
    layout: Callable[[Tensor], Tensor] = torch.clone,
) -> Any:
    """Make some updates, each with its own random gradients; `present(update, place)` tells which parameters have one."""
    for t in updates:
        random = torch.Generator().manual_seed(1000 + t)
        for place, param in enumerate(params_of(optimizer)):
            grad = layout(drawn(tuple(param.shape), random, param.dtype))
            param.grad = grad if present(t, place) else None
        optimizer.step()
    return optimizer


@dataclass
class Rate:
    """One number."""

    lr: float = 0.5


class Descent(Pointwise):
    """Without state; returns a bare tensor."""

    reference = Rate

    @staticmethod
    def update(p, g, *, lr):
        return p - lr * g


def plain(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def transposed(tensor: Tensor) -> Tensor:
    """The same values, the axes in memory the other way round."""
    axes = list(reversed(range(tensor.ndim)))
    return tensor.permute(axes).clone(memory_format=torch.contiguous_format).permute(axes)


def strided(tensor: Tensor) -> Tensor:
    """The same values, every second element of the memory."""
    padded = tensor.new_full((*tensor.shape, 2), -7)
    padded[..., 0] = tensor
    return padded[..., 0]


def rotated(tensor: Tensor) -> Tensor:
    """The same values, the last axis outermost in memory: of a picture, channels last."""
    return torch.movedim(tensor.movedim(-1, 0).clone(memory_format=torch.contiguous_format), 0, -1)


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
    """Equal bits, dtypes and shapes, through all containers; checkpoints with their groups."""
    if isinstance(left, dict) and "param_groups" in left:
        assert left["param_groups"] == right["param_groups"]
        left, right = left["state"], right["state"]
    torch.testing.assert_close(left, right, rtol=0.0, atol=0.0)


def through_a_file(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def in_a_process(code: str, *arguments: str, **environment: str) -> str:
    """What code prints that runs in a process of its own, from which it can import this module; warnings are errors."""
    found = f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:`torch.jit", "-c", found + code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
