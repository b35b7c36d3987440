"""schedules: the first-party schedules, each with its formula (`constant`, `cosine`, ...)."""

from typing import Any

from optreg import SchedulePlugin, ScheduleReference, ScheduleTraits, hookimpl
from optreg_plugins.schedules import reference


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer the schedules."""
    return [
        _schedule("constant", reference.Constant, end=None, levels=("factor",)),
        _schedule("cosine", reference.Cosine, levels=("min_lr_ratio",)),
        _schedule("exponential", reference.Exponential, end=None),
        _schedule("linear", reference.Linear, levels=("start_factor", "end_factor")),
        _schedule("linear_warmup", reference.LinearWarmup, end=None, peak="warmup_steps"),
        _schedule("polynomial", reference.Polynomial, levels=("min_lr_ratio",)),
        _schedule("warmup_cosine", reference.WarmupCosine, peak="warmup_steps"),
    ]


def _schedule(name: str, paper: type[ScheduleReference], **traits: Any) -> SchedulePlugin:
    return SchedulePlugin(
        name=name,
        implementation=f"optreg_plugins.schedules.schedule:{paper.__name__}",
        reference=paper,
        traits=ScheduleTraits(**traits),
    )
