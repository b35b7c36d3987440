"""Param groups: rules put every parameter of a model into exactly one group."""

import difflib
import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from optreg import lazy_types
from optreg.combining import Claim, Combining, Given
from optreg.criteria import CRITERIA, NamedParameter, Need
from optreg.errors import Problem, SpecError
from optreg.hyperparameters import complaints, names
from optreg.layers import Layers
from optreg.matching import Matching
from optreg.members import Member, lacking, members_of
from optreg.multipliers import parts
from optreg.origins import SCALES, Origin, of_rules
from optreg.spec import Component, Pairs, Rule, Timeline
from optreg.traits import OptimizerTraits

SHOWN_MEMBERS = 5
"""How many parameters one message names; a model has thousands."""


@dataclass(frozen=True, slots=True)
class Group:
    """The parameters of one param group: those with the same optimizer and the same settings.

    Args:
        component: the optimizer.
        pairs: the settings that differ from the optimizer's.
        parameters: the parameters, each with what the rules give to it.
        rules: by setting, the rules that gave it, in the order of rules.
    """

    component: Component
    pairs: Pairs
    parameters: tuple[tuple[Member, Given], ...]
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    @property
    def members(self) -> tuple[Member, ...]:
        """The parameters alone."""
        return tuple(member for member, _ in self.parameters)

    @property
    def settings(self) -> dict[str, Any]:
        """What is different for the group."""
        return dict(self.pairs)

    @property
    def origin(self) -> Origin:
        """Where its settings come from, without its parameters."""
        names = [name for member in self.members for name in member.names]
        dimensions = sorted({member.param.ndim for member in self.members})
        picks = ("match", tuple(map(glob.escape, names))) if names else ("ndim", tuple(dimensions))
        scales = {given.scale for _, given in self.parameters}
        return Origin(self.component, self.rules, (picks,), scales.pop() if len(scales) == 1 else None)

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

    Each setting of a parameter comes from the first rule that matches it and states that setting, or from its
    optimizer. Frozen parameters (`requires_grad=False`) are in the groups that the rules give them: without a gradient
    they cost nothing, and they train as soon as they are thawed. Parameters that can never have a gradient, such as
    quantized weights in integers, are in no group, but count as matches of a rule.

    Args:
        model: a module, an iterable of `(name, parameter)`, or an iterable of parameters.
        rules: in order of precedence.
        optimizer: the optimizer of the parameters to which no rule gives another.

    Returns:
        The group of the parameters without a setting of their own, if there are any, then the others, by the rules that
        gave their settings, and then by what multiplies their rates.

    Raises:
        SpecError: a rule matches nothing, or gives no setting to any parameter; it needs names, modules or dimensions
            that the model does not provide, takes too long, or disagrees with another about a tied parameter; its
            layers are not numbered from 0 without holes; or there is nothing to train.
    """
    members = members_of(model)
    similar = _Similar([name for member in members for name in member.names])
    problems = list(_unanswerable(members, rules))
    if problems:
        raise SpecError(problems)
    layers = {number: Layers(rule, similar.names) for number, rule in enumerate(rules) if rule.layers}
    for number, each in layers.items():
        problems += [
            Problem(rules[number].where, f"the rule '{rules[number]}': {fault}") for fault in each.faults(similar)
        ]
    if problems:
        raise SpecError(problems)
    matching, combining = Matching(rules, layers), Combining(rules, optimizer, layers)
    chosen: dict[tuple[Component, Pairs], list[tuple[Member, Given]]] = {}
    groups: dict[Given, list[tuple[Member, Given]]] = {}
    hits = [0] * len(rules)
    for member in members:
        claims = [tuple(matching.of(parameter)) for parameter in member.aliases]
        for index in set().union(*claims):
            hits[index] += 1
        problems += _disagreements(member, claims, rules, combining)
        given = combining.given(member, claims)
        member.is_frozen = given.is_frozen
        if given not in groups:
            groups[given] = chosen.setdefault((given.component, given.pairs), [])
        if member.can_train:
            groups[given].append((member, given))
    problems += _idle(rules, hits, combining, matching, members, similar)
    if problems:
        raise SpecError(problems)
    if not any(member.is_trained for member in members):
        raise SpecError([_nothing_to_train(members)])
    in_order = sorted(
        (each for each in chosen.values() if each), key=lambda each: min(given.order for _, given in each)
    )
    found = [_group(each, rules) for each in in_order]
    problems += [problem for group in found for problem in _misfits(group, optimizer)]
    if problems:
        raise SpecError(problems)
    return found


def _group(parameters: Sequence[tuple[Member, Given]], rules: Sequence[Rule]) -> Group:
    gave: dict[str, set[int]] = {}
    for given in dict.fromkeys(given for _, given in parameters):
        for key, number in given.rules.items():
            if key != "freeze" or not given.is_frozen:  # for good, that is no setting of the group
                gave.setdefault(key, set()).add(number)
    first = parameters[0][1]
    by_key = {key: tuple(rules[number] for number in sorted(numbers)) for key, numbers in gave.items()}
    return Group(first.component, first.pairs, tuple(parameters), by_key)


def _nothing_to_train(members: Sequence[Member]) -> Problem:
    if any(member.param.requires_grad for member in members):
        return Problem(None, "the rules freeze every parameter of the model; there is nothing to train")
    return Problem(None, "no parameter of the model has requires_grad=True; there is nothing to train")


def _misfits(group: Group, optimizer: Component) -> Iterator[Problem]:
    """What is wrong with settings that several rules give to one group, or rules to an optimizer of their own."""
    gave = list(dict.fromkeys(rule for rules in group.rules.values() for rule in rules))
    if not gave or (len(gave) == 1 and group.component is optimizer and not group.rules.keys() & {*SCALES}):
        return  # checked when the spec was read
    settings = {key: _number(value) for key, value in (*group.component.pairs, *group.pairs)}
    for part in parts(group.component.registration.plugin):
        own = {key: settings[key] for key in names(part) if key in settings}
        for complaint in complaints(part, own, group.component.name):
            what = f"{of_rules(gave)}{' together' if len(gave) > 1 else ''}"
            yield Problem(gave[-1].where, f"{complaint.message}, by {what}")


def _number(value: Any) -> Any:
    """A setting without schedules: the values that they begin at."""
    if isinstance(value, tuple):
        return tuple(map(_number, value))
    if isinstance(value, Timeline):
        start = value.phases[0].start
        return value.factor * (start.of(value.base) if start else value.base)
    return value


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
    problems: list[Problem] = []
    for component in dict.fromkeys(group.component for group in groups):
        own = [group for group in groups if group.component == component]
        members = [member for group in own for member in group.members if id(member) in unfit and member.is_trained]
        if members:
            refused = [f"{member.told} {unfit[id(member)]}" for member in members]
            problems.append(_refusal(component, own[0].rules.get("optimizer", ()), refused))
    if problems:
        raise SpecError(problems)
    kept = [[pair for pair in group.parameters if id(pair[0]) not in unfit] for group in groups]
    return [replace(group, parameters=tuple(pairs)) for group, pairs in zip(groups, kept, strict=True) if pairs]


def freeze(groups: Sequence[Group]) -> None:
    """Freeze the parameters that rules freeze for good: they get no gradients."""
    for group in groups:
        for member in group.members:
            if member.is_frozen:
                member.param.requires_grad_(False)


def _refusal(component: Component, rules: Sequence[Rule], refused: Sequence[str]) -> Problem:
    """That an optimizer, which rules may have given to its parameters, does not take some that are to be trained."""
    more = f" and {len(refused) - SHOWN_MEMBERS} more" if len(refused) > SHOWN_MEMBERS else ""
    what = f"{_takes(_traits(component))}, but {', '.join(refused[:SHOWN_MEMBERS])}{more}"
    if rules:
        message = f"{component.name}, the optimizer of {of_rules(rules)}, {what}"
        ndim = _traits(component).ndim
        how = f"'ndim: {ndim[0] if len(ndim) == 1 else [*ndim]}'" if ndim else "'not'"
        return Problem(
            component.where, f"{message}; leave them out of the rule, for example with {how}, or freeze them"
        )
    remedy = "freeze them, or give them another optimizer by a rule: {match: ..., optimizer: {name: ...}}"
    return component.problem(f"{component.name} {what}; {remedy}")


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


def _unanswerable(members: list[Member], rules: Sequence[Rule]) -> Iterable[Problem]:
    """Rules that need what the model, in the form given, does not provide."""
    missing = lacking(members)
    for rule in rules:
        needs = {CRITERIA[key].need for pairs in (rule.criterion_pairs, *rule.excluded) for key, _ in pairs}
        if rule.layers:
            needs.add(Need.NAMES)
        for need, remedy in missing.items():
            if need in needs:
                yield Problem(rule.where, f"the rule '{rule}' asks for {need.value}, but {remedy}")


def _disagreements(
    member: Member, claims: Sequence[Claim], rules: Sequence[Rule], combining: Combining
) -> Iterator[Problem]:
    """Settings for which the names of a tied parameter lead to different values."""
    for key, by_name in combining.disagreements(member, claims):
        said = [f"'{name}' matches rule {number + 1} ({rules[number]})" for name, number in by_name.items()]
        yield Problem(
            rules[max(by_name.values())].where,
            f"a tied parameter has several names and rules disagree about its {key}: {', '.join(said)}; "
            "put one rule that matches all its names before them",
        )


class _Similar:
    """The names of a model, and those that resemble a text."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __call__(self, text: str) -> list[str]:
        """Three names for a message: those that have the text in them, that resemble it, or the first."""
        wanted = text.strip("*.^$")
        close = [name for name in self.names if wanted and wanted.lower() in name.lower()]
        close = close or difflib.get_close_matches(wanted, self.names, n=3, cutoff=0.4)
        return close[:3] or self.names[:3]


