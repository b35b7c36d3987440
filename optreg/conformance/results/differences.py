"""Differences: where two values, tensors or containers of them differ first."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """Where two values differ first, such as `state[0]['step']`, and what is there and should be there.

    `measured` is the distance of two numbers, `where` the index of an element of a tensor.
    """

    place: str
    actual: str
    expected: str
    measured: float | None = None
    where: tuple[int, ...] | None = None


def first_difference(actual: Any, expected: Any, place: str) -> Difference | None:
    """Where two values differ first in any bit; None if they are equal. NaN equals NaN."""
    if isinstance(actual, np.ndarray) and isinstance(expected, np.ndarray):
        actual, expected = actual.tolist(), expected.tolist()
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        return _between_tensors(actual, expected, place)
    if isinstance(actual, dict) and isinstance(expected, dict):
        if actual.keys() != expected.keys():
            theirs, ours = (f"with keys {sorted(map(str, keys))}" for keys in (expected, actual))
            return Difference(place, ours, theirs)
        pairs = [(actual[key], expected[key], f"{place}[{key!r}]") for key in expected]
    elif isinstance(actual, list | tuple) and isinstance(expected, list | tuple):
        if len(actual) != len(expected):
            return Difference(place, f"of length {len(actual)}", f"of length {len(expected)}")
        pairs = [(a, b, f"{place}[{i}]") for i, (a, b) in enumerate(zip(actual, expected, strict=True))]
    elif isinstance(actual, int | float) and isinstance(expected, int | float):
        if actual == expected or (math.isnan(actual) and math.isnan(expected)):
            return None
        return Difference(place, repr(actual), repr(expected), _distance(actual, expected))
    else:
        same = actual is expected or (type(actual) is type(expected) and actual == expected)
        return None if same else Difference(place, repr(actual), repr(expected))
    return next(filter(None, (first_difference(*pair) for pair in pairs)), None)


def _between_tensors(actual: Tensor, expected: Tensor, place: str) -> Difference | None:
    if actual.dtype != expected.dtype:
        return Difference(place, f"of {actual.dtype}", f"of {expected.dtype}")
    if actual.shape != expected.shape:
        return Difference(place, f"of shape {tuple(actual.shape)}", f"of shape {tuple(expected.shape)}")
    a, b = actual.detach().cpu(), expected.detach().cpu()
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    wrong = ~((a == b) | (a.isnan() & b.isnan())) if a.is_floating_point() else a != b
    if not bool(wrong.any()):
        return None
    where = tuple(int(i) for i in wrong.nonzero()[0])
    mine, theirs = a[where].item(), b[where].item()
    return Difference(coordinate(place, where), repr(mine), repr(theirs), _distance(mine, theirs), where)


def errors(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The absolute error of each element; infinite if only one of the two is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        error = np.where(same, 0.0, np.abs(actual - expected))
    return np.where(np.isnan(error), np.inf, error)


def within(actual: np.ndarray, expected: np.ndarray, bound: np.ndarray | float) -> bool:
    """Whether two arrays have one shape, and each element is within its bound."""
    return actual.shape == expected.shape and not np.any(errors(actual, expected) > bound)


def coordinate(what: str, where: tuple[int, ...]) -> str:
    """The name of an element: `parameter 0[2, 1]`."""
    return f"{what}[{', '.join(map(str, where))}]" if where else what


def _distance(actual: float, expected: float) -> float | None:
    """The distance of two numbers; None for bools, infinities and NaN."""
    distance = abs(actual - expected)
    return None if isinstance(actual, bool) or not math.isfinite(distance) else float(distance)
