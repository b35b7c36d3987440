"""Checking: the sections of a document become records, and their mistakes become problems with positions.

Every function returns the record it could make of its part, and the problems it found there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from optreg.absolute_rates import overridden
from optreg.clock import FACTS, Clock
from optreg.clock_sections import check_clock
from optreg.conventions import CONVENTIONS
from optreg.entries import Kind
from optreg.errors import Path, Problem, did_you_mean, shown
from optreg.hyperparameters import complaints, defaults, names
from optreg.level_sections import level
from optreg.multipliers import last_step, no_drives, no_warmup, rises_in_a_line, shortened
from optreg.on_resume import OnResume
from optreg.phase_sections import Driven, are_phases, timeline
from optreg.records import OptimizerPlugin, SchedulePlugin
from optreg.registry import Registry
from optreg.rule_sections import rules_of, with_own_rate
from optreg.run_length import with_whole
from optreg.scheduled_settings import with_timelines
from optreg.settings_checks import (
    Span,
    complete,
    counted,
    found,
    in_form,
    is_faulty,
    is_unknown,
    last_point,
    own_names,
    unknown_keys,
    without_placeholders,
    wrong_values,
)
from optreg.spec import Component, Rule, Spec, Timeline
from optreg.yaml_reader import FAULTY, Document

SECTIONS = ("optimizer", "groups", "scheduler", *FACTS, "on_resume", "extends", "notes")


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
    clock, in_clock = check_clock(document)
    if clock.horizon is None and "horizon" not in clock.open:
        clock = with_whole(document, registry, clock)
    optimizer, in_optimizer = check_component(document, Kind.OPTIMIZER, registry, clock)
    rules, in_rules = check_rules(document, optimizer, registry, clock)
    scheduler, in_scheduler = check_scheduler(document, registry, clock, optimizer)
    on_resume, in_choices = check_on_resume(document)
    problems += [*in_clock, *in_optimizer, *in_rules, *in_scheduler, *in_choices]
    if optimizer is None or problems:
        return None, problems
    spec = Spec(optimizer, scheduler, rules, on_resume, clock, notes=document.data.get("notes"))
    return spec, list(_overriding(document, spec))


def _overriding(document: Document, spec: Spec) -> Iterator[Problem]:
    """What the schedule would set against the spec's own words."""
    schedule = spec.scheduler
    if not isinstance(schedule, Component):
        return
    plugin = schedule.registration.plugin
    if isinstance(plugin, SchedulePlugin) and plugin.traits.pure is False and spec.scheduled:
        yield document.problem((Kind.SCHEDULER.value, "name"), no_drives(schedule.name, spec.scheduled))
        return
    for index, rule in enumerate(spec.groups):
        own, where = with_own_rate(rule, spec.optimizer)
        for key, told in overridden(schedule, spec.optimizer.settings, own):
            yield document.problem(("groups", index, key if key in rule.settings else where), told)


def check_component(
    document: Document, kind: Kind, registry: Registry, clock: Clock, base_lr: float | None = None
) -> tuple[Component | None, list[Problem]]:
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
            message += ", or a list of phases; for constant rates, leave the section out"
        return None, [document.problem((section,), message)]
    return check_part(document, (section,), kind, data, registry, clock, base_lr)


def check_part(
    document: Document,
    path: Path,
    kind: Kind,
    data: Mapping[str, Any],
    registry: Registry,
    clock: Clock,
    base_lr: float | None = None,
) -> tuple[Component | None, list[Problem]]:
    """The component of the mapping at `path`; if its settings are wrong, with the plugin's defaults.

    Args:
        document: for positions.
        path: the place of the mapping.
        kind: what it names.
        data: the mapping.
        registry: where the name is looked up.
        clock: what converts quantities.
        base_lr: of a schedule, the rate of which its levels are shares; None if it is not known.
    """
    data, unset = without_placeholders(document, path, data)
    registration, problems = found(document, path, kind, registry, data)
    if registration is None:
        return None, [*unset, *problems]
    with registration.entry.naming():
        name, plugin = data["name"], registration.plugin
        settings = in_form(plugin, {key: value for key, value in data.items() if key != "name"})
        component = Component(name, registration, (), where=document.where((*path, "name")))
        problems = [*unset]
        if isinstance(plugin, SchedulePlugin):
            component, in_ways = _ways_to_begin(document, path, component, plugin, settings, base_lr)
            problems += in_ways
            if plugin.horizon and plugin.horizon not in settings and (clock.horizon or "horizon" in clock.open):
                settings[plugin.horizon] = "100%"
            elif plugin.horizon and plugin.horizon not in {*settings, *defaults(plugin.reference)}:
                message = f"{name} needs '{plugin.horizon}', which has no default; add it, or the section 'horizon'"
                problems.append(document.problem((*path, plugin.horizon), message))
                settings[plugin.horizon] = FAULTY
        span = Span(end=last_point(plugin, settings, clock)) if isinstance(plugin, SchedulePlugin) else Span()
        settings, in_counts = counted(document, path, name, plugin, settings, clock, span)
        problems += [*in_counts, *unknown_keys(document, path, name, settings, own_names(plugin))]
        if isinstance(plugin, OptimizerPlugin):
            settings, in_timelines = with_timelines(document, path, name, plugin, settings, registry, clock)
            problems += in_timelines
        problems += wrong_values(document, path, name, plugin, settings)
        right = {} if problems or any(is_faulty(value) for value in settings.values()) else settings
        if _takes_warmup(plugin):
            component = replace(component, warmup_steps=right.get("warmup_steps"))
        component = replace(component, pairs=complete(plugin, right))
        return component, problems or [*_wrong_warmup(document, (*path, "warmup_steps"), component)]


