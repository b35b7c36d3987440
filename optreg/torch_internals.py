"""Torch's internals: everything in torch that optreg uses and that torch does not promise to keep.

On first use, optreg checks that the installed torch has it and that it works as expected. If not, public functions
replace it, with the same results.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode  # documented, by this name alone

# Functions on many tensors at once


def copy_each(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy each source into its target."""
    _in_place("copy_")(targets, sources)


def count_each(steps: Sequence[Tensor]) -> None:
    """Add one to each tensor."""
    _in_place("add_")(steps, 1)


@functools.cache
def _in_place(name: str) -> Callable[[Sequence[Tensor], Any], object]:
    """An in-place method applied to many tensors at once: torch's function, or a loop."""

    def loop(targets: Sequence[Tensor], operands: Any) -> None:
        for place, target in enumerate(targets):
            getattr(target, name)(operands if isinstance(operands, int) else operands[place])

    at_once: Any = getattr(torch, f"_foreach_{name}", None)
    changed = [torch.zeros(1, device="cpu")]
    try:
        at_once(changed, 1 if name == "add_" else [torch.ones(1, device="cpu")])
    except Exception:
        return loop
    return at_once if changed[0] == 1 else loop


@functools.cache
def multi_tensor(name: str, arguments: str) -> Callable[..., list[Tensor]]:
    """A torch function on lists of tensors: torch's multi-tensor function, or a loop.

    Args:
        name: the function's name on single tensors.
        arguments: the arguments of the later call as source text, in which `tensors` stands for every list.
    """
    looped = loop(name)
    at_once: Any = getattr(torch, f"_foreach_{name}", None)
    example = {"tensors": [torch.tensor([0.25, 1.0, 3.0], device="cpu")], "looped": looped, "at_once": at_once}
    try:
        found, wanted = (eval(f"{function}({arguments})", example) for function in ("at_once", "looped"))
        torch.testing.assert_close(list(found), wanted, equal_nan=True)
    except Exception:
        return looped
    return lambda *operands, **keywords: list(at_once(*operands, **keywords))


@functools.cache
def loop(name: str) -> Callable[..., list[Tensor]]:
    """A torch function on lists of tensors, as a loop of calls on single ones."""
    single = getattr(torch, name)

    def looped(*operands: Any, **keywords: Any) -> list[Tensor]:
        count = len(next(operand for operand in operands if isinstance(operand, list)))
        return [
            single(*(operand[place] if isinstance(operand, list) else operand for operand in operands), **keywords)
            for place in range(count)
        ]

    return looped


# Fused kernels


@functools.cache
def fused_kernel(name: str, device: str) -> Callable[..., object] | None:
    """torch's fused kernel for a type of device; None if the installed torch has none that works as expected.

    Args:
        name: `adam` or `adamw`.
        device: the type of device.
    """
    kernel: Any = getattr(torch, f"_fused_{name}_", None)
    expected = {"adam": 0.5, "adamw": 0.0}[name]  # half a step of 1 from 1, where decay removes all of the weight
    try:
        param, grad, mean, square, step = (torch.tensor([x], device=device) for x in (1.0, 1.0, 0.0, 0.0, 1.0))
        kernel(
            [param], [grad], [mean], [square], [], [step[0]],
            lr=0.5, beta1=0.5, beta2=0.5, weight_decay=1.0, eps=0.0, amsgrad=False, maximize=False,
        )  # fmt: skip
        return kernel if abs(param.item() - expected) < 1e-6 else None
    except Exception:
        return None


# The compiler


def mark_static(tensor: Tensor, dimension: int) -> None:
    """Tell the compiler that a size never changes. Otherwise it may compile once more than needed."""
    mark = getattr(importlib.import_module("torch._dynamo"), "mark_static", None)
    if mark is not None:
        mark(tensor, dimension)


def compiler_options(device: torch.device) -> list[dict[str, Any]]:
    """Options of the compiler, to try one after the other, without those that the installed torch does not know.

    A kernel serves vectors of all lengths, but torch would compile it for one thread if the first vector is short.

    To find out whether it can use vector instructions, torch compiles and runs a test program, which takes longer than
    the kernel. But torch has already detected the processor to choose its own kernels. So the first options skip the
    test.
    """
    if device.type != "cpu":
        return [{}]
    always = _known_to_the_compiler("cpp.dynamic_threads")
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    vectors = _known_to_the_compiler("cpp.vec_isa_ok") if capability in {"AVX2", "AVX512"} else {}
    return [{**always, **vectors}, always] if vectors else [always]


def _known_to_the_compiler(option: str) -> dict[str, Any]:
    section, name = option.split(".")
    config = importlib.import_module("torch._inductor.config")
    return {option: True} if hasattr(getattr(config, section, None), name) else {}


def is_of_compiling(error: Exception) -> bool:
    """Whether an error comes from torch's compiler."""
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))


def start_compiler() -> None:
    """Compile a kernel of no use, for what `torch.compile` imports and asks of the machine only the first time."""

    def kernel(x: Tensor) -> None:
        x.copy_(x + 1)

    options = compiler_options(torch.device("cpu"))[0]
    torch.compile(kernel, dynamic=True, fullgraph=True, options=options)(torch.zeros(2))


def compiler_has_started() -> bool:
    """Whether something has been compiled in this process."""
    return "torch._inductor.compile_fx" in sys.modules


# Optimizers


def add_param_group(optimizer: Optimizer, param_group: dict[str, Any]) -> None:
    """`torch.optim.Optimizer.add_param_group`, without importing the compiler, which takes longer than all else.

    torch imports it to keep the function out of compiled code.
    """
    add = Optimizer.add_param_group
    getattr(add, "__wrapped__", add)(optimizer, param_group)


def makes_state() -> bool:
    """Whether the update that runs now is not a real one, but made by torch's distributed functions to create state."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__") != "torch.distributed.checkpoint.state_dict":
        frame = frame.f_back
    return frame.f_back is not None


# Schedulers


def has_stepped(optimizer: Optimizer) -> bool:
    """Whether torch noticed that `optimizer.step` was called since a scheduler was made; False if that is unknown."""
    return bool(getattr(optimizer, "_opt_called", False))


class DirectScheduler(LRScheduler):
    """A scheduler that makes every move in one method, `move_to`.

    torch's own `step` calls `_update_lr`, and newer chained schedulers call that directly.
    """

    def move_to(self, epoch: int) -> None:
        """Go to step `epoch`, and set its learning rates."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Move to the next step, or to step `epoch`.

        This leaves out torch's check that `optimizer.step()` came first, which also fires if a gradient scaler rightly
        skipped the update.
        """
        self._update_lr(epoch)
        self._step_count = getattr(self, "_step_count", 0) + 1  # trainers read it

    def _update_lr(self, epoch: int | None = None) -> None:
        self.move_to(self.last_epoch + 1 if epoch is None else epoch)
