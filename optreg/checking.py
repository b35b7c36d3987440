"""Checking: the sections of a document become records, and their mistakes become problems with positions.

Every function returns the record it could make of its part, and the problems it found there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from optreg.absolute_rates import overridden
from optreg.criteria import CRITERIA, Criterion
from optreg.entries import Kind
from optreg.errors import Path, Problem, UnknownPluginError, did_you_mean
from optreg.hyperparameters import complaints, defaults, names, taken
from optreg.multipliers import WarmUpSettings, last_step, no_warmup, parts, shortened
from optreg.on_resume import OnResume
from optreg.records import OptimizerPlugin, Registration, SchedulePlugin
from optreg.registry import Registry
from optreg.remedies import CLASS_KEYS, for_class, for_unknown_key, placeholders
from optreg.spec import Component, Pairs, Rule, Spec
from optreg.yaml_reader import FAULTY, Document

SECTIONS = ("optimizer", "groups", "scheduler", "on_resume", "extends", "notes")

AnyRegistration = Registration[OptimizerPlugin] | Registration[SchedulePlugin]


def check_spec(document: Document, registry: Registry) -> tuple[Spec | None, list[Problem]]:
    """The spec that a document describes; None if there is a problem."""
    if document.data is FAULTY:
        return None, []
    if not isinstance(document.data, dict):
        return None, [document.problem((), f"a spec is a mapping with the sections {', '.join(SECTIONS)}")]
    problems = [
        document.problem((key,), f"there is no section '{key}'{did_you_mean(key, SECTIONS)}", key=True)
        for key in document.data
        if key not in SECTIONS
    ]
    if "extends" in document.data:
        message = "'extends' is read before overrides; write it in the file, or pass the file that extends another"
        problems.append(document.problem(("extends",), message))
    optimizer, in_optimizer = check_component(document, Kind.OPTIMIZER, registry)
    rules, in_rules = check_rules(document, optimizer)
    scheduler, in_scheduler = check_component(document, Kind.SCHEDULER, registry)
    on_resume, in_choices = check_on_resume(document)
    problems += [*in_optimizer, *in_rules, *in_scheduler, *in_choices]
    if optimizer is None or problems:
        return None, problems
    overriding = [
        document.problem(("groups", index, key), told)
        for index, rule in enumerate(rules)
        for key, told in (overridden(scheduler, optimizer.settings, rule.settings) if scheduler else ())
    ]
    return Spec(optimizer, scheduler, rules, on_resume, notes=document.data.get("notes")), overriding


def check_component(document: Document, kind: Kind, registry: Registry) -> tuple[Component | None, list[Problem]]:
    """The component of the section that its kind names; if its settings are wrong, with the plugin's defaults.

    A spec needs no scheduler.
    """
    section = kind.value
    if section not in document.data:
        if kind is Kind.SCHEDULER:
            return None, []
        message = f"the section '{section}' is missing; write '{section}:' and below it 'name: ...'"
        return None, [document.problem((), message)]
    data = document.data[section]
    if data is FAULTY:
        return None, []
    if not isinstance(data, dict):
        message = f"'{section}' must be a mapping: 'name: ...' and the hyperparameters"
        if kind is Kind.SCHEDULER:
            message += "; for constant rates, leave the section out"
        return None, [document.problem((section,), message)]
    data, unset = _without_placeholders(document, (section,), data)
    registration, problems = _find(document, kind, registry, data)
    if registration is None:
        return None, [*unset, *problems]
    with registration.entry.naming():
        name, plugin = data["name"], registration.plugin
        settings = _taken(plugin, {key: value for key, value in data.items() if key != "name"})
        problems = [*unset]
        if kind is Kind.SCHEDULER and "warmup_steps" not in _names(plugin):
            refused = settings.pop("warmup_steps", FAULTY)
            if not _is_faulty(refused):
                problems.append(document.problem((section, "warmup_steps"), no_warmup(name), key=True))
        problems += [
            *_unknown_keys(document, (section,), name, settings, _names(plugin)),
            *_wrong_values(document, (section,), name, plugin, settings),
        ]
        right = {} if problems or any(_is_faulty(value) for value in settings.values()) else settings
        warmup_steps = right.get("warmup_steps") if _takes_warmup(plugin) else None
        where = document.where((section, "name"))
        component = Component(name, registration, _complete(plugin, right), warmup_steps, where)
        return component, problems or [*_wrong_warmup(document, (section, "warmup_steps"), component)]


def check_rules(document: Document, optimizer: Component | None) -> tuple[tuple[Rule, ...], list[Problem]]:
    """The rules of the section `groups`; if the optimizer is unknown, only their criteria are checked."""
    data = document.data.get("groups", ())
    if data is FAULTY:
        return (), []
    if not isinstance(data, tuple):
        message = "'groups' must be a list of rules, each beginning with '- match: ...'"
        return (), [document.problem(("groups",), message)]
    rules: list[Rule] = []
    problems: list[Problem] = []
    for index, item in enumerate(data):
        path = ("groups", index)
        if isinstance(item, dict):
            rule, in_rule = _check_rule(document, path, item, optimizer)
            rules.append(rule)
            problems += in_rule
        elif item is not FAULTY:
            problems.append(document.problem(path, "a rule must be a mapping of criteria and settings"))
    return tuple(rules), problems


def check_on_resume(document: Document) -> tuple[OnResume, list[Problem]]:
    """The choices of the section `on_resume`."""
    section = "on_resume"
    data = document.data.get(section, {})
    if data is FAULTY:
        return OnResume(), []
    if not isinstance(data, dict):
        message = f"'{section}' must be a mapping with the keys {', '.join(names(OnResume))}"
        return OnResume(), [document.problem((section,), message)]
    choices = {key: value for key, value in data.items() if not _is_faulty(value)}
    problems = [
        document.problem((section, *complaint.path), complaint.message, key=complaint.path[0] not in names(OnResume))
        for complaint in complaints(OnResume, choices, section)
    ]
    return OnResume() if problems else OnResume(**choices), problems


def _find(
    document: Document, kind: Kind, registry: Registry, data: dict[str, Any]
) -> tuple[AnyRegistration | None, list[Problem]]:
    """The plugin that a section names."""
    name, path = data.get("name"), (kind.value, "name")
    if name is FAULTY:
        return None, []
    foreign = next((key for key in CLASS_KEYS if key in data), None)
    if foreign is not None and "name" not in data:
        remedy = for_class(data[foreign], [entry.name for entry in registry.usable(kind)])
        message = f"'{foreign}' names a class, but a spec names a plugin; {remedy} and the hyperparameters beside it"
        return None, [document.problem((kind.value, foreign), message, key=True)]
    if not isinstance(name, str):
        choices = ", ".join(entry.name for entry in registry.usable(kind))
        said = "must be a string" if "name" in data else "is missing"
        return None, [document.problem(path, f"the {kind}'s 'name' {said}; choose from: {choices}")]
    try:
        return registry.optimizer(name) if kind is Kind.OPTIMIZER else registry.scheduler(name), []
    except UnknownPluginError as error:
        return None, [document.problem(path, str(error))]


def _without_placeholders(
    document: Document, path: Path, data: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The data without the values that are still to come, and a problem for each."""
    told = dict(placeholders(data))
    problems = [document.problem((*path, key), message) for key, message in told.items()]
    return {key: FAULTY if key in told else value for key, value in data.items()}, problems


