"""The record: what was done to an optimizer, to be told as a program; and how tensors lie in memory and are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory, as the code that makes it from a contiguous `x`."""

    code: str = "x"

    def __call__(self, x: Tensor) -> Tensor:
        """The same values, laid so."""
        laid: Tensor = eval(self.code, {"torch": torch, "x": x})
        return laid


DENSE = Layout()

TRANSPOSED = Layout("x.movedim(-1, 0).contiguous().movedim(0, -1)")
"""The last axis outermost in memory."""


@dataclass(frozen=True)
class Update:
    """One update: hyperparameters edited in every group, the gradients set, `step` called."""

    changes: dict[str, Any]
    grads: list[Array | None]


@dataclass(frozen=True)
class Line:
    """Something else that was done, as code about `params` and `optimizer`; ANEW stands for making the optimizer."""

    code: str
    resumes: bool = False
    """The optimizer was exchanged for one that went on from its checkpoint."""
    settings: Mapping[str, Any] | None = None
    groups: Sequence[tuple[Sequence[int], Mapping[str, Any]]] | None = None
    """What an optimizer made anew is given; what the first was, where it is not told."""


ANEW = "optimizer = <anew>"


Event = Update | Line


def as_array(tensor: Tensor) -> Array:
    """A tensor's values in float64, complex ones as pairs of reals."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    array: Array = tensor.to(torch.float64).cpu().numpy().copy()
    return array
