"""Origins: which rules gave the settings of a param group, and how a spec states other values for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optreg.spec import Component, Pairs, Rule


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
        rules = self.rules.get(key, ())
        if not rules:
            return f"optimizer.{key}"
        plural = "s" if len(rules) > 1 else ""
        return f"{key} of the rule{plural} {told(rules)}"


def told(rules: Sequence[Rule]) -> str:
    """Rules in messages: `'match: *.bias' and 'ndim: 1'`."""
    return " and ".join(f"'{rule}'" for rule in rules)


def restated(
    component: Component, rules: Sequence[Rule], origins: Sequence[Origin], values: Mapping[str, Sequence[Any]]
) -> tuple[Component, tuple[Rule, ...]]:
    """The optimizer's section and the rules under which the groups have other values.

    A value is changed where it stands, if that is right for all groups that have it from there. Otherwise each group
    gets a rule that picks its parameters.

    Args:
        component: the optimizer's section.
        rules: the rules.
        origins: for each group, where its settings come from.
        values: by setting, the value in each group.
    """
    changed: dict[int | None, dict[str, Any]] = {}
    spelt_out: dict[str, list[Rule]] = {}
    for key, of_groups in values.items():
        wanted = _wanted(origins, rules, key, of_groups)
        if wanted is None:
            rest = [value for origin, value in zip(origins, of_groups, strict=True) if not origin.rules.get(key)]
            default = rest[0] if rest else component.settings[key]
            spelt_out[key] = [
                Rule(origin.picks, ((key, value),))
                for origin, value in zip(origins, of_groups, strict=True)
                if value != default
            ]
            wanted = {None: default}
        for owner, value in wanted.items():
            changed.setdefault(owner, {})[key] = value
    kept: list[Rule] = []
    for number, rule in enumerate(rules):
        pairs = {key: value for key, value in rule.pairs if key not in spelt_out} | changed.get(number, {})
        kept += [replace(rule, pairs=tuple(pairs.items()))] if pairs else []
    own = [
        rule for rules_of_key in spelt_out.values() for rule in rules_of_key
    ]  # at the end, as groups keep their order
    return component.changed(changed.get(None, {})), (*kept, *own)


def _wanted(
    origins: Sequence[Origin], rules: Sequence[Rule], key: str, values: Sequence[Any]
) -> dict[int | None, Any] | None:
    """By the number of each rule that states a setting, the value for it; None for the section.

    Returns:
        None if groups that have it from one place have different values now.
    """
    wanted: dict[int | None, Any] = {}
    for origin, value in zip(origins, values, strict=True):
        given = origin.rules.get(key, ())
        owners: list[int | None] = [rules.index(rule) for rule in given]
        for owner in owners or [None]:
            if wanted.setdefault(owner, value) != value:
                return None
    return wanted
