"""The registry: loads an installed component when somebody asks for its name, and tells observers what was built."""

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
        super().__init__(entry_points, environ)
        self._lock = threading.RLock()
        self._manager = pluggy.PluginManager("optreg")
        self._manager.add_hookspecs(hookspecs)

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

    def checks(self) -> list[tuple[Entry, CheckPlugin]]:
        """The chapters of conformance checks that ambient plugins (group `optreg.hooks`) offer.

        Raises:
            PluginError: one of them is broken: checks that are not run must not look as if they had passed.
        """
        ambient = [entry for entry in self.entries(Kind.HOOK) if not self.hidden_by(entry)]
        found = [(entry, chapter) for entry in ambient for chapter in self._records(entry, CHECKS, CheckPlugin) or ()]
        kinds = [kind.value for kind in (Kind.OPTIMIZER, Kind.SCHEDULER)]
        for entry, chapter in found:
            if chapter.kind not in kinds:
                raise PluginError(
                    f"{entry.origin}: hook '{CHECKS}' returned checks of kind {chapter.kind!r}; a kind is "
                    f"{' or '.join(map(repr, kinds))}"
                )
        return found

    def notify_built(self, spec: Spec, optimizer: "lazy_types.Optimizer", scheduler: "lazy_types.LRScheduler") -> None:
        """Tell every observer, installed under `optreg.hooks` or part of a plugin in use, what was built.

        An observer that fails is reported as a `PluginWarning`; the others still hear.
        """
        for entry in self.entries(Kind.HOOK):
            if not self.hidden_by(entry):
                try:
                    self._register(entry)
                except PluginError as error:
                    warnings.warn(str(error), PluginWarning, stacklevel=3)
        with self._lock:  # another thread's registration may add to what is read here
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
        """Call the hook of the one module behind `entry`, and take the record of that name."""
        records = self._records(entry, hook, record)
        if records is None:
            raise PluginError(f"{entry.origin} offers {entry.kind} '{entry.name}', but does not implement the hook '{hook}'")
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
        """What a hook of the one module behind `entry` returns; None where the module does not implement it."""
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
            except (Exception, SystemExit) as error:  # a script listed as a plugin may end the program
                raise PluginError(
                    f"{entry.kind} '{entry.name}' is broken: {entry.origin} cannot be imported: "
                    f"{type(error).__name__}: {error}"
                ) from error
            try:
                if not self._manager.is_registered(module):
                    self._manager.register(module, name=f"{entry.distribution}:{entry.module}")
                self._refuse_unheard_hooks(entry, module)
            except (pluggy.PluginValidationError, PluginError) as error:
                if self._manager.is_registered(module):  # pluggy before 1.7 keeps one that it has refused
                    self._manager.unregister(module)
                if isinstance(error, PluginError):
                    raise
                raise PluginError(f"{entry.origin}: {error}") from error
            return module

    def _refuse_unheard_hooks(self, entry: Entry, module: Any) -> None:
        """pluggy accepts a misspelt hook until somebody asks; we ask at once, of this one module.

        Checks are asked for in ambient plugins alone; elsewhere they would never be run.
        """
        ambient = {other.module for other in self.entries(Kind.HOOK)}
        known = [name for name in vars(hookspecs) if name.startswith("optreg_")]
        for caller in self._manager.get_hookcallers(module) or []:
            if not caller.has_spec():
                raise PluginError(
                    f"{entry.origin} implements '{caller.name}', which is not a hook of optreg"
                    f"{did_you_mean(caller.name, known)}"
                )
            if caller.name == CHECKS and entry.module not in ambient:
                raise PluginError(
                    f"{entry.origin} implements '{CHECKS}', which optreg calls only for the entry-point group "
                    f"'{Kind.HOOK.group}'; list the module there too"
                )


_reading = threading.Lock()


@functools.cache
def _installed() -> Registry:
    return Registry()


def default_registry() -> Registry:
    """The registry of what is installed in this process, read once, however many threads ask for it first."""
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
