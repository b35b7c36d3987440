"""optreg: optimizers and learning-rate schedules for PyTorch, discovered by installation, built from YAML.

    optimizer, scheduler = optreg.build("configs/run.yaml", model)

Every public name stands here. Each is imported when first used, so that `import optreg` costs next to nothing and
imports neither torch nor any plugin.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optreg.errors import (
        OptregError,
        PluginError,
        PluginWarning,
        Position,
        Problem,
        SpecError,
        UnknownPluginError,
    )
    from optreg.execution import FusedPointwiseOptions, PointwiseOptions
    from optreg.hookspecs import NoOptions, OptimizerPlugin, SchedulePlugin, hookimpl
    from optreg.hyperparameters import check
    from optreg.pointwise import Pointwise
    from optreg.pure_schedule import PureSchedule
    from optreg.ranges import Decay, Fraction, NonNegative, Positive, PositiveSteps, Steps
    from optreg.recipe import Recipe, Run, build, optimizer, scheduler
    from optreg.registry import Registry, default_registry
    from optreg.schedule import ScheduleLR
    from optreg.spec import Spec, load_spec
    from optreg.traits import OptimizerTraits, ScheduleTraits

_HOMES = {
    "optreg.errors": (
        "OptregError", "PluginError", "PluginWarning", "Position", "Problem", "SpecError", "UnknownPluginError",
    ),
    "optreg.execution": ("FusedPointwiseOptions", "PointwiseOptions"),
    "optreg.hookspecs": ("NoOptions", "OptimizerPlugin", "SchedulePlugin", "hookimpl"),
    "optreg.hyperparameters": ("check",),
    "optreg.pointwise": ("Pointwise",),
    "optreg.pure_schedule": ("PureSchedule",),
    "optreg.ranges": ("Decay", "Fraction", "NonNegative", "Positive", "PositiveSteps", "Steps"),
    "optreg.recipe": ("Recipe", "Run", "build", "optimizer", "scheduler"),
    "optreg.registry": ("Registry", "default_registry"),
    "optreg.schedule": ("ScheduleLR",),
    "optreg.spec": ("Spec", "load_spec"),
    "optreg.traits": ("OptimizerTraits", "ScheduleTraits"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Decay",
    "Fraction",
    "FusedPointwiseOptions",
    "NoOptions",
    "NonNegative",
    "OptimizerPlugin",
    "OptimizerTraits",
    "OptregError",
    "PluginError",
    "PluginWarning",
    "Pointwise",
    "PointwiseOptions",
    "Position",
    "Positive",
    "PositiveSteps",
    "Problem",
    "PureSchedule",
    "Recipe",
    "Registry",
    "Run",
    "ScheduleLR",
    "SchedulePlugin",
    "ScheduleTraits",
    "Spec",
    "SpecError",
    "Steps",
    "UnknownPluginError",
    "build",
    "check",
    "default_registry",
    "hookimpl",
    "load_spec",
    "optimizer",
    "scheduler",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optreg' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
