"""Execution options of elementwise optimizers: how an update is computed, never what it computes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

Path = Literal["auto", "loop", "foreach", "compiled"]
FusedPath = Literal["auto", "loop", "foreach", "fused", "compiled"]
Seed = Annotated[int, Ge(0), Lt(2**63)]


@dataclass(frozen=True)
class PointwiseOptions:
    """Options of every optimizer that builds on `optreg.Pointwise`.

    Args:
        maximize: ascend instead of descend.
        execution: `"loop"` runs the rule as it is written, one tensor after the other. `"foreach"` runs its
            operations in blocks that stay in the cache (CPU), or on many tensors at once (accelerators).
            `"compiled"` makes one kernel of it, which takes seconds at the first step, and on the CPU a C++
            compiler. `"auto"` takes the fastest of those that need no compiler.
        stochastic_rounding: round bfloat16 parameters, and their state, up or down at random, so that on the average
            nothing is lost. Parameters of other dtypes are rounded to nearest.
        state_dtype: the dtype that state is kept in; None: its parameter's. What is kept in bfloat16 by this option is
            rounded at random too, since averages would stand still otherwise.
        seed: of the random rounding, which is a function of the seed, the parameter's place, the number of the
            update and the element: the same again, and after a checkpoint, on every path.
    """

    maximize: bool = False
    execution: Path = "auto"
    stochastic_rounding: bool = False
    state_dtype: Literal["float32", "bfloat16"] | None = None
    seed: Seed = 0


@dataclass(frozen=True)
class FusedPointwiseOptions(PointwiseOptions):
    """Options of an optimizer that has a fused kernel besides, which `execution: fused` asks for."""

    execution: FusedPath = "auto"  # type: ignore[assignment]  # wider than the base's
