"""linear_warmup: a straight line up from zero, then level."""

from optreg import SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.linear_warmup import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `linear_warmup`."""
    return [
        SchedulePlugin(
            name="linear_warmup",
            implementation="optreg_plugins.linear_warmup.schedule:LinearWarmup",
            reference=reference.LinearWarmup,
            traits=ScheduleTraits(end=None, peak="warmup_steps"),
        )
    ]
