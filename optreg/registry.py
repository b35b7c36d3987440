"""The registry: loads an installed component when its name is used, and notifies observers of what was built."""

import functools
import importlib
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import pluggy

from optreg import hookspecs, lazy_types
from optreg.criteria import CRITERIA
from optreg.entries import Entries, Entry, Kind, normalised
from optreg.errors import PluginError, PluginWarning, did_you_mean
from optreg.records import CheckPlugin, OptimizerPlugin, Plugin, Registration, SchedulePlugin
from optreg.spec import Spec

CHECKS = "optreg_checks"

Record = TypeVar("Record")


class Registry(Entries):
    """The installed components of one process.

    Listing names reads only metadata. Using a name imports the one module behind it, registers that module with pluggy
    and takes the record of that name. A broken module affects only its own names.

    Args:
        entry_points: what is installed; by default, what `importlib.metadata` finds on `sys.path`.
        environ: the environment variables that hold the allow list and the block list.
    """

    def __init__(
        self, entry_points: Iterable[EntryPoint] | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        super().__init__(entry_points, environ)
        self._lock = threading.RLock()
        self._manager = pluggy.PluginManager("optreg")
        self._manager.add_hookspecs(hookspecs)

    def optimizer(self, name: str) -> Registration[OptimizerPlugin]:
        """Import and return the optimizer of that name.

        Raises:
            UnknownPluginError: the name matches no plugin or several.
            PluginError: the plugin is broken.
        """
        return self._load(self.find(Kind.OPTIMIZER, name), "optreg_optimizers", OptimizerPlugin)

    def scheduler(self, name: str) -> Registration[SchedulePlugin]:
        """Import and return the schedule of that name.

        Raises:
            UnknownPluginError: the name matches no plugin or several.
            PluginError: the plugin is broken.
        """
        return self._load(self.find(Kind.SCHEDULER, name), "optreg_schedulers", SchedulePlugin)

    def load(self, entry: Entry) -> None:
        """Import everything behind an entry, its implementation included, to find out whether it works.

        Raises:
            PluginError: it does not work.
        """
        if entry.kind is Kind.OPTIMIZER:
            self._load(entry, "optreg_optimizers", OptimizerPlugin).implementation()
        elif entry.kind is Kind.SCHEDULER:
            self._load(entry, "optreg_schedulers", SchedulePlugin).implementation()
        else:
            self._register(entry)

    def checks(self) -> list[tuple[Entry, CheckPlugin]]:
        """The chapters of conformance checks that hook modules (group `optreg.hooks`) offer.

        Raises:
            PluginError: one is broken; checks that did not run must not look as if they had passed.
        """
        hooks = [entry for entry in self.entries(Kind.HOOK) if not self.hidden_by(entry)]
        found = [(entry, chapter) for entry in hooks for chapter in self._records(entry, CHECKS, CheckPlugin) or ()]
        kinds = [kind.value for kind in (Kind.OPTIMIZER, Kind.SCHEDULER)]
        for entry, chapter in found:
            if chapter.kind not in kinds:
                raise PluginError(
                    f"{entry.origin}: hook '{CHECKS}' returned checks of kind {chapter.kind!r}; a kind is "
                    f"{' or '.join(map(repr, kinds))}"
                )
        return found

    def notify_built(self, spec: Spec, optimizer: "lazy_types.Optimizer", scheduler: "lazy_types.LRScheduler") -> None:
        """Notify every observer, under `optreg.hooks` or in a plugin in use, of what was built.

        A failing observer causes a `PluginWarning`; the others are still notified.
        """
        for entry in self.entries(Kind.HOOK):
            if not self.hidden_by(entry):
                try:
                    self._register(entry)
                except PluginError as error:
                    warnings.warn(str(error), PluginWarning, stacklevel=3)
        with self._lock:  # another thread may be registering a module
            plugins = self._manager.get_plugins()
            observers = self._manager.hook.optreg_built.get_hookimpls()
        for observer in observers:
            call = self._manager.subset_hook_caller("optreg_built", plugins - {observer.plugin})
            try:
                call(spec=spec, optimizer=optimizer, scheduler=scheduler)
            except Exception as error:
                warnings.warn(
                    f"observer '{observer.plugin_name}' failed: {type(error).__name__}: {error}",
                    PluginWarning,
                    stacklevel=3,
                )

    def _load(self, entry: Entry, hook: str, record: type[Plugin]) -> Registration[Plugin]:
        """Call the hook of the one module behind `entry`, and return the record of that name."""
        records = self._records(entry, hook, record)
        if records is None:
            raise PluginError(
                f"{entry.origin} offers {entry.kind} '{entry.name}', but does not implement the hook '{hook}'"
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

    def _records(self, entry: Entry, hook: str, record: type[Record]) -> list[Record] | None:
        """What a hook of the one module behind `entry` returns; None if the module does not implement it."""
        module = self._register(entry)
        with self._lock:  # another thread may be registering a module
            callers = self._manager.get_hookcallers(module) or []
        functions: list[Any] = [
            implementation.function
            for caller in callers
            if caller.name == hook
            for implementation in caller.get_hookimpls()
            if implementation.plugin is module
        ]
        if not functions:
            return None
        try:
            records: list[Any] = [plugin for function in functions for plugin in function()]
        except Exception as error:
            raise PluginError(f"{entry.origin}: hook '{hook}' failed: {type(error).__name__}: {error}") from error
        for plugin in records:
            if not isinstance(plugin, record):
                article = "an" if record.__name__[0] in "AEIOU" else "a"
                raise PluginError(
                    f"{entry.origin}: hook '{hook}' returned a {type(plugin).__name__}, not {article} {record.__name__}"
                )
        return records

    def _register(self, entry: Entry) -> Any:
        """Import the module behind an entry and hand it to pluggy, once."""
        with self._lock:
            try:
                module = importlib.import_module(entry.module)
            except (Exception, SystemExit) as error:  # a script listed as a plugin may exit
                raise PluginError(
                    f"{entry.kind} '{entry.name}' is broken: {entry.origin} cannot be imported: "
                    f"{type(error).__name__}: {error}"
                ) from error
            try:
                if not self._manager.is_registered(module):
                    self._manager.register(module, name=f"{entry.distribution}:{entry.module}")
                self._refuse_uncalled_hooks(entry, module)
            except (pluggy.PluginValidationError, PluginError) as error:
                if self._manager.is_registered(module):  # pluggy before 1.7 keeps a refused module
                    self._manager.unregister(module)
                if isinstance(error, PluginError):
                    raise
                raise PluginError(f"{entry.origin}: {error}") from error
            return module

    def _refuse_uncalled_hooks(self, entry: Entry, module: Any) -> None:
        """Raise for a hook that nobody would call: pluggy itself accepts misspelt hooks.

        The suite calls the hook for checks only in hook modules.
        """
        hooks = {other.module for other in self.entries(Kind.HOOK)}
        known = [name for name in vars(hookspecs) if name.startswith("optreg_")]
        for caller in self._manager.get_hookcallers(module) or []:
            if not caller.has_spec():
                raise PluginError(
                    f"{entry.origin} implements '{caller.name}', which is not a hook of optreg"
                    f"{did_you_mean(caller.name, known)}"
                )
            if caller.name == CHECKS and entry.module not in hooks:
                raise PluginError(
                    f"{entry.origin} implements '{CHECKS}', which optreg calls only for the entry-point group "
                    f"'{Kind.HOOK.group}'; list the module there too"
                )


_reading = threading.Lock()


@functools.cache
def _installed() -> Registry:
    return Registry()


def default_registry() -> Registry:
    """The registry of everything installed in this process; all threads share one."""
    with _reading:
        return _installed()


def _check_fields(entry: Entry, what: str, part: Any) -> None:
    if not (isinstance(part, type) and is_dataclass(part)):
        raise PluginError(f"{entry.origin}: the {what} of '{entry.name}' is not a dataclass")
    clash = sorted({"name", *CRITERIA} & {field.name for field in fields(part)})
    if clash:
        raise PluginError(
            f"{entry.origin}: '{entry.name}' has hyperparameters whose names are reserved in specs: {', '.join(clash)}"
        )
