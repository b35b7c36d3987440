"""polynomial: a power of the remaining time, down to a floor."""

from optreg import SchedulePlugin, hookimpl
from optreg_plugins.polynomial import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `polynomial`."""
    return [
        SchedulePlugin(
            name="polynomial",
            implementation="optreg_plugins.polynomial.schedule:Polynomial",
            reference=reference.Polynomial,
        )
    ]
