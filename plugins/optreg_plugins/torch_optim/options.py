"""Execution options of torch's own optimizers: how a step runs, never what it computes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ForeachOptions:
    """Options of an optimizer with a loop path and a foreach path.

    `maximize` ascends instead of descending. `foreach` requests torch's multi-tensor kernels; None lets the
    optimizer choose: foreach on accelerators, a plain loop on the CPU.
    """

    maximize: bool = False
    foreach: bool | None = None


@dataclass(frozen=True)
class FusedOptions(ForeachOptions):
    """Options of an optimizer that also has a fused kernel in torch.

    `fused` requests that kernel; None uses it where device and dtype support it, unless `foreach` is requested.
    """

    fused: bool | None = None

    def __post_init__(self) -> None:
        if self.fused and self.foreach:
            raise ValueError("'fused' and 'foreach' exclude each other; ask for one")
