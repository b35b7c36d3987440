"""The registry: installed entry points as an index of names, each loaded into a record when somebody asks for it."""

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any, Generic, TypeVar

import pluggy

from optreg import hookspecs
from optreg.errors import PluginError, PluginWarning, UnknownPluginError, closest, did_you_mean
from optreg.hookspecs import OptimizerPlugin, SchedulePlugin
from optreg.requirements import missing

ALLOW = "OPTREG_PLUGINS"
"""Environment variable: the distributions (or qualified names) that may be used, separated by commas."""

BLOCK = "OPTREG_BLOCK"
"""Environment variable: the distributions (or qualified names) that may not."""

RESERVED = frozenset({"name", "match", "regex", "ndim", "type"})
"""Keys that a spec gives a meaning of its own, so no hyperparameter can bear them."""


class Kind(StrEnum):
    """What an entry point offers; the value is the word that specs and messages use."""

    OPTIMIZER = "optimizer"
    SCHEDULER = "scheduler"
    HOOK = "hook"

    @property
    def group(self) -> str:
        """The entry-point group: `optreg.optimizers`, ..."""
        return f"optreg.{self.value}s"


@dataclass(frozen=True, slots=True)
class Entry:
    """A component as the metadata of its distribution describes it; nothing has been imported for it."""

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
        """Who to turn to, for messages."""
        return f"distribution '{self.distribution}' {self.version}, module '{self.module}'"


Plugin = TypeVar("Plugin", OptimizerPlugin, SchedulePlugin)


@dataclass(frozen=True)
class Registration(Generic[Plugin]):
    """A component's record, together with where it came from."""

    entry: Entry
    plugin: Plugin

    def implementation(self) -> Any:
        """Import the class behind the record.

        Raises:
            PluginError: the import fails, or finds no such class.
        """
        try:
            module, _, attribute = self.plugin.implementation.partition(":")
            return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.entry.kind} '{self.entry.name}' of {self.entry.origin} names its implementation "
                f"'{self.plugin.implementation}', which cannot be imported: {type(error).__name__}: {error}"
            ) from error


