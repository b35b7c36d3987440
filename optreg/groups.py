"""Param groups: ordered rules put every parameter of a model into exactly one group."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optreg import lazy_types
from optreg.criteria import CRITERIA, NamedParameter, Need
from optreg.errors import Problem, SpecError
from optreg.matching import Matching
from optreg.spec import Component, Rule
from optreg.traits import OptimizerTraits

SHOWN_MEMBERS = 5
"""How many parameters one message names; a model has thousands."""


@dataclass(slots=True)
class Member:
    """A parameter with all its names (tied weights have several) and the class of the module behind each name."""

    param: "lazy_types.Tensor"
    names: list[str] = field(default_factory=list)
    owners: list[type] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first name; empty if the parameter was given without one."""
        return self.names[0] if self.names else ""

    @property
    def told(self) -> str:
        """The parameter in a message: its name, or its shape if it has none."""
        return f"'{self.name}'" if self.names else f"one of shape {tuple(self.param.shape)}"

    @property
    def can_train(self) -> bool:
        """Whether it can ever have a gradient."""
        return self.param.is_floating_point() or self.param.is_complex()


@dataclass(frozen=True, slots=True)
class Group:
    """The parameters of one param group; `rule` is None for those that no rule matches."""

    rule: Rule | None
    members: tuple[Member, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What is different for the group."""
        return self.rule.settings if self.rule else {}

    def as_param_group(self) -> dict[str, Any]:
        """The group as a torch optimizer takes it, with the names of its parameters if known."""
        named = all(member.names for member in self.members)
        params = [(member.name, member.param) if named else member.param for member in self.members]
        return {"params": params, **self.settings}


def partition(model: "lazy_types.Model", rules: Sequence[Rule]) -> list[Group]:
    """Sort a model's parameters into groups: the first matching rule wins, unmatched parameters come first.

    Frozen parameters (`requires_grad=False`) are in the groups that the rules give them: without a gradient they cost
    nothing, and they train as soon as they are thawed. Parameters that can never have a gradient, such as quantized
    weights in integers, are in no group, but count as matches of a rule.

    Args:
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
        rules: in order of precedence.

    Returns:
        The group of unmatched parameters, if there are any, then one group for each rule, in the order of rules.

    Raises:
        SpecError: a rule matches nothing, needs names, modules or dimensions that the model does not provide, takes too
            long, or disagrees with another about a tied parameter; or there is nothing to train.
    """
    members = _members(model)
    problems = list(_unanswerable(members, rules))
    if problems:
        raise SpecError(problems)
    matching = Matching(rules)
    chosen: dict[int | None, list[Member]] = {}
    hits = [0] * len(rules)
    for member in members:
        claims = [matching.of(parameter) for parameter in _aliases(member)]
        for index in set().union(*claims):
            hits[index] += 1
        explicit = sorted({claim[0] for claim in claims if claim})
        if len(explicit) > 1:
            problems.append(_tied(member, claims, rules))
        group = chosen.setdefault(explicit[0] if explicit else None, [])
        if member.can_train:
            group.append(member)
    for index, rule in enumerate(rules):
        if index not in chosen:
            problems.append(_unmatched(index, rule, hits[index], members))
    if problems:
        raise SpecError(problems)
    if not any(member.param.requires_grad for member in members):
        raise SpecError([Problem(None, "no parameter of the model has requires_grad=True; there is nothing to train")])
    order: list[int | None] = [None, *range(len(rules))]
    return [Group(None if i is None else rules[i], tuple(chosen[i])) for i in order if chosen.get(i)]


def fitting(groups: Sequence[Group], optimizer: Component) -> list[Group]:
    """The groups without the frozen parameters that the optimizer, as its plugin declares, does not take.

    Args:
        groups: what `partition` returned.
        optimizer: the component whose plugin's traits say what it takes.

    Raises:
        SpecError: the optimizer does not take a parameter that is to be trained.
    """
    traits = optimizer.registration.plugin.traits
    assert isinstance(traits, OptimizerTraits)
    unfit = {id(member): reason for group in groups for member in group.members if (reason := _unfit(member, traits))}
    refused = [
        f"{member.told} {unfit[id(member)]}"
        for group in groups
        for member in group.members
        if id(member) in unfit and member.param.requires_grad
    ]
    if refused:
        more = f" and {len(refused) - SHOWN_MEMBERS} more" if len(refused) > SHOWN_MEMBERS else ""
        message = (
            f"{optimizer.name} {_takes(traits)}, but {', '.join(refused[:SHOWN_MEMBERS])}{more}; "
            "freeze them, or pass the named parameters that it takes in place of the model"
        )
        raise SpecError([optimizer.problem(message)])
    kept = [Group(group.rule, tuple(each for each in group.members if id(each) not in unfit)) for group in groups]
    return [group for group in kept if group.members]


def _unfit(member: Member, traits: OptimizerTraits) -> str | None:
    """Why an optimizer of these traits does not take a parameter; None if it does."""
    if traits.ndim and member.param.ndim not in traits.ndim:
        return f"has {member.param.ndim}"
    if traits.complex_params is False and member.param.is_complex():
        return "is complex"
    return None


def _takes(traits: OptimizerTraits) -> str:
    """What an optimizer of these traits takes."""
    real = "real parameters" if traits.complex_params is False else "parameters"
    if not traits.ndim:
        return f"takes {real} alone"
    return f"takes {real} of {' or '.join(map(str, traits.ndim))} dimensions"


def _members(model: "lazy_types.Model") -> list[Member]:
    members: dict[int, Member] = {}
    if hasattr(model, "named_modules"):
        for prefix, module in model.named_modules(remove_duplicate=False):
            for name, param in module.named_parameters(recurse=False, remove_duplicate=False):
                member = members.setdefault(id(param), Member(param))
                member.names.append(f"{prefix}.{name}" if prefix else name)
                member.owners.append(type(module))
        return list(members.values())
    if hasattr(model, "requires_grad") or not isinstance(model, Iterable):
        raise TypeError(f"a model is a module, named parameters or parameters, not {type(model).__name__}")
    for item in model:
        name, param = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
        if not hasattr(param, "requires_grad") or not isinstance(name, str | None):
            raise TypeError(f"a model is a module, named parameters or parameters; this contains {type(item).__name__}")
        member = members.setdefault(id(param), Member(param))
        if name is not None:
            member.names.append(name)
    if not all(member.names for member in members.values()):  # torch requires all names or none
        for member in members.values():
            member.names.clear()
    return list(members.values())


def _aliases(member: Member) -> list[NamedParameter]:
    names = member.names or [""]
    owners = member.owners or [object] * len(names)
    return [NamedParameter(name, owner, member.param) for name, owner in zip(names, owners, strict=True)]


def _unanswerable(members: list[Member], rules: Sequence[Rule]) -> Iterable[Problem]:
    """Rules that need what the model, in the form given, does not provide."""
    lacking = _lacking(members)
    for rule in rules:
        needs = {CRITERIA[key].need for key in rule.criteria}
        for need, remedy in lacking.items():
            if need in needs:
                yield Problem(rule.where, f"the rule '{rule}' asks for {need.value}, but {remedy}")


def _lacking(members: list[Member]) -> dict[Need, str]:
    """What the model, in the form given, does not provide, each with the reason and what to do instead.

    The marks of FSDP's parameters are torch's own. Where torch gives them other names, nothing is lacking.
    """
    lacking: dict[Need, str] = {}
    if not all(member.names for member in members):
        lacking[Need.NAMES] = "the parameters have none; pass the model or model.named_parameters()"
    if not all(member.owners for member in members):
        lacking[Need.MODULES] = "only parameters were given; pass the model itself"
    if any(getattr(member.param, "_fsdp_flattened", False) for member in members):
        lacking[Need.DIMENSIONS] = "FSDP has flattened the parameters; ask for names or module types"
    if flat := next((each for each in members if getattr(each.param, "_is_flat_param", False)), None):
        reason = f"FSDP has flattened the parameters into {flat.told}; wrap the model with use_orig_params=True"
        lacking = dict.fromkeys(Need, reason)
    return lacking


def _tied(member: Member, claims: list[list[int]], rules: Sequence[Rule]) -> Problem:
    said = [
        f"'{name}' matches rule {claim[0] + 1} ({rules[claim[0]]})"
        for name, claim in zip(member.names, claims, strict=True)
        if claim
    ]
    later = max(claim[0] for claim in claims if claim)
    return Problem(
        rules[later].where,
        f"a tied parameter has several names and rules disagree about it: {', '.join(said)}; "
        "put one rule that matches all its names before them",
    )


def _unmatched(index: int, rule: Rule, hits: int, members: list[Member]) -> Problem:
    if hits:
        fault = f"matches {hits} parameters, but earlier rules take them all; move it up or remove it"
        return Problem(rule.where, f"the rule '{rule}' {fault}")
    names = [name for member in members for name in member.names]
    asked = (item for key, items in rule.criteria.items() if CRITERIA[key].need is Need.NAMES for item in items)
    wanted: str = next(asked, "").strip("*.^$")
    close = [name for name in names if wanted and wanted.lower() in name.lower()]
    close = close or difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    examples = close[:3] or names[:3]
    there_is = f"; the model has, for example, {', '.join(repr(name) for name in examples)}" if examples else ""
    return Problem(rule.where, f"the rule '{rule}' (number {index + 1}) matches no parameter{there_is}")
