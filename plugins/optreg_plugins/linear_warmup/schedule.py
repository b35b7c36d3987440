"""linear_warmup as a pure function of the step."""

from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.linear_warmup.reference import LinearWarmup as Formula


@dataclass(frozen=True, slots=True)
class LinearWarmup:
    """Multiplier of the base learning rate: up linearly, then level.

    Args:
        warmup_steps: W, updates until the base learning rate, >= 0.

    0 at t = 0 (when W > 0), 1 from t = W on.

    Raises:
        ValueError: a parameter is out of its range.
    """

    warmup_steps: int

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        return step / self.warmup_steps if step < self.warmup_steps else 1.0
