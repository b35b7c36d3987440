"""Resolving: from a target to the subject that is passed to checks."""

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, make_dataclass, replace
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.forms import Form, form_of
from optreg.conformance.subjects.naming import (
    NEUTRAL,
    Names,
    Signature,
    aliases_in,
    arguments_of,
    field_of,
    takes_a_metric,
    takes_an_optimizer,
)
from optreg.conformance.subjects.own_fields import NEEDED, own_names, own_reference, own_values
from optreg.conformance.subjects.subject import PATHS, OptimizerSubject, ScheduleSubject, Subject
from optreg.conformance.subjects.target import Target, registered
from optreg.conformance.subjects.variants import SWITCHES, variant
from optreg.entries import Kind
from optreg.errors import OptregError
from optreg.hyperparameters import defaults, names
from optreg.records import OptimizerPlugin, Registration, SchedulePlugin
from optreg.traits import OptimizerTraits, ScheduleTraits


def resolve(target: Target) -> OptimizerSubject | ScheduleSubject:
    """Find, import and describe what is to be judged.

    Raises:
        CannotBeJudged: it cannot be found or imported, or its constructor requires an unknown argument.
    """
    _refuse_a_missing_device(target.device)
    if target.alone:
        return _alone(target)
    registration, plugin = _record(target)
    if ":" in target.name:
        implementation = imported(target.name)
    else:
        assert registration
        try:
            implementation = registration.implementation()
        except OptregError as error:
            raise CannotBeJudged(str(error)) from error
    own_names = _checked_params(target, plugin.reference)
    skipped = 1
    if isinstance(plugin, SchedulePlugin):
        skipped = int(takes_an_optimizer(implementation, names(plugin.reference), own_names))
    signature, foreign = Signature(implementation, skipped), ":" in target.name
    if foreign:
        own_names |= aliases_in(signature, names(plugin.reference), own_names)
    common: dict[str, Any] = {
        "target": target,
        "implementation": implementation,
        "reference": plugin.reference,
        "registration": registration,
        "naming": Names(own_names),
    }
    as_found = {**dict(target.traits), **(target.found or {})}
    subject: OptimizerSubject | ScheduleSubject
    if isinstance(plugin, OptimizerPlugin):
        traits = _inferred(plugin.traits, signature) if foreign else plugin.traits
        options = _options(signature) if foreign else plugin.options
        declared = _with(traits, as_found)
        common["reference"] = _variant(plugin, declared, target)
        subject = OptimizerSubject(**common, kind=Kind.OPTIMIZER, traits=declared, options=options)
    else:
        own = replace(plugin.traits, resume=None, pure=None) if foreign else plugin.traits
        subject = ScheduleSubject(**common, kind=Kind.SCHEDULER, traits=_with(own, as_found))
    if foreign:
        subject.fixed, subject.extra = _completed(subject, signature)
    return subject


def _record(target: Target) -> tuple[Registration[Any] | None, OptimizerPlugin | SchedulePlugin]:
    """The record by which a target is judged: a registered plugin's, or one made of a reference that is no plugin's."""
    if ":" not in target.name:
        for option, value in (("--as", target.like), ("--reference", target.reference)):
            if value:
                raise CannotBeJudged(f"{option} {value} judges a class, 'package.module:Class', not '{target.name}'")
    if not target.reference:
        registration = registered(target)
        return registration, registration.plugin
    reference = _dataclass(target.reference)
    if hasattr(reference, "trajectory"):
        return None, OptimizerPlugin(name=target.name, implementation=target.name, reference=reference)
    if any(hasattr(reference, method) for method in ("multiplier", "rate", "rates")):
        end = "total_steps" if "total_steps" in names(reference) else None
        traits = ScheduleTraits(end=end, driven_by="metric" if hasattr(reference, "rates") else "step")
        return None, SchedulePlugin(name=target.name, implementation=target.name, reference=reference, traits=traits)
    raise CannotBeJudged(
        f"--reference {target.reference} has no method `trajectory(theta)`, as an optimizer's reference has, and no "
        "`multiplier(t, mp)`, as a schedule's has"
    )


def _dataclass(place: str) -> Any:
    found = imported(place)
    if isinstance(found, type) and is_dataclass(found):
        return found
    raise CannotBeJudged(f"--reference {place}: a reference is a dataclass of the hyperparameters")


