"""constant: the same rate at every step."""

from optreg import SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.constant import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `constant`."""
    return [
        SchedulePlugin(
            name="constant",
            implementation="optreg_plugins.constant.schedule:Constant",
            reference=reference.Constant,
            traits=ScheduleTraits(end=None),
        )
    ]
