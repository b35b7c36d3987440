"""Torch's internals: all that optreg uses of torch and that torch does not promise to keep.

Each is looked at once, when it is first needed: whether this torch has it, and whether it does what it is needed for.
Where it does not, something public takes its place, and the results stay the same.
"""

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode  # documented, by this name alone

# Functions on many tensors at once


def copy_each(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy tensors into others."""
    _in_place("copy_")(targets, sources)


def count_each(steps: Sequence[Tensor]) -> None:
    """Add one to each tensor."""
    _in_place("add_")(steps, 1)


@functools.cache
def _in_place(name: str) -> Callable[[Sequence[Tensor], Any], object]:
    """A method that changes tensors in place, on many at once: torch's function, or a loop."""

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
    """A function of torch that takes and gives lists of tensors: torch's own, or a loop.

    Args:
        name: the function's on single tensors.
        arguments: how it is going to be called, as source text in which `tensors` stands for every list.
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
    """A function of torch on lists of tensors, called for each."""
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
    """torch's fused kernel for devices of a type; None where this torch has none that does what is expected.

    Args:
        name: `adam` or `adamw`.
        device: the type of device.
    """
    kernel: Any = getattr(torch, f"_fused_{name}_", None)
    expected = {"adam": 0.5, "adamw": 0.0}[name]  # of 1, by half of a step of one, where the decay is all of the weight
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
    """Tell the compiler that a size never changes; without that, it may compile once more than needed."""
    mark = getattr(importlib.import_module("torch._dynamo"), "mark_static", None)
    if mark is not None:
        mark(tensor, dimension)


def compiler_options(device: torch.device) -> list[dict[str, Any]]:
    """Options of the compiler, to be tried one after the other; those that this torch does not know are left out.

    A kernel is used for vectors of all lengths; but torch would make it for one thread if the first was short.

    torch finds out whether the processor's vector instructions can be used by compiling and running a program, which
    takes longer than the kernel; but it has looked at the processor already, to choose its own. So first without.
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
    """Whether an error says that something could not be compiled."""
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))


def import_compiler() -> None:
    """Import what `torch.compile` imports when it first compiles."""
    importlib.import_module("torch._inductor.compile_fx")


# Schedulers


class DirectScheduler(LRScheduler):
    """A scheduler all of whose moves are one method, `move_to`, whichever way torch takes.

    torch's own `step` moves by `_update_lr`, and newer chains of schedulers call that at once.
    """

    def move_to(self, epoch: int) -> None:
        """Go to a step, and set the rates of there."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Move on to the next step, or to step `epoch`.

        torch's own check that `optimizer.step()` came first is left out: it also fires where a gradient
        scaler rightly skipped the update.
        """
        self._step_count = getattr(self, "_step_count", 0) + 1  # which trainers look at
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.move_to(self.last_epoch + 1 if epoch is None else epoch)
