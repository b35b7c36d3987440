"""The types of torch and numpy in signatures, imported only when a signature is resolved.

Annotations write `"lazy_types.Optimizer"`. So reading and checking a spec imports neither library, and
`typing.get_type_hints` still works.
"""

from collections.abc import Iterable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    Array: TypeAlias = np.ndarray
    Model: TypeAlias = Module | Iterable[tuple[str, Tensor]] | Iterable[Tensor]
    """A source of parameters: a module, `(name, parameter)` pairs, or bare parameters."""

__all__ = ["Array", "LRScheduler", "Model", "Module", "Optimizer", "Tensor"]

_HOMES = {
    "Array": "numpy:ndarray",
    "LRScheduler": "torch.optim.lr_scheduler:LRScheduler",
    "Module": "torch.nn:Module",
    "Optimizer": "torch.optim:Optimizer",
    "Tensor": "torch:Tensor",
}


def __getattr__(name: str) -> Any:
    if name == "Model":
        module, tensor = (__getattr__(part) for part in ("Module", "Tensor"))
        return module | Iterable[tuple[str, tensor]] | Iterable[tensor]  # type: ignore[valid-type]  # known at run time
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return resolve_name(_HOMES[name])
