"""The judge: compares, counts what it compared, and turns a difference into a finding."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.verdict import Curve, Failed, Finding

Array = np.ndarray

Explain = Callable[[Finding, tuple[int, ...] | None], Finding]
"""Completes a finding; the second argument is the element that differs, where it is known."""


class Judge:
    """One judge for one check: every comparison goes through it, so that a check that compares nothing is noticed."""

    def __init__(self) -> None:
        self.comparisons = 0
        self.steps = 0
        self.moved = False
        """Whether any update has changed any parameter."""
        self.level: bool | None = None
        """Whether all that was judged ought to stay as it is: schedules whose formula is a constant."""
        self.curve: Curve | None = None
        self.latest: Any = None
        """The rig or probe that was used last: where an exception came from."""
        self._explain: Explain | None = None

    @contextmanager
    def explaining(self, explain: Explain) -> Iterator[None]:
        """Let `explain` complete a finding that is made inside."""
        outer, self._explain = self._explain, explain
        try:
            yield
        finally:
            self._explain = outer

    def fail(self, reason: str, *, where: tuple[int, ...] | None = None, **details: Any) -> None:
        """Raise a finding; `where` is the element that differs."""
        finding = Finding(reason=reason, **details)
        if self._explain:
            with suppress(Exception):  # a finding stands, even if no explanation of it can be made
                finding = self._explain(finding, where)
        raise Failed(finding)

    def that(self, truth: object, reason: str, **details: Any) -> None:
        """What must be true."""
        self.comparisons += 1
        if not truth:
            self.fail(reason, **details)

    def close(
        self,
        actual: Array | float,
        expected: Array | float,
        bound: Array | float,
        what: str,
        *,
        step: int | None = None,
        of: str = "",
    ) -> None:
        """Two arrays, each element within its bound; NaN equals NaN, and infinities their like."""
        self.comparisons += 1
        actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        if actual.shape != expected.shape:
            self.fail(f"{what} has shape {actual.shape}, not {expected.shape}", step=step)
        error = _errors(actual, expected)
        wrong = error > bound
        if not np.any(wrong):
            return
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        self.fail(
            f"{what} is {_number(actual[where])} where {of or 'the reference'} says {_number(expected[where])}",
            measured=float(error[where]),
            bound=float(np.broadcast_to(bound, error.shape)[where]),
            step=step,
            coordinate=_coordinate(what, where),
            where=where,
        )

    @staticmethod
    def within(actual: Array, expected: Array, bound: Array | float) -> bool:
        """Whether two arrays have one shape, and each element is within its bound. Not counted as a comparison."""
        return actual.shape == expected.shape and not np.any(_errors(actual, expected) > bound)

    def equal(
        self, actual: Any, expected: Any, what: str, *, step: int | None = None, of: str = "it should be"
    ) -> None:
        """Two values, tensors or containers of them, bit for bit."""
        self.comparisons += 1
        found = difference(actual, expected, what)
        if found:
            self.fail(
                f"{found.place} is {found.actual} where {of} {found.expected}",
                step=step, coordinate=found.place, measured=found.measured, where=found.where,
                bound=None if found.measured is None else 0.0,
            )  # fmt: skip

    def raises(
        self, act: Callable[[], object], kinds: type[Exception] | tuple[type[Exception], ...], what: str
    ) -> Exception:
        """That something is refused, by an exception of one of the kinds; returns it."""
        self.comparisons += 1
        try:
            act()
        except kinds as error:
            return error
        except Exception as error:
            self.fail(f"{what} raises {type(error).__name__} ({error}), not {_names(kinds)}")
        self.fail(f"{what} is accepted; it should raise {_names(kinds)}")
        raise AssertionError("unreachable")


def _names(kinds: type[Exception] | tuple[type[Exception], ...]) -> str:
    return " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))


def _number(value: float) -> str:
    return f"{float(value):.17g}"


def _coordinate(what: str, where: tuple[int, ...]) -> str:
    return f"{what}[{', '.join(map(str, where))}]" if where else what


def _errors(actual: Array, expected: Array) -> Array:
    """How far each element is from what it should be; infinitely where only one of the two is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        error = np.where(same, 0.0, np.abs(actual - expected))
    return np.where(np.isnan(error), np.inf, error)


@dataclass(frozen=True)
class _Difference:
    """The first place where two values differ."""

    place: str
    actual: str
    expected: str
    measured: float | None = None
    where: tuple[int, ...] | None = None


def difference(actual: Any, expected: Any, place: str) -> _Difference | None:
    """The first place where two values differ; None where there is none."""
    if isinstance(actual, np.ndarray) and isinstance(expected, np.ndarray):
        actual, expected = actual.tolist(), expected.tolist()
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        return _tensor_difference(actual, expected, place)
    if isinstance(actual, dict) and isinstance(expected, dict):
        if actual.keys() != expected.keys():
            theirs, ours = (f"with keys {sorted(map(str, keys))}" for keys in (expected, actual))
            return _Difference(place, ours, theirs)
        pairs = [(actual[key], expected[key], f"{place}[{key!r}]") for key in expected]
    elif isinstance(actual, list | tuple) and isinstance(expected, list | tuple):
        if len(actual) != len(expected):
            return _Difference(place, f"of length {len(actual)}", f"of length {len(expected)}")
        pairs = [(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(actual, expected, strict=True))]
    elif isinstance(actual, int | float) and isinstance(expected, int | float):
        if actual == expected or (math.isnan(actual) and math.isnan(expected)):
            return None
        return _Difference(place, repr(actual), repr(expected), _distance(actual, expected))
    else:
        same = actual is expected or (type(actual) is type(expected) and actual == expected)
        return None if same else _Difference(place, repr(actual), repr(expected))
    return next(filter(None, (difference(*pair) for pair in pairs)), None)


def _tensor_difference(actual: Tensor, expected: Tensor, place: str) -> _Difference | None:
    if actual.dtype != expected.dtype:
        return _Difference(place, f"of {actual.dtype}", f"of {expected.dtype}")
    if actual.shape != expected.shape:
        return _Difference(place, f"of shape {tuple(actual.shape)}", f"of shape {tuple(expected.shape)}")
    a, b = actual.detach().cpu(), expected.detach().cpu()
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    wrong = ~((a == b) | (a.isnan() & b.isnan())) if a.is_floating_point() else a != b
    if not bool(wrong.any()):
        return None
    where = tuple(int(i) for i in wrong.nonzero()[0])
    mine, theirs = a[where].item(), b[where].item()
    return _Difference(_coordinate(place, where), repr(mine), repr(theirs), _distance(mine, theirs), where)


def _distance(actual: float, expected: float) -> float | None:
    """How far two numbers are apart; None for what is no measure: truth values, infinities, NaN."""
    distance = abs(actual - expected)
    return None if isinstance(actual, bool) or not math.isfinite(distance) else float(distance)
