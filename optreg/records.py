"""Records: what a plugin states about each optimizer and schedule that it offers, and where the record comes from."""

import functools
import importlib
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

from optreg.entries import Entry
from optreg.errors import plugin_code
from optreg.protocols import MetricReference, OptimizerReference, RateReference, ScheduleReference
from optreg.traits import OptimizerTraits, ScheduleTraits


def names(part: Any) -> list[str]:
    """The names of a dataclass's fields, as declared."""
    return [field.name for field in fields(part)]


@dataclass(frozen=True)
class NoOptions:
    """The options class of a plugin without execution options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerPlugin:
    """An optimizer: its name, its torch class, and the mathematics that the class must follow.

    Args:
        name: the component's name in a spec; equal to the name of the entry point that leads here.
        implementation: `"package.module:Class"` of a `torch.optim.Optimizer`, called as
            `Class(params, **hyperparameters, **options)`. Imported when first built, so that reading specs never
            imports torch.
        reference: a dataclass. Its typed, bounded fields are the hyperparameters with their defaults; its
            docstring is the sentence, the paper and the equations that `optreg show` prints; its method
            `trajectory(theta)` is the paper's algorithm in float64 (`optreg.OptimizerReference`).
        options: a dataclass whose fields are execution options (`execution`, `state_dtype`, ...). They never change
            the mathematics. (`maximize`, which only negates the gradient, is one of them.)
        traits: what the optimizer declares where algorithms may differ; conformance checks verify it.
    """

    name: str
    implementation: str
    reference: type[OptimizerReference]
    options: type = NoOptions
    traits: OptimizerTraits = field(default_factory=OptimizerTraits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlugin:
    """A learning-rate schedule: its name, its function of the step, and the formula that it must follow.

    Args:
        name: the component's name in a spec; equal to the name of the entry point that leads here.
        implementation: `"package.module:Class"`, called with the hyperparameters. Either a pure function of the step
            (`optreg.Schedule`: a frozen dataclass with `__call__(step) -> multiplier of the base learning rate`,
            without torch, clock or memory) or a `torch.optim.lr_scheduler.LRScheduler`, called with the optimizer as
            its first argument.
        reference: a dataclass. Its typed, bounded fields are the hyperparameters; its docstring is what `optreg show`
            prints; its method `multiplier(t, mp)` is the formula, written with the functions of the mpmath context
            `mp` (`optreg.ScheduleReference`). If the rate is not a multiple of the base learning rate, it has
            `rate(base_lr, t, mp)` instead (`optreg.RateReference`); if it is driven by a metric, `rates(base_lr, mp)`
            (`optreg.MetricReference`).
        traits: what the schedule declares where schedules may differ; conformance checks verify it.
    """

    name: str
    implementation: str
    reference: type[ScheduleReference] | type[RateReference] | type[MetricReference]
    traits: ScheduleTraits = field(default_factory=ScheduleTraits)

    @property
    def horizon(self) -> str | None:
        """The hyperparameter that names the schedule's last step; None if there is none."""
        return self.traits.end if self.traits.end in self._names else None

    @property
    def takes_warmup(self) -> bool:
        """Whether a warm-up may be put before the schedule: it is a function of the step, and has none of its own."""
        return self.traits.pure is not False and "warmup_steps" not in self._names

    @property
    def _names(self) -> list[str]:
        return names(self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlugin:
    """A chapter of conformance checks, for all optimizers or for all schedules.

    Args:
        module: `"package.module"` whose functions marked by `optreg.conformance.check` are the checks; the part of its
            docstring before the first colon is the chapter's title. Only the suite imports it.
        kind: what the checks judge, `"optimizer"` or `"scheduler"`.
    """

    module: str
    kind: Literal["optimizer", "scheduler"]


Plugin = TypeVar("Plugin", OptimizerPlugin, SchedulePlugin)


@dataclass(frozen=True)
class Registration(Generic[Plugin]):
    """A component's record, and the entry that it comes from."""

    entry: Entry
    plugin: Plugin

    def implementation(self) -> Any:
        """Import the class that the record names.

        Raises:
            PluginError: the import fails, or the class does not exist.
        """
        failure = (
            f"{self.entry.kind} '{self.entry.name}' of {self.entry.origin} names its implementation "
            f"'{self.plugin.implementation}', which cannot be imported"
        )
        with plugin_code(failure, origin=self.entry.origin):
            module, _, attribute = self.plugin.implementation.partition(":")
            return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