def _check_rule(
    document: Document, path: Path, item: dict[str, Any], optimizer: Component | None
) -> tuple[Rule, list[Problem]]:
    asked: list[tuple[str, tuple[Any, ...]]] = []
    problems: list[Problem] = []
    for key, criterion in CRITERIA.items():
        if key in item:
            items, in_criterion = _check_criterion(document, (*path, key), criterion, item[key])
            asked.append((key, items))
            problems += in_criterion
    if not asked:
        problems.append(document.problem(path, f"the rule has no criterion; add one of: {', '.join(CRITERIA)}"))
    settings = {key: value for key, value in item.items() if key not in CRITERIA}
    settings, unset = _without_placeholders(document, path, settings)
    problems += unset
    if optimizer is not None:
        name, plugin = optimizer.name, optimizer.registration.plugin
        with optimizer.entry.naming():
            settings = _taken(plugin, settings)
            problems += _unknown_keys(document, path, name, settings, _names(plugin), also=CRITERIA)
            problems += _wrong_values(document, path, name, plugin, settings, inherited=optimizer.settings)
    return Rule(tuple(asked), tuple(settings.items()), document.where(path)), problems


def _check_criterion(
    document: Document, path: Path, criterion: Criterion, value: Any
) -> tuple[tuple[Any, ...], list[Problem]]:
    if _is_faulty(value):
        return (), []
    items = criterion.form.read(value)
    if items is None:
        return (), [document.problem(path, f"'{criterion.key}' must be {criterion.form.words}")]
    faults = {index: fault for index, item in enumerate(items) if (fault := criterion.fault(item))}
    listed = isinstance(value, tuple)
    return items, [document.problem((*path, index) if listed else path, fault) for index, fault in faults.items()]