def _ways_to_begin(
    document: Document,
    path: Path,
    component: Component,
    plugin: SchedulePlugin,
    settings: dict[str, Any],
    base_lr: float | None,
) -> tuple[Component, list[Problem]]:
    """The component with what its settings say of how it begins; these are taken out of the settings."""
    name, problems = component.name, []
    warmup = "warmup_steps" in own_names(plugin)
    if not warmup and not is_faulty(settings.pop("warmup_steps", FAULTY)):
        problems.append(document.problem((*path, "warmup_steps"), no_warmup(name), key=True))
    for key in ("warmup_from", "convention"):
        if key not in settings or key in own_names(plugin):
            continue
        value, place = settings.pop(key), (*path, key)
        if is_faulty(value):
            continue
        if not warmup:
            problems.append(document.problem(place, no_warmup(name).replace("warmup_steps", key), key=True))
        elif key == "convention":
            component = replace(component, convention=value)
            if not isinstance(value, str) or value not in CONVENTIONS:
                near = did_you_mean(str(value), [*CONVENTIONS])
                problems.append(document.problem(place, f"there is no convention {shown(value)}{near}"))
        elif "warmup_steps" not in settings and _warms_up_only_if_told(plugin):
            message = f"'{key}' says where a warm-up begins, but none is stated; add for example 'warmup_steps: 1000'"
            problems.append(document.problem(place, message, key=True))
        else:
            start, wrong = level(document, place, value, base_lr)
            component = replace(component, warmup_from=start)
            problems += wrong
    return component, problems


def _warms_up_only_if_told(plugin: SchedulePlugin) -> bool:
    """Whether a schedule has no warm-up unless its settings state one."""
    return plugin.takes_warmup or defaults(plugin.reference).get("warmup_steps") == 0


def check_scheduler(
    document: Document, registry: Registry, clock: Clock, optimizer: Component | None
) -> tuple[Component | Timeline | None, list[Problem]]:
    """What the section `scheduler` describes: a schedule, or phases."""
    section = Kind.SCHEDULER.value
    data = document.data.get(section)
    rate = optimizer.settings.get("lr") if optimizer else None
    if optimizer and data is not None and isinstance(rate, Timeline):
        message = "the lr of the optimizer is a schedule already; leave one of the two out"
        return None, [document.problem((section,), message, key=True)]
    base_lr = float(rate) if isinstance(rate, int | float) else 0.0
    if are_phases(data):
        driven = Driven("lr", base_lr)
        return timeline(document, (section,), data, registry, clock, driven)
    return check_component(document, Kind.SCHEDULER, registry, clock, base_lr)


def check_rules(
    document: Document, optimizer: Component | None, registry: Registry, clock: Clock
) -> tuple[tuple[Rule, ...], list[Problem]]:
    """The rules of the section `groups`; if the optimizer is unknown, only their criteria are checked."""

    def own_optimizer(path: Path, data: Mapping[str, Any]) -> tuple[Component | None, list[Problem]]:
        return check_part(document, path, Kind.OPTIMIZER, data, registry, clock)

    return rules_of(document, optimizer, registry, clock, own_optimizer)


def check_on_resume(document: Document) -> tuple[OnResume, list[Problem]]:
    """The choices of the section `on_resume`."""
    section = "on_resume"
    data = document.data.get(section, {})
    if data is FAULTY:
        return OnResume(), []
    if not isinstance(data, dict):
        message = f"'{section}' must be a mapping with the keys {', '.join(names(OnResume))}"
        return OnResume(), [document.problem((section,), message)]
    choices = {key: value for key, value in data.items() if not is_faulty(value)}
    problems = [
        document.problem((section, *complaint.path), complaint.message, key=complaint.path[0] not in names(OnResume))
        for complaint in complaints(OnResume, choices, section)
    ]
    return OnResume() if problems else OnResume(**choices), problems


def _wrong_warmup(document: Document, path: Path, component: Component) -> Iterator[Problem]:
    """What is wrong with a schedule that follows a warm-up."""
    plugin, settings, W = component.registration.plugin, component.settings, component.warmup_steps
    if not isinstance(plugin, SchedulePlugin) or any(map(is_unknown, (W, *settings.values()))):
        return
    for key in ("warmup_from", "convention"):
        if getattr(component, key) is not None and not rises_in_a_line(plugin, settings):
            message = f"{component.name} rises along a curve of its own, not along a line; leave {key} out"
            yield document.problem((*path[:-1], key), message, key=True)
    if not W:
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
