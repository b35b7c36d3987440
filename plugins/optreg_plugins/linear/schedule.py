"""linear as a pure function of the step."""

from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.linear.reference import Linear as Formula


@dataclass(frozen=True, slots=True)
class Linear:
    """Multiplier of the base learning rate: a straight line, then level.

    Args:
        total_steps: T, updates until the end of the line, >= 1.
        start_factor: a, the multiplier at t = 0, >= 0.
        end_factor: b, the multiplier from t = T on, >= 0.

    a at t = 0, b from t = T on.

    Raises:
        ValueError: a parameter is out of its range.
    """

    total_steps: int
    start_factor: float = Formula.start_factor
    end_factor: float = Formula.end_factor

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        if step >= self.total_steps:
            return self.end_factor
        a, b = self.start_factor, self.end_factor
        line = a * ((self.total_steps - step) / self.total_steps) + b * (step / self.total_steps)
        return min(max(line, min(a, b)), max(a, b))  # rounding may carry the line past its ends
