"""Rule sections: the section `groups` of a document becomes rules."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optreg.clock import Clock, LackingError, OpenError
from optreg.combining import has_rate
from optreg.criteria import CRITERIA, TEXTS, Criterion
from optreg.errors import Path, Problem, did_you_mean, shown
from optreg.layers import PLACE, fault
from optreg.origins import SCALES
from optreg.quantities import quantity
from optreg.records import OptimizerPlugin
from optreg.registry import Registry
from optreg.scheduled_settings import with_timelines
from optreg.settings_checks import (
    counted,
    in_form,
    is_faulty,
    own_names,
    unknown_keys,
    without_placeholders,
    wrong_values,
)
from optreg.spec import FOR_GOOD, RULE_KEYS, Component, Pairs, Rule
from optreg.yaml_reader import FAULTY, Document

Checked = tuple[Component | None, list[Problem]]
"""An optimizer, and the problems that were found in it."""


def rules_of(
    document: Document,
    optimizer: Component | None,
    registry: Registry,
    clock: Clock,
    check_optimizer: Callable[[Path, Mapping[str, Any]], Checked],
) -> tuple[tuple[Rule, ...], list[Problem]]:
    """The rules of the section `groups`.

    Args:
        document: the document.
        optimizer: the optimizer of the section of that name; if it is unknown, only criteria are checked.
        registry: where schedules are looked up.
        clock: what converts quantities.
        check_optimizer: checks the mapping of an optimizer at a path.
    """
    data = document.data.get("groups", ())
    if data is FAULTY:
        return (), []
    if not isinstance(data, tuple):
        message = "'groups' must be a list of rules, each beginning with '- match: ...'"
        return (), [document.problem(("groups",), message)]
    rules: list[Rule] = []
    problems: list[Problem] = []
    readers: list[_Reader] = []
    for index, item in enumerate(data):
        path = ("groups", index)
        if isinstance(item, dict):
            readers.append(_Reader(document, path, item, registry, clock))
        elif item is not FAULTY:
            problems.append(document.problem(path, "a rule must be a mapping of criteria and settings"))
    own = {id(reader): reader.optimizer(check_optimizer) for reader in readers}
    stated = [component for component, _ in own.values() if component is not None]
    optimizers = [optimizer, *stated] if optimizer else []
    for reader in readers:
        component, in_optimizer = own[id(reader)]
        rules.append(reader.rule(component, optimizers))
        problems += [*in_optimizer, *reader.problems]
    return tuple(rules), problems


class _Reader:
    """Reads one rule."""

    def __init__(self, document: Document, path: Path, item: dict[str, Any], registry: Registry, clock: Clock) -> None:
        self.document, self.path = document, path
        self.registry, self.clock = registry, clock
        rest = {key: value for key, value in item.items() if key not in CRITERIA}
        rest, self.problems = without_placeholders(document, path, rest)
        self.item = {**item, **rest}

    def problem(self, path: Path, message: str, *, key: bool = False) -> None:
        self.problems.append(self.document.problem((*self.path, *path), message, key=key))

    def optimizer(self, check: Callable[[Path, Mapping[str, Any]], Checked]) -> Checked:
        """The rule's own optimizer."""
        value = self.item.get("optimizer", FAULTY)
        if value is FAULTY:
            return None, []
        place = (*self.path, "optimizer")
        if not isinstance(value, dict):
            message = "'optimizer' must be a mapping: 'name: ...' and the hyperparameters"
            return None, [self.document.problem(place, message)]
        return check(place, value)

    def rule(self, own: Component | None, optimizers: Sequence[Component]) -> Rule:
        """The rule.

        Args:
            own: its own optimizer.
            optimizers: all optimizers of the spec, first that of the section.
        """
        asked = self._criteria((), self.item)
        excluded = self._excluded()
        layers, embeddings = (self._patterns(key) for key in ("layers", "embeddings"))
        if not asked and "layers" not in self.item:
            self.problem((), f"the rule has no criterion; add one of: {', '.join(CRITERIA)}")
        settings = {key: value for key, value in self.item.items() if key not in {*CRITERIA, *RULE_KEYS}}
        settings = self._settings(settings, optimizers)
        settings |= self._rates(optimizers) | self._freeze()
        if own is not None:
            settings["optimizer"] = own
        if not self.item.keys() - {*CRITERIA, "not"}:  # of layers, it is told that their decay is missing
            self.problem((), "the rule sets nothing; add a setting, such as 'weight_decay: 0'")
        where = self.document.where(self.path)
        return Rule(asked, tuple(settings.items()), excluded, layers, embeddings, where)

    def _criteria(self, path: Path, item: Mapping[str, Any]) -> Pairs:
        return tuple(
            (key, self._criterion((*path, key), criterion, item[key]))
            for key, criterion in CRITERIA.items()
            if key in item
        )

    def _criterion(self, path: Path, criterion: Criterion, value: Any) -> tuple[Any, ...]:
        if is_faulty(value):
            return ()
        items = criterion.form.read(value)
        if items is None:
            self.problem(path, f"'{criterion.key}' must be {criterion.form.words}")
            return ()
        for index, item in enumerate(items):
            if wrong := criterion.fault(item):
                self.problem((*path, index) if isinstance(value, tuple) else path, wrong)
        return items

    def _excluded(self) -> tuple[Pairs, ...]:
        """The criteria of `not`."""
        value = self.item.get("not", FAULTY)
        if value is FAULTY:
            return ()
        items = value if isinstance(value, tuple) else (value,)
        found: list[Pairs] = []
        for index, item in enumerate(items):
            path: Path = ("not", index) if isinstance(value, tuple) else ("not",)
            if item is FAULTY:
                continue
            if not isinstance(item, dict):
                self.problem(path, "'not' must be a mapping of criteria, such as {match: 'head.*'}, or a list of them")
                continue
            for key in item.keys() - CRITERIA.keys():
                near = did_you_mean(key, [*CRITERIA])
                self.problem(
                    (*path, key), f"'not' takes criteria alone, and there is no criterion '{key}'{near}", key=True
                )
            pairs = self._criteria(path, item)
            found.append(pairs)
            if not item:
                self.problem(path, f"'not' has no criterion; add one of: {', '.join(CRITERIA)}")
        if not items:
            self.problem(("not",), f"'not' has no criterion; add one of: {', '.join(CRITERIA)}")
        return tuple(found)

    def _patterns(self, key: str) -> tuple[str, ...]:
        """The patterns of `layers` or `embeddings`."""
        value = self.item.get(key, FAULTY)
        if is_faulty(value):
            return ()
        items = TEXTS.read(value)
        if items is None:
            self.problem((key,), f"'{key}' must be {TEXTS.words}")
            return ()
        if "layer_decay" not in self.item and (key == "layers" or "layers" not in self.item):
            self.problem(
                (key,), f"'{key}' is there for a decay of the rate by layer; add 'layer_decay: 0.75'", key=True
            )
        if key == "layers":
            for index, item in enumerate(items):
                if wrong := fault(item):
                    self.problem((key, index) if isinstance(value, tuple) else (key,), wrong)
        return items

    def _settings(self, settings: dict[str, Any], optimizers: Sequence[Component]) -> dict[str, Any]:
        """The settings of optimizers, each checked beside the first optimizer that has it."""
        if not optimizers:
            return settings
        read: dict[str, Any] = {}
        known = dict.fromkeys(key for each in optimizers for key in own_names(each.registration.plugin))
        also = [*CRITERIA, *RULE_KEYS]
        self.problems += unknown_keys(self.document, self.path, optimizers[0].name, settings, [*known], also)
        for component in optimizers:
            plugin = component.registration.plugin
            assert isinstance(plugin, OptimizerPlugin)
            names = own_names(plugin)
            own = {key: value for key, value in settings.items() if key in names and key not in read}
            if own:
                with component.entry.naming():
                    read |= self._of_optimizer(component, plugin, own)
        return {key: read[key] for key in known if key in read}  # in one order, so that equal rules are equal

    def _of_optimizer(self, component: Component, plugin: OptimizerPlugin, settings: dict[str, Any]) -> dict[str, Any]:
        where = (self.document, self.path, component.name, plugin)
        settings, in_counts = counted(*where, in_form(plugin, settings), self.clock)
        settings, in_timelines = with_timelines(*where, settings, self.registry, self.clock)
        self.problems += [*in_counts, *in_timelines]
        self.problems += wrong_values(*where, settings, inherited=component.settings)
        return settings

    def _rates(self, optimizers: Sequence[Component]) -> dict[str, Any]:
        """What multiplies rates."""
        found: dict[str, Any] = {}
        for key, largest, words in (("lr_scale", math.inf, "0 or more"), ("layer_decay", 1.0, "above 0 and at most 1")):
            value = self.item.get(key, FAULTY)
            if value is FAULTY:
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or not (0 <= value <= largest) or (key == "layer_decay" and value == 0):
                self.problem((key,), f"'{key}' must be a number, {words}, such as {_EXAMPLES[key]}, not {shown(value)}")
                continue
            if optimizers and not any(map(has_rate, optimizers)):
                self.problem(
                    (key,), f"'{key}' multiplies the lr, and {optimizers[0].name} has none; leave it out", key=True
                )
            found[key] = float(value)
        if "layer_decay" in self.item and "layers" not in self.item:
            example = f"layers: 'blocks.{PLACE}.*'"
            self.problem(("layer_decay",), f"'layer_decay' needs the patterns of the layers; add {example}", key=True)
        return found

    def _freeze(self) -> dict[str, Any]:
        """For how many updates parameters are frozen."""
        value = self.item.get("freeze", FAULTY)
        if value is FAULTY:
            return {}
        if isinstance(value, bool):
            return {"freeze": FOR_GOOD if value else 0}
        try:
            length = quantity(value)
        except ValueError as error:
            self.problem(("freeze",), f"'freeze' {error}; or write true to freeze for good")
            return {}
        try:
            return {"freeze": self.clock.at(length).update}
        except OpenError:
            return {"freeze": length}
        except LackingError as error:
            self.problem(("freeze",), str(error))
            return {}


_EXAMPLES = {"lr_scale": 0.1, "layer_decay": 0.75}


def with_own_rate(rule: Rule, optimizer: Component) -> tuple[dict[str, Any], str]:
    """The settings of a rule, with the rate that it leads to, and the key that does.

    Args:
        rule: the rule.
        optimizer: the optimizer of the section.
    """
    settings = rule.settings
    base, key = (rule.optimizer, "optimizer") if rule.optimizer else (optimizer, "lr")
    rate = settings.get("lr", base.settings.get("lr"))
    factors = [scale for scale in SCALES if scale in settings]
    if isinstance(rate, int | float) and (factors or rule.optimizer):
        for scale in factors:
            rate *= settings[scale]
        return {**settings, "lr": rate}, (factors or [key])[0]
    return settings, key
