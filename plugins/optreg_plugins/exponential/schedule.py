"""exponential as a pure function of the step."""

from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.exponential.reference import Exponential as Formula


@dataclass(frozen=True, slots=True)
class Exponential:
    """Multiplier of the base learning rate: a constant factor at every update.

    Args:
        gamma: the factor of one update, 0 < gamma <= 1.

    1 at t = 0; no end.

    Raises:
        ValueError: a parameter is out of its range.
    """

    gamma: float

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        return self.gamma**step
