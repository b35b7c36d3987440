"""Criteria: the conditions by which a rule selects parameters, in one table.

Each criterion is one row of `CRITERIA`. The spec reader, the matcher, the names reserved in specs, the JSON Schema and
the page `docs/groups.md` derive from it.
"""

import functools
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import translate
from typing import Any, Final, NamedTuple

from optreg import lazy_types

PATIENCE: Final = 2.0
"""The seconds that the regular expressions of a rule may take for all names; right ones take milliseconds."""

_SPECIAL = re.compile(r"[*?\[\]]")
"""The characters that may mean something in a glob."""

_warnings_become_errors = threading.Lock()


class NamedParameter(NamedTuple):
    """A parameter under one of its names, as criteria see it."""

    name: str
    """Its full name; empty if it was given without one."""
    module: type
    """The class of the module that holds it; `object` if unknown."""
    tensor: "lazy_types.Tensor"


Matcher = Callable[[NamedParameter], bool]


class Need(Enum):
    """What a criterion needs from the model; the value is its word in messages."""

    NAMES = "names"
    MODULES = "module types"
    DIMENSIONS = "numbers of dimensions"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a criterion's value: one item of a type, or a list of them."""

    item: type
    words: str
    """For messages: `"a string or a list of strings"`."""
    schema: Mapping[str, Any]
    """The JSON Schema of one item."""

    def read(self, value: Any) -> tuple[Any, ...] | None:
        """The items of a value; None if it does not have this form."""
        items = tuple(map(self._item, value if isinstance(value, tuple) else (value,)))
        right = all(isinstance(item, self.item) and not isinstance(item, bool) for item in items)
        return items if items and right else None

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of a value."""
        item = dict(self.schema)
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}

    def _item(self, value: Any) -> Any:
        """The integer 2 for the float 2.0, as everywhere in specs."""
        return int(value) if self.item is int and isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition that a rule can state.

    Args:
        key: its name in a spec.
        form: the form of its value.
        matcher: turns the items of a value into a test of a parameter.
        says: one sentence for the JSON Schema and the documentation.
        fault: what is wrong with an item of the right form; None if nothing is.
        need: what the model must provide besides the parameters themselves.
        affixes: the plain text that a name must begin and end with to match an item; None if nothing can be said.
    """

    key: str
    form: Form
    matcher: Callable[[tuple[Any, ...]], Matcher]
    says: str
    fault: Callable[[Any], str | None] = lambda item: None
    need: Need | None = None
    affixes: Callable[[Any], tuple[str, str]] | None = None

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) of the value."""
        return {**self.form.json_schema, "description": self.says}


def matcher(asked: Mapping[str, tuple[Any, ...]]) -> Matcher:
    """One test of a parameter by all criteria of a rule."""
    tests = [CRITERIA[key].matcher(items) for key, items in asked.items()]
    return tests[0] if len(tests) == 1 else lambda parameter: all(test(parameter) for test in tests)


def _glob(globs: tuple[str, ...]) -> Callable[[str], bool]:
    plain = frozenset(glob for glob in globs if not _SPECIAL.search(glob))
    if len(plain) == len(globs):  # to compile thousands of names takes longer than all else
        return plain.__contains__
    pattern = re.compile("|".join(map(translate, globs)))
    return lambda text: pattern.match(text) is not None


def _glob_affixes(glob: str) -> tuple[str, str]:
    pieces = _SPECIAL.split(glob)
    return pieces[0], pieces[-1]


def _match(globs: tuple[str, ...]) -> Matcher:
    matches = _glob(globs)
    return lambda parameter: matches(parameter.name)


def _regex(patterns: tuple[str, ...]) -> Matcher:
    """Searches that raise TimeoutError once they have taken `PATIENCE` seconds together."""
    import regex  # unlike `re`, it can be told to stop

    searches = [regex.compile(pattern).search for pattern in patterns]
    left = PATIENCE

    def found(parameter: NamedParameter) -> bool:
        nonlocal left
        start = time.perf_counter()
        answer = any(search(parameter.name, timeout=left) for search in searches)
        left -= time.perf_counter() - start
        if left <= 0:
            raise TimeoutError
        return answer

    return found


def _ndim(numbers: tuple[int, ...]) -> Matcher:
    return lambda parameter: parameter.tensor.ndim in numbers


def _type(globs: tuple[str, ...]) -> Matcher:
    matches = _glob(globs)

    @functools.cache
    def is_one(module: type) -> bool:
        return any(matches(base.__name__) for base in module.__mro__)

    return lambda parameter: is_one(parameter.module)


def _regex_fault(pattern: str) -> str | None:
    import regex

    try:
        with _warnings_become_errors, warnings.catch_warnings():  # filters are shared by all threads
            warnings.simplefilter("error", FutureWarning)  # for instance of `[[a]`, whose meaning will change
            re.compile(pattern)  # the language is Python's own; `regex` takes more
        regex.compile(pattern)
    except (re.error, regex.error, RecursionError, OverflowError, FutureWarning) as error:
        return f"is not a regular expression: {error}"
    return None


TEXTS = Form(str, "a string or a list of strings", {"type": "string"})
DIMENSIONS = Form(int, "a number of dimensions or a list of them", {"type": "integer"})

CRITERIA = {
    row.key: row
    for row in (
        Criterion(
            "match",
            TEXTS,
            _match,
            "Globs on the parameter's name; one must match. * crosses dots.",
            need=Need.NAMES,
            affixes=_glob_affixes,
        ),
        Criterion(
            "regex",
            TEXTS,
            _regex,
            "Regular expressions; one must be found in the parameter's name.",
            fault=_regex_fault,
            need=Need.NAMES,
        ),
        Criterion(
            "ndim",
            DIMENSIONS,
            _ndim,
            "Numbers of dimensions; one must be the parameter's.",
            need=Need.DIMENSIONS,
        ),
        Criterion(
            "type",
            TEXTS,
            _type,
            "Globs on the class name of the module that holds the parameter, or of a base.",
            need=Need.MODULES,
        ),
    )
}
"""Every criterion by its key, in the order of printed rules."""
