"""What can go wrong, told to the person who can mend it: where it is, what is wrong, what to write instead."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN = 50
"""How many problems one message spells out; a file of garbage has thousands."""


class OptregError(Exception):
    """The root of every error that optreg raises on purpose."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a spec: a file with line and column (both from 1), or the override that set the value."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a spec: its place, and a message that says what to write instead."""

    where: Position | None
    message: str

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates could not be printed


class SpecError(OptregError, ValueError):
    """A spec, or a hyperparameter given in Python, is wrong. Carries every problem found, not the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more problems")
        return "\n".join(lines)


class PluginError(OptregError):
    """A plugin cannot be used: it fails to import, breaks the contract, or its name is not to be had.

    The message names the distribution, its version and the module; the cause, where there is one, is chained.
    """


class UnknownPluginError(PluginError, LookupError):
    """No plugin, or more than one, answers to a name; or an environment variable hides it.

    `matches` are the qualified names that answer to it, hidden ones too; `closest` is an installed name much like
    it, or None.
    """

    def __init__(self, message: str, *, matches: Sequence[str] = (), closest: str | None = None) -> None:
        super().__init__(message)
        self.matches = tuple(matches)
        self.closest = closest


class PluginWarning(UserWarning):
    """An ambient plugin (entry-point group `optreg.hooks`) failed; what was being built is unharmed."""


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most like `word`, unless none is much like it."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'weight_decay'?"`, or the choices where none is close."""
    choices = list(choices)
    close = closest(word, choices)
    if close is not None:
        return f"; did you mean '{close}'?"
    return f"; choose from: {', '.join(choices)}" if choices else ""
