"""The contestants: ours and other libraries' optimizers for the same update."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer
from works import GPT2_LIKE, ONE_LARGE, Work

import optreg

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    "lion": {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.01},
}
"""The hyperparameters of each algorithm, the same for all."""


class Stepper(NamedTuple):
    """An optimizer, and the function that makes one step of it."""

    step: Callable[[], object]
    optimizer: Optimizer


@dataclass(frozen=True)
class Contestant:
    """A contestant, and where it runs: by default, on all works and devices."""

    name: str
    algorithm: str
    ours: bool
    make: Callable[[Sequence[Tensor]], Stepper]
    works: frozenset[str] | None = None
    dtypes: frozenset[torch.dtype] | None = None
    device: str | None = None

    def enters(self, work: Work) -> bool:
        """Whether it runs on this work."""
        return (self.works is None or work.name in self.works) and (self.dtypes is None or work.dtype in self.dtypes)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what other libraries print while they are imported or compile."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


_FLOAT32 = frozenset({torch.float32})
_BFLOAT16 = frozenset({torch.bfloat16})
_FEW_KERNELS = frozenset({ONE_LARGE.name, GPT2_LIKE.name})
"""The works for contestants that compile their whole step, which takes minutes for thousands of tensors."""


def _peer(
    name: str,
    place: str,
    algorithm: str,
    *,
    works: frozenset[str] | None = None,
    device: str | None = None,
    **options: Any,
) -> Contestant:
    """A class given as `module:class`, imported when it is first needed."""
    module, _, cls = place.partition(":")

    def make(params: Sequence[Tensor]) -> Stepper:
        optimizer = getattr(import_module(module), cls)(params, **SETTINGS[algorithm], **options)
        return Stepper(optimizer.step, optimizer)

    return Contestant(name, algorithm, False, make, works=works, device=device)


def _torch_compiled(params: Sequence[Tensor]) -> Stepper:
    optimizer = torch.optim.AdamW(params, **SETTINGS["adamw"])
    return Stepper(torch.compile(optimizer.step), optimizer)


def _ours(
    algorithm: str, execution: str, *, note: str = "", dtypes: frozenset[torch.dtype] | None = None, **options: Any
) -> Contestant:
    def make(params: Sequence[Tensor]) -> Stepper:
        optimizer = optreg.optimizer(algorithm, params, **SETTINGS[algorithm], execution=execution, **options)
        return Stepper(optimizer.step, optimizer)

    return Contestant(f"optreg {execution}{note}", algorithm, True, make, dtypes=dtypes)


CONTESTANTS = (
    _peer("torch loop", "torch.optim:AdamW", "adamw", foreach=False),
    _peer("torch foreach", "torch.optim:AdamW", "adamw", foreach=True),
    _peer("torch fused", "torch.optim:AdamW", "adamw", fused=True),
    Contestant("torch compiled", "adamw", False, _torch_compiled, works=_FEW_KERNELS),
    _peer("optimi", "optimi:AdamW", "adamw"),
    _peer("optimi foreach", "optimi:AdamW", "adamw", foreach=True),
    _peer("bitsandbytes", "bitsandbytes.optim:AdamW", "adamw"),
    _peer("heavyball", "heavyball:AdamW", "adamw", works=_FEW_KERNELS),
    _peer("timm", "timm.optim:AdamWLegacy", "adamw"),
    _ours("adamw", "auto"),
    _ours("adamw", "loop"),
    _ours("adamw", "foreach"),
    _ours("adamw", "fused"),
    _ours("adamw", "compiled"),
    _ours("adamw", "auto", note=", bfloat16 state", dtypes=_FLOAT32, state_dtype="bfloat16"),
    _ours("adamw", "compiled", note=", bfloat16 state", dtypes=_FLOAT32, state_dtype="bfloat16"),
    _ours("adamw", "auto", note=", stochastic rounding", dtypes=_BFLOAT16, stochastic_rounding=True),
    _ours("adamw", "compiled", note=", stochastic rounding", dtypes=_BFLOAT16, stochastic_rounding=True),
    _peer("lion-pytorch", "lion_pytorch:Lion", "lion"),
    _peer("lion-pytorch triton", "lion_pytorch:Lion", "lion", device="cuda", use_triton=True),
    _peer("pytorch_optimizer", "pytorch_optimizer:Lion", "lion", foreach=False),
    _peer("pytorch_optimizer foreach", "pytorch_optimizer:Lion", "lion", foreach=True),
    _peer("optimi", "optimi:Lion", "lion"),
    _peer("optimi foreach", "optimi:Lion", "lion", foreach=True),
    _peer("timm", "timm.optim:Lion", "lion", foreach=False),
    _peer("timm foreach", "timm.optim:Lion", "lion", foreach=True),
    _peer("bitsandbytes", "bitsandbytes.optim:Lion", "lion"),
    _ours("lion", "auto"),
    _ours("lion", "loop"),
    _ours("lion", "foreach"),
    _ours("lion", "compiled"),
)