class Registry:
    """The installed components of one process.

    Reading names costs metadata alone. Asking for a component imports the one module behind its name, registers
    it with pluggy and takes the record of that name; a module that fails to do so harms nobody else.

    Args:
        entry_points: what is installed; by default, what `importlib.metadata` finds on `sys.path`.
        environ: where the allow- and block-list are read from.
    """

    def __init__(
        self,
        entry_points: Iterable[EntryPoint] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        installed = importlib.metadata.entry_points() if entry_points is None else EntryPoints(entry_points)
        self._entries = [_entry(kind, point) for kind in Kind for point in installed.select(group=kind.group)]
        self._entries.sort(key=lambda entry: (entry.kind, entry.name, entry.distribution))
        self._allowed = _listed(environ, ALLOW)
        self._blocked = _listed(environ, BLOCK) or frozenset()
        self._lock = threading.RLock()
        self._manager = pluggy.PluginManager("optreg")
        self._manager.add_hookspecs(hookspecs)

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """All that is installed, hidden or not, sorted by kind, name and distribution. Imports no plugin."""
        return [entry for entry in self._entries if kind in (None, entry.kind)]

    def usable(self, kind: Kind) -> list[Entry]:
        """The components of a kind that a bare name leads to: not hidden, not ambiguous, nothing missing."""
        visible = [entry for entry in self.entries(kind) if not self.hidden_by(entry)]
        unique = [entry for entry in visible if sum(other.name == entry.name for other in visible) == 1]
        return [entry for entry in unique if not missing(entry.distribution, entry.name)]

    def state(self, entry: Entry) -> str:
        """What the metadata alone says of an entry, in a few words: `available`, or why it is not."""
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
        """The entry that a bare name, or a qualified one like `some-dist/lion`, leads to. Imports no plugin.

        Raises:
            UnknownPluginError: none or several answer to the name, an environment variable hides it, or what it
                requires is not installed.
        """
        distribution, _, bare = name.rpartition("/")
        wanted = normalised(bare)
        matches = [
            entry
            for entry in self.entries(kind)
            if entry.name == wanted and _canonical(distribution) in ("", entry.distribution)
        ]
        visible = [entry for entry in matches if not self.hidden_by(entry)]
        answering = [entry.qualified for entry in visible or matches]
        if len(visible) == 1:
            entry = visible[0]
            if lacking := missing(entry.distribution, entry.name):
                remedy = f"pip install '{entry.distribution}[{entry.name}]'"
                message = f"{kind} '{name}' is not available: it needs {lacking}; {remedy}"
                raise UnknownPluginError(message, matches=answering)
            return entry
        if visible:
            raise UnknownPluginError(_several(kind, name, visible), matches=answering)
        if matches:
            hidden = ", ".join(f"{self.hidden_by(entry)} hides '{entry.qualified}'" for entry in matches)
            message = f"{kind} '{name}' is installed, but {hidden}; change that variable to use it"
            raise UnknownPluginError(message, matches=answering)
        choices = [entry.name for entry in self.usable(kind)]
        message = f"there is no {kind} '{name}'{did_you_mean(wanted, choices)}"
        raise UnknownPluginError(message, closest=closest(wanted, choices))

    def optimizer(self, name: str) -> Registration[OptimizerPlugin]:
        """The optimizer of that name, its module imported.

        Raises:
            UnknownPluginError: the name leads nowhere, or to several.
            PluginError: the plugin behind it is broken.
        """
        return self._load(self.find(Kind.OPTIMIZER, name), "optreg_optimizers", OptimizerPlugin)

    def scheduler(self, name: str) -> Registration[SchedulePlugin]:
        """The schedule of that name, its module imported.

        Raises:
            UnknownPluginError: the name leads nowhere, or to several.
            PluginError: the plugin behind it is broken.
        """
        return self._load(self.find(Kind.SCHEDULER, name), "optreg_schedulers", SchedulePlugin)

    def load(self, entry: Entry) -> None:
        """Import whatever an entry stands for, its implementation too, to see whether it works.

        Raises:
            PluginError: it does not.
        """
        if entry.kind is Kind.OPTIMIZER:
            self._load(entry, "optreg_optimizers", OptimizerPlugin).implementation()
        elif entry.kind is Kind.SCHEDULER:
            self._load(entry, "optreg_schedulers", SchedulePlugin).implementation()
        else:
            self._register(entry)

    def checks(self) -> list[Any]:
        """The modules of conformance checks that ambient plugins (group `optreg.hooks`) offer.

        Raises:
            PluginError: one of them is broken: checks that are not run must not look as if they had passed.
        """
        modules: list[Any] = []
        for entry in self.entries(Kind.HOOK):
            if not self.hidden_by(entry):
                module = self._register(entry)
                if hasattr(module, "optreg_checks"):
                    try:
                        modules += module.optreg_checks()
                    except Exception as error:
                        message = f"{entry.origin}: hook 'optreg_checks' failed: {type(error).__name__}: {error}"
                        raise PluginError(message) from error
        return modules

    def notify_built(self, spec: Any, optimizer: Any, scheduler: Any) -> None:
        """Tell every observer, installed under `optreg.hooks` or part of a plugin in use, what was built.

        An observer that fails is reported as a `PluginWarning`; the others still hear.
        """
        for entry in self.entries(Kind.HOOK):
            if not self.hidden_by(entry):
                try:
                    self._register(entry)
                except PluginError as error:
                    warnings.warn(str(error), PluginWarning, stacklevel=3)
        plugins = self._manager.get_plugins()
        for implementation in self._manager.hook.optreg_built.get_hookimpls():
            others = [plugin for plugin in plugins if plugin is not implementation.plugin]
            call = self._manager.subset_hook_caller("optreg_built", others)
            try:
                call(spec=spec, optimizer=optimizer, scheduler=scheduler)
            except Exception as error:
                warnings.warn(
                    f"observer '{implementation.plugin_name}' failed: {type(error).__name__}: {error}",
                    PluginWarning,
                    stacklevel=3,
                )

    def _load(self, entry: Entry, hook: str, record: type[Plugin]) -> Registration[Plugin]:
        """Call the hook of the one module behind `entry`, and take the record that bears its name."""
        module = self._register(entry)
        with self._lock:  # another thread's registration may add to what is searched here
            callers = self._manager.get_hookcallers(module) or []
        functions: list[Any] = [
            implementation.function
            for caller in callers
            if caller.name == hook
            for implementation in caller.get_hookimpls()
            if implementation.plugin is module
        ]
        if not functions:
            raise PluginError(f"{entry.origin} offers {entry.kind} '{entry.name}', but implements no hook '{hook}'")
        try:
            records: list[Any] = [plugin for function in functions for plugin in function()]
        except Exception as error:
            raise PluginError(f"{entry.origin}: hook '{hook}' failed: {type(error).__name__}: {error}") from error
        for plugin in records:
            if not isinstance(plugin, record):
                raise PluginError(
                    f"{entry.origin}: hook '{hook}' returned a {type(plugin).__name__}, not an {record.__name__}"
                )
        named = [plugin for plugin in records if normalised(str(plugin.name)) == entry.name]
        if len(named) != 1:
            offered = ", ".join(f"'{plugin.name}'" for plugin in records) or "nothing"
            raise PluginError(
                f"{entry.origin}: entry point '{entry.name}' needs one record of that name; '{hook}' returned {offered}"
            )
        _check_fields(entry, "reference", named[0].reference)
        if isinstance(named[0], OptimizerPlugin):
            _check_fields(entry, "options class", named[0].options)
        return Registration(entry, named[0])

    def _register(self, entry: Entry) -> Any:
        """Import the module behind an entry and hand it to pluggy, once."""
        with self._lock:
            try:
                module = importlib.import_module(entry.module)
            except (Exception, SystemExit) as error:  # a script listed as a plugin may end the program
                raise PluginError(
                    f"{entry.kind} '{entry.name}' is broken: {entry.origin} cannot be imported: "
                    f"{type(error).__name__}: {error}"
                ) from error
            try:
                if not self._manager.is_registered(module):
                    self._manager.register(module, name=f"{entry.distribution}:{entry.module}")
                self._refuse_unknown_hooks(entry, module)
            except (pluggy.PluginValidationError, PluginError) as error:
                if self._manager.is_registered(module):  # pluggy before 1.7 keeps one that it has refused
                    self._manager.unregister(module)
                if isinstance(error, PluginError):
                    raise
                raise PluginError(f"{entry.origin}: {error}") from error
            return module

    def _refuse_unknown_hooks(self, entry: Entry, module: Any) -> None:
        """pluggy accepts a misspelt hook until somebody asks; we ask at once, of this one module."""
        known = [name for name in vars(hookspecs) if name.startswith("optreg_")]
        for caller in self._manager.get_hookcallers(module) or []:
            if not caller.has_spec():
                raise PluginError(
                    f"{entry.origin} implements '{caller.name}', which is no hook of optreg"
                    f"{did_you_mean(caller.name, known)}"
                )


@functools.cache
def default_registry() -> Registry:
    """The registry of what is installed in this process, read once."""
    return Registry()


def _entry(kind: Kind, point: EntryPoint) -> Entry:
    metadata: Any = point.dist.metadata if point.dist else {}
    distribution, version = metadata.get("Name"), metadata.get("Version")  # None where the metadata is damaged
    return Entry(kind, normalised(point.name), _canonical(distribution or "unknown"), version or "unknown", point.value)


def normalised(name: str) -> str:
    """The one spelling of a component's name: `Warmup-Cosine` is `warmup_cosine`."""
    return re.sub(r"[-_\s]+", "_", name.strip()).lower()


def _canonical(distribution: str) -> str:
    """The one spelling of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _listed(environ: Mapping[str, str], variable: str) -> frozenset[str] | None:
    if not environ.get(variable, "").strip():
        return None
    marks: frozenset[str] = frozenset()
    for item in environ[variable].split(","):
        distribution, slash, name = item.strip().partition("/")
        marks |= {_canonical(distribution) + slash + normalised(name)}
    return marks


def _several(kind: Kind, name: str, entries: list[Entry]) -> str:
    if len({entry.distribution for entry in entries}) == 1:
        modules = " and ".join(f"'{entry.module}'" for entry in entries)
        return (
            f"distribution '{entries[0].distribution}' {entries[0].version} offers {kind} '{name}' twice, "
            f"as {modules}; its author must rename one"
        )
    choices = ", ".join(f"'{entry.qualified}'" for entry in entries)
    return f"{kind} '{name}' is offered by {len(entries)} distributions; write one of {choices}, or hide one by {BLOCK}"


def _can_be_found(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.modules or (top != "" and importlib.util.find_spec(top) is not None)


def _check_fields(entry: Entry, what: str, part: Any) -> None:
    if not (isinstance(part, type) and is_dataclass(part)):
        raise PluginError(f"{entry.origin}: the {what} of '{entry.name}' is no dataclass")
    clash = sorted(RESERVED & {field.name for field in fields(part)})
    if clash:
        raise PluginError(
            f"{entry.origin}: '{entry.name}' has hyperparameters that specs use for something else: {', '.join(clash)}"
        )