def _idle(
    rules: Sequence[Rule],
    hits: Sequence[int],
    combining: Combining,
    matching: Matching,
    members: Sequence[Member],
    similar: _Similar,
) -> Iterator[Problem]:
    """Rules, settings and exclusions without an effect."""
    reached = {number for number, _ in combining.applied}
    for number, rule in enumerate(rules):
        about = f"the rule '{rule}'"
        if not hits[number]:
            yield Problem(
                rule.where, f"{about} (number {number + 1}) {_unmatched(number, rule, matching, members, similar)}"
            )
        elif not rule.pairs:
            yield Problem(rule.where, f"{about} sets nothing; add a setting, such as 'weight_decay: 0'")
        elif number not in reached:
            what = "parameter" if hits[number] == 1 else "parameters"
            fault = f"earlier rules already set {', '.join(rule.settings)} there; move it up or remove it"
            yield Problem(rule.where, f"{about} matches {hits[number]} {what}, but {fault}")
        for item, pairs in enumerate(rule.excluded):
            if hits[number] and not _any(members, partial(matching.excludes, number, item)):
                missed = _examples(pairs, similar)
                yield Problem(rule.where, f"{about}: its 'not' number {item + 1} matches no parameter{missed}")
    for (number, key), applies in combining.applied.items():
        if not applies:
            needed = "lr" if key in SCALES else key
            fault = (
                f"states '{key}' for parameters whose optimizer has no '{needed}'; remove it, or let it match others"
            )
            yield Problem(rules[number].where, f"the rule '{rules[number]}' {fault}")


def _any(members: Sequence[Member], test: Callable[[NamedParameter], object]) -> bool:
    return any(test(parameter) for member in members for parameter in member.aliases)


def _unmatched(number: int, rule: Rule, matching: Matching, members: Sequence[Member], similar: _Similar) -> str:
    """Why a rule matches no parameter, in words."""
    if rule.excluded and _any(members, Matching([replace(rule, excluded=())], matching.layers_of(number)).of):
        return "matches no parameter, because 'not' leaves out all that it would match"
    return f"matches no parameter{_examples(rule.criterion_pairs, similar)}"


def _examples(pairs: Pairs, similar: _Similar) -> str:
    """Names of the model that resemble what criteria ask for, in words."""
    asked = (item for key, items in pairs if CRITERIA[key].need is Need.NAMES for item in items)
    examples = similar(next(asked, ""))
    return f"; the model has, for example, {', '.join(map(repr, examples))}" if examples else ""
