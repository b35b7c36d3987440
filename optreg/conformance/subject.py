"""Subjects: what is judged, in one form for all checks, be it a registered plugin or a class that knows of none."""

import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from optreg.conformance.judge import Judge
from optreg.conformance.problems import hostile_settings
from optreg.conformance.target import Target, registered
from optreg.conformance.verdict import CannotBeJudged
from optreg.errors import OptregError
from optreg.hookspecs import NoOptions, OptimizerPlugin, SchedulePlugin
from optreg.hyperparameters import defaults, names
from optreg.registry import Kind, Registration
from optreg.traits import OptimizerTraits, ScheduleTraits

PATHS = ("foreach", "fused", "compiled", "capturable")
"""Execution options that are another way to the same result."""


@dataclass
class Subject:
    """What checks know of what they judge. One subject serves one check, and carries its judge."""

    target: Target
    kind: Kind
    implementation: Any
    reference: type
    params: dict[str, str] = field(default_factory=dict)
    """The class's own names of hyperparameters, with the reference's (`betas`, or `betas[0]`) for each."""
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
        renamed = set(map(_field_name, self.params.values()))
        arguments = {name: value for name, value in settings.items() if name not in renamed and name not in self.fixed}
        for theirs, ours in self.params.items():
            name = _field_name(ours)
            if name in settings:
                index = re.search(r"\[(\d+)\]", ours)
                arguments[theirs] = settings[name][int(index[1])] if index else settings[name]
        return arguments


@dataclass
class OptimizerSubject(Subject):
    """An optimizer class with its reference."""

    options: type = NoOptions
    traits: OptimizerTraits = field(default_factory=OptimizerTraits)

    def make(self, params: Any, **settings: Any) -> Any:
        """The optimizer on `params`, which are parameters or groups, with hyperparameters and execution options."""
        if isinstance(params, list) and params and isinstance(params[0], dict):
            params = [self.group_arguments(group) for group in params]
        return self.implementation(params, **self.own_arguments(settings))

    def edit(self, group: dict[str, Any], **settings: Any) -> None:
        """Set hyperparameters of a live group, as a schedule would."""
        group.update(self.group_arguments(settings))

    def group_arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings under the names that groups keep them by."""
        named = {name: value for name, value in settings.items() if name in self._kept_by_their_names}
        others = {name: value for name, value in settings.items() if name not in named}
        return {**self.own_arguments(others), **named}

    @functools.cached_property
    def _kept_by_their_names(self) -> frozenset[str]:
        """The renamed hyperparameters that groups keep by the reference's name: `beta1` and `beta2` as `betas`."""
        if not self.params:
            return frozenset()
        import torch

        param = torch.nn.Parameter(torch.ones((2,) * self.ndim))
        try:
            group = self.implementation([param], **self.own_arguments(self.hostile)).param_groups[0]
        except Exception:  # what is wrong with it is found by those who ask for more
            return frozenset()
        renamed = {_field_name(ours) for theirs, ours in self.params.items() if theirs not in group}
        return frozenset(name for name in renamed if name in group)

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
        return _Signature(self.implementation, 1).required

    @functools.cached_property
    def can_maximize(self) -> bool:
        """Whether it understands `maximize=True`: as declared, or else as its options and its signature say."""
        if self.traits.maximize is not None:
            return self.traits.maximize
        named = {option.name for option in fields(self.options)}
        return "maximize" in named or "maximize" in _Signature(self.implementation, 1).names

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
        return not _is_called_with_an_optimizer(self.implementation, self.reference, self.params)

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


def resolve(target: Target) -> OptimizerSubject | ScheduleSubject:
    """Find, import and describe what is to be judged.

    Raises:
        CannotBeJudged: it cannot be found or imported, or its constructor asks for what nobody tells.
    """
    registration = registered(target)
    if ":" in target.name:
        if not target.like:
            raise CannotBeJudged(f"'{target.name}' is a class; say by which plugin's reference to judge it: --as adamw")
        implementation = _imported(target.name)
    else:
        if target.like:
            raise CannotBeJudged(f"--as {target.like} judges a class, 'package.module:Class'; '{target.name}' is none")
        try:
            implementation = registration.implementation()
        except OptregError as error:
            raise CannotBeJudged(str(error)) from error
    plugin = registration.plugin
    common: dict[str, Any] = {
        "target": target,
        "kind": registration.entry.kind,
        "implementation": implementation,
        "reference": plugin.reference,
        "registration": registration,
        "params": _checked_params(target, plugin.reference),
    }
    skipped = 1
    if isinstance(plugin, SchedulePlugin):
        skipped = int(_is_called_with_an_optimizer(implementation, plugin.reference, common["params"]))
    signature = _Signature(implementation, skipped)
    if isinstance(plugin, OptimizerPlugin):
        traits = _with(plugin.traits, target)
        if target.like:
            traits = _with(_found_out(traits, signature), target)
        options = _options(plugin, signature) if target.like else plugin.options
        subject: OptimizerSubject | ScheduleSubject = OptimizerSubject(**common, traits=traits, options=options)
    else:
        traits = replace(plugin.traits, resume=None) if target.like else plugin.traits
        subject = ScheduleSubject(**common, traits=_with(traits, target))
    if target.like:
        subject.fixed = _fixed(subject, signature)
    return subject


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise CannotBeJudged(f"'{place}' cannot be imported: {type(error).__name__}: {error}") from error


