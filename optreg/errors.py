"""Errors, written for the person who can fix them: where the problem is, what is wrong, what to write instead."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN = 50
"""How many problems one message lists; a file of garbage has thousands."""

Path = tuple[str | int, ...]
"""Where a value is in a document: `("groups", 0, "match")`."""


class OptregError(Exception):
    """The base class of every error that optreg raises deliberately."""


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
    """One mistake in a spec: its position, and a message that says what to write instead."""

    where: Position | None
    message: str

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return text.encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be printed


class SpecError(OptregError, ValueError):
    """A spec, or a hyperparameter given in Python, is wrong. Carries every problem, not just the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more problems")
        return "\n".join(lines)


class PluginError(OptregError):
    """A plugin cannot be used: its import fails, it breaks the contract, or its name leads to no single plugin.

    The message names the distribution, its version and the module; the cause, if there is one, is chained.
    """


class UnknownPluginError(PluginError, LookupError):
    """A name matches no plugin or several, or an environment variable hides the plugin.

    `matches` are the matching qualified names, including hidden ones; `closest` is a similar installed name, or None.
    """

    def __init__(self, message: str, *, matches: Sequence[str] = (), closest: str | None = None) -> None:
        super().__init__(message)
        self.matches = tuple(matches)
        self.closest = closest


class PluginWarning(UserWarning):
    """An observer (entry-point group `optreg.hooks`) failed; the build itself succeeded."""


class ResumeError(OptregError, ValueError):
    """A checkpoint does not belong to the run that loads it, or differs from its spec. Nothing of it was loaded.

    The message lists everything that differs, and how to say what is meant.
    """


class ResumeWarning(UserWarning):
    """A run goes on from a checkpoint, or with a new scheduler, in a way that is seldom meant."""


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice most similar to `word`, if any is similar enough."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'weight_decay'?"`, or all choices if none is similar."""
    choices = list(choices)
    if close := closest(word, choices):
        return f"; did you mean '{close}'?"
    return f"; choose from: {', '.join(choices)}" if choices else ""
