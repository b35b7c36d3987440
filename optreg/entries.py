"""Entries: what is installed according to metadata, and the entry that a name leads to. Imports no plugin."""

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

from optreg.errors import UnknownPluginError, closest, did_you_mean
from optreg.requirements import canonical, missing

ALLOW = "OPTREG_PLUGINS"
"""Environment variable: the only distributions or qualified names that may be used, separated by commas."""

BLOCK = "OPTREG_BLOCK"
"""Environment variable: distributions or qualified names that may not be used."""


class Kind(StrEnum):
    """What an entry point offers; the value is its word in specs and messages."""

    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    HOOK = "hook"

    @property
    def group(self) -> str:
        """The entry-point group: `optreg.optimizers`, ..."""
        return f"optreg.{self.value}s"


@dataclass(frozen=True, slots=True)
class Entry:
    """A component as the metadata of its distribution describes it; nothing is imported for it."""

    kind: Kind
    name: str
    distribution: str
    version: str
    module: str

    @property
    def qualified(self) -> str:
        """The name that always works: `distribution/name`."""
        return f"{self.distribution}/{self.name}"

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return f"distribution '{self.distribution}' {self.version}, module '{self.module}'"


class Entries:
    """What is installed, as one process sees it; the arguments are those of `optreg.Registry`."""

    def __init__(
        self, entry_points: Iterable[EntryPoint] | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        installed = importlib.metadata.entry_points() if entry_points is None else EntryPoints(entry_points)
        self._entries = [_entry(kind, point) for kind in Kind for point in installed.select(group=kind.group)]
        self._entries.sort(key=lambda entry: (entry.kind, entry.name, entry.distribution))
        self._allowed = _listed(environ, ALLOW)
        self._blocked = _listed(environ, BLOCK) or frozenset()

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """All installed entries, including hidden ones, sorted by kind, name and distribution. Imports no plugin."""
        return [entry for entry in self._entries if kind in (None, entry.kind)]

    def usable(self, kind: Kind) -> list[Entry]:
        """The components of a kind that a bare name leads to: not hidden, not ambiguous, nothing missing."""
        visible = [entry for entry in self.entries(kind) if not self.hidden_by(entry)]
        unique = [entry for entry in visible if sum(other.name == entry.name for other in visible) == 1]
        return [entry for entry in unique if not missing(entry.distribution, entry.name)]

    def state(self, entry: Entry) -> str:
        """The state of an entry according to metadata: `available`, or the reason why it is not."""
        if variable := self.hidden_by(entry):
            return f"hidden by {variable}"
        rivals = [other for other in self.entries(entry.kind) if other.name == entry.name and other != entry]
        if any(not self.hidden_by(rival) for rival in rivals):
            return f"ambiguous: write {entry.qualified}"
        if lacking := missing(entry.distribution, entry.name):
            return f"not available: needs {lacking}"
        if not _can_be_found(entry.module):
            return f"broken: no module '{entry.module}'"
        return "available"

    def hidden_by(self, entry: Entry) -> str | None:
        """The environment variable that hides an entry, if one does."""
        marks = {entry.distribution, entry.qualified}
        if self._allowed is not None and not marks & self._allowed:
            return ALLOW
        return BLOCK if marks & self._blocked else None

    def find(self, kind: Kind, name: str) -> Entry:
        """The entry of a bare name, or of a qualified one like `some-dist/lion`. Imports no plugin.

        Raises:
            UnknownPluginError: none or several answer to the name, an environment variable hides it, or what it
                requires is not installed.
        """
        distribution, _, bare = name.rpartition("/")
        wanted = normalised(bare)
        matches = [
            entry
            for entry in self.entries(kind)
            if entry.name == wanted and canonical(distribution) in ("", entry.distribution)
        ]
        visible = [entry for entry in matches if not self.hidden_by(entry)]
        matching = [entry.qualified for entry in visible or matches]
        if len(visible) == 1:
            entry = visible[0]
            if lacking := missing(entry.distribution, entry.name):
                remedy = f"pip install '{entry.distribution}[{entry.name}]'"
                message = f"{kind} '{name}' is not available: it needs {lacking}; {remedy}"
                raise UnknownPluginError(message, matches=matching)
            return entry
        if visible:
            raise UnknownPluginError(_several(kind, name, visible), matches=matching)
        if matches:
            hidden = ", ".join(f"{self.hidden_by(entry)} hides '{entry.qualified}'" for entry in matches)
            message = f"{kind} '{name}' is installed, but {hidden}; change that variable to use it"
            raise UnknownPluginError(message, matches=matching)
        choices = [entry.name for entry in self.usable(kind)]
        message = f"there is no {kind} '{name}'{did_you_mean(wanted, choices)}"
        raise UnknownPluginError(message, closest=closest(wanted, choices))


def _entry(kind: Kind, point: EntryPoint) -> Entry:
    metadata: Any = point.dist.metadata if point.dist else {}
    distribution, version = metadata.get("Name"), metadata.get("Version")  # None if the metadata is damaged
    return Entry(kind, normalised(point.name), canonical(distribution or "unknown"), version or "unknown", point.value)


def normalised(name: str) -> str:
    """A component's name in its one spelling: `Warmup-Cosine` is `warmup_cosine`."""
    return re.sub(r"[-_\s]+", "_", name.strip()).lower()


def _listed(environ: Mapping[str, str], variable: str) -> frozenset[str] | None:
    if not environ.get(variable, "").strip():
        return None
    marks: frozenset[str] = frozenset()
    for item in environ[variable].split(","):
        distribution, slash, name = item.strip().partition("/")
        marks |= {canonical(distribution) + slash + normalised(name)}
    return marks


def _several(kind: Kind, name: str, entries: list[Entry]) -> str:
    if len({entry.distribution for entry in entries}) == 1:
        modules = " and ".join(f"'{entry.module}'" for entry in entries)
        return (
            f"distribution '{entries[0].distribution}' {entries[0].version} offers {kind} '{name}' twice, "
            f"as {modules}; its author must rename one"
        )
    choices = ", ".join(f"'{entry.qualified}'" for entry in entries)
    return (
        f"{kind} '{name}' is offered by {len(entries)} distributions; write one of {choices}, or hide one with {BLOCK}"
    )


def _can_be_found(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.modules or (top != "" and importlib.util.find_spec(top) is not None)
