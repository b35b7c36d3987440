"""Execution options of elementwise optimizers: how an update is computed, not what it computes."""

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
        execution: `"loop"` runs the rule as written, one tensor after the other. `"foreach"` runs its operations in
            blocks that stay in the cache (CPU), or on many tensors at once (accelerators). `"compiled"` compiles
            the rule to one kernel: the first step takes seconds, and on the CPU it needs a C++ compiler. `"auto"`
            takes the fastest path that needs no compiler.
        stochastic_rounding: round bfloat16 parameters and their state up or down at random, so that on average nothing
            is lost. Parameters of other dtypes are rounded to nearest.
        state_dtype: the dtype of state; None: the parameter's. State that this option keeps in bfloat16 is rounded at
            random too, since averages would otherwise stop moving.
        seed: the seed of random rounding. The noise depends only on the seed, the parameter's index, the number of
            the update and the element. So it is the same in every run, after a checkpoint, and on every path.
    """

    maximize: bool = False
    execution: Path = "auto"
    stochastic_rounding: bool = False
    state_dtype: Literal["float32", "bfloat16"] | None = None
    seed: Seed = 0


@dataclass(frozen=True)
class FusedPointwiseOptions(PointwiseOptions):
    """Options of an optimizer that also has a fused kernel, which `execution="fused"` selects."""

    execution: FusedPath = "auto"  # type: ignore[assignment]  # wider than in the base class
