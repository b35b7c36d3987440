"""cosine: half a cosine down to a floor."""

from optreg import SchedulePlugin, hookimpl
from optreg_plugins.cosine import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `cosine`."""
    return [
        SchedulePlugin(
            name="cosine",
            implementation="optreg_plugins.cosine.schedule:Cosine",
            reference=reference.Cosine,
        )
    ]
