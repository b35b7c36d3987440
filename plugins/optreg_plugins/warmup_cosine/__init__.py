"""warmup_cosine: a linear warm-up, then half a cosine down to a floor."""

from optreg import SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.warmup_cosine import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer `warmup_cosine`."""
    return [
        SchedulePlugin(
            name="warmup_cosine",
            implementation="optreg_plugins.warmup_cosine.schedule:WarmupCosine",
            reference=reference.WarmupCosine,
            traits=ScheduleTraits(peak="warmup_steps"),
        )
    ]
