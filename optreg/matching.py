"""Matching: which rules match a parameter, found without trying every rule."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from optreg.criteria import CRITERIA, Matcher, NamedParameter, matcher
from optreg.errors import Problem, SpecError
from optreg.layers import Layers
from optreg.spec import Rule

Filed = dict[int, dict[str, list[int]]]
"""Numbers of rules by a piece of text that a name must have, and by the length of that piece."""


class Matching:
    """The rules of a spec, filed by the beginning or the end of the names that they ask for.

    A spec may have a rule for every layer and kind. To try thousands of rules on each of thousands of parameters takes
    seconds; a parameter's name leads to the few that are worth trying.
    """

    def __init__(self, rules: Sequence[Rule], layers: Mapping[int, Layers] = MappingProxyType({})) -> None:
        self._rules = rules
        self._layers = layers
        self._tests = [matcher(rule.criteria) for rule in rules]
        self._exclusions = {
            number: [matcher(dict(pairs)) for pairs in rule.excluded]
            for number, rule in enumerate(rules)
            if rule.excluded
        }
        self._beginnings: Filed = {}
        self._ends: Filed = {}
        self._others: list[int] = []
        affixes = [_affixes(rule) for rule in rules]
        beginnings = Counter(beginning for each in affixes for beginning, _ in each)
        ends = Counter(end for each in affixes for _, end in each)
        for number, each in enumerate(affixes):
            if not each or ("", "") in each:
                self._others.append(number)
                continue
            for beginning, end in each:  # the rarer piece leads to fewer rules
                by_end = not beginning or (end and ends[end] < beginnings[beginning])
                filed, piece = (self._ends, end) if by_end else (self._beginnings, beginning)
                filed.setdefault(len(piece), {}).setdefault(piece, []).append(number)

    def of(self, parameter: NamedParameter) -> list[int]:
        """The numbers of the rules that match a parameter, in the order of rules.

        Raises:
            SpecError: a regular expression takes too long.
        """
        name = parameter.name
        numbers = set(self._others)
        for length, filed in self._beginnings.items():
            numbers.update(filed.get(name[:length], ()))
        for length, filed in self._ends.items():
            numbers.update(filed.get(name[-length:], ()))
        return [number for number in sorted(numbers) if self._matches(number, parameter)]

    def layers_of(self, number: int) -> dict[int, Layers]:
        """The layers of a rule, as they are given for that rule alone."""
        return {0: self._layers[number]} if number in self._layers else {}

    def excludes(self, number: int, item: int, parameter: NamedParameter) -> bool:
        """Whether an item of what a rule excludes matches a parameter; errors as in `of`."""
        return self._tried(number, self._exclusions[number][item], parameter)

    def _matches(self, number: int, parameter: NamedParameter) -> bool:
        if number in self._layers and self._layers[number].depth(parameter.name) is None:
            return False
        if not self._tried(number, self._tests[number], parameter):
            return False
        return not any(self._tried(number, test, parameter) for test in self._exclusions.get(number, ()))

    def _tried(self, number: int, test: Matcher, parameter: NamedParameter) -> bool:
        try:
            return test(parameter)
        except TimeoutError as error:
            rule = self._rules[number]
            message = (
                f"the rule '{rule}' takes too long on the name '{parameter.name}': one part of its regular expression "
                "repeats what another part already repeats, as in '(a+)+'; write each repetition once, or use 'match'"
            )
            raise SpecError([Problem(rule.where, message)]) from error


def _affixes(rule: Rule) -> list[tuple[str, str]]:
    """The beginnings and ends of names, one pair for each item of the first criterion that asks for such."""
    for key, items in rule.criterion_pairs:
        if (affixes := CRITERIA[key].affixes) is not None:
            return [affixes(item) for item in items]
    return []