def _unknown_keys(
    document: Document, path: Path, owner: str, keys: Mapping[str, Any], known: list[str], also: Iterable[str] = ()
) -> Iterator[Problem]:
    """Keys that the plugin `owner` does not have; keys in `also` are allowed too."""
    for key in keys:
        if key not in known:
            message = f"{owner} has no parameter '{key}'{for_unknown_key(key, keys[key], [*also, *known])}"
            yield document.problem((*path, key), message, key=True)


def _wrong_values(
    document: Document,
    path: Path,
    owner: str,
    plugin: OptimizerPlugin | SchedulePlugin,
    settings: Mapping[str, Any],
    inherited: Mapping[str, Any] | None = None,
) -> Iterator[Problem]:
    """What is wrong with the values of settings; given `inherited` ones, only what these settings cause."""
    faulty = {key for key, value in settings.items() if _is_faulty(value)}
    for part in parts(plugin):
        values = own = {key: settings[key] for key in names(part) if key in settings and key not in faulty}
        reported_elsewhere = faulty
        if inherited is not None:
            if not own:
                continue
            values = {key: inherited[key] for key in names(part) if key in inherited} | own
            reported_elsewhere = {*names(part)} - own.keys()
        for complaint in complaints(part, values, owner):
            if not complaint.path or complaint.path[0] not in reported_elsewhere:
                yield document.problem((*path, *complaint.path), complaint.message)


def _wrong_warmup(document: Document, path: Path, component: Component) -> Iterator[Problem]:
    """What is wrong with a schedule that follows a warm-up."""
    plugin, settings, W = component.registration.plugin, component.settings, component.warmup_steps
    if not isinstance(plugin, SchedulePlugin) or not W:
        return
    end = plugin.horizon
    last = last_step(settings, end)
    if last is not None and last < W:
        message = f"{component.name}: warmup_steps ({W}) must not be more than {end} ({last})"
        yield document.problem(path, message)
        return
    rest, _ = shortened(settings, end, W)
    for complaint in complaints(plugin.reference, rest, component.name):
        yield document.problem(path, f"{complaint.message}, where {end} is what the warm-up leaves of it")


def _takes_warmup(plugin: OptimizerPlugin | SchedulePlugin) -> bool:
    return isinstance(plugin, SchedulePlugin) and plugin.takes_warmup


def _names(plugin: OptimizerPlugin | SchedulePlugin) -> list[str]:
    """The names of a component's settings, as declared."""
    return [name for part in parts(plugin) for name in names(part)]


def _taken(plugin: OptimizerPlugin | SchedulePlugin, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings in the form that their types ask for."""
    for part in parts(plugin):
        settings = taken(part, settings)
    return settings


def _complete(plugin: OptimizerPlugin | SchedulePlugin, settings: dict[str, Any]) -> Pairs:
    """The plugin's own settings with their defaults; a warm-up before a schedule is not one."""
    own = [part for part in parts(plugin) if part is not WarmUpSettings]
    everything = {key: value for part in own for key, value in defaults(part).items()} | settings
    return tuple((name, everything[name]) for part in own for name in names(part) if name in everything)


def _is_faulty(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_is_faulty(item) for item in value)
    return value is FAULTY
