"""The contract with plugins: the hooks a plugin module may implement, and the records they return.

    from optreg import OptimizerPlugin, hookimpl

    @hookimpl
    def optreg_optimizers():
        return [OptimizerPlugin(name="lion", implementation="my_package.optimizer:Lion", reference=reference.Lion)]

A module is found by the entry point that names it, and imported when somebody asks for that name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pluggy

from optreg.traits import OptimizerTraits, ScheduleTraits

if TYPE_CHECKING:
    from types import ModuleType

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from optreg.spec import Spec

hookspec = pluggy.HookspecMarker("optreg")
hookimpl = pluggy.HookimplMarker("optreg")


@dataclass(frozen=True)
class NoOptions:
    """The execution options of a plugin that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerPlugin:
    """An optimizer: its name, its torch class, and the mathematics that the class is judged by.

    Args:
        name: the component's name in a spec; equal to the name of the entry point that leads here.
        implementation: `"package.module:Class"` of a `torch.optim.Optimizer`, called as
            `Class(params, **hyperparameters, **options)`. Imported when first built, so that reading
            specs never imports torch.
        reference: a dataclass. Its typed, bounded fields are the hyperparameters with their defaults; its
            docstring is the sentence, the paper and the equations that `optreg show` prints; its method
            `trajectory(theta)` is the paper's algorithm in float64.
        options: a dataclass whose fields are execution options (`execution`, `state_dtype`, ...): how, not what.
            They never change the mathematics. (`maximize`, which only turns the gradient round, is one.)
        traits: what the optimizer says of itself where algorithms rightly differ; conformance checks verify it.
    """

    name: str
    implementation: str
    reference: type
    options: type = NoOptions
    traits: OptimizerTraits = field(default_factory=OptimizerTraits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlugin:
    """A learning-rate schedule: its name, its function of the step, and the formula it is judged by.

    Args:
        name: the component's name in a spec; equal to the name of the entry point that leads here.
        implementation: `"package.module:Class"`, called with the hyperparameters. Either a pure function
            of the step (a frozen dataclass with `__call__(step) -> multiplier of the base learning rate`,
            no torch, no clock, no memory) or a ready `torch.optim.lr_scheduler.LRScheduler`, which is
            called with the optimizer first.
        reference: a dataclass. Its typed, bounded fields are the hyperparameters; its docstring is what
            `optreg show` prints; its method `multiplier(t, mp)` is the formula, written with the functions
            of the arbitrary-precision context `mp` (mpmath's) that it is handed.
        traits: what the schedule says of itself where schedules rightly differ; conformance checks verify it.
    """

    name: str
    implementation: str
    reference: type
    traits: ScheduleTraits = field(default_factory=ScheduleTraits)


@hookspec
def optreg_optimizers() -> Iterable[OptimizerPlugin]:
    """Return the optimizers that this module offers."""
    raise NotImplementedError


@hookspec
def optreg_schedulers() -> Iterable[SchedulePlugin]:
    """Return the schedules that this module offers."""
    raise NotImplementedError


@hookspec
def optreg_checks() -> "Iterable[ModuleType]":
    """Return modules of more conformance checks, for families of plugins: functions marked by `conformance.check`.

    A module also says what it judges: `KIND = "optimizer"` or `KIND = "scheduler"`.
    """
    raise NotImplementedError


@hookspec
def optreg_built(spec: "Spec", optimizer: "Optimizer", scheduler: "LRScheduler") -> None:
    """Observe what `optreg.build` has just built: log it, count it. The result is ignored."""
