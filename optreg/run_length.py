"""Run length: how long a run is, as its section `scheduler` states it."""

from dataclasses import replace
from fractions import Fraction

from optreg.clock import START, Clock, LackingError, OpenError
from optreg.entries import Kind
from optreg.phase_sections import LENGTHS
from optreg.quantities import Quantity, Unit, quantity
from optreg.records import SchedulePlugin
from optreg.registry import Registry
from optreg.settings_checks import found
from optreg.yaml_reader import Document


def with_whole(document: Document, registry: Registry, clock: Clock) -> Clock:
    """The clock with the length of the run as the section `scheduler` states it, if it does.

    If it does in a unit that nothing converts, that is told there, and the length is left open here.
    """
    clock = replace(clock, horizon=_whole_of(document, registry, clock))
    try:
        _ = clock.end
    except OpenError:
        return clock
    except LackingError:
        return replace(clock, open=clock.open | {"horizon"})
    return clock


def _whole_of(document: Document, registry: Registry, clock: Clock) -> Quantity | None:
    """The length of the run as the section `scheduler` states it; None if it does not, or states a share."""
    data = document.data.get("scheduler")
    items = data if isinstance(data, tuple) else (data,)
    point = START
    for item in items:
        if not isinstance(item, dict):
            return None
        registration, _ = found(document, (), Kind.SCHEDULER, registry, item)
        horizon = (
            registration.plugin.horizon if registration and isinstance(registration.plugin, SchedulePlugin) else None
        )
        key = next((key for key in (*LENGTHS, horizon) if key and item.get(key) is not None), None)
        if key is None:
            return None
        try:
            length = quantity(item[key])
            if length.unit is Unit.SHARE:
                return None
            if len(items) == 1:
                return length
            point = clock.at(length) if key == "until" else clock.after(point, length)
        except (OpenError, ValueError):
            return None
    if point.exact:
        return Quantity(*point.exact, str(point.exact[0]))
    return Quantity(Fraction(point.update), Unit.STEPS, point.update)
