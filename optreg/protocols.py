"""Protocols: the types of what plugin authors write. References are the mathematics; a schedule is a function.

Any class with these methods fits; it need not derive from them. Every reference is a dataclass whose typed, bounded
fields are the hyperparameters with their defaults, and whose docstring is the sentence, the paper and the equations
that `optreg show` prints. In the types, `Array` is a numpy array and `mp` an mpmath context.
"""

from collections.abc import Generator
from typing import Any, Protocol

from optreg import lazy_types


class OptimizerReference(Protocol):
    """An optimizer as in its paper, in float64."""

    def trajectory(
        self, theta: "lazy_types.Array"
    ) -> Generator[tuple["lazy_types.Array", dict[str, "lazy_types.Array"]], "lazy_types.Array", None]:
        """Run the algorithm on one parameter: send a gradient, receive the next parameters and the state.

        Read the hyperparameters from `self` in every update, since a schedule changes them during the run. An algorithm
        that names the epsilon of its dtype reads `self.epsilon`, an attribute of the class that is not a field,
        float64's: beside a run in a narrower dtype, the suite sets it to that one's.

        Args:
            theta: the start, float64, of any shape; do not write to it.

        Yields:
            First `theta` and the state before any update; then, for each gradient sent (float64, of the shape of
            `theta`), the parameters after that update and the state, by its keys in the torch optimizer.
        """
        ...


class ConstantGradientReference(OptimizerReference, Protocol):
    """A reference with a closed form as well, with which conformance checks verify the reference itself."""

    def constant_gradient(self, theta: Any, g: Any, t: int, mp: Any) -> Any:
        """One coordinate after `t` updates with the same gradient.

        Args:
            theta: the start, a number of `mp`.
            g: the gradient, a number of `mp`.
            t: the number of updates, >= 1.
            mp: the mpmath context whose functions and precision are used.

        Returns:
            theta_t, a number of `mp`.
        """
        ...


class ScheduleReference(Protocol):
    """A schedule's formula, in arbitrary precision."""

    def multiplier(self, t: int, mp: Any) -> Any:
        """What the base learning rate is multiplied by in update `t`.

        Args:
            t: the number of the update, 0, 1, 2, ...
            mp: the mpmath context whose functions and precision are used.

        Returns:
            f(t), a number of `mp`; without unit.
        """
        ...


class RateReference(Protocol):
    """The formula of a schedule whose rate is not a multiple of the base learning rate, in arbitrary precision."""

    def rate(self, base_lr: float, t: int, mp: Any) -> Any:
        """The learning rate of update `t`.

        Args:
            base_lr: the optimizer's learning rate before the schedule.
            t: the number of the update, 0, 1, 2, ...
            mp: the mpmath context whose functions and precision are used.

        Returns:
            The learning rate, a number of `mp`.
        """
        ...


class MetricReference(Protocol):
    """The rule of a schedule that is driven by a metric, in arbitrary precision."""

    def rates(self, base_lr: float, mp: Any) -> Generator[Any, float, None]:
        """Run the rule on one param group: send a metric, receive the learning rate after it.

        Args:
            base_lr: the optimizer's learning rate before the schedule.
            mp: the mpmath context whose functions and precision are used.

        Yields:
            First `base_lr`, then, for each metric sent, the learning rate after it, numbers of `mp`.
        """
        ...


class Schedule(Protocol):
    """A pure function of the step, without clock, memory or torch."""

    def __call__(self, step: int, /) -> float:
        """What the base learning rate is multiplied by in update number `step` = 0, 1, 2, ..."""
        ...
