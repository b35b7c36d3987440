"""exponential: the same factor at every update."""

from optreg import SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.exponential import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `exponential`."""
    return [
        SchedulePlugin(
            name="exponential",
            implementation="optreg_plugins.exponential.schedule:Exponential",
            reference=reference.Exponential,
            traits=ScheduleTraits(end=None),
        )
    ]