class _Signature:
    """What a constructor takes, after the first so many arguments: the parameters, or the optimizer."""

    def __init__(self, implementation: Any, skipped: int) -> None:
        parameters = _parameters(implementation)
        named = [p for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
        self.open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.names = [p.name for p in named[skipped:]]
        self.required = [p.name for p in named[skipped:] if p.default is p.empty]

    def takes(self, name: str) -> bool:
        return self.open or name in self.names


def _parameters(implementation: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(implementation).parameters.values())
    except (TypeError, ValueError) as error:
        raise CannotBeJudged(f"the signature of {implementation!r} cannot be read: {error}") from error


def _is_called_with_an_optimizer(implementation: Any, reference: type, params: Mapping[str, str]) -> bool:
    """Whether a schedule's first argument is the optimizer, and not one of its hyperparameters."""
    parameters = _parameters(implementation)
    return bool(parameters) and parameters[0].name not in {*names(reference), *params}


def _field_name(ours: str) -> str:
    return ours.partition("[")[0]


def _checked_params(target: Target, reference: type) -> dict[str, str]:
    known = names(reference)
    for theirs, ours in target.params:
        if _field_name(ours) not in known:
            raise CannotBeJudged(
                f"--param {theirs}={ours}: the reference has no hyperparameter '{_field_name(ours)}'; "
                f"it has: {', '.join(known)}"
            )
    for name, _ in target.settings:
        if name not in known:
            raise CannotBeJudged(
                f"--set {name}: the reference has no hyperparameter '{name}'; it has: {', '.join(known)}"
            )
    return dict(target.params)


def _fixed(subject: Subject, signature: _Signature) -> dict[str, Any]:
    """The hyperparameters that the class does not have, at the value told or the default."""
    renamed = {_field_name(ours) for ours in subject.params.values()}
    told, given = _told(subject.target), defaults(subject.reference)
    own = {*names(subject.reference)} - renamed
    unknown = [name for name in signature.required if name not in own and name not in subject.params]
    if unknown:
        raise CannotBeJudged(
            f"the constructor of {subject.code_name} needs {', '.join(map(repr, unknown))}, which the reference of "
            f"'{subject.target.like}' has not; name its counterpart: --param {unknown[0]}=HYPERPARAMETER"
        )
    missing_arguments = [theirs for theirs in subject.params if not signature.takes(theirs)]
    if missing_arguments:
        raise CannotBeJudged(
            f"--param: {subject.code_name} has no argument '{missing_arguments[0]}'; "
            f"it has: {', '.join(signature.names)}"
        )
    fixed = {}
    for name in names(subject.reference):
        if name in told:
            fixed[name] = told[name]
        elif name not in renamed and not signature.takes(name):
            if name not in given:
                raise CannotBeJudged(
                    f"{subject.code_name} has no argument '{name}'; tell its name, --param THEIRS={name}, or the value "
                    f"that it stands for, --set {name}=VALUE"
                )
            fixed[name] = given[name]
    return fixed


def _told(target: Target) -> dict[str, Any]:
    """The values told for hyperparameters that a class does not have; lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in target.settings}


def _with(traits: Any, target: Target) -> Any:
    """The traits with what the target says otherwise."""
    known = [trait.name for trait in fields(traits)]
    for name, _ in target.traits:
        if name not in known:
            raise CannotBeJudged(f"--trait {name}: there is no such trait; choose from: {', '.join(known)}")
    return replace(traits, **dict(target.traits))


def _found_out(traits: OptimizerTraits, signature: _Signature) -> OptimizerTraits:
    """The traits of a class that declares none: it can what its signature says, and the rest is tried."""
    return replace(
        traits,
        maximize="maximize" in signature.names,
        complex_params=None,
        sparse_grads=False,
        tensor_lr=None,
    )


def _options(plugin: OptimizerPlugin, signature: _Signature) -> type:
    """The execution options that a class has by its signature."""
    from dataclasses import make_dataclass

    known = [name for name in (*PATHS, "maximize") if name in signature.names]
    return make_dataclass("Options", [(name, bool | None, None) for name in known])
