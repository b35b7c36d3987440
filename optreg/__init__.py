"""optreg: optimizers and learning-rate schedules for PyTorch, installed as plugins, built from YAML.

    optimizer, scheduler = optreg.build("configs/run.yaml", model)

Every public name is here, or in `optreg.conformance` for judging plugins. All other modules are private and may change
without notice. Each name is imported on first use, so `import optreg` is cheap and imports neither torch nor a plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optreg.clock import Clock, Point, Stage
    from optreg.entries import Entry, Kind
    from optreg.errors import (
        OptregError,
        PluginError,
        PluginWarning,
        Position,
        Problem,
        ResumeError,
        ResumeWarning,
        SpecError,
        StepWarning,
        UnknownPluginError,
    )
    from optreg.execution import FusedPointwiseOptions, PointwiseOptions
    from optreg.hookspecs import hookimpl
    from optreg.hyperparameters import check_hyperparameters
    from optreg.loading import load_spec
    from optreg.on_resume import OnResume
    from optreg.pointwise import Pointwise
    from optreg.protocols import (
        ConstantGradientReference,
        MetricReference,
        OptimizerReference,
        RateReference,
        Schedule,
        ScheduleReference,
    )
    from optreg.pure_schedule import PureSchedule
    from optreg.quantities import Quantity, Size, Unit
    from optreg.ranges import Decay, Fraction, NonNegative, Positive, PositiveSteps, Steps
    from optreg.recipe import Recipe, Run, build, optimizer, scheduler
    from optreg.records import CheckPlugin, NoOptions, OptimizerPlugin, Registration, SchedulePlugin
    from optreg.registry import Registry, default_registry
    from optreg.schedule import ScheduleLR
    from optreg.spec import Component, Level, Phase, Rule, Spec, Timeline
    from optreg.traits import OptimizerTraits, ScheduleTraits

    __version__: str

_HOMES = {
    "optreg.clock": ("Clock", "Point", "Stage"),
    "optreg.entries": ("Entry", "Kind"),
    "optreg.errors": (
        "OptregError", "PluginError", "PluginWarning", "Position", "Problem", "ResumeError", "ResumeWarning",
        "SpecError", "StepWarning", "UnknownPluginError",
    ),
    "optreg.execution": ("FusedPointwiseOptions", "PointwiseOptions"),
    "optreg.hookspecs": ("hookimpl",),
    "optreg.hyperparameters": ("check_hyperparameters",),
    "optreg.loading": ("load_spec",),
    "optreg.on_resume": ("OnResume",),
    "optreg.pointwise": ("Pointwise",),
    "optreg.protocols": (
        "ConstantGradientReference", "MetricReference", "OptimizerReference", "RateReference", "Schedule",
        "ScheduleReference",
    ),
    "optreg.pure_schedule": ("PureSchedule",),
    "optreg.quantities": ("Quantity", "Size", "Unit"),
    "optreg.ranges": ("Decay", "Fraction", "NonNegative", "Positive", "PositiveSteps", "Steps"),
    "optreg.recipe": ("Recipe", "Run", "build", "optimizer", "scheduler"),
    "optreg.records": ("CheckPlugin", "NoOptions", "OptimizerPlugin", "Registration", "SchedulePlugin"),
    "optreg.registry": ("Registry", "default_registry"),
    "optreg.schedule": ("ScheduleLR",),
    "optreg.spec": ("Component", "Level", "Phase", "Rule", "Spec", "Timeline"),
    "optreg.traits": ("OptimizerTraits", "ScheduleTraits"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CheckPlugin", "Clock", "Component", "ConstantGradientReference", "Decay", "Entry", "Fraction",
    "FusedPointwiseOptions", "Kind", "Level", "MetricReference", "NoOptions", "NonNegative", "OnResume",
    "OptimizerPlugin", "OptimizerReference", "OptimizerTraits", "OptregError", "Phase", "PluginError",
    "PluginWarning", "Point", "Pointwise", "PointwiseOptions", "Position", "Positive", "PositiveSteps", "Problem",
    "PureSchedule", "Quantity", "RateReference", "Recipe", "Registration", "Registry", "ResumeError",
    "ResumeWarning", "Rule", "Run", "Schedule", "ScheduleLR", "SchedulePlugin", "ScheduleReference",
    "ScheduleTraits", "Size", "Spec", "SpecError", "Stage", "StepWarning", "Steps", "Timeline", "Unit",
    "UnknownPluginError", "__version__", "build", "check_hyperparameters", "default_registry", "hookimpl",
    "load_spec", "optimizer", "scheduler",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        value = import_module("importlib.metadata").version("optreg")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'optreg' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
