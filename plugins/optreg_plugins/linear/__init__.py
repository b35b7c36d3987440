"""linear: a straight line from one factor to another, then level."""

from optreg import SchedulePlugin, hookimpl
from optreg_plugins.linear import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `linear`."""
    return [
        SchedulePlugin(
            name="linear",
            implementation="optreg_plugins.linear.schedule:Linear",
            reference=reference.Linear,
        )
    ]
