"""Combining: what rules that match a parameter give to it together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optreg.hyperparameters import names, numbers, taken
from optreg.layers import Layers
from optreg.members import Member
from optreg.multipliers import parts
from optreg.origins import SCALES
from optreg.spec import FOR_GOOD, FREEZE_STEPS, Component, Pairs, Rule, Timeline

Claim = tuple[int, ...]
"""The numbers of the rules that match a name, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a parameter gets.

    Args:
        rules: by setting, the number of the rule that it comes from.
        values: by setting, what the rule gives; of a layer decay, the factor of the parameter's layer.
        component: the optimizer.
        pairs: the settings of the param group that differ from the optimizer's.
        scale: what the rate is multiplied by.
    """

    rules: Mapping[str, int]
    values: Mapping[str, Any]
    component: Component
    pairs: Pairs
    scale: float

    @property
    def is_frozen(self) -> bool:
        """Whether the parameter is frozen for good."""
        return self.values.get("freeze") == FOR_GOOD

    @property
    def order(self) -> tuple[Any, ...]:
        """What groups are sorted by: the rules that gave settings of the group, then the scale of the rate."""
        gave = {number for key, number in self.rules.items() if key != "freeze" or not self.is_frozen}
        return (tuple(sorted(gave)), self.scale)


class Combining:
    """Combines the rules of a spec. Most parameters are matched by the same few combinations of rules.

    Args:
        rules: in order of precedence.
        optimizer: the optimizer of parameters to which no rule gives another.
        layers: by the number of each rule with patterns of layers, the layers.
    """

    def __init__(self, rules: Sequence[Rule], optimizer: Component, layers: Mapping[int, Layers]) -> None:
        self._stated = [rule.settings for rule in rules]
        self._optimizer = optimizer
        self._layers = layers
        self._known: dict[Any, Given] = {}
        self.applied: dict[tuple[int, str], bool] = {}
        """By number of a rule and setting, whether it reaches a parameter whose optimizer has it."""

    def given(self, member: Member, claims: Sequence[Claim]) -> Given:
        """What a parameter gets, by the rules that match each of its names."""
        aliases = member.names or [""]
        key = tuple((claim, self._depths(claim, name)) for claim, name in zip(claims, aliases, strict=True))
        if (known := self._known.get(key)) is not None:
            return known
        stated: dict[str, tuple[int, Any]] = {}
        for claim, name in zip(claims, aliases, strict=True):
            for setting, (number, value) in self._of_name(claim, name).items():
                if setting not in stated or number < stated[setting][0]:
                    stated[setting] = number, value
        made = self._known[key] = self._resolved(stated)
        return made

    def disagreements(self, member: Member, claims: Sequence[Claim]) -> Iterator[tuple[str, dict[str, int]]]:
        """Settings about which the names of a tied parameter disagree, each with the number of each name's rule."""
        if len(claims) < 2:
            return
        by_setting: dict[str, dict[str, tuple[int, Any]]] = {}
        for name, claim in zip(member.names, claims, strict=True):
            for setting, stated in self._of_name(claim, name).items():
                by_setting.setdefault(setting, {})[name] = stated
        for setting, by_name in by_setting.items():
            values = [value for _, value in by_name.values()]
            if any(value != values[0] for value in values):
                yield setting, {name: number for name, (number, _) in by_name.items()}

    def _depths(self, claim: Claim, name: str) -> tuple[int | None, ...]:
        """How deep a name lies for the rules that know."""
        return tuple(self._layers[number].depth(name) for number in claim if number in self._layers)

    def _of_name(self, claim: Claim, name: str) -> dict[str, tuple[int, Any]]:
        """What one name of a parameter gets: by setting, the first rule that states it, and its value."""
        first: dict[str, tuple[int, Any]] = {}
        for number in claim:
            for setting, value in self._stated[number].items():
                if setting not in first:
                    is_decay = setting == "layer_decay"
                    first[setting] = number, self._layers[number].scale(name, value) if is_decay else value
        return first

    def _resolved(self, stated: Mapping[str, tuple[int, Any]]) -> Given:
        component = stated["optimizer"][1] if "optimizer" in stated else self._optimizer
        known = {name for part in parts(component.registration.plugin) for name in names(part)}
        rules: dict[str, int] = {}
        values: dict[str, Any] = {}
        others = {"freeze", "optimizer", *(SCALES if has_rate(component) else ())}
        for setting, (number, value) in stated.items():
            applies = setting in known or setting in others
            self.applied[number, setting] = applies or self.applied.get((number, setting), False)
            if applies:
                rules[setting], values[setting] = number, value
        own = {setting: value for setting, value in values.items() if setting in known}
        if component is not self._optimizer:  # the values have the form that the other optimizer asks for
            for part in parts(component.registration.plugin):
                own = taken(part, own)
        factors = [values[setting] for setting in SCALES if setting in values]
        scale = 1.0
        for factor in factors:
            scale *= factor
        if factors:
            own["lr"] = scaled(own.get("lr", component.settings["lr"]), scale)
        if 0 < (steps := values.get("freeze", 0)) < FOR_GOOD:
            own[FREEZE_STEPS] = steps
        return Given(rules, values, component, tuple(sorted(own.items())), scale)


def has_rate(component: Component) -> bool:
    """Whether an optimizer has a rate that can be multiplied."""
    return "lr" in numbers(component.registration.plugin.reference)


def scaled(rate: Any, scale: float) -> Any:
    """A rate, or the schedule that it follows, multiplied."""
    return rate.scaled(scale) if isinstance(rate, Timeline) else rate * scale
