"""Resolving: from what is asked for to the subject that checks are given, described as far as it can be found out."""

import functools
import importlib
from dataclasses import fields, make_dataclass, replace
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.naming import Names, Signature, field_of, takes_an_optimizer, usual
from optreg.conformance.subjects.subject import PATHS, OptimizerSubject, ScheduleSubject, Subject
from optreg.conformance.subjects.target import Target, registered
from optreg.errors import OptregError
from optreg.hyperparameters import defaults, names
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.traits import OptimizerTraits


def resolve(target: Target) -> OptimizerSubject | ScheduleSubject:
    """Find, import and describe what is to be judged.

    Raises:
        CannotBeJudged: it cannot be found or imported, or its constructor asks for what nobody tells.
    """
    registration = registered(target)
    _refuse_a_missing_device(target.device)
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
    }
    told = _checked_params(target, plugin.reference)
    skipped = 1
    if isinstance(plugin, SchedulePlugin):
        skipped = int(takes_an_optimizer(implementation, names(plugin.reference), told))
    signature = Signature(implementation, skipped)
    if target.like:
        told |= usual(signature, names(plugin.reference), told)
    common["naming"] = Names(told)
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


def _refuse_a_missing_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.ones(1, dtype=torch.float64, device=device).item()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise CannotBeJudged(
            f"device '{device}' cannot be used, or has no float64 to judge formulas in: {reason}"
        ) from error


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (Exception, SystemExit) as error:
        raise CannotBeJudged(f"'{place}' cannot be imported: {type(error).__name__}: {error}") from error


def _checked_params(target: Target, reference: type) -> dict[str, str]:
    known = names(reference)
    for theirs, ours in target.params:
        if field_of(ours) not in known:
            raise CannotBeJudged(
                f"--param {theirs}={ours}: the reference has no hyperparameter '{field_of(ours)}'; "
                f"it has: {', '.join(known)}"
            )
    for name, _ in target.settings:
        if name not in known:
            raise CannotBeJudged(
                f"--set {name}: the reference has no hyperparameter '{name}'; it has: {', '.join(known)}"
            )
    return dict(target.params)


def _fixed(subject: Subject, signature: Signature) -> dict[str, Any]:
    """The hyperparameters that the class does not have, at the value told or the default."""
    params, renamed = subject.naming.arguments, subject.naming.renamed
    told, given = _told(subject.target), defaults(subject.reference)
    own = {*names(subject.reference)} - renamed
    unknown = [name for name in signature.required if name not in own and name not in params]
    if unknown:
        raise CannotBeJudged(
            f"the constructor of {subject.code_name} needs {', '.join(map(repr, unknown))}, which the reference of "
            f"'{subject.target.like}' has not; name its counterpart, --param {unknown[0]}=HYPERPARAMETER, or judge a "
            "function that makes it"
        )
    missing_arguments = [theirs for theirs in params if not signature.takes(theirs)]
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
            if name not in given or name == "lr":
                value = "" if name == "lr" else f", or the value that it stands for, --set {name}=VALUE"
                raise CannotBeJudged(
                    f"{subject.code_name} has no argument '{name}'; tell its name, --param THEIRS={name}{value}"
                )
            fixed[name] = given[name]
    return fixed


def left(subject: Subject) -> list[str]:
    """The class's arguments that nobody has told of, and that keep their defaults."""
    known = {*subject.naming.arguments, *names(subject.reference), *PATHS, "maximize", "last_epoch", "verbose"}
    return [name for name in Signature(subject.implementation, 1).names if name not in known]


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


def _found_out(traits: OptimizerTraits, signature: Signature) -> OptimizerTraits:
    """The traits of a class that declares none: it can what its signature says, and the rest is tried."""
    return replace(
        traits,
        maximize="maximize" in signature.names,
        complex_params=None,
        sparse_grads=False,
        tensor_lr=None,
        temporaries=None,
    )


def _options(plugin: OptimizerPlugin, signature: Signature) -> type:
    """The execution options that a class has by its signature."""
    known = [name for name in (*PATHS, "maximize") if name in signature.names]
    return make_dataclass("Options", [(name, bool | None, None) for name in known])
