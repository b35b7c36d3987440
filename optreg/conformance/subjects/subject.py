"""Subjects: registered plugins and plain classes, in the same form for all checks."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, get_args, get_type_hints

import numpy as np

from optreg.conformance.results.activity import Activity
from optreg.conformance.results.assertions import Assertions
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.forms import Form
from optreg.conformance.subjects.metrics import metric
from optreg.conformance.subjects.naming import Names, Signature, takes_an_optimizer
from optreg.conformance.subjects.schedule_settings import span, typical
from optreg.conformance.subjects.settings import hostile_settings, perturbed, reachable, switches
from optreg.conformance.subjects.target import Target
from optreg.entries import Kind
from optreg.hyperparameters import defaults, names
from optreg.records import NoOptions, Registration
from optreg.traits import OptimizerTraits, ScheduleTraits

PATHS = ("foreach", "fused", "compiled", "capturable")
"""Execution options that select another path to the same result; the option `execution` selects them by name."""


@dataclass
class Subject(Assertions):
    """What checks know about what they judge. Each check has a subject of its own, which counts its activity."""

    target: Target
    kind: Kind
    implementation: Any
    reference: type
    naming: Names = field(default_factory=Names)
    fixed: dict[str, Any] = field(default_factory=dict)
    """Hyperparameters of the reference that the class does not have, with their assumed values."""
    held: frozenset[str] = frozenset()
    """Hyperparameters that keep one value, since no group of the class has them, or it takes no other value."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class that the reference does not have, with their values."""
    form: Form = field(default_factory=Form)
    """How it takes what it is made for."""
    registration: Registration[Any] | None = None
    activity: Activity = field(default_factory=Activity)

    @property
    def registered(self) -> bool:
        """Whether it is a registered plugin, whose declarations can be checked."""
        return self.registration is not None and not self.target.like

    @property
    def alone(self) -> bool:
        """Whether it is judged without a formula, by plain runs of itself."""
        return self.target.alone

    @property
    def right(self) -> str:
        """The source of right values, in words, where a comparison names no other."""
        return "a plain run" if self.alone else super().right

    @property
    def device(self) -> str:
        """The device of its parameters: `"cpu"`, `"cuda"`."""
        return self.target.device

    def tensor(self, values: Any, dtype: Any = None) -> Any:
        """A tensor on the device, in the values' own dtype if none is given."""
        import torch

        return torch.tensor(np.array(values), dtype=dtype, device=self.device)

    @property
    def name(self) -> str:
        """The name under which it was requested."""
        return self.target.name

    def apart(self, **changes: Any) -> Self:
        """A copy, with some fields changed, whose activity does not count for the check."""
        return replace(self, activity=Activity(), **changes)

    @property
    def code_name(self) -> str:
        """The name of the class in code."""
        return str(getattr(self.implementation, "__name__", type(self.implementation).__name__))

    def own_arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings under the class's own names, without those that it does not have."""
        own = {name: value for name, value in settings.items() if name not in self.fixed}
        return {**self.naming.as_arguments(own), **self.extra}


