"""Records: what a plugin says of each optimizer and schedule that it offers, and where the record came from."""

import functools
import importlib
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from optreg.entries import Entry
from optreg.errors import PluginError
from optreg.protocols import OptimizerReference, RateReference, ScheduleReference
from optreg.traits import OptimizerTraits, ScheduleTraits


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
            `trajectory(theta)` is the paper's algorithm in float64 (`optreg.OptimizerReference`).
        options: a dataclass whose fields are execution options (`execution`, `state_dtype`, ...): how, not what.
            They never change the mathematics. (`maximize`, which only turns the gradient round, is one.)
        traits: what the optimizer says of itself where algorithms rightly differ; conformance checks verify it.
    """

    name: str
    implementation: str
    reference: type[OptimizerReference]
    options: type = NoOptions
    traits: OptimizerTraits = field(default_factory=OptimizerTraits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlugin:
    """A learning-rate schedule: its name, its function of the step, and the formula it is judged by.

    Args:
        name: the component's name in a spec; equal to the name of the entry point that leads here.
        implementation: `"package.module:Class"`, called with the hyperparameters. Either a pure function
            of the step (`optreg.Schedule`: a frozen dataclass with `__call__(step) -> multiplier of the base learning
            rate`, no torch, no clock, no memory) or a ready `torch.optim.lr_scheduler.LRScheduler`, which is
            called with the optimizer first.
        reference: a dataclass. Its typed, bounded fields are the hyperparameters; its docstring is what
            `optreg show` prints; its method `multiplier(t, mp)` is the formula, written with the functions
            of the arbitrary-precision context `mp` (mpmath's) that it is handed (`optreg.ScheduleReference`).
            Where the rate is not a multiple of the base learning rate, `rate(base_lr, t, mp)` stands in its
            place (`optreg.RateReference`).
        traits: what the schedule says of itself where schedules rightly differ; conformance checks verify it.
    """

    name: str
    implementation: str
    reference: type[ScheduleReference] | type[RateReference]
    traits: ScheduleTraits = field(default_factory=ScheduleTraits)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlugin:
    """A chapter of conformance checks, for all optimizers or for all schedules.

    Args:
        module: `"package.module"` whose functions marked by `optreg.conformance.check` are the checks; the part of its
            docstring before the first colon is the chapter's title. Imported by the suite alone.
        kind: what is judged, an `"optimizer"` or a `"scheduler"`.
    """

    module: str
    kind: Literal["optimizer", "scheduler"]


Plugin = TypeVar("Plugin", OptimizerPlugin, SchedulePlugin)


@dataclass(frozen=True)
class Registration(Generic[Plugin]):
    """A component's record, together with where it came from."""

    entry: Entry
    plugin: Plugin

    def implementation(self) -> Any:
        """Import the class behind the record.

        Raises:
            PluginError: the import fails, or finds no such class.
        """
        try:
            module, _, attribute = self.plugin.implementation.partition(":")
            return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.entry.kind} '{self.entry.name}' of {self.entry.origin} names its implementation "
                f"'{self.plugin.implementation}', which cannot be imported: {type(error).__name__}: {error}"
            ) from error
