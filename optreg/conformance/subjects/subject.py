"""Subjects: what is judged, in one form for all checks, whether a registered plugin or a class that knows no plugin."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, get_args, get_type_hints

import numpy as np

from optreg.conformance.results.activity import Activity
from optreg.conformance.results.assertions import Assertions
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.naming import Names, Signature, takes_an_optimizer
from optreg.conformance.subjects.schedule_settings import span, typical
from optreg.conformance.subjects.settings import hostile_settings, perturbed
from optreg.conformance.subjects.target import Target
from optreg.entries import Kind
from optreg.hyperparameters import defaults, names
from optreg.records import NoOptions, Registration
from optreg.traits import OptimizerTraits, ScheduleTraits

PATHS = ("foreach", "fused", "compiled", "capturable")
"""Execution options that are another way to the same result, each asked for by itself; the option `execution`, where
there is one, asks for them by name."""


@dataclass
class Subject(Assertions):
    """What checks know of what they judge. One subject serves one check, whose activity it counts."""

    target: Target
    kind: Kind
    implementation: Any
    reference: type
    naming: Names = field(default_factory=Names)
    fixed: dict[str, Any] = field(default_factory=dict)
    """Hyperparameters of the reference that the class does not have, with the value they are taken to have."""
    registration: Registration[Any] | None = None
    activity: Activity = field(default_factory=Activity)

    @property
    def registered(self) -> bool:
        """Whether a plugin declares it, so that its claims can be held against it."""
        return self.registration is not None and not self.target.like

    @property
    def device(self) -> str:
        """Where parameters are: `"cpu"`, `"cuda"`."""
        return self.target.device

    def tensor(self, values: Any, dtype: Any = None) -> Any:
        """A tensor on the device, of the values' own dtype unless one is given."""
        import torch

        return torch.tensor(np.array(values), dtype=dtype, device=self.device)

    @property
    def name(self) -> str:
        """How the subject was asked for."""
        return self.target.name

    def apart(self, **changes: Any) -> Self:
        """The same subject, or one with some fields changed, for what is no part of the check."""
        return replace(self, activity=Activity(), **changes)

    @property
    def code_name(self) -> str:
        """The name of the class in code."""
        return str(getattr(self.implementation, "__name__", type(self.implementation).__name__))

    def own_arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings under the class's own names; those that it does not have are left out."""
        return self.naming.as_arguments({name: value for name, value in settings.items() if name not in self.fixed})


