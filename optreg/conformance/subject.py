"""Subjects: what is judged, in one form for all checks, be it a registered plugin or a class that knows of none."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from optreg.conformance.judge import Judge
from optreg.conformance.naming import Names, Signature, takes_an_optimizer
from optreg.conformance.problems import hostile_settings
from optreg.conformance.target import Target
from optreg.entries import Kind
from optreg.hyperparameters import defaults, names
from optreg.records import NoOptions, Registration
from optreg.traits import OptimizerTraits, ScheduleTraits

PATHS = ("foreach", "fused", "compiled", "capturable")
"""Execution options that are another way to the same result, each asked for by itself; the option `execution`, where
there is one, asks for them by name."""


@dataclass
class Subject:
    """What checks know of what they judge. One subject serves one check, and carries its judge."""

    target: Target
    kind: Kind
    implementation: Any
    reference: type
    naming: Names = field(default_factory=Names)
    fixed: dict[str, Any] = field(default_factory=dict)
    """Hyperparameters of the reference that the class does not have, with the value they are taken to have."""
    registration: Registration[Any] | None = None
    judge: Judge = field(default_factory=Judge)

    @property
    def name(self) -> str:
        """How the subject was asked for."""
        return self.target.name

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
        param = torch.nn.Parameter(torch.ones((2,) * self.ndim))
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

    @property
    def registered(self) -> bool:
        """Whether a plugin declares it, so that its claims can be held against it."""
        return self.registration is not None and not self.target.like


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


@functools.cache
def fifty_digits() -> Any:
    """An mpmath context of 50 digits, apart from the global one."""
    import mpmath

    context = mpmath.mp.clone()
    context.dps = 50
    return context
