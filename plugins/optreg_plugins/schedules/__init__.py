"""schedules: the first-party schedules, each with its formula (`constant`, `cosine`, ...)."""

from typing import Any

from optreg import SchedulePlugin, ScheduleReference, ScheduleTraits, hookimpl
from optreg_plugins.schedules import reference
from optreg_plugins.schedules.plateau.reference import ReduceOnPlateau
from optreg_plugins.schedules.powers import reference as powers
from optreg_plugins.schedules.stages import reference as stages


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer the schedules."""
    return [
        _schedule("constant", reference.Constant, end=None, levels=("factor",)),
        _schedule("cosine", reference.Cosine, levels=("min_lr_ratio",)),
        _schedule("cosine_restarts", reference.CosineRestarts, end=None),
        _schedule("exponential", reference.Exponential, end=None),
        _schedule("inverse_sqrt", powers.InverseSqrt, peak="warmup_steps", tail=("cooldown_steps",)),
        _schedule("linear", reference.Linear, levels=("start_factor", "end_factor")),
        _schedule("linear_warmup", reference.LinearWarmup, end=None, peak="warmup_steps"),
        _schedule("multistep", reference.MultiStep, end=None),
        _schedule("one_cycle", stages.OneCycle, peak="warmup_steps"),
        _schedule("one_minus_sqrt", reference.OneMinusSqrt, levels=("min_lr_ratio",)),
        _schedule("polynomial", reference.Polynomial, levels=("min_lr_ratio",)),
        _schedule("power", powers.Power, tail=("decay_steps",)),
        SchedulePlugin(
            name="reduce_on_plateau",
            implementation="optreg_plugins.schedules.plateau.scheduler:ReduceOnPlateau",
            reference=ReduceOnPlateau,
            traits=ScheduleTraits(end=None, pure=False, driven_by="metric"),
        ),
        _schedule("step", reference.Step, end=None),
        _schedule("tri_stage", stages.TriStage, peak="warmup_steps", tail=("decay_steps",)),
        _schedule("warmup_cosine", reference.WarmupCosine, peak="warmup_steps"),
        _schedule("wsd", stages.WSD, peak="warmup_steps", tail=("decay_steps",)),
        _schedule("wsd_s", stages.WSDS, peak="warmup_steps", tail=("decay_steps",)),
    ]


def _schedule(name: str, paper: type[ScheduleReference], **traits: Any) -> SchedulePlugin:
    """The record of a schedule, whose implementation has the name of its reference and stands beside it."""
    return SchedulePlugin(
        name=name,
        implementation=f"{paper.__module__.removesuffix('.reference')}.schedule:{paper.__name__}",
        reference=paper,
        traits=ScheduleTraits(**traits),
    )
