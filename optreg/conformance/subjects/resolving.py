"""Resolving: from a target to the subject that is passed to checks."""

import functools
import importlib
from dataclasses import fields, make_dataclass, replace
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.naming import Names, Signature, aliases_in, field_of, takes_an_optimizer
from optreg.conformance.subjects.subject import PATHS, OptimizerSubject, ScheduleSubject, Subject
from optreg.conformance.subjects.target import Target, registered
from optreg.conformance.subjects.variants import SWITCHES, variant
from optreg.errors import OptregError
from optreg.hyperparameters import defaults, names
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.traits import OptimizerTraits


def resolve(target: Target) -> OptimizerSubject | ScheduleSubject:
    """Find, import and describe what is to be judged.

    Raises:
        CannotBeJudged: it cannot be found or imported, or its constructor requires an unknown argument.
    """
    registration = registered(target)
    _refuse_a_missing_device(target.device)
    if ":" in target.name:
        if not target.like:
            raise CannotBeJudged(f"'{target.name}' is a class; say by which plugin's reference to judge it: --as adamw")
        implementation = _imported(target.name)
    else:
        if target.like:
            raise CannotBeJudged(f"--as {target.like} judges a class, 'package.module:Class', not '{target.name}'")
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
    }
    own_names = _checked_params(target, plugin.reference)
    skipped = 1
    if isinstance(plugin, SchedulePlugin):
        skipped = int(takes_an_optimizer(implementation, names(plugin.reference), own_names))
    signature = Signature(implementation, skipped)
    if target.like:
        own_names |= aliases_in(signature, names(plugin.reference), own_names)
    common["naming"] = Names(own_names)
    if isinstance(plugin, OptimizerPlugin):
        traits = _inferred(plugin.traits, signature) if target.like else plugin.traits
        options = _options(signature) if target.like else plugin.options
        declared = _with(traits, target)
        common["reference"] = _variant(plugin, declared, target)
        subject: OptimizerSubject | ScheduleSubject = OptimizerSubject(**common, traits=declared, options=options)
    else:
        traits = replace(plugin.traits, resume=None, pure=None) if target.like else plugin.traits
        subject = ScheduleSubject(**common, traits=_with(traits, target))
    if target.like:
        subject.fixed = _fixed(subject, signature)
    return subject


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


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise CannotBeJudged(f"'{place}' cannot be imported: {type(error).__name__}: {error}") from error


def _checked_params(target: Target, reference: type) -> dict[str, str]:
    known = names(reference)
    options = [(f"--param {theirs}={ours}", field_of(ours)) for theirs, ours in target.params]
    options += [(f"--set {name}", name) for name, _ in target.settings]
    for option, name in options:
        if name not in known:
            raise CannotBeJudged(f"{option}: the reference has no hyperparameter '{name}'; it has: {', '.join(known)}")
    return dict(target.params)


def _fixed(subject: Subject, signature: Signature) -> dict[str, Any]:
    """The hyperparameters that the class does not have, at the given value or the default."""
    params, renamed = subject.naming.arguments, subject.naming.renamed
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in subject.target.settings}
    default = defaults(subject.reference)
    own = {*names(subject.reference)} - renamed
    unknown = [name for name in signature.required if name not in own and name not in params]
    if unknown:
        raise CannotBeJudged(
            f"the constructor of {subject.code_name} needs {', '.join(map(repr, unknown))}, which the reference of "
            f"'{subject.target.like}' does not have; name the counterpart, --param {unknown[0]}=HYPERPARAMETER, or "
            "judge a function that calls the constructor"
        )
    for name in params:
        if not signature.accepts(name):
            own_names = ", ".join(signature.names)
            raise CannotBeJudged(f"--param: {subject.code_name} has no argument '{name}'; it has: {own_names}")
    fixed = {}
    for name in names(subject.reference):
        if name in given:
            fixed[name] = given[name]
        elif name not in renamed and not signature.accepts(name):
            if name not in default or name == "lr":
                option = f"--param THEIRS={name}"
                option += "" if name == "lr" else f", or the value that it has, --set {name}=VALUE"
                raise CannotBeJudged(f"{subject.code_name} has no argument '{name}'; give its name, {option}")
            fixed[name] = default[name]
    return fixed


def unmapped(subject: Subject) -> list[str]:
    """The class's arguments without a counterpart in the reference, which keep their defaults."""
    known = {*subject.naming.arguments, *names(subject.reference), *PATHS, "maximize", "last_epoch", "verbose"}
    return [name for name in Signature(subject.implementation, 1).names if name not in known]


def _with(traits: Any, target: Target) -> Any:
    """The traits with the target's own declarations."""
    known = [trait.name for trait in fields(traits)]
    for name, _ in target.traits:
        if name not in known:
            raise CannotBeJudged(f"--trait {name}: there is no such trait; choose from: {', '.join(known)}")
    return replace(traits, **dict([*target.traits, *(target.found or ())]))


def _variant(plugin: OptimizerPlugin, traits: OptimizerTraits, target: Target) -> type:
    """The reference of the variant that is declared; a plugin's own reference already has what it declares."""
    if not target.like:
        return plugin.reference
    changed = {
        name: getattr(traits, name) for name in SWITCHES if getattr(traits, name) != getattr(plugin.traits, name)
    }
    reference = variant(plugin.reference, changed)
    if reference is None:
        declared = " ".join(f"--trait {name}={value}" for name, value in changed.items())
        raise CannotBeJudged(f"{declared}: no such variant of the reference of '{target.like}' is known")
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
