"""Param groups: ordered rules put every trainable parameter of a model into exactly one group."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optreg import lazy_types
from optreg.criteria import CRITERIA, NamedParameter, Need, matcher
from optreg.errors import Problem, SpecError
from optreg.spec import Rule


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


@dataclass(frozen=True, slots=True)
class Group:
    """The parameters of one param group; `rule` is None for those that no rule matches."""

    rule: Rule | None
    members: tuple[Member, ...]

    def as_param_group(self) -> dict[str, Any]:
        """The group as a torch optimizer takes it, with the names of its parameters if known."""
        named = all(member.names for member in self.members)
        params = [(member.name, member.param) if named else member.param for member in self.members]
        return {"params": params, **(self.rule.settings if self.rule else {})}


def partition(model: "lazy_types.Model", rules: Sequence[Rule]) -> list[Group]:
    """Sort a model's trainable parameters into groups: the first matching rule wins, unmatched parameters come first.

    Frozen parameters (`requires_grad=False`) are in no group, but count as matches of a rule.

    Args:
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
        rules: in order of precedence.

    Returns:
        The group of unmatched parameters, if there are any, then one group for each rule, in the order of rules;
        a rule whose parameters are all frozen has no group.

    Raises:
        SpecError: a rule matches nothing, needs names or modules that the model does not provide, or disagrees
            with another about a tied parameter; or there is nothing to train.
    """
    members = _members(model)
    problems = list(_unanswerable(members, rules))
    if problems:
        raise SpecError(problems)
    matchers = [matcher(rule.criteria) for rule in rules]
    chosen: dict[int | None, list[Member]] = {}
    hits = [0] * len(rules)
    for member in members:
        claims = [
            [index for index, matches in enumerate(matchers) if matches(parameter)] for parameter in _aliases(member)
        ]
        for index in set().union(*claims):
            hits[index] += 1
        explicit = sorted({claim[0] for claim in claims if claim})
        if len(explicit) > 1:
            problems.append(_tied(member, claims, rules))
        if member.param.requires_grad:
            chosen.setdefault(explicit[0] if explicit else None, []).append(member)
        elif explicit:
            chosen.setdefault(explicit[0], [])
    for index, rule in enumerate(rules):
        if index not in chosen:
            problems.append(_unmatched(index, rule, hits[index], members))
    if problems:
        raise SpecError(problems)
    if not any(chosen.values()):
        raise SpecError([Problem(None, "no parameter of the model has requires_grad=True; there is nothing to train")])
    order: list[int | None] = [None, *range(len(rules))]
    return [Group(None if i is None else rules[i], tuple(chosen[i])) for i in order if chosen.get(i)]


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
    provided = {Need.NAMES: all(each.names for each in members), Need.MODULES: all(each.owners for each in members)}
    for rule in rules:
        needs = {CRITERIA[key].need for key in rule.criteria}
        for need in Need:
            if need in needs and not provided[need]:
                yield Problem(rule.where, f"the rule '{rule}' asks for {need.value}")


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
