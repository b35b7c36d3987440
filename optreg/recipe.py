"""The recipe: a checked spec and a model become an optimizer and its scheduler."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Self, overload

from optreg import lazy_types
from optreg.added_groups import name_added_groups
from optreg.entries import Entry, Kind
from optreg.errors import PluginError, Problem, SpecError, raised
from optreg.groups import fitting, freeze, partition
from optreg.loading import Source, load_component, load_spec
from optreg.meta import refuse_idle_steps
from optreg.multipliers import ConstantRate, curve, has_setting, multiplier, no_drives, no_warmup
from optreg.on_resume import OnResume
from optreg.overrides import Overrides
from optreg.protocols import Schedule
from optreg.records import SchedulePlugin
from optreg.registry import Registry, default_registry
from optreg.spec import Component, Rule, Spec, Timeline, left_open


class _Pair(NamedTuple):
    optimizer: "lazy_types.Optimizer"
    scheduler: "lazy_types.LRScheduler"


class Run(_Pair):
    """An optimizer and its scheduler, with the spec they were built from: `optimizer, scheduler = run`."""

    _declared: Spec
    _resumption: Any

    def __new__(
        cls,
        optimizer: "lazy_types.Optimizer",
        scheduler: "lazy_types.LRScheduler",
        spec: Spec,
        resumption: Any = None,
    ) -> "Run":
        """Pair an optimizer with its scheduler, and keep the spec.

        `resumption` is there if the optimizer was built by optreg, and copies of the run are looked after alike.
        """
        run = super().__new__(cls, optimizer, scheduler)
        run._declared = spec
        run._resumption = resumption
        if resumption is not None and optimizer is not None:
            _look_after(optimizer, resumption)
        return run

    @property
    def spec(self) -> Spec:
        """The spec of what runs, with every default filled in, and with the values that a checkpoint brought."""
        return self._resumption.spec(self._declared) if self._resumption else self._declared

    def state_dict(self) -> dict[str, Any]:
        """The whole run as plain data and tensors, for a checkpoint.

        Returns:
            `optimizer` and `scheduler`, each its `state_dict()`; `spec`, the spec of what runs, as `optreg.load_spec`
            reads it; `plugins`, the name, distribution and version of each component.
        """
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "spec": self.spec.as_dict(),
            "plugins": [
                {"name": entry.name, "distribution": entry.distribution, "version": entry.version}
                for entry in self.plugins
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of a run: first the optimizer's part, then the scheduler's.

        Args:
            state_dict: what `state_dict()` returned.

        Raises:
            ResumeError: it differs in a way that `on_resume` refuses.
        """
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.scheduler.load_state_dict(state_dict["scheduler"])

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self.optimizer, self.scheduler, self._declared, self._resumption)

    def _replace(self, **changes: Any) -> Self:
        """The run with some of its parts replaced; `spec` is one of them."""
        parts = {**self._asdict(), "spec": self._declared, "resumption": self._resumption}
        return type(self)(**{**parts, **changes})

    @property
    def plugins(self) -> tuple[Entry, ...]:
        """Where the optimizer and all schedules come from: distribution, version, module."""
        return tuple(dict.fromkeys(component.entry for component in self.spec.components))


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

    def __call__(self, model: "lazy_types.Model", *, facts: Mapping[str, Any] = MappingProxyType({})) -> Run:
        """Build the optimizer and the scheduler.

        Args:
            model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
            facts: what the spec leaves to the trainer, as in `optreg.build`.

        Raises:
            SpecError: the rules or the optimizer do not fit the model, a constructor fails, or a fact is missing.
            PluginError: an implementation cannot be imported.
        """
        from optreg.resuming import Resumption

        spec = load_spec(self.spec, facts=facts, registry=self.registry) if facts else self.spec
        if spec.open:
            raise SpecError([left_open(fact) for fact in sorted(spec.open)])
        optimizer = _optimizer(spec.optimizer, spec.groups, model, spec.on_resume)
        scheduler = _scheduler(spec.scheduler, optimizer, spec.on_resume)
        (self.registry or default_registry()).notify_built(spec, optimizer, scheduler)
        return Run(optimizer, scheduler, spec, Resumption.of(optimizer))


@overload
def build(
    spec: Source,
    model: None = None,
    overrides: Overrides = (),
    *,
    on_resume: Mapping[str, str] = ...,
    facts: Mapping[str, Any] = ...,
    registry: Registry | None = None,
) -> Recipe: ...


@overload
def build(
    spec: Source,
    model: "lazy_types.Model",
    overrides: Overrides = (),
    *,
    on_resume: Mapping[str, str] = ...,
    facts: Mapping[str, Any] = ...,
    registry: Registry | None = None,
) -> Run: ...


