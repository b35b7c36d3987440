"""The spec: what a run is made of, read from YAML or a mapping, checked against the plugins that it names.

A `Spec` that exists is right: every name leads to one plugin, every value has its type and range, every default
is filled in. What it cannot know without a model (which parameters a rule matches) `optreg.groups` finds out.
"""

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optreg.errors import Position, Problem, SpecError, UnknownPluginError, did_you_mean
from optreg.hookspecs import OptimizerPlugin, SchedulePlugin
from optreg.hyperparameters import complaints, defaults, names
from optreg.registry import Entry, Kind, Registration, Registry, default_registry
from optreg.yaml_reader import FAULTY, Document, Path, read_file, read_mapping, read_text

SECTIONS = ("optimizer", "groups", "scheduler")
CRITERIA = ("match", "regex", "ndim", "type")

Overrides = Iterable[str] | Mapping[str, Any]
"""`["scheduler.total_steps=5000"]` or `{"scheduler.total_steps": 5000}`."""

Pairs = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Component:
    """A plugin and the settings it runs with, complete with defaults."""

    name: str
    registration: Registration[OptimizerPlugin] | Registration[SchedulePlugin]
    pairs: Pairs

    @property
    def settings(self) -> dict[str, Any]:
        """Hyperparameters and execution options by name; sequences are tuples."""
        return dict(self.pairs)

    @property
    def entry(self) -> Entry:
        """The distribution and version that the plugin came from."""
        return self.registration.entry

    def as_dict(self) -> dict[str, Any]:
        """The section of the spec that says the same, as plain data."""
        return {"name": self.name, **_listed(self.pairs)}


