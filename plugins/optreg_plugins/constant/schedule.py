"""constant as a pure function of the step."""

from dataclasses import asdict, dataclass

from optreg import check_hyperparameters
from optreg_plugins.constant.reference import Constant as Formula


@dataclass(frozen=True, slots=True)
class Constant:
    """Multiplier of the base learning rate: always the same.

    Args:
        factor: c, >= 0.

    `factor` at every t.

    Raises:
        ValueError: a parameter is out of its range.
    """

    factor: float = Formula.factor

    def __post_init__(self) -> None:
        check_hyperparameters(Formula, asdict(self))

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        return self.factor
