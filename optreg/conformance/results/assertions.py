"""Assertions: comparisons that are counted, and raise a finding if they fail."""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from optreg.conformance.results.activity import Activity
from optreg.conformance.results.differences import coordinate, errors, first_difference
from optreg.conformance.results.verdict import Failed, Finding

Array = np.ndarray


class Assertions:
    """What a check can assert. Every comparison is counted, so that a check without any is noticed."""

    activity: Activity

    @property
    def right(self) -> str:
        """The source of right values, in words, where a comparison names no other."""
        return "the reference"

    def fail(self, reason: str, *, where: tuple[int, ...] | None = None, **details: Any) -> NoReturn:
        """Raise `Failed` with a finding: a reason in one sentence, the element that differs, and further fields."""
        raise Failed(Finding(reason=reason, **details), where)

    def assert_true(self, truth: object, reason: str, **details: Any) -> None:
        """Assert that something is true; `reason` states what is wrong if it is not."""
        self.activity.comparisons += 1
        if not truth:
            self.fail(reason, **details)

    def assert_close(
        self,
        actual: Array | float,
        expected: Array | float,
        bound: Array | float,
        what: str,
        *,
        step: int | None = None,
        of: str = "",
    ) -> None:
        """Assert that each element of an array is within its bound; NaN equals NaN, and infinities equal themselves.

        Args:
            actual: the values found.
            expected: the right values, of the same shape.
            bound: the largest allowed absolute error, for each element or for all.
            what: the name of what is compared.
            step: the number of updates before the comparison; for a schedule, the step.
            of: the source of the right values; the reference, or a plain run of the class, if not given.
        """
        self.activity.comparisons += 1
        actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        if actual.shape != expected.shape:
            self.fail(f"{what} has shape {actual.shape}, not {expected.shape}", step=step)
        error = errors(actual, expected)
        wrong = error > bound
        if not np.any(wrong):
            return
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        self.fail(
            f"{what} is {actual[where]:.17g} where {of or self.right} says {expected[where]:.17g}",
            measured=float(error[where]),
            bound=float(np.broadcast_to(bound, error.shape)[where]),
            step=step,
            coordinate=coordinate(what, where),
            where=where,
        )

    def assert_equal(
        self, actual: Any, expected: Any, what: str, *, step: int | None = None, of: str = "it should be"
    ) -> None:
        """Assert that two values, tensors or containers of them are equal, bit for bit."""
        self.activity.comparisons += 1
        found = first_difference(actual, expected, what)
        if found:
            self.fail(
                f"{found.place} is {found.actual} where {of} {found.expected}",
                step=step, coordinate=found.place, measured=found.measured, where=found.where,
                bound=None if found.measured is None else 0.0,
            )  # fmt: skip

    def assert_raises(
        self, act: Callable[[], object], kinds: type[Exception] | tuple[type[Exception], ...], what: str
    ) -> Exception:
        """Assert that `act` raises an exception of one of the types, and return it."""
        self.activity.comparisons += 1
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        try:
            act()
        except Exception as error:
            if isinstance(error, kinds):
                return error
            self.fail(f"{what} raises {type(error).__name__} ({error}), not {names}")
        else:
            self.fail(f"{what} is accepted; it should raise {names}")
