"""Layers: the numbered layers of a model, as the patterns of a rule find them in the names of its parameters."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import translate
from typing import Final

from optreg.spec import Rule

PLACE: Final = "{layer}"
"""Where the number of the layer stands in a pattern."""

_STAND_IN: Final = "\ue000"
"""A character that has no meaning in a glob, nor in the language of regular expressions."""


def fault(pattern: str) -> str | None:
    """What is wrong with a pattern of layers; None if nothing is."""
    try:
        has_place = pattern.count(PLACE) == 1 and _compiled(pattern).groups == 1
    except re.error:  # in brackets
        has_place = False
    if not has_place:
        return f"has no place for the number of the layer in '{pattern}'; write it once, as in 'blocks.{PLACE}.*'"
    return None


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace(PLACE, _STAND_IN)).replace(_STAND_IN, "([0-9]+)"))


class Layers:
    """How deep each parameter lies: the embeddings at 0, layer i at i + 1.

    Args:
        rule: a rule with patterns of layers.
        names: the names of all parameters of the model.
    """

    def __init__(self, rule: Rule, names: Iterable[str]) -> None:
        self.rule = rule
        names = list(names)
        layers = [(pattern, _compiled(pattern)) for pattern in rule.layers]
        embeddings = [(pattern, re.compile(translate(pattern))) for pattern in rule.embeddings]
        found: dict[str, dict[str, int]] = {pattern: {} for pattern, _ in (*layers, *embeddings)}
        for name in names:
            for pattern, expression in layers:
                if hit := expression.match(name):
                    found[pattern][name] = int(hit[1]) + 1
            for pattern, expression in embeddings:
                if expression.match(name):
                    found[pattern][name] = 0
        self._found = found
        self._depths = {name: depth for depths in found.values() for name, depth in depths.items()}
        self.count = max(self._depths.values(), default=0)
        """How many layers there are."""

    def depth(self, name: str) -> int | None:
        """How deep the parameter of a name lies; None if no pattern matches it."""
        return self._depths.get(name)

    def scale(self, name: str, decay: float) -> float:
        """What the rate of a parameter is multiplied by: the decay to the power of the layers above it."""
        return float(decay ** (self.count + 1 - self._depths[name]))

    def faults(self, similar: Callable[[str], Sequence[str]]) -> Iterator[str]:
        """What is wrong with the patterns on this model, in words.

        Args:
            similar: names of the model that resemble a text.
        """
        for pattern, depths in self._found.items():
            if not depths:
                key = "layers" if pattern in self.rule.layers else "embeddings"
                examples = ", ".join(map(repr, similar(pattern.partition(PLACE)[0])))
                yield f"'{pattern}' of '{key}' matches no parameter; the model has, for example, {examples}"
        for name in self._depths:
            patterns = {pattern: depths[name] for pattern, depths in self._found.items() if name in depths}
            if len({*patterns.values()}) > 1:
                said = " and ".join(f"'{pattern}' says {_told(depth)}" for pattern, depth in patterns.items())
                yield f"the patterns disagree about '{name}': {said}; let only one of them match it"
                return
        numbers = {depth - 1 for depth in self._depths.values() if depth}
        if missing := sorted({*range(self.count)} - numbers):
            what = f"layer {missing[0]} is" if len(missing) == 1 else f"layers {', '.join(map(str, missing[:5]))} are"
            more = ", ..." if len(missing) > 5 else ""
            yield (
                f"{what}{more} missing: layers are numbered from 0 to the last, here {self.count - 1}, without holes; "
                f"write a pattern that matches them, with {PLACE} where the number of the layer stands"
            )


def _told(depth: int) -> str:
    return f"layer {depth - 1}" if depth else "embeddings"
