"""Origins: which rules gave the settings of a param group, and how a spec states other values for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optreg.spec import FREEZE_STEPS, Component, Pairs, Rule

SCALES = ("lr_scale", "layer_decay")
"""What multiplies the rate."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the settings of a param group come from.

    Args:
        component: the optimizer that updates the group.
        rules: by setting, the rules that gave it; none for a setting that the optimizer's section gives. Several rules
            gave the same value to different parameters.
        picks: the criteria of a rule that matches the group's parameters and no others.
        scale: what the rate that is stated is multiplied by; None if that is not the same for all parameters.
    """

    component: Component
    rules: Mapping[str, tuple[Rule, ...]]
    picks: Pairs = ()
    scale: float | None = 1.0

    def told(self, key: str) -> str:
        """A setting of the group in messages, with the place that states it."""
        key = _stated_as(key)
        keys = (key, *SCALES) if key == "lr" else (key,)
        rules = list(dict.fromkeys(rule for each in keys for rule in self.rules.get(each, ())))
        own = self.rules.get("optimizer", ())
        if rules:
            return f"{key} of {of_rules(rules)}"
        if key not in self.component.settings:
            return f"groups: {key}"
        return f"{key} of {self.component.name} in {of_rules(own)}" if own else f"optimizer.{key}"

    def follows(self, base: "Origin") -> bool:
        """Whether the group's rate is that of another group, multiplied."""
        same = self.rules.get("lr", ()) == base.rules.get("lr", ()) and self.component == base.component
        return same and self.scale not in {None, 1.0} and base.scale == 1.0


def of_rules(rules: Sequence[Rule]) -> str:
    """Rules in messages: `the rules 'match: *.bias' and 'ndim: 1'`."""
    quoted = [f"'{rule}'" for rule in rules]
    return f"the rule{'s' if len(rules) > 1 else ''} {' and '.join(quoted)}"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: in the section `optimizer`, in a rule, or in the optimizer of a rule."""

    rule: int | None = None
    is_own_optimizer: bool = False


def restated(
    component: Component, rules: Sequence[Rule], values: Mapping[str, Sequence[tuple[Origin, Any]]]
) -> tuple[Component, tuple[Rule, ...]]:
    """The optimizer's section and the rules under which the groups have other values.

    A value is changed where it stands, if that is right for all groups that have it from there. Otherwise each group
    gets a rule that picks its parameters.

    Args:
        component: the optimizer's section.
        rules: the rules.
        values: by setting, the origin of each group that has it, with its value there.
    """
    changed: dict[_Place, dict[str, Any]] = {}
    dropped: set[str] = set()
    added: list[Rule] = []  # at the end, so that groups keep their order
    for name, of_groups in values.items():
        key = _stated_as(name)
        wanted = _wanted(of_groups, rules, key)
        if wanted is None:
            dropped |= {key, *SCALES} if key == "lr" else {key}
            plain = [value for origin, value in of_groups if not origin.rules]
            wanted = {_Place(): plain[0]} if plain and key in component.settings else {}
            default = plain[0] if plain else component.settings.get(key, 0)
            for origin, value in of_groups:
                own = origin.component.settings.get(key, 0) if "optimizer" in origin.rules else default
                added += [Rule(origin.picks, ((key, value),))] if value != own else []
        for place, value in wanted.items():
            changed.setdefault(place, {})[key] = value
    kept: list[Rule] = []
    for number, rule in enumerate(rules):
        settings = {key: value for key, value in rule.pairs if key not in dropped}
        settings |= changed.get(_Place(number), {})
        if rule.optimizer:
            settings["optimizer"] = rule.optimizer.changed(changed.get(_Place(number, True), {}))
        kept += [_with(rule, settings)] if settings else []
    return component.changed(changed.get(_Place(), {})), (*kept, *added)


def _with(rule: Rule, settings: Mapping[str, Any]) -> Rule:
    """The rule with other settings; layers are there for a decay."""
    decay = {"layer_decay": 1.0} if rule.layers and "layer_decay" not in settings else {}
    return replace(rule, pairs=tuple({**settings, **decay}.items()))


def _stated_as(key: str) -> str:
    """What a spec calls a setting of a group."""
    return "freeze" if key == FREEZE_STEPS else key


def _wanted(values: Sequence[tuple[Origin, Any]], rules: Sequence[Rule], key: str) -> dict[_Place, Any] | None:
    """By the place that states a setting, the value for it.

    Returns:
        None if groups that have it from one place would need different values there.
    """
    wanted: dict[_Place, Any] = {}
    scale_of = {id(origin): origin.scale if key == "lr" else 1.0 for origin, _ in values}
    for origin, value in sorted(values, key=lambda pair: scale_of[id(pair[0])] != 1.0):
        scale = scale_of[id(origin)]
        for place in _places(origin, rules, key):
            if place.rule is None and key not in origin.component.settings:
                if value:
                    return None
                continue
            if scale is None:
                return None
            base = wanted.setdefault(place, value if scale == 1.0 else unscaled(value, scale))
            if base * scale != value if scale != 1.0 else base != value:
                return None
    return wanted


def _places(origin: Origin, rules: Sequence[Rule], key: str) -> list[_Place]:
    """The places that state a setting of a group."""
    if given := origin.rules.get(key):
        return [_Place(rules.index(rule)) for rule in given]
    return [_Place(rules.index(rule), True) for rule in origin.rules.get("optimizer", ())] or [_Place()]


def unscaled(value: float, scale: float) -> float:
    """The number whose product with `scale` is `value`, exactly where a float can say it; `value` if there is none."""
    if not scale:
        return value
    share = value / scale
    near = (share, math.nextafter(share, 0.0), math.nextafter(share, math.inf))
    return next((one for one in near if one * scale == value), share)
