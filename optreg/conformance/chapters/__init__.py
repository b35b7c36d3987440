"""The chapters: functions `check_...`, each with a claim in one sentence, and the list of all of them."""

import functools
import re
from importlib import import_module
from typing import Any, NamedTuple

from optreg.conformance.catalogue import LiveCheck, SuiteKind
from optreg.entries import Entry
from optreg.errors import PluginError, plugin_code
from optreg.records import CheckPlugin
from optreg.registry import default_registry


class Chapter(NamedTuple):
    """A module of this package: the letter that begins the ids of its checks, and what they are claims about."""

    letter: str
    kind: SuiteKind
    module: str


CHAPTERS = (
    Chapter("V", "optimizer", "variants"),
    Chapter("Q", "optimizer", "references"),
    Chapter("M", "optimizer", "mathematics"),
    Chapter("M", "optimizer", "relations"),
    Chapter("S", "optimizer", "state"),
    Chapter("G", "optimizer", "groups"),
    Chapter("D", "optimizer", "dtypes"),
    Chapter("D", "optimizer", "paths"),
    Chapter("E", "optimizer", "precision"),
    Chapter("C", "optimizer", "closures"),
    Chapter("P", "optimizer", "saving"),
    Chapter("P", "optimizer", "history"),
    Chapter("F", "optimizer", "cost"),
    Chapter("K", "optimizer", "contract"),
    Chapter("X", "optimizer", "scheduled"),
    Chapter("V", "scheduler", "schedule_variants"),
    Chapter("Q", "scheduler", "schedule_references"),
    Chapter("K", "scheduler", "schedule_contract"),
    Chapter("L", "scheduler", "schedule_mathematics"),
    Chapter("L", "scheduler", "schedule_metrics"),
    Chapter("R", "scheduler", "schedule_resume"),
    Chapter("W", "scheduler", "schedule_phases"),
    Chapter("X", "scheduler", "together"),
)


@functools.cache
def checks(kind: SuiteKind | None = None) -> tuple[LiveCheck, ...]:
    """All checks of a kind, in the order of the chapters, then those of ambient plugins. Imports torch.

    Raises:
        PluginError: an ambient plugin is broken, or two checks have the same id.
    """
    found: list[LiveCheck] = []
    for chapter in CHAPTERS:
        found += _marked(import_module(f"{__name__}.{chapter.module}"), chapter.kind, "optreg")
    for entry, plugin in default_registry().checks():
        found += _third_party(entry, plugin)
    by_id: dict[str, LiveCheck] = {}
    for check in found:
        other = by_id.setdefault(check.id, check)
        if other is not check:
            raise PluginError(
                f"distribution '{check.distribution}' has a check '{check}', and distribution '{other.distribution}' "
                f"a check '{other}' of the same id; one of them needs another"
            )
    return tuple(check for check in found if kind in (None, check.kind))


def _third_party(entry: Entry, plugin: CheckPlugin) -> list[LiveCheck]:
    """The checks of a chapter that a distribution adds; the chapter is refused if one of them would not be run."""
    with plugin_code(f"{entry.origin}: its checks in '{plugin.module}' cannot be imported"):
        module = import_module(plugin.module)
    marked = _marked(module, plugin.kind, entry.distribution)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = {f"check_{check.name}" for check in marked}
    unmarked = [name for name in own if name.startswith("check_") and name not in names]
    if unmarked or not marked:
        what = f"function '{unmarked[0]}' is not" if unmarked else "no function is"
        raise PluginError(
            f"{entry.origin}: in '{plugin.module}', {what} marked as a check, by @optreg.conformance.check"
        )
    for check in marked:
        if not re.fullmatch(r"[A-Z]+[0-9]+", check.id) or not check.claim.endswith("."):
            raise PluginError(
                f"{entry.origin}: check '{check}' of '{plugin.module}' needs an id of capital letters and a number, "
                "such as 'Z01', and a docstring whose first line is a sentence"
            )
    return marked


def _marked(module: Any, kind: SuiteKind, distribution: str) -> list[LiveCheck]:
    """The checks that a module defines."""
    title = (module.__doc__ or module.__name__).partition(":")[0].strip()
    return [
        LiveCheck(
            name=function.__name__.removeprefix("check_"),
            claim=(function.__doc__ or "").partition("\n")[0],
            kind=kind,
            chapter=title,
            distribution=distribution,
            function=function,
            **vars(function.about),
        )
        for function in vars(module).values()
        if hasattr(function, "about") and function.__module__ == module.__name__
    ]


def find(id: str) -> LiveCheck:
    """The check with this id."""
    return next(check for check in checks() if check.id == id)
