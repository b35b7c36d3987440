"""Rule: an elementwise optimizer's update as its class declares it, and the state of each parameter."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from optreg import torch_internals

_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})

Group = Mapping[str, Any]
State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a subclass of `Pointwise` declares; `Pointwise` describes the attributes of the same names."""

    name: str
    update: Callable[..., Any]
    update_fused: Callable[..., None] | None
    fused_kernel: str | None
    state_names: tuple[str, ...]
    counts_steps: bool
    hyperparameters: tuple[str, ...]

    def has_kernel(self, device: torch.device) -> bool:
        """Whether the rule has a fused kernel for a device."""
        return (
            self.update_fused is not None
            and device.type in _FUSED_DEVICES
            and (self.fused_kernel is None or torch_internals.fused_kernel(self.fused_kernel, device.type) is not None)
        )

    def kernel(self, device: torch.device) -> Callable[..., None]:
        """The fused kernel for a device; only where `has_kernel` is true."""
        assert self.update_fused is not None
        if self.fused_kernel is None:
            return self.update_fused
        return functools.partial(self.update_fused, kernel=torch_internals.fused_kernel(self.fused_kernel, device.type))

    def counts_steps_in(self, group: Group) -> bool:
        """Whether updates are counted, for the rule or for random rounding."""
        return self.counts_steps or is_random(group)

    def state_of(self, param: Tensor, group: Group, states: Mapping[Tensor, Any]) -> State:
        """A parameter's state, created on first use."""
        state: State = states[param]
        if "step" not in state and self.counts_steps_in(group):
            state["step"] = torch.zeros((), dtype=step_dtype(group), device="cpu")
        for name in self.state_names:
            if name not in state:
                dtype = state_dtype(param, group)
                state[name] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)
        return state

    def tensors_of(self, param: Tensor, state: State) -> tuple[Tensor, ...]:
        """The parameter, its gradient and its state; complex tensors as pairs of reals."""
        assert param.grad is not None
        tensors = (param, param.grad.resolve_neg(), *(state[name] for name in self.state_names))
        return tuple(torch.view_as_real(x.resolve_conj()) for x in tensors) if param.is_complex() else tensors


def is_random(group: Group) -> bool:
    """Whether anything in the group is rounded at random."""
    return bool(group["stochastic_rounding"] or group["state_dtype"] == "bfloat16")


def step_dtype(group: Group) -> torch.dtype:
    """The dtype of step counts: float32 as in torch; float64 for random rounding, where counts must not saturate."""
    return torch.float64 if is_random(group) else torch.float32


def state_dtype(param: Tensor, group: Group) -> torch.dtype:
    """The dtype in which a parameter's state is kept.

    Raises:
        ValueError: the group sets a `state_dtype`, and the parameter is complex.
    """
    name = group["state_dtype"]
    if name is None:
        return param.dtype
    if param.is_complex():
        raise ValueError(f"state_dtype={name} is for real parameters; the group has a complex one")
    return torch.float32 if name == "float32" else torch.bfloat16
