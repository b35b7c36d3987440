"""PureSchedule: the constructor, checks and record-keeping around the formula of a schedule."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from optreg.hyperparameters import check_hyperparameters


class PureSchedule:
    """A pure function of the step t = 0, 1, 2, ... that returns the multiplier of the base learning rate.

    A subclass states its `reference` and the formula, in ordinary floats:

        class InverseRoot(optreg.PureSchedule):
            reference = Paper                     # a dataclass: warmup_steps

            @staticmethod
            def multiplier(t: int, *, warmup_steps: int) -> float:
                return min(1.0, math.sqrt(warmup_steps / max(t, 1)))

    The subclass becomes a frozen dataclass with the fields and defaults of the reference. Its constructor checks them,
    its instances can be compared, hashed, copied and pickled, and `ScheduleLR` saves them in checkpoints.

    Raises:
        ValueError: a hyperparameter is out of range.
        TypeError: a hyperparameter is missing or unknown.
    """

    reference: ClassVar[type]
    """The dataclass whose typed, bounded fields are the hyperparameters."""

    multiplier: ClassVar[Callable[..., float]]
    """`multiplier(t, **hyperparameters)`, a static method: the multiplier at step t."""

    if TYPE_CHECKING:  # what the reference's fields become

        def __init__(self, *hyperparameters: Any, **named: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "reference" in vars(cls):
            hints = get_type_hints(cls.reference, include_extras=True)
            cls.__annotations__ = {each.name: hints[each.name] for each in fields(cls.reference)}
            for each in fields(cls.reference):
                own: Any = field(default=each.default, default_factory=each.default_factory, kw_only=each.kw_only)
                setattr(cls, each.name, own)
            dataclass(frozen=True)(cls)

    def __post_init__(self) -> None:
        for name, value in check_hyperparameters(self.reference, vars(self), type(self).__name__).items():
            object.__setattr__(self, name, value)

    def __call__(self, step: int) -> float:
        """The multiplier at `step`."""
        return self.multiplier(step, **vars(self))
