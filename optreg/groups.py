"""Param groups: ordered rules put every parameter of a model into exactly one group."""

import difflib
import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optreg import lazy_types
from optreg.criteria import CRITERIA, NamedParameter, Need
from optreg.errors import Problem, SpecError
from optreg.matching import Matching
from optreg.origins import Origin
from optreg.spec import Component, Pairs, Rule
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
class Settings:
    """What the rules give to a parameter.

    Args:
        given: by setting, the number of the rule that it comes from.
        pairs: the settings of its param group that differ from the optimizer's.
    """

    given: Mapping[str, int]
    pairs: Pairs

    @property
    def order(self) -> tuple[int, ...]:
        """The numbers of the rules, by which groups are sorted."""
        return tuple(sorted(set(self.given.values())))


@dataclass(frozen=True, slots=True)
class Group:
    """The parameters of one param group: those with the same optimizer and the same settings.

    Args:
        component: the optimizer.
        pairs: the settings that differ from the optimizer's.
        members: the parameters.
        rules: by setting, the rules that gave it, in the order of rules.
    """

    component: Component
    pairs: Pairs
    members: tuple[Member, ...]
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What is different for the group."""
        return dict(self.pairs)

    @property
    def origin(self) -> Origin:
        """Where its settings come from, without its parameters."""
        names = [name for member in self.members for name in member.names]
        picks = ("match", tuple(map(glob.escape, names))) if names else ("ndim", self._dimensions)
        return Origin(self.component, self.rules, (picks,))

    @property
    def _dimensions(self) -> tuple[int, ...]:
        return tuple(sorted({member.param.ndim for member in self.members}))

    def as_param_group(self) -> dict[str, Any]:
        """The group as a torch optimizer takes it, with the names of its parameters if known."""
        named = all(member.names for member in self.members)
        params = [(member.name, member.param) if named else member.param for member in self.members]
        return {"params": params, **self.settings}

    def __str__(self) -> str:
        told = dict.fromkeys(str(rule) for rules in self.rules.values() for rule in rules)
        return "; ".join(told) or "(all others)"


def partition(model: "lazy_types.Model", rules: Sequence[Rule], optimizer: Component) -> list[Group]:
    """Sort a model's parameters into groups of equal settings.

    Each setting of a parameter comes from the first rule that matches it and states that setting, or from the
    optimizer. Frozen parameters (`requires_grad=False`) are in the groups that the rules give them: without a gradient
    they cost nothing, and they train as soon as they are thawed. Parameters that can never have a gradient, such as
    quantized weights in integers, are in no group, but count as matches of a rule.

    Args:
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
        rules: in order of precedence.
        optimizer: the optimizer of the parameters.

    Returns:
        The group of the parameters without a setting of their own, if there are any, then the others, by the rules that
        gave their settings.

    Raises:
        SpecError: a rule matches nothing, or gives no setting to any parameter; it needs names, modules or dimensions
            that the model does not provide, takes too long, or disagrees with another about a tied parameter; or there
            is nothing to train.
    """
    members = _members(model)
    problems = list(_unanswerable(members, rules))
    if problems:
        raise SpecError(problems)
    stated = [rule.settings for rule in rules]
    matching, resolver = Matching(rules), _Resolver(stated)
    chosen: dict[Pairs, list[tuple[Settings, Member]]] = {}
    hits = [0] * len(rules)
    for member in members:
        claims = tuple(tuple(matching.of(parameter)) for parameter in _aliases(member))
        for index in set().union(*claims):
            hits[index] += 1
        problems += _disagreements(member, claims, rules, stated)
        settings = resolver.settings(claims)
        group = chosen.setdefault(settings.pairs, [])
        if member.can_train:
            group.append((settings, member))
    for index, rule in enumerate(rules):
        if index not in resolver.reached:
            problems.append(_unreached(index, rule, hits[index], members))
    if problems:
        raise SpecError(problems)
    if not any(member.param.requires_grad for member in members):
        raise SpecError([Problem(None, "no parameter of the model has requires_grad=True; there is nothing to train")])
    found = sorted((one for one in chosen.items() if one[1]), key=lambda one: min(each.order for each, _ in one[1]))
    return [_group(optimizer, pairs, parts, rules) for pairs, parts in found]


def _group(
    optimizer: Component, pairs: Pairs, parts: Sequence[tuple[Settings, Member]], rules: Sequence[Rule]
) -> Group:
    gave: dict[str, set[int]] = {}
    for settings in {id(each): each for each, _ in parts}.values():
        for key, index in settings.given.items():
            gave.setdefault(key, set()).add(index)
    by_key = {key: tuple(rules[index] for index in sorted(gave[key])) for key in gave}
    return Group(optimizer, pairs, tuple(member for _, member in parts), by_key)


class _Resolver:
    """What rules give to parameters. Most parameters are matched by the same few combinations of rules."""

    def __init__(self, stated: Sequence[Mapping[str, Any]]) -> None:
        self._stated = stated
        self._known: dict[tuple[tuple[int, ...], ...], Settings] = {}
        self.reached: set[int] = set()
        """The numbers of the rules of which a setting reaches a parameter."""

    def settings(self, claims: tuple[tuple[int, ...], ...]) -> Settings:
        """What a parameter gets, by the rules that match each of its names."""
        if (known := self._known.get(claims)) is not None:
            return known
        given: dict[str, int] = {}
        for claim in claims:
            for key, index in first_stated(claim, self._stated).items():
                given[key] = min(index, given.get(key, index))
        self.reached.update(given.values())
        pairs = tuple(sorted((key, self._stated[index][key]) for key, index in given.items()))
        settings = self._known[claims] = Settings(given, pairs)
        return settings


def first_stated(claim: Iterable[int], stated: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """By setting, the number of the first rule that states it."""
    first: dict[str, int] = {}
    for index in claim:
        for key in stated[index]:
            first.setdefault(key, index)
    return first


def fitting(groups: Sequence[Group]) -> list[Group]:
    """The groups without the frozen parameters that the optimizer, as its plugin declares, does not take.

    Args:
        groups: what `partition` returned.

    Raises:
        SpecError: the optimizer does not take a parameter that is to be trained.
    """
    unfit = {
        id(each): reason for group in groups for each in group.members if (reason := _unfit(each, group.component))
    }
    problems = [
        _refusal(component, refused)
        for component in dict.fromkeys(group.component for group in groups)
        if (
            refused := [
                f"{member.told} {unfit[id(member)]}"
                for group in groups
                for member in group.members
                if group.component == component and id(member) in unfit and member.param.requires_grad
            ]
        )
    ]
    if problems:
        raise SpecError(problems)
    kept = [replace(group, members=tuple(each for each in group.members if id(each) not in unfit)) for group in groups]
    return [group for group in kept if group.members]


def _refusal(component: Component, refused: Sequence[str]) -> Problem:
    """That an optimizer does not take parameters that are to be trained."""
    more = f" and {len(refused) - SHOWN_MEMBERS} more" if len(refused) > SHOWN_MEMBERS else ""
    return component.problem(
        f"{component.name} {_takes(_traits(component))}, but {', '.join(refused[:SHOWN_MEMBERS])}{more}; "
        "freeze them, or pass the named parameters that it takes in place of the model"
    )


def _traits(component: Component) -> OptimizerTraits:
    traits = component.registration.plugin.traits
    assert isinstance(traits, OptimizerTraits)
    return traits


def _unfit(member: Member, component: Component) -> str | None:
    """Why an optimizer, by its traits, does not take a parameter; None if it does."""
    traits = _traits(component)
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


def _disagreements(
    member: Member, claims: Sequence[tuple[int, ...]], rules: Sequence[Rule], stated: Sequence[Mapping[str, Any]]
) -> Iterator[Problem]:
    """Settings for which the names of a tied parameter lead to different values."""
    if len(claims) < 2:
        return
    by_key: dict[str, dict[str, int]] = {}
    for name, claim in zip(member.names, claims, strict=True):
        for key, index in first_stated(claim, stated).items():
            by_key.setdefault(key, {})[name] = index
    for key, by_name in by_key.items():
        first = stated[next(iter(by_name.values()))][key]
        if all(stated[index][key] == first for index in by_name.values()):
            continue
        said = [f"'{name}' matches rule {index + 1} ({rules[index]})" for name, index in by_name.items()]
        yield Problem(
            rules[max(by_name.values())].where,
            f"a tied parameter has several names and rules disagree about its {key}: {', '.join(said)}; "
            "put one rule that matches all its names before them",
        )


def _unreached(index: int, rule: Rule, hits: int, members: list[Member]) -> Problem:
    """That a rule gives no setting to any parameter."""
    if not rule.pairs:
        return Problem(rule.where, f"the rule '{rule}' sets nothing; add a setting, such as 'weight_decay: 0'")
    if hits:
        what = "parameter" if hits == 1 else "parameters"
        settings = ", ".join(rule.settings)
        fault = f"matches {hits} {what}, but earlier rules already set {settings} there; move it up or remove it"
        return Problem(rule.where, f"the rule '{rule}' {fault}")
    names = [name for member in members for name in member.names]
    asked = (item for key, items in rule.criteria.items() if CRITERIA[key].need is Need.NAMES for item in items)
    wanted: str = next(asked, "").strip("*.^$")
    close = [name for name in names if wanted and wanted.lower() in name.lower()]
    close = close or difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    examples = close[:3] or names[:3]
    there_is = f"; the model has, for example, {', '.join(repr(name) for name in examples)}" if examples else ""
    return Problem(rule.where, f"the rule '{rule}' (number {index + 1}) matches no parameter{there_is}")