@dataclass
class OptimizerSubject(Subject):
    """An optimizer class with its reference."""

    options: type = NoOptions
    traits: OptimizerTraits = field(default_factory=OptimizerTraits)
    execution: dict[str, Any] = field(default_factory=dict)
    """Execution options of every instance that is not given others."""
    trains: bool = False
    """It makes updates only after a call of `train()`."""
    needs_closure: bool = False
    """It makes updates only with a closure."""
    graph: bool = False
    """It makes updates only with gradients that carry a graph."""
    distributed: bool = False
    """It makes updates only in a process group."""
    dtypes: frozenset[str] = frozenset()
    """Hyperparameters that name the parameters' dtype."""

    def make(self, params: Any, **settings: Any) -> Any:
        """Construct the optimizer from parameters or groups, hyperparameters, and execution options."""
        if isinstance(params, list) and params and isinstance(params[0], dict):
            params = [self.group_arguments(group) for group in params]
        if self.distributed:
            _join_a_group_of_one()
        optimizer = self.form.make(self.implementation, params, self.own_arguments({**self.execution, **settings}))
        if self.trains:
            optimizer.train()
        return optimizer

    def update(self, optimizer: Any, *closure: Any) -> Any:
        """Make an update with the gradients that are set, through a closure if it is given or needed."""
        params = [param for group in optimizer.param_groups for param in group["params"]]
        if self.graph:
            return self._update_with_graphs(optimizer, params, *closure)
        if closure or not self.needs_closure:
            return optimizer.step(*closure)
        kept = [(param, param.grad) for param in params]

        def evaluated() -> Any:
            import torch

            for param, grad in kept:
                param.grad = None if grad is None else grad.clone()
            return torch.ones(())

        return optimizer.step(evaluated)

    @staticmethod
    def _update_with_graphs(optimizer: Any, params: list[Any], *closure: Any) -> Any:
        """Make an update with gradients as `backward(create_graph=True)` leaves them: the Hessian is the identity."""
        import torch

        def attach() -> None:
            with torch.enable_grad():
                for param in params:
                    if param.grad is not None:
                        param.grad = param.grad.detach() + (param - param.detach())

        def evaluated() -> Any:
            loss = closure[0]()
            attach()
            return loss

        attach()
        returned = optimizer.step(*([evaluated] if closure else []))
        for param in params:
            param.grad = None if param.grad is None else param.grad.detach()
        return returned

    def edit(self, group: dict[str, Any], **settings: Any) -> None:
        """Set hyperparameters of a group, as a scheduler does."""
        group.update(self.group_arguments(settings))

    def group_arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings under the keys of the class's groups, without those that it does not have."""
        return self._placed.in_groups({name: value for name, value in settings.items() if name not in self.fixed})

    def added(self, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """What a group has to say that is added to an optimizer, with the settings of that and with its own changes."""
        return {**self.form.of_groups(self.own_arguments(settings)), **self.group_arguments(changes)}

    @functools.cached_property
    def _placed(self) -> Names:
        """The names with their places in the groups of a new instance."""
        import torch

        settings = {name: value for name, value in self.hostile.items() if name not in self.fixed}
        param = torch.nn.Parameter(torch.ones((2,) * self.ndim, device=self.device))
        try:
            group = self.make([param], **self.hostile).param_groups[0]
        except Exception:  # checks will find what is wrong with it
            return self.naming
        return self.naming.placed(group, settings)

    @functools.cached_property
    def hostile(self) -> dict[str, Any]:
        """Values of all hyperparameters that reveal faults."""
        return {**hostile_settings(self.reference), **self.fixed}

    @functools.cached_property
    def default(self) -> dict[str, Any]:
        """The reference's defaults, and hostile values of hyperparameters without one."""
        return {**hostile_settings(self.reference), **defaults(self.reference), **self.fixed}

    @property
    def perturbed(self) -> list[tuple[str, Any]]:
        """Each hyperparameter that the class has, except `lr`, with another value; elements of a tuple separately."""
        return [(name, value) for name, value in perturbed(self.reference, self.hostile) if name in self.editable]

    @property
    def switched(self) -> list[dict[str, Any]]:
        """Each switch that the class has in each other position, with what that requires of other hyperparameters."""
        wholes = (reachable(self.reference, self.hostile, position) for position in switches(self.reference))
        changes = [{k: v for k, v in whole.items() if v != self.hostile.get(k)} for whole in wholes if whole]
        return [change for change in changes if not change.keys() & self.fixed.keys()]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What a group may have of its own: another rate or value, no decay, another position of a switch."""
        pairs = [("lr", 0.25), *self.perturbed, *([("weight_decay", 0.0)] if "weight_decay" in self.editable else [])]
        return [*({name: value} for name, value in pairs), *self.switched]

    @property
    def editable(self) -> list[str]:
        """The hyperparameters that the class has in its groups."""
        return [name for name in names(self.reference) if name not in self.fixed and name not in self.held]

    @functools.cached_property
    def paths(self) -> dict[str, dict[str, Any]]:
        """The execution paths, each with the options that select it."""
        hints = get_type_hints(self.options)
        if "execution" in hints:
            return {name: {"execution": name} for name in get_args(hints["execution"]) if name != "auto"}
        known = [option.name for option in fields(self.options) if option.name in PATHS]
        off = dict.fromkeys(known, False)
        return {"loop": off, **{name: {**off, name: True} for name in known}} if known else {"default": {}}

    @property
    def precise(self) -> Any:
        """The dtype in which float64 parameters are updated."""
        import torch

        return torch.float32 if self.traits.arithmetic == "float32" else torch.float64

    @property
    def rests(self) -> int:
        """How many of its first updates move nothing, as trials of a class that is judged alone have found out."""
        return int((self.target.found or {}).get("rests", 0))

    @property
    def ndim(self) -> int:
        """A number of dimensions that parameters may have."""
        return self.traits.ndim[0] if self.traits.ndim else 1

    @functools.cached_property
    def can_maximize(self) -> bool:
        """Whether it accepts `maximize=True`: as declared, or else by its options and its signature."""
        if self.traits.maximize is not None:
            return self.traits.maximize
        named = {option.name for option in fields(self.options)}
        return "maximize" in named or "maximize" in Signature(self.implementation, 1).names


def _join_a_group_of_one() -> None:
    """Make this process the only one of a process group, if it is in none."""
    from torch import distributed

    if not distributed.is_initialized():
        store = distributed.HashStore()  # type: ignore[attr-defined]  # documented, but not exported
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)


@dataclass
class ScheduleSubject(Subject):
    """A pure schedule or an LRScheduler, with its formula."""

    traits: ScheduleTraits = field(default_factory=ScheduleTraits)
    plain: dict[str, Callable[[int], float]] = field(default_factory=dict)
    """The rates of plain runs, or of a rule that metrics drive, that were made already, by settings and base rate."""

    @property
    def pure(self) -> bool:
        """Whether it constructs a function of the step; otherwise its first argument is an optimizer."""
        return not takes_an_optimizer(self.implementation, names(self.reference), self.naming.arguments)

    @property
    def fed(self) -> bool:
        """Whether each step takes a metric."""
        return self.traits.driven_by == "metric"

    def advance(self, scheduler: Any, n: int) -> None:
        """Make the scheduler's step number n = 1, 2, 3, ..., with a metric if it is driven by one."""
        scheduler.step(metric(n)) if self.fed else scheduler.step()

    def make(self, optimizer: Any, last_epoch: int = -1, **settings: Any) -> Any:
        """Construct the scheduler on an optimizer."""
        from optreg.schedule import ScheduleLR

        arguments = self.own_arguments(settings)
        if self.pure:
            return ScheduleLR(optimizer, self.implementation(**arguments), last_epoch)
        if last_epoch != -1:
            arguments["last_epoch"] = last_epoch
        return self.implementation(optimizer, **arguments)

    def ordinary(self, **steps: int) -> dict[str, Any]:
        """Ordinary settings of its hyperparameters; `steps` replace 20 total steps and 5 of each other."""
        return {**typical(self.reference, **steps), **self.fixed}

    def last_step(self, settings: Mapping[str, Any]) -> int | None:
        """The step at which it ends, if it declares one."""
        return settings.get(self.traits.end) if self.traits.end else None

    def reach(self, settings: Mapping[str, Any], beyond: int = 5) -> int:
        """How many steps it follows the formula: to some steps beyond its end, or only to it.

        Where metrics drive it, these are as many as show several reductions.
        """
        if self.fed:
            return 2 * span(settings) + 40
        end = self.last_step(settings)
        return end if end is not None and self.traits.after in {"raise", "cycle"} else span(settings) + beyond

    def rate(self, settings: Mapping[str, Any], base_lr: float, t: int) -> float:
        """The reference's learning rate at step t, computed at 50 digits and rounded once.

        A reference defines the multiplier of the base learning rate, or the rate itself if it is not a multiple, or
        what metrics do to it: then it is the rate after t of them. Of a schedule that is judged alone, it is the rate
        of a plain run.
        """
        if self.alone or self.fed:
            key = repr((sorted(settings.items()), base_lr))
            if key not in self.plain:
                self.plain[key] = (self._plain_rates if self.alone else self._fed_rates)(settings, base_lr)
            return self.plain[key](t)
        reference, digits = self.reference(**settings), fifty_digits()
        if hasattr(reference, "rate"):
            return float(reference.rate(base_lr, t, digits))
        return float(digits.mpf(base_lr) * reference.multiplier(t, digits))

    def _fed_rates(self, settings: Mapping[str, Any], base_lr: float) -> Callable[[int], float]:
        """The rate after any number of metrics, by the reference's rule."""
        rule = self.reference(**settings).rates(base_lr, fifty_digits())
        rates = [float(next(rule))]

        def rate(t: int) -> float:
            while len(rates) <= t:
                rates.append(float(rule.send(metric(len(rates)))))
            return rates[t]

        return rate

    def _plain_rates(self, settings: Mapping[str, Any], base_lr: float) -> Callable[[int], float]:
        """The learning rate of one group at any step: by a new function for each, or by a run through all of them."""
        import torch

        if self.pure:
            arguments = self.own_arguments(settings)
            return lambda t: base_lr * float(self.implementation(**arguments)(t))
        param = torch.nn.Parameter(self.tensor([1.0]))
        optimizer = torch.optim.SGD([param], lr=float(base_lr), momentum=0.9)
        scheduler, rates = self.make(optimizer, **settings), [float(optimizer.param_groups[0]["lr"])]

        def rate(t: int) -> float:
            while len(rates) <= t:
                optimizer.step()
                self.advance(scheduler, len(rates))
                rates.append(float(optimizer.param_groups[0]["lr"]))
            return rates[t]

        return rate

    def formula(self, settings: Mapping[str, Any], t: int) -> float:
        """The learning rate at step t if the base learning rate is 1."""
        return self.rate(settings, 1.0, t)
