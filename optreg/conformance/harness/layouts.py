"""Layouts: how tensors lie in memory, and their values as arrays."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


@dataclass(frozen=True)
class Layout:
    """A memory layout, as the code that gives it to a contiguous tensor `x`."""

    code: str = "x"

    def __call__(self, x: Tensor) -> Tensor:
        """The same values in this layout."""
        laid_out: Tensor = eval(self.code, {"torch": torch, "x": x})
        return laid_out


DENSE = Layout()

TRANSPOSED = Layout("x.movedim(-1, 0).contiguous().movedim(0, -1)")
"""The last axis outermost in memory."""


def as_array(tensor: Tensor) -> Array:
    """A tensor's values in float64; complex ones as pairs of real numbers."""
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    array: Array = tensor.to(torch.float64).cpu().numpy().copy()
    return array