@dataclass
class OptimizerSubject(Subject):
    """An optimizer class with its reference."""

    options: type = NoOptions
    traits: OptimizerTraits = field(default_factory=OptimizerTraits)
    execution: dict[str, Any] = field(default_factory=dict)
    """Execution options that every instance is made with, unless it is given others."""

    def make(self, params: Any, **settings: Any) -> Any:
        """The optimizer on `params`, which are parameters or groups, with hyperparameters and execution options."""
        if isinstance(params, list) and params and isinstance(params[0], dict):
            params = [self.group_arguments(group) for group in params]
        return self.implementation(params, **self.own_arguments({**self.execution, **settings}))

    def edit(self, group: dict[str, Any], **settings: Any) -> None:
        """Set hyperparameters of a live group, as a schedule would."""
        group.update(self.group_arguments(settings))

    def group_arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as the class's groups keep them; those that it does not have are left out."""
        had = {name: value for name, value in settings.items() if name not in self.fixed}
        return self._placed.in_groups(had)

    @functools.cached_property
    def _placed(self) -> Names:
        """The names with their places in the groups, from an instance that is made for it."""
        import torch

        settings = {name: value for name, value in self.hostile.items() if name not in self.fixed}
        param = torch.nn.Parameter(torch.ones((2,) * self.ndim, device=self.device))
        try:
            group = self.implementation([param], **self.own_arguments(self.hostile)).param_groups[0]
        except Exception:  # what is wrong with it is found by those who ask for more
            return self.naming
        return self.naming.placed(group, settings)

    @functools.cached_property
    def hostile(self) -> dict[str, Any]:
        """Values of all hyperparameters at which faults show."""
        return {**hostile_settings(self.reference), **self.fixed}

    @functools.cached_property
    def default(self) -> dict[str, Any]:
        """The reference's defaults; hostile values where it has none."""
        return {**hostile_settings(self.reference), **defaults(self.reference), **self.fixed}

    @property
    def perturbed(self) -> list[tuple[str, Any]]:
        """Each hyperparameter that the class has, but `lr`, with another value; every element of a tuple by itself."""
        return [(name, value) for name, value in perturbed(self.reference, self.hostile) if name not in self.fixed]

    @property
    def editable(self) -> list[str]:
        """The hyperparameters that the class has."""
        return [name for name in names(self.reference) if name not in self.fixed]

    @functools.cached_property
    def paths(self) -> dict[str, dict[str, Any]]:
        """The execution paths that can be asked for, each with the options that ask for it."""
        hints = get_type_hints(self.options)
        if "execution" in hints:
            named = [name for name in get_args(hints["execution"]) if name != "auto"]
            return {name: {"execution": name} for name in named}
        known = [option.name for option in fields(self.options) if option.name in PATHS]
        off = dict.fromkeys(known, False)
        return {"loop": off, **{name: {**off, name: True} for name in known}} if known else {"default": {}}

    @property
    def ndim(self) -> int:
        """A number of dimensions that parameters may have."""
        return self.traits.ndim[0] if self.traits.ndim else 1

    @property
    def required(self) -> list[str]:
        """The arguments that the constructor has no default of."""
        return Signature(self.implementation, 1).required

    @functools.cached_property
    def can_maximize(self) -> bool:
        """Whether it understands `maximize=True`: as declared, or else as its options and its signature say."""
        if self.traits.maximize is not None:
            return self.traits.maximize
        named = {option.name for option in fields(self.options)}
        return "maximize" in named or "maximize" in Signature(self.implementation, 1).names


@dataclass
class ScheduleSubject(Subject):
    """A schedule, pure or a ready LRScheduler, with its formula."""

    traits: ScheduleTraits = field(default_factory=ScheduleTraits)

    @property
    def pure(self) -> bool:
        """Whether it makes a function of the step; else it is called with an optimizer first."""
        return not takes_an_optimizer(self.implementation, names(self.reference), self.naming.arguments)

    def make(self, optimizer: Any, last_epoch: int = -1, **settings: Any) -> Any:
        """The scheduler on an optimizer."""
        from optreg.schedule import ScheduleLR

        arguments = self.own_arguments(settings)
        if self.pure:
            return ScheduleLR(optimizer, self.implementation(**arguments), last_epoch)
        if last_epoch != -1:
            arguments["last_epoch"] = last_epoch
        return self.implementation(optimizer, **arguments)

    def ordinary(self, **steps: int) -> dict[str, Any]:
        """One ordinary setting of its hyperparameters; numbers of steps may be given others than 5 of 20."""
        return {**typical(self.reference, **steps), **self.fixed}

    def last_step(self, settings: Mapping[str, Any]) -> int | None:
        """The step at which it ends, where it declares one."""
        return settings.get(self.traits.end) if self.traits.end else None

    def reach(self, settings: Mapping[str, Any], beyond: int = 5) -> int:
        """How far it can be stepped and goes by the formula: so many steps beyond its end, or to it."""
        end = self.last_step(settings)
        return end if end is not None and self.traits.after in {"raise", "cycle"} else span(settings) + beyond

    def rate(self, settings: Mapping[str, Any], base_lr: float, t: int) -> float:
        """The reference's learning rate at step t, computed at 50 digits and rounded once.

        A reference tells the multiplier of the base learning rate, or, where the rate is no multiple of it, the rate.
        """
        reference, digits = self.reference(**settings), fifty_digits()
        if hasattr(reference, "rate"):
            return float(reference.rate(base_lr, t, digits))
        return float(digits.mpf(base_lr) * reference.multiplier(t, digits))

    def formula(self, settings: Mapping[str, Any], t: int) -> float:
        """The rate at step t under a base learning rate of one."""
        return self.rate(settings, 1.0, t)
