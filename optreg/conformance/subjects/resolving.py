"""Resolving: from a target to the subject that is passed to checks."""

import functools
import importlib
from collections.abc import Sequence
from dataclasses import fields, make_dataclass, replace
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.naming import NEUTRAL, Names, Signature, aliases_in, field_of, takes_an_optimizer
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
        subject.fixed, subject.extra = _completed(subject, signature)
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
            f"'{subject.target.like}' are: {listed}"
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
    name, like = subject.code_name, subject.target.like
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
