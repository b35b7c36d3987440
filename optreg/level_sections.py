"""Level sections: where a curve begins or what it goes to, as a document states it, becomes a Level."""

import math
from typing import Any

from optreg.errors import Path, Problem, shown
from optreg.hyperparameters import is_number
from optreg.quantities import share
from optreg.spec import Level
from optreg.yaml_reader import Document

FAR = 5
"""A plain number in a phase is a value. One that is so many times the optimizer's `lr` was meant as a share of it."""


def level(document: Document, place: Path, value: Any, base: float | None) -> tuple[Level | None, list[Problem]]:
    """A value or a share: `2.2e-5`, `10%`.

    Args:
        document: for positions.
        place: its place, whose last part is its key.
        value: what is written there.
        base: the rate of which it becomes a share, 0 if there is none; None to leave values as they are.
    """
    key = place[-1]
    if isinstance(value, int | float) and not isinstance(value, bool):
        fault = _misplaced(float(value), base)
        if fault:
            return None, [document.problem(place, f"'{key}' {fault}")]
        read = Level(float(value), value == 0 and base is not None, value, document.where(place))
        return (read.shared(base) if base else read), []
    percent = share(value) if isinstance(value, str) else None
    if percent is None:
        hint = "; remove the quotes" if isinstance(value, str) and is_number(value) else ""
        message = f"'{key}' must be a value or a share, such as 2.2e-5 or 10%, not {shown(value)}{hint}"
        return None, [document.problem(place, message)]
    text = value.strip()
    if percent < 0 or percent > 10**9:
        fault = "must not be negative" if percent < 0 else "must not be that large"
        return None, [document.problem(place, f"'{key}' {fault}, as {text} is")]
    return Level(float(percent / 100), True, text, document.where(place)), []


def _misplaced(number: float, base: float | None) -> str | None:
    """What is wrong with a number as a rate beside the optimizer's rate `base`."""
    if not math.isfinite(number):
        return f"must be finite, not {number}"
    if base is None or number == 0:
        return None
    if number < 0:
        return f"must not be negative, as {number:g} is"
    if not base:
        return "is a rate, but the optimizer states no lr above 0; write a share, such as 10%"
    if number > FAR * base:
        instead = f"{float(number * 100):g}%"
        times = f"{number / base:,.4g} times the optimizer's lr ({base:g})"
        return f"is a rate of {number:g}, {times}; write {instead} if it is a share of that"
    return None