@dataclass(frozen=True)
class Rule:
    """Which parameters form a group, and what is different there. All criteria given must hold."""

    match: tuple[str, ...] = ()
    """Globs on the parameter's full name; one must match. `*` crosses dots."""
    regex: tuple[str, ...] = ()
    """Regular expressions, searched for in the parameter's full name; one must be found."""
    ndim: tuple[int, ...] = ()
    """Numbers of dimensions; one must be the parameter's."""
    type: tuple[str, ...] = ()
    """Globs on the class name of the module that holds the parameter, or of one of its base classes."""
    pairs: Pairs = ()
    where: Position | None = field(default=None, compare=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What the rule sets: hyperparameters and execution options by name."""
        return dict(self.pairs)

    def __str__(self) -> str:
        given = ((name, getattr(self, name)) for name in CRITERIA)
        return ", ".join(f"{name}: {', '.join(map(str, values))}" for name, values in given if values)

    def as_dict(self) -> dict[str, Any]:
        """The rule as plain data."""
        criteria = {name: list(getattr(self, name)) for name in CRITERIA if getattr(self, name)}
        return {**criteria, **_listed(self.pairs)}


@dataclass(frozen=True)
class Spec:
    """A checked, complete, immutable description of an optimizer, its param groups and its schedule."""

    optimizer: Component
    scheduler: Component
    groups: tuple[Rule, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The spec as plain data with every default filled in; `load_spec` takes it back."""
        groups = {"groups": [rule.as_dict() for rule in self.groups]} if self.groups else {}
        return {"optimizer": self.optimizer.as_dict(), **groups, "scheduler": self.scheduler.as_dict()}


Source = str | os.PathLike[str] | Mapping[str, Any] | Spec
"""What a spec is read from: the path of a YAML file, plain data, or a spec that exists already."""


def load_spec(source: Source, overrides: Overrides = (), *, registry: Registry | None = None) -> Spec:
    """Read and check a spec.

    Args:
        source: the path of a YAML file, or a mapping of the same shape.
        overrides: values to set before checking, by dotted path: `["optimizer.lr=1e-4", "groups.0.lr=0"]`, or a
            mapping from such paths to values.
        registry: where plugins are looked up; by default among all that is installed.

    Raises:
        SpecError: the spec is wrong; every problem is listed, each with its place and what to write instead.
        PluginError: a plugin that the spec names is broken.
    """
    if isinstance(source, Spec):
        source = source.as_dict()
    if isinstance(source, Mapping):
        document = read_mapping(source)
    elif isinstance(source, str | os.PathLike):
        document = read_file(source)
    else:
        what = type(source).__name__  # type: ignore[unreachable]  # callers may have no type checker
        raise SpecError([Problem(None, f"a spec is the path of a YAML file, a mapping or a Spec, not a {what}")])
    _override(document, overrides)
    return _Check(document, registry or default_registry()).spec()


def check_optimizer(name: str, settings: Mapping[str, Any], groups: Sequence[Any] = ()) -> tuple[Component, list[Rule]]:
    """The optimizer section alone, from Python values.

    Raises:
        SpecError: something is wrong with it.
        PluginError: the plugin is broken.
    """
    checker = _Check(read_mapping({"optimizer": {"name": name, **settings}, "groups": groups}), default_registry())
    component = checker.component("optimizer", Kind.OPTIMIZER)
    rules = list(checker.rules(component))
    return checker.settled(component), rules


def check_scheduler(name: str, settings: Mapping[str, Any]) -> Component:
    """The scheduler section alone, from Python values.

    Raises:
        SpecError: something is wrong with it.
        PluginError: the plugin is broken.
    """
    checker = _Check(read_mapping({"scheduler": {"name": name, **settings}}), default_registry())
    return checker.settled(checker.component("scheduler", Kind.SCHEDULER))


def _override(document: Document, overrides: Overrides) -> None:
    if isinstance(overrides, str):
        overrides = [overrides]
    if not isinstance(overrides, Iterable):
        raise SpecError([Problem(None, f"overrides are texts or a mapping, not a {type(overrides).__name__}")])
    items = overrides.items() if isinstance(overrides, Mapping) else (_split(text) for text in overrides)
    for dotted_path, value in items:
        where = Position(f"override '{dotted_path}'")
        if not isinstance(dotted_path, str):
            raise SpecError([Problem(where, "its path must be text: 'optimizer.lr'")])
        if not dotted_path.strip():
            raise SpecError([Problem(where, "needs a path and a value: 'optimizer.lr=1e-4'")])
        path: Path = tuple(map(_step, dotted_path.strip().split(".")))
        if isinstance(value, _Text):
            if not value.strip():
                raise SpecError([Problem(where, "has no value after '='; write null for none, '' for empty text")])
            read = read_text(value, str(where))
        else:
            read = read_mapping({"value": value})
            read.data = read.data["value"]
        document.problems += [Problem(where, problem.message) for problem in read.problems]
        document.put(path, read.data, where)


def _step(part: str) -> str | int:
    """A step of a dotted path: a list's index, or a key."""
    return int(part) if re.fullmatch(r"[0-9]{1,9}", part) else part


class _Text(str):
    """The value of an override as it was typed, still to be read as YAML."""


def _split(text: Any) -> tuple[str, _Text]:
    if not isinstance(text, str):
        raise SpecError([Problem(None, f"an override is text like 'optimizer.lr=1e-4', not {text!r}")])
    path, equals, value = text.partition("=")
    if not equals:
        raise SpecError([Problem(Position(f"override '{text}'"), "has no '='; write 'optimizer.lr=1e-4'")])
    return path, _Text(value)


class _Check:
    """Goes through a document once, from top to bottom, and notes whatever is wrong."""

    def __init__(self, document: Document, registry: Registry) -> None:
        self.document = document
        self.registry = registry

    def spec(self) -> Spec:
        data = self.document.data
        if not isinstance(data, dict):
            if data is not FAULTY:
                self.document.report((), f"a spec is a mapping with the sections {', '.join(SECTIONS)}")
            raise self._error()
        for key in data:
            if key not in SECTIONS:
                self.document.report((key,), f"there is no section '{key}'{did_you_mean(key, SECTIONS)}", key=True)
        optimizer = self.component("optimizer", Kind.OPTIMIZER)
        rules = tuple(self.rules(optimizer))
        scheduler = self.component("scheduler", Kind.SCHEDULER)
        return Spec(self.settled(optimizer), self.settled(scheduler), rules)

    def settled(self, component: Component | None) -> Component:
        """The component, once nothing is wrong anywhere; raises all that is."""
        if component is None or self.document.problems:
            raise self._error()
        return component

    def _error(self) -> SpecError:
        return SpecError(sorted(self.document.problems, key=_place))

    def component(self, section: str, kind: Kind) -> Component | None:
        """The plugin and the settings of a section; None, with the problems noted, where it is wrong."""
        data = self.document.data.get(section)
        if section not in self.document.data:
            self.document.report((), f"the section '{section}' is missing; write '{section}:' and below it 'name: ...'")
            return None
        if data is FAULTY:
            return None
        if not isinstance(data, dict):
            self.document.report((section,), f"'{section}' must be a mapping: 'name: ...' and the hyperparameters")
            return None
        registration = self._registration(section, kind, data)
        if registration is None:
            return None
        settings = {key: value for key, value in data.items() if key != "name"}
        before = len(self.document.problems)
        self._check(registration.plugin, data["name"], settings, (section,))
        if len(self.document.problems) > before or any(_is_faulty(value) for value in settings.values()):
            return Component(data["name"], registration, _complete(registration.plugin, {}))
        return Component(data["name"], registration, _complete(registration.plugin, settings))

    def _registration(
        self, section: str, kind: Kind, data: dict[str, Any]
    ) -> Registration[OptimizerPlugin] | Registration[SchedulePlugin] | None:
        name = data.get("name")
        if name is FAULTY:
            return None
        if not isinstance(name, str):
            choices = ", ".join(entry.name for entry in self.registry.usable(kind))
            said = "must be text" if "name" in data else "is missing"
            self.document.report((section, "name"), f"the {kind}'s 'name' {said}; choose from: {choices}")
            return None
        try:
            return self.registry.optimizer(name) if kind is Kind.OPTIMIZER else self.registry.scheduler(name)
        except UnknownPluginError as error:
            self.document.report((section, "name"), str(error))
            return None

    def _check(self, plugin: OptimizerPlugin | SchedulePlugin, owner: str, settings: dict[str, Any], at: Path) -> None:
        """Note what is wrong with a component's settings."""
        known = _names(plugin)
        for key in settings:
            if key not in known:
                self.document.report(
                    (*at, key), f"{owner} has no parameter '{key}'{did_you_mean(key, known)}", key=True
                )
        faulty = {key for key, value in settings.items() if _is_faulty(value)}
        for part in _parts(plugin):
            own = {key: value for key, value in settings.items() if key in names(part) and key not in faulty}
            for complaint in complaints(part, own, owner):
                if not complaint.path or complaint.path[0] not in faulty:
                    self.document.report((*at, *complaint.path), complaint.message)

    def rules(self, optimizer: Component | None) -> Iterator[Rule]:
        """The rules of the section `groups`, as far as they are right."""
        data = self.document.data.get("groups", ())
        if data is FAULTY:
            return
        if not isinstance(data, tuple):
            self.document.report(("groups",), "'groups' must be a list of rules, each beginning with '- match: ...'")
            return
        for index, item in enumerate(data):
            path = ("groups", index)
            if isinstance(item, dict):
                yield self._rule(item, path, optimizer)
            elif item is not FAULTY:
                self.document.report(path, "a rule must be a mapping: criteria, and what to set")

    def _rule(self, item: dict[str, Any], path: Path, optimizer: Component | None) -> Rule:
        criteria = {name: self._criterion(item[name], (*path, name)) for name in CRITERIA if name in item}
        settings = {key: value for key, value in item.items() if key not in CRITERIA}
        if not criteria:
            self.document.report(path, f"the rule has no criterion; add one of: {', '.join(CRITERIA)}")
        for index, pattern in enumerate(criteria.get("regex", ())):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", FutureWarning)  # as of `[[a]`: its meaning is to change
                    re.compile(pattern)
            except (re.error, RecursionError, OverflowError, FutureWarning) as error:
                where = (*path, "regex", index) if isinstance(item["regex"], tuple) else (*path, "regex")
                self.document.report(where, f"is no regular expression: {error}")
        if optimizer is not None:
            self._rule_settings(settings, path, optimizer)
        pairs = tuple((key, value) for key, value in settings.items())
        return Rule(**criteria, pairs=pairs, where=self.document.where(path))

    def _criterion(self, value: Any, path: Path) -> tuple[Any, ...]:
        wanted: type = int if path[-1] == "ndim" else str
        items = value if isinstance(value, tuple) else (value,)
        if any(_is_faulty(item) for item in items):
            return ()
        right = all(isinstance(item, wanted) and not isinstance(item, bool) for item in items)
        if not items or not right:
            what = "a number of dimensions, or a list of them" if wanted is int else "text, or a list of texts"
            self.document.report(path, f"'{path[-1]}' must be {what}")
            return ()
        return items

    def _rule_settings(self, settings: dict[str, Any], path: Path, optimizer: Component) -> None:
        """A rule may set whatever the optimizer takes; what is wrong with the rest is told there."""
        plugin = optimizer.registration.plugin
        known = _names(plugin)
        for key in settings:
            if key not in known:
                message = f"{optimizer.name} has no parameter '{key}'{did_you_mean(key, [*CRITERIA, *known])}"
                self.document.report((*path, key), message, key=True)
        for part in _parts(plugin):
            own = {key: value for key, value in settings.items() if key in names(part) and not _is_faulty(value)}
            inherited = {key: value for key, value in optimizer.settings.items() if key in names(part)}
            for complaint in complaints(part, {**inherited, **own}, optimizer.name):
                if own and (not complaint.path or complaint.path[0] in own):
                    self.document.report((*path, *complaint.path), complaint.message)


def _parts(plugin: OptimizerPlugin | SchedulePlugin) -> list[type]:
    """The dataclasses that a component's settings are checked against."""
    return [plugin.reference, plugin.options] if isinstance(plugin, OptimizerPlugin) else [plugin.reference]


def _names(plugin: OptimizerPlugin | SchedulePlugin) -> list[str]:
    """The names of a component's settings, in the order of declaration."""
    return [name for part in _parts(plugin) for name in names(part)]


def _complete(plugin: OptimizerPlugin | SchedulePlugin, settings: dict[str, Any]) -> Pairs:
    everything = {key: value for part in _parts(plugin) for key, value in defaults(part).items()} | settings
    return tuple((name, everything[name]) for name in _names(plugin) if name in everything)


def _is_faulty(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_is_faulty(item) for item in value)
    return value is FAULTY


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.where.line or 0, problem.where.column or 0) if problem.where else (0, 0)


def _listed(value: Any) -> Any:
    """Pairs as a dict, tuples as lists."""
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value}
