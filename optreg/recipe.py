"""The recipe: a checked spec and a model become an optimizer and its scheduler."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, overload

from optreg import lazy_types
from optreg.added_groups import name_added_groups
from optreg.entries import Entry, Kind
from optreg.errors import PluginError, SpecError, raised
from optreg.groups import fitting, partition
from optreg.loading import Source, load_component, load_spec
from optreg.meta import refuse_idle_steps
from optreg.multipliers import ConstantRate, multiplier, no_warmup
from optreg.overrides import Overrides
from optreg.registry import Registry, default_registry
from optreg.spec import Component, Rule, Spec


class _Pair(NamedTuple):
    optimizer: "lazy_types.Optimizer"
    scheduler: "lazy_types.LRScheduler"


class Run(_Pair):
    """An optimizer and its scheduler, with the spec they were built from: `optimizer, scheduler = run`."""

    spec: Spec
    """The spec with every default filled in."""

    def __new__(cls, optimizer: "lazy_types.Optimizer", scheduler: "lazy_types.LRScheduler", spec: Spec) -> "Run":
        """Pair an optimizer with its scheduler, and keep the spec."""
        run = super().__new__(cls, optimizer, scheduler)
        run.spec = spec
        return run

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self.optimizer, self.scheduler, self.spec)

    def _replace(self, **changes: Any) -> Self:
        """The run with some of its parts replaced; `spec` is one of them."""
        return type(self)(**{**self._asdict(), "spec": self.spec, **changes})

    @property
    def plugins(self) -> tuple[Entry, ...]:
        """Where the optimizer and, if the spec names one, the schedule come from: distribution, version, module."""
        parts = (self.spec.optimizer, self.spec.scheduler)
        return tuple(part.entry for part in parts if part is not None)


@dataclass(frozen=True)
class Recipe:
    """A checked spec that waits for its model: `optimizer, scheduler = recipe(model)`. Can be pickled.

    Args:
        spec: what to build.
        registry: whose observers are notified; by default, all installed ones. A recipe with its own registry cannot be
            pickled.
    """

    spec: Spec
    registry: Registry | None = field(default=None, compare=False, repr=False)

    def __call__(self, model: "lazy_types.Model") -> Run:
        """Build the optimizer and the scheduler.

        Args:
            model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.

        Raises:
            SpecError: the rules or the optimizer do not fit the model, or a constructor fails.
            PluginError: an implementation cannot be imported.
        """
        optimizer = _optimizer(self.spec.optimizer, self.spec.groups, model)
        scheduler = _scheduler(self.spec.scheduler, optimizer)
        (self.registry or default_registry()).notify_built(self.spec, optimizer, scheduler)
        return Run(optimizer, scheduler, self.spec)


@overload
def build(
    spec: Source, model: None = None, overrides: Overrides = (), *, registry: Registry | None = None
) -> Recipe: ...


@overload
def build(
    spec: Source, model: "lazy_types.Model", overrides: Overrides = (), *, registry: Registry | None = None
) -> Run: ...


def build(
    spec: Source,
    model: "lazy_types.Model | None" = None,
    overrides: Overrides = (),
    *,
    registry: Registry | None = None,
) -> Recipe | Run:
    """Build an optimizer and its learning-rate scheduler from a spec.

        optimizer, scheduler = optreg.build("configs/run.yaml", model)

    If the spec names no schedule, all rates are constant: the scheduler is a `ScheduleLR` of the multiplier 1.

    Args:
        spec: the path of a YAML file, or a mapping of the same shape.
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters; without it, the result is
            the checked recipe, to be called with a model later.
        overrides: values to set first, by dotted path: `["scheduler.total_steps=5000"]`.
        registry: where plugins are looked up, and whose observers are notified; by default, everything installed.

    Raises:
        SpecError: the spec is wrong, its rules or its optimizer do not fit the model, or a constructor fails; every
            problem is listed with its position and what to write instead.
        PluginError: a plugin that the spec names is broken.
    """
    recipe = Recipe(load_spec(spec, overrides, registry=registry), registry)
    return recipe if model is None else recipe(model)


def optimizer(
    name: str, model: "lazy_types.Model", *, groups: Sequence[Mapping[str, Any]] = (), **settings: Any
) -> "lazy_types.Optimizer":
    """Build an optimizer without YAML: `optreg.optimizer("lion", model, lr=1e-4)`.

    Args:
        name: the plugin's name.
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
        groups: rules of param groups, as in a spec: `[{"match": "*.bias", "weight_decay": 0.0}]`.
        settings: hyperparameters and execution options. `lr` may be a one-element tensor.

    Raises:
        SpecError: a setting is unknown, of the wrong type or out of range.
        PluginError: there is no such plugin, or it is broken.
    """
    tensors = {key: value for key, value in settings.items() if hasattr(value, "numel") and value.numel() == 1}
    plain = {key: value.item() if key in tensors else value for key, value in settings.items()}
    component, rules = load_component(Kind.OPTIMIZER, name, plain, groups)
    return _optimizer(component, rules, model, tensors)


def scheduler(name: str, optimizer: "lazy_types.Optimizer", **settings: Any) -> "lazy_types.LRScheduler":
    """Build a scheduler without YAML: `optreg.scheduler("cosine", optimizer, total_steps=100)`.

    Args:
        name: the plugin's name.
        optimizer: the optimizer whose learning rate it drives.
        settings: the schedule's hyperparameters, and `warmup_steps` for a linear warm-up before it.

    Raises:
        SpecError: a setting is unknown, of the wrong type or out of range.
        PluginError: there is no such plugin, or it is broken.
    """
    component, _ = load_component(Kind.SCHEDULER, name, settings)
    return _scheduler(component, optimizer)


def _optimizer(
    component: Component, rules: Sequence[Rule], model: "lazy_types.Model", tensors: Mapping[str, Any] | None = None
) -> "lazy_types.Optimizer":
    groups = [group.as_param_group() for group in fitting(partition(model, rules), component)]
    implementation = component.registration.implementation()
    settings = component.settings | dict(tensors or {})
    built: lazy_types.Optimizer = _made(component, lambda: implementation(groups, **settings))
    name_added_groups(built, model)
    refuse_idle_steps(built)
    return built


def _scheduler(component: Component | None, optimizer: "lazy_types.Optimizer") -> "lazy_types.LRScheduler":
    from torch.optim.lr_scheduler import LRScheduler

    from optreg.schedule import ScheduleLR

    if component is None:
        return ScheduleLR(optimizer, ConstantRate())
    implementation = component.registration.implementation()
    if isinstance(implementation, type) and issubclass(implementation, LRScheduler):
        if component.warmup_steps:
            raise SpecError([component.problem(no_warmup(component.name))])
        scheduler: LRScheduler = _made(component, lambda: implementation(optimizer, **component.settings))
        return scheduler
    return ScheduleLR(optimizer, _made(component, lambda: multiplier(implementation, component)))


def _made(component: Component, make: Callable[[], Any]) -> Any:
    """What a component's constructor makes.

    Raises:
        SpecError: the constructor fails; what it raised is the cause.
    """
    try:
        return make()
    except (KeyboardInterrupt, PluginError):
        raise
    except BaseException as error:
        what = f"{component.name} of {component.entry.origin} cannot be built: {raised(error)}"
        raise SpecError([component.problem(what)]) from error