def _alone(target: Target) -> OptimizerSubject | ScheduleSubject:
    """A class without a reference: what is known of it is its signature, and what trials have found out."""
    implementation = imported(target.name)
    kind, skipped = _kind(target, implementation)
    steps = kind is Kind.SCHEDULER
    signature, found = Signature(implementation, skipped), dict(target.found or {})
    form = Form() if steps else form_of(implementation, found.get("flags", {}))
    naming = Names(own_names(signature, dict(target.params)))
    values = own_values(implementation, skipped, naming, dict(target.settings), form, steps=steps)
    values = {name: value for name, value in values.items() if name not in found.get("left", ())}
    values |= found.get("values", {})
    fixed = {} if steps or "lr" in values else {"lr": NEEDED["lr"]}
    common: dict[str, Any] = {
        "target": target,
        "kind": kind,
        "implementation": implementation,
        "reference": own_reference({**fixed, **values}, steps=steps),
        "naming": Names({theirs: ours for theirs, ours in naming.arguments.items() if field_of(ours) in values}),
        "fixed": fixed,
        "form": form,
        "held": frozenset(found.get("held", ())),
    }
    if steps:
        drives, after = tuple(found.get("drives", ())), found.get("after", "formula")
        driven_by: Any = "metric" if takes_a_metric(implementation) else "step"
        declared = ScheduleTraits(drives=drives, end=found.get("end"), after=after, resume=None, driven_by=driven_by)
        return ScheduleSubject(**common, traits=_with(declared, dict(target.traits)))
    manner = {name: found.get(name, False) for name in ("trains", "needs_closure", "graph", "distributed")}
    manner["dtypes"] = frozenset(found.get("dtypes", ()))
    ndim = tuple(found.get("ndim", ()))
    traits = _inferred(OptimizerTraits(ndim=ndim, **{k: found[k] for k in FOUND_TRAITS if k in found}), signature)
    return OptimizerSubject(**common, traits=_with(traits, dict(target.traits)), options=_options(signature), **manner)


FOUND_TRAITS = ("counter", "elementwise", "coupled", "random")
"""The traits that trials find out about a class that is judged alone, besides `ndim`."""


def _kind(target: Target, implementation: Any) -> tuple[Kind, int]:
    """What a class or function makes, and how many of its arguments come before the hyperparameters."""
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    if isinstance(implementation, type) and issubclass(implementation, Optimizer | LRScheduler):
        return (Kind.OPTIMIZER if issubclass(implementation, Optimizer) else Kind.SCHEDULER), 1
    first = next((argument.name for argument in arguments_of(implementation)), "")
    if first in {"params", "parameters"}:
        return Kind.OPTIMIZER, 1
    if first == "optimizer":
        return Kind.SCHEDULER, 1
    if isinstance(implementation, type) and "__call__" in dir(implementation):
        return Kind.SCHEDULER, 0
    raise CannotBeJudged(
        f"'{target.name}' is neither a torch.optim.Optimizer nor a schedule, nor a function whose first argument is "
        "`params` or `optimizer`"
    )


def _refuse_a_missing_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.ones(1, dtype=torch.float64, device=device).item()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise CannotBeJudged(
            f"device '{device}' cannot be used, or does not support float64, which formulas need: {reason}"
        ) from error


def imported(place: str) -> Any:
    """What `package.module:Class` names.

    Raises:
        CannotBeJudged: it cannot be imported.
    """
    module, _, attribute = place.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise CannotBeJudged(f"'{place}' cannot be imported: {type(error).__name__}: {error}") from error


def _checked_params(target: Target, reference: type) -> dict[str, str]:
    known = names(reference)
    for theirs, ours in target.params:
        if field_of(ours) not in known:
            listed = ", ".join(known)
            raise CannotBeJudged(
                f"--param {theirs}={ours}: the reference has no hyperparameter '{ours}'; it has: {listed}"
            )
    return dict(target.params)


