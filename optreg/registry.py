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
from optreg.errors import PluginError, PluginWarning, did_you_mean, plugin_code
from optreg.records import CheckPlugin, OptimizerPlugin, Plugin, Registration, SchedulePlugin
from optreg.spec import FREEZE_STEPS, RULE_KEYS, Spec

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
        self._modules: dict[str, _Module] = {}  # by their names
        self._observers = _manager()
        self._lock = threading.Lock()  # for these two; no plugin's code runs under it

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
        with self._lock:
            observers = self._observers.hook.optreg_built.get_hookimpls()
            plugins = self._observers.get_plugins()
        for observer in observers:
            call = self._observers.subset_hook_caller("optreg_built", plugins - {observer.plugin})
            try:
                with plugin_code(f"observer '{observer.plugin_name}' failed"):
                    call(spec=spec, optimizer=optimizer, scheduler=scheduler)
            except PluginError as error:
                warnings.warn(str(error), PluginWarning, stacklevel=3)

    def _load(self, entry: Entry, hook: str, record: type[Plugin]) -> Registration[Plugin]:
        """Call the hook of the one module behind `entry`, and return the record of that name."""
        records = self._records(entry, hook, record)
        if records is None:
            module, colon, _ = entry.module.partition(":")
            remedy = f"; if the module does, name it alone: {entry.name} = {module}" if colon else ""
            raise PluginError(
                f"{entry.origin} offers {entry.kind} '{entry.name}', but does not implement the hook '{hook}'{remedy}"
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
        hooks = self._register(entry).hooks
        implementations = getattr(hooks.hook, hook).get_hookimpls()
        functions: list[Any] = [implementation.function for implementation in implementations]
        if not functions:
            return None
        with plugin_code(f"{entry.origin}: hook '{hook}' failed", origin=entry.origin):
            records: list[Any] = [plugin for function in functions for plugin in function()]
        for plugin in records:
            if not isinstance(plugin, record):
                article = "an" if record.__name__[0] in "AEIOU" else "a"
                raise PluginError(
                    f"{entry.origin}: hook '{hook}' returned a {type(plugin).__name__}, not {article} {record.__name__}"
                )
        return records

    def _register(self, entry: Entry) -> "_Module":
        """Import the module behind an entry, and find its hooks, once."""
        plugin = _imported(entry)
        known = self._modules.get(entry.module)
        if known and known.plugin is plugin:
            return known
        found = _Module(plugin, _hooks_of(entry, plugin))
        self._refuse_uncalled_hooks(entry, found)
        with self._lock:
            known = self._modules.get(entry.module)
            if known and known.plugin is plugin:  # another thread was faster
                return known
            for observer in known.observers if known else ():  # of a module that was imported again since
                self._observers.unregister(observer)
            for number, observer in enumerate(found.observers):
                name = f"{entry.distribution}:{entry.module}"
                self._observers.register(observer, name=f"{name}, {number + 1}" if number else name)
            self._modules[entry.module] = found
        return found

    def _refuse_uncalled_hooks(self, entry: Entry, found: "_Module") -> None:
        """Raise for a hook that nobody would call: pluggy itself accepts misspelt hooks.

        The suite calls the hook for checks only in hook modules.
        """
        hooks = {other.module for other in self.entries(Kind.HOOK)}
        known = [name for name in vars(hookspecs) if name.startswith("optreg_")]
        for caller in found.hooks.get_hookcallers(found.plugin) or []:
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


class _Observer:
    """What is called when something was built, apart from its module: pluggy reads every name of what it registers."""

    def __init__(self, function: Any) -> None:
        self.optreg_built = function


class _Module:
    """A plugin's module, or the object that its entry point names, with a manager that knows its hooks alone."""

    def __init__(self, plugin: Any, hooks: pluggy.PluginManager) -> None:
        self.plugin = plugin
        self.hooks = hooks
        self.observers = [_Observer(found.function) for found in hooks.hook.optreg_built.get_hookimpls()]


def _hooks_of(entry: Entry, plugin: Any) -> pluggy.PluginManager:
    """The hooks of a plugin. This reads its names, and a module may import when it is asked for one."""
    manager = _manager()
    wrong = ""
    with plugin_code(f"{entry.origin}: its hooks cannot be read"):
        try:
            manager.register(plugin)
        except pluggy.PluginValidationError as error:
            wrong = str(error)
    if wrong:
        raise PluginError(f"{entry.origin}: {wrong}")
    return manager


def _manager() -> pluggy.PluginManager:
    """A plugin manager that knows the hooks of optreg."""
    manager = pluggy.PluginManager("optreg")
    manager.add_hookspecs(hookspecs)
    return manager


def _imported(entry: Entry) -> Any:
    """The module behind an entry, or the object in it that the entry point names."""
    name, _, attribute = entry.module.partition(":")
    failure = f"{entry.kind} '{entry.name}' is broken: {entry.origin} cannot be imported"
    try:
        with plugin_code(failure, origin=entry.origin):
            module = _module(name)
    except PluginError as error:
        if type(error.__cause__).__name__ != "_DeadlockError":  # importlib's: two threads wait for each other's modules
            raise
        raise _too_early(entry) from error
    if getattr(getattr(module, "__spec__", None), "_initializing", False) is True:  # as importlib itself asks
        raise _too_early(entry)
    with plugin_code(failure):
        return functools.reduce(getattr, attribute.split(".") if attribute else (), module)


def _module(name: str, attempts: int = 3) -> Any:
    """Import a module, also while many threads import it at once.

    CPython 3.11 then fails now and then: importlib does not find the module that it has just loaded.
    """
    try:
        return importlib.import_module(name)
    except KeyError as error:
        if error.args != (name,) or attempts == 1:
            raise
    return _module(name, attempts - 1)


def _too_early(entry: Entry) -> PluginError:
    return PluginError(
        f"{entry.kind} '{entry.name}' cannot be used yet: {entry.origin} is still being imported, and its import has "
        "led here; let it ask optreg in a function that is called later"
    )


_reading = threading.Lock()


@functools.cache
def _installed() -> Registry:
    return Registry()


def default_registry() -> Registry:
    """The registry of everything installed in this process; all threads share one.

    When it is made, a `PluginWarning` tells each of its `faults`.
    """
    with _reading:
        first = not _installed.cache_info().currsize
        registry = _installed()
    if first:
        for fault in registry.faults:
            warnings.warn(fault, PluginWarning, stacklevel=2)
    return registry


def _check_fields(entry: Entry, what: str, part: Any) -> None:
    if not (isinstance(part, type) and is_dataclass(part)):
        raise PluginError(f"{entry.origin}: the {what} of '{entry.name}' is not a dataclass")
    clash = sorted({"name", FREEZE_STEPS, *CRITERIA, *RULE_KEYS} & {field.name for field in fields(part)})
    if clash:
        raise PluginError(
            f"{entry.origin}: '{entry.name}' has hyperparameters whose names are reserved in specs: {', '.join(clash)}"
        )