def build(
    spec: Source,
    model: "lazy_types.Model | None" = None,
    overrides: Overrides = (),
    *,
    on_resume: Mapping[str, str] = MappingProxyType({}),
    facts: Mapping[str, Any] = MappingProxyType({}),
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
        on_resume: what becomes of a checkpoint that differs from the spec, by field of `optreg.OnResume`:
            `{"schedule": "follow"}`. It wins over the spec's section of that name.
        facts: what the spec leaves to the trainer, as a spec says it: `{"horizon": 10_000, "batch": "4M tokens"}`, and
            `epoch`. A whole number is a number of updates.
        registry: where plugins are looked up, and whose observers are notified; by default, everything installed.

    Raises:
        SpecError: the spec is wrong, its rules or its optimizer do not fit the model, or a constructor fails; every
            problem is listed with its position and what to write instead.
        PluginError: a plugin that the spec names is broken.
    """
    recipe = Recipe(load_spec(spec, overrides, on_resume=on_resume, facts=facts, registry=registry), registry)
    return recipe if model is None else recipe(model)


def optimizer(
    name: str,
    model: "lazy_types.Model",
    *,
    groups: Sequence[Mapping[str, Any]] = (),
    on_resume: Mapping[str, str] = MappingProxyType({}),
    **settings: Any,
) -> "lazy_types.Optimizer":
    """Build an optimizer without YAML: `optreg.optimizer("lion", model, lr=1e-4)`.

    Args:
        name: the plugin's name.
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
        groups: rules of param groups, as in a spec: `[{"match": "*.bias", "weight_decay": 0.0}]`.
        on_resume: what becomes of a checkpoint that differs: `{"settings": "checkpoint"}` (`optreg.OnResume`).
        settings: hyperparameters and execution options. `lr` may be a one-element tensor.

    Raises:
        SpecError: a setting is unknown, of the wrong type or out of range.
        PluginError: there is no such plugin, or it is broken.
    """
    tensors = {key: value for key, value in settings.items() if hasattr(value, "numel") and value.numel() == 1}
    plain = {key: value.item() if key in tensors else value for key, value in settings.items()}
    component, rules, choices = load_component(Kind.OPTIMIZER, name, plain, groups, on_resume)
    return _optimizer(component, rules, model, choices, tensors)


def scheduler(
    name: str,
    optimizer: "lazy_types.Optimizer",
    *,
    on_resume: Mapping[str, str] = MappingProxyType({}),
    **settings: Any,
) -> "lazy_types.LRScheduler":
    """Build a scheduler without YAML: `optreg.scheduler("cosine", optimizer, total_steps=100)`.

    Args:
        name: the plugin's name.
        optimizer: the optimizer whose learning rate it drives.
        on_resume: what becomes of a checkpoint of another schedule: `{"schedule": "follow"}` (`optreg.OnResume`).
        settings: the schedule's hyperparameters, and `warmup_steps` for a linear warm-up before it.

    Raises:
        SpecError: a setting is unknown, of the wrong type or out of range.
        PluginError: there is no such plugin, or it is broken.
    """
    component, _, choices = load_component(
        Kind.SCHEDULER, name, settings, on_resume=on_resume, base_lr=_rate(optimizer)
    )
    return _scheduler(component, optimizer, choices)


def _rate(optimizer: "lazy_types.Optimizer") -> float:
    """The learning rate that an optimizer was made with, of which values of a schedule are shares."""
    group = optimizer.param_groups[0]
    return float(optimizer.defaults.get("lr", group.get("initial_lr", group.get("lr", 0.0))))


def _optimizer(
    component: Component,
    rules: Sequence[Rule],
    model: "lazy_types.Model",
    on_resume: OnResume,
    tensors: Mapping[str, Any] | None = None,
) -> "lazy_types.Optimizer":
    from optreg.drives import at_start, drives
    from optreg.resuming import Resumption

    groups = fitting(partition(model, rules, component))
    driven = [_made(each.component, partial(drives, each.component.settings | each.settings)) for each in groups]
    param_groups = [
        at_start(group.as_param_group(), [drive for drive in own if drive.key in group.settings])
        for group, own in zip(groups, driven, strict=True)
    ]
    built = _composed([group.component for group in groups], param_groups, {component: tensors or {}})
    freeze(groups)
    _look_after(built, Resumption([group.origin for group in groups], on_resume, driven), model)
    return built


def _composed(
    components: Sequence[Component],
    param_groups: Sequence[Mapping[str, Any]],
    tensors: Mapping[Component, Mapping[str, Any]],
) -> "lazy_types.Optimizer":
    """One optimizer of all param groups: a composite if several components update them.

    Args:
        components: for each param group, what updates it.
        param_groups: the param groups, as torch takes them.
        tensors: by component, settings that are tensors.
    """
    from optreg.composite import Composite, fit_for_a_composite, labels_of
    from optreg.drives import at_start, drives

    parts = [*dict.fromkeys(components)]
    order = [parts.index(component) for component in components]
    members: list[lazy_types.Optimizer] = []
    for place, part in enumerate(parts):
        own = [group for group, its in zip(param_groups, order, strict=True) if its == place]
        settings = at_start(part.settings, drives(part.settings)) | dict(tensors.get(part, {}))
        members.append(_made(part, partial(part.registration.implementation(), own, **settings)))
    if len(members) == 1:
        return members[0]
    for part, member in zip(parts, members, strict=True):
        _made(part, partial(fit_for_a_composite, member))
    labels = labels_of([part.name for part in parts])
    return Composite(dict(zip(labels, members, strict=True)), order)


def _look_after(optimizer: "lazy_types.Optimizer", resumption: Any, model: "lazy_types.Model" = ()) -> None:
    """Let an optimizer, or the copy in a copied run, have what optreg adds to it. torch does not copy it.

    Of a copied run, the model is not known.
    """
    if resumption.of(optimizer) is resumption:
        return
    name_added_groups(optimizer, model)
    refuse_idle_steps(optimizer)
    resumption.attach(optimizer)


def _scheduler(
    schedule: Component | Timeline | None, optimizer: "lazy_types.Optimizer", on_resume: OnResume
) -> "lazy_types.LRScheduler":
    from torch.optim.lr_scheduler import LRScheduler

    from optreg.replaying import guarded
    from optreg.resuming import Resumption
    from optreg.schedule import ScheduleLR

    resumption = Resumption.of(optimizer)
    drives = resumption.drives if resumption else ()
    scheduled = [frozenset(drive.name for drive in own) for own in drives]
    keys = [frozenset(group) for group in optimizer.param_groups]
    component = schedule if isinstance(schedule, Component) else None
    implementation = component.registration.implementation() if component else None
    made: lazy_types.LRScheduler
    if component and isinstance(implementation, type) and issubclass(implementation, LRScheduler):
        if component.warmup_steps:
            raise SpecError([component.problem(no_warmup(component.name))])
        if any(scheduled):
            raise SpecError([component.problem(no_drives(component.name, sorted(frozenset().union(*scheduled))))])
        if on_resume.schedule == "stretch":
            raise SpecError([component.problem(_not_stretched(component.name, "it is not a function of the step"))])
        settings, choice = component.settings, on_resume.schedule
        by_metric = component.by_metric
        made = _made(component, lambda: guarded(implementation, optimizer, settings, choice, by_metric=by_metric))
    else:
        function, end = _function(schedule, implementation)
        if on_resume.schedule == "stretch" and (any(drives) or not (end and has_setting(function, end))):
            raise SpecError([_unstretchable(schedule, driven=any(drives))])
        made = ScheduleLR(optimizer, function, on_resume=on_resume.schedule, end=end, drives=drives)
    if resumption and (schedule or any(drives)):
        resumption.scheduler_made(component, optimizer.param_groups, keys, scheduled)
    return made


def _function(schedule: Component | Timeline | None, implementation: Any) -> tuple[Schedule, str | None]:
    """The multiplier of the base rates as a function of the step, and the setting that names its last step, if any."""
    if schedule is None:
        return ConstantRate(), None
    if isinstance(schedule, Timeline):
        return _made(schedule.components[0], lambda: curve(schedule)), None
    plugin = schedule.registration.plugin
    assert isinstance(plugin, SchedulePlugin)
    return _made(schedule, lambda: multiplier(implementation, schedule)), plugin.horizon


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


def _unstretchable(schedule: Component | Timeline | None, *, driven: bool) -> Problem:
    """Why what follows the step cannot be stretched."""
    reason = "hyperparameters follow schedules of their own" if driven else "it has no end"
    if schedule is None:
        return Problem(None, _not_stretched("the run" if driven else "a run without a schedule", reason))
    if isinstance(schedule, Component):
        return schedule.problem(_not_stretched(schedule.name, reason))
    return schedule.problem(_not_stretched("a list of phases", reason if driven else "each has its own end"))


def _not_stretched(name: str, reason: str) -> str:
    return f"on_resume.schedule: {name} cannot be stretched, because {reason}; choose follow or branch"
