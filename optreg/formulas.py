"""Formulas: what a schedule's reference says, in floats, without importing an implementation."""

import math
from collections.abc import Mapping
from typing import Any

from optreg.errors import PluginError, plugin_code
from optreg.records import SchedulePlugin


class _Floats:
    """The arithmetic that a reference is handed, in floats: `mpf`, `pi`, `cos`, ... as in an mpmath context."""

    mpf = float

    def __getattr__(self, name: str) -> Any:
        return getattr(math, name)


FLOATS = _Floats()


def factor(plugin: SchedulePlugin, settings: Mapping[str, Any], t: int) -> float | None:
    """The multiplier at step t; None if the reference has none, or cannot be evaluated in floats."""
    reference: Any = plugin.reference
    if not hasattr(reference, "multiplier"):
        return None
    try:
        with plugin_code(f"the formula of {plugin.name} fails"):
            return float(reference(**settings).multiplier(t, FLOATS))
    except PluginError:
        return None
