"""The chapters: plain functions `check_...`, each with one sentence of claim; and the list of all of them."""

import functools
from importlib import import_module
from typing import Any, NamedTuple

from optreg.conformance.catalogue import LiveCheck, SuiteKind
from optreg.registry import default_registry


class Chapter(NamedTuple):
    """A module of checks.

    Args:
        letter: what the ids of its checks begin with.
        kind: what its checks are claims about.
        module: its name in this package.
    """

    letter: str
    kind: SuiteKind
    module: str


CHAPTERS = (
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
    Chapter("F", "optimizer", "cost"),
    Chapter("K", "optimizer", "contract"),
    Chapter("X", "optimizer", "scheduled"),
    Chapter("Q", "scheduler", "schedule_references"),
    Chapter("K", "scheduler", "schedule_contract"),
    Chapter("L", "scheduler", "schedule_mathematics"),
    Chapter("R", "scheduler", "schedule_resume"),
    Chapter("X", "scheduler", "together"),
)


@functools.cache
def checks(kind: SuiteKind | None = None) -> tuple[LiveCheck, ...]:
    """All checks of a kind, in the order of the chapters, then those that ambient plugins add. Imports torch.

    Raises:
        PluginError: an ambient plugin is broken.
    """
    found: list[LiveCheck] = []
    for chapter in CHAPTERS:
        if kind in (None, chapter.kind):
            found += checks_of(import_module(f"{__name__}.{chapter.module}"), chapter.kind)
    for module in default_registry().checks():
        if kind in (None, module.KIND):
            found += checks_of(module, module.KIND)
    return tuple(found)


def checks_of(module: Any, kind: SuiteKind) -> list[LiveCheck]:
    """The checks that a module defines."""
    title = (module.__doc__ or module.__name__).partition(":")[0].strip()
    return [
        LiveCheck(
            id=function.about.id,
            name=function.__name__.removeprefix("check_"),
            claim=(function.__doc__ or "").partition("\n")[0],
            kind=kind,
            tier=function.about.tier,
            chapter=title,
            function=function,
            needs=function.about.needs,
            still=function.about.still,
            hint=function.about.hint,
        )
        for function in vars(module).values()
        if hasattr(function, "about")
    ]


def find(id: str) -> LiveCheck:
    """The check with an id."""
    return next(check for check in checks() if check.id == id)
