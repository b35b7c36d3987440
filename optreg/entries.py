"""Entries: what is installed according to metadata, and the entry that a name leads to. Imports no plugin."""

import importlib.util
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint

from optreg.distributions import Distribution, described, installed
from optreg.errors import PluginError, UnknownPluginError, closest, did_you_mean, printable
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

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Errors of the plugin begin with where it comes from."""
        try:
            yield
        except PluginError as error:
            raise PluginError(f"{self.origin}: {error}") from error.__cause__


class Entries:
    """What is installed, as one process sees it; the arguments are those of `optreg.Registry`."""

    def __init__(
        self, entry_points: Iterable[EntryPoint] | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        groups = {kind.group: kind for kind in Kind}
        distributions, faults = installed(groups) if entry_points is None else _given(entry_points, groups)
        self._requires = {distribution.name: distribution.requires for distribution in distributions}
        self._entries = _entries(distributions, groups)
        self._allowed = _listed(environ, ALLOW)
        self._blocked = _listed(environ, BLOCK) or frozenset()
        self._offers = Counter((entry.kind, entry.name) for entry in self._entries if not self.hidden_by(entry))
        marks = [(ALLOW, mark) for mark in self._allowed or ()] + [(BLOCK, mark) for mark in self._blocked]
        astray = filter(None, (self._astray(*mark) for mark in sorted(marks)))
        self.faults = tuple(map(printable, (*faults, *astray)))
        """What is damaged among all that is installed, and words of the variables that match nothing, each with what to
        do. Nothing of it stops anybody."""

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """All installed entries, including hidden ones, sorted by kind, name and distribution. Imports no plugin."""
        return [entry for entry in self._entries if kind in (None, entry.kind)]

    def usable(self, kind: Kind) -> list[Entry]:
        """The components of a kind that a bare name leads to: not hidden, not ambiguous, nothing missing."""
        visible = [entry for entry in self.entries(kind) if not self.hidden_by(entry) and _can_be_asked_for(entry.name)]
        unique = [entry for entry in visible if self._offers[kind, entry.name] == 1]
        return [entry for entry in unique if not self._missing(entry)]

    def state(self, entry: Entry) -> str:
        """The state of an entry according to metadata: `available`, or the reason why it is not."""
        if variable := self.hidden_by(entry):
            return f"hidden by {variable}"
        if not _can_be_asked_for(entry.name):
            return f"broken: nobody can ask for the name '{entry.name}'; its author must choose one without '/'"
        if self._offers[entry.kind, entry.name] > 1:
            return f"ambiguous: write {entry.qualified}"
        if lacking := self._missing(entry):
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
            if lacking := self._missing(entry):
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

    def _missing(self, entry: Entry) -> str | None:
        return missing(self._requires.get(entry.distribution, ()), entry.name)

    def _astray(self, variable: str, mark: str) -> str | None:
        """What is wrong with a word of a variable, if it matches nothing."""
        choices = {place for entry in self._entries for place in (entry.distribution, entry.qualified)}
        if mark in choices:
            return None
        named = [entry.qualified for entry in self._entries if entry.name == normalised(mark)]
        near = named[0] if named else closest(mark, sorted(choices))
        hint = f"; did you mean '{near}'?" if near else ""
        return (
            f"{variable} names '{mark}', but no installed distribution or qualified name is called that{hint}; "
            "`optreg list` shows what is installed"
        )


def _given(entry_points: Iterable[EntryPoint], groups: Mapping[str, Kind]) -> tuple[list[Distribution], list[str]]:
    """Each entry point with the description of its distribution, and what of that is damaged."""
    by_distribution: dict[int, list[EntryPoint]] = {}
    for point in entry_points:
        if point.group in groups:
            by_distribution.setdefault(id(point.dist), []).append(point)
    parts = [described(points[0].dist, tuple(points)) for points in by_distribution.values()]
    return [part for part, _ in parts], [*dict.fromkeys(fault for _, fault in parts if fault)]


def _entries(distributions: Iterable[Distribution], groups: Mapping[str, Kind]) -> list[Entry]:
    """Their entries, sorted. What two distributions of one name offer by the same module is one."""
    entries: list[Entry] = []
    seen: set[tuple[str, ...]] = set()
    for distribution in distributions:
        own = [
            Entry(groups[point.group], normalised(point.name), distribution.name, distribution.version, _target(point))
            for point in distribution.entry_points
        ]
        entries += [entry for entry in own if _identity(entry) not in seen]
        seen |= {_identity(entry) for entry in own}
    return sorted(entries, key=lambda entry: (entry.kind, entry.name, entry.distribution))


def _identity(entry: Entry) -> tuple[str, ...]:
    return entry.kind, entry.name, entry.distribution, entry.module


def _target(point: EntryPoint) -> str:
    """`module`, or `module:object`, without the extras that an entry point may ask for."""
    found = EntryPoint.pattern.match(point.value)
    if not found:
        return point.value
    return found["module"] + (f":{found['attr']}" if found["attr"] else "")


def _can_be_asked_for(name: str) -> bool:
    return name != "" and "/" not in name


def normalised(name: str) -> str:
    """A component's name in its one spelling: `Warmup-Cosine` is `warmup_cosine`."""
    return re.sub(r"[-_\s]+", "_", name.strip()).lower()


def _listed(environ: Mapping[str, str], variable: str) -> frozenset[str] | None:
    if not environ.get(variable, "").strip():
        return None
    marks: frozenset[str] = frozenset()
    for item in environ[variable].split(","):
        distribution, slash, name = item.strip().partition("/")
        if item.strip():
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
    top = module.partition(":")[0].partition(".")[0]
    try:
        return top in sys.modules or (top != "" and importlib.util.find_spec(top) is not None)
    except (ImportError, ValueError):  # not the name of any module
        return False