def _completed(subject: Subject, signature: Signature) -> tuple[dict[str, Any], dict[str, Any]]:
    """The hyperparameters that the class does not have, and its arguments that the reference does not have.

    Their values are those given, or else those that are known: a default, or one that has no effect.

    Raises:
        CannotBeJudged: values or names are lacking; all of them are told.
    """
    params, renamed, ours = subject.naming.arguments, subject.naming.renamed, names(subject.reference)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in subject.target.settings}
    default = {name: value for name, value in defaults(subject.reference).items() if name != "lr"}
    wrong = [f"--param {name}" for name in params if not signature.accepts(name)]
    wrong += [f"--set {name}" for name in given if name not in ours and name not in signature.names]
    if wrong:
        own, listed = ", ".join(signature.names), ", ".join(ours)
        raise CannotBeJudged(
            f"{', '.join(wrong)}: {subject.code_name} has no such argument; it has: {own}. The hyperparameters of "
            f"'{subject.target.formula}' are: {listed}"
        )
    foreign = [name for name in signature.required if name not in params and (name in renamed or name not in ours)]
    extra = {name: value for name, value in {**NEUTRAL, **given}.items() if name in foreign}
    extra |= {name: value for name, value in given.items() if name not in ours}
    lacking = [name for name in ours if name not in renamed and not signature.accepts(name)]
    fixed = {
        name: value for name, value in {**default, **given}.items() if name in lacking or name in {*given} & {*ours}
    }
    _ask_for(subject, [name for name in foreign if name not in extra], [name for name in lacking if name not in fixed])
    return fixed, extra


def _ask_for(subject: Subject, foreign: Sequence[str], lacking: Sequence[str]) -> None:
    """Ask for everything that is not known: counterparts or values of arguments, and of hyperparameters."""
    name, like = subject.code_name, subject.target.formula
    reasons = [f"{name} needs {', '.join(map(repr, foreign))}, which '{like}' does not have"] if foreign else []
    reasons += [f"{name} has no argument for {', '.join(map(repr, lacking))} of '{like}'"] if lacking else []
    options = [f"--param {each}=HYPERPARAMETER or --set {each}=VALUE" for each in foreign]
    options += [f"--param THEIRS={each}" + ("" if each == "lr" else f" or --set {each}=VALUE") for each in lacking]
    if reasons:
        raise CannotBeJudged(f"{'; '.join(reasons)}. Give each its counterpart or its value: {'; '.join(options)}")


def unmapped(subject: Subject) -> list[str]:
    """The class's arguments without a counterpart in the reference, which keep their defaults."""
    known = {
        *subject.naming.arguments,
        *names(subject.reference),
        *subject.extra,
        *PATHS,
        "maximize",
        "last_epoch",
        "verbose",
    }
    return [name for name in Signature(subject.implementation, 1).names if name not in known]


def _with(traits: Any, declared: Mapping[str, Any]) -> Any:
    """The traits with other declarations in their place."""
    known = [trait.name for trait in fields(traits)]
    for name in declared:
        if name not in known:
            raise CannotBeJudged(f"--trait {name}: there is no such trait; choose from: {', '.join(known)}")
    return replace(traits, **declared)


def _variant(plugin: OptimizerPlugin, traits: OptimizerTraits, target: Target) -> type:
    """The reference of the variant that is declared; a plugin's own reference already has what it declares."""
    if not target.formula:
        return plugin.reference
    changed = {
        name: getattr(traits, name) for name in SWITCHES if getattr(traits, name) != getattr(plugin.traits, name)
    }
    reference = variant(plugin.reference, changed)
    if reference is None:
        declared = " ".join(f"--trait {name}={value}" for name, value in changed.items())
        raise CannotBeJudged(f"{declared}: no such variant of the reference of '{target.formula}' is known")
    return reference


def _inferred(traits: OptimizerTraits, signature: Signature) -> OptimizerTraits:
    """The traits of a class that declares none: those in its signature; the others are found out by checks."""
    maximize = "maximize" in signature.names
    unknown: dict[str, Any] = {"complex_params": None, "tensor_lr": None, "temporaries": None}
    return replace(traits, maximize=maximize, sparse_grads=False, **unknown)


def _options(signature: Signature) -> type:
    """The execution options in a class's signature."""
    known = [name for name in (*PATHS, "maximize") if name in signature.names]
    return make_dataclass("Options", [(name, bool | None, None) for name in known])
