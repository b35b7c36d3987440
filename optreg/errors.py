"""Errors, written for the person who can fix them: where the problem is, what is wrong, what to write instead."""

import difflib
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SHOWN = 50
"""How many problems one message lists; a file of garbage has thousands."""

_OTHER_WORDS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "beta1": "betas",
    "beta2": "betas",
    "b1": "betas",
    "b2": "betas",
    "epsilon": "eps",
    "warmup": "warmup_steps",
    "num_warmup_steps": "warmup_steps",
    "num_training_steps": "total_steps",
    "max_steps": "total_steps",
}
"""What other libraries call some hyperparameters, and what the field calls them most often."""

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
        return printable(f"{self.where}: {self.message}" if self.where else self.message)


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

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UnknownPluginError(PluginError, LookupError):
    """A name matches no plugin or several, or an environment variable hides the plugin.

    `matches` are the matching qualified names, including hidden ones; `closest` is a similar installed name, or None.
    """

    def __init__(self, message: str, *, matches: Sequence[str] = (), closest: str | None = None) -> None:
        super().__init__(message)
        self.matches = tuple(matches)
        self.closest = closest


class PluginWarning(UserWarning):
    """Something is wrong that does not stop the work: an observer failed, or an installed distribution is damaged."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str, keep: str = "\n\t") -> str:
    r"""The text with `\x1b` and the like in place of what would command a terminal, or what it cannot show.

    That is control characters, the marks that change the direction of writing, and lone surrogates. Characters in
    `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in keep or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shown(value: object) -> str:
    """A value of a spec, as YAML would write it, for messages; of a long one, the beginning."""
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, int) and value.bit_length() > 1000:  # Python does not print very long ones
        return f"a number of {value.bit_length()} bits"
    text = {"True": "true", "False": "false", "None": "null"}.get(repr(value), repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def raised(error: BaseException) -> str:
    """The type and the message of what somebody else's code raised: `ZeroDivisionError: division by zero`."""
    try:
        text = str(error)
    except Exception:
        text = "its message cannot be read"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def plugin_code(
    failure: str, passing: type[BaseException] = KeyboardInterrupt, origin: str | None = None
) -> Iterator[None]:
    """Runs a plugin's code: whatever it raises, `sys.exit` included, becomes a `PluginError` with the cause chained.

    The user's KeyboardInterrupt passes.

    Args:
        failure: the beginning of the message, before the type and the message of what was raised.
        passing: what passes too: `Exception` where only the end of the process is to be told as an error.
        origin: where the code comes from, for a note on a KeyboardInterrupt: a plugin may hang.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if origin:
            error.add_note(f"code of {origin} was running")
        raise
    except passing:
        raise
    except BaseException as error:
        raise PluginError(f"{failure}: {raised(error)}") from error


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line that called torch or optreg, however many frames of theirs lie between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(("optreg.", "torch.")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


class StepWarning(UserWarning):
    """The steps of a scheduler and the updates of its optimizer are out of proportion."""


class ResumeError(OptregError, ValueError):
    """A checkpoint does not belong to the run that loads it, or differs from its spec. Nothing of it was loaded.

    The message lists everything that differs, and how to say what is meant.
    """


class ResumeWarning(UserWarning):
    """A run goes on from a checkpoint, or with a new scheduler, in a way that is seldom meant."""


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that means the same as `word`, or is most similar to it if any is similar enough."""
    choices = list(choices)
    if (same := _OTHER_WORDS.get(word.lower())) in choices:
        return same
    if same := next((choice for choice in choices if choice.lower().endswith(f".{word.lower()}")), None):
        return same
    return next(iter(difflib.get_close_matches(word, choices, n=1, cutoff=0.6)), None)


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`"; did you mean 'weight_decay'?"`, or all choices if none is similar."""
    choices = list(choices)
    if close := closest(word, choices):
        return f"; did you mean '{close}'?"
    return f"; choose from: {', '.join(choices)}" if choices else ""
