"""The page: curves of specs as one self-contained HTML file, with sliders for their numbers."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from optreg.cli.curve import Curve
from optreg.cli.page.translation import UntranslatableError, translated
from optreg.cli.plan import chosen
from optreg.clock import Clock
from optreg.errors import SpecError
from optreg.extending import extended
from optreg.hyperparameters import counts, defaults, json_schema
from optreg.loading import load_spec
from optreg.overrides import Overrides, override
from optreg.phase_sections import are_phases
from optreg.quantities import Quantity, Unit
from optreg.records import SchedulePlugin
from optreg.spec import Component, Rule, Spec, Timeline
from optreg.yaml_reader import read_file

Path = tuple[str | int, ...]

PARTS = ("page.html", "page.css", "model.js", "page.js")

SPECIAL = "\0"
"""Begins a text that stands for a number which JSON does not have."""


@dataclass(frozen=True)
class Drawn:
    """A spec to be drawn.

    Args:
        name: what the page calls it.
        spec: the spec.
        own: the data of its file alone, with the overrides.
        data: the data with all that it inherits.
    """

    name: str
    spec: Spec
    own: Any
    data: Any


def drawn(name: str, file: str, overrides: Overrides = ()) -> Drawn:
    """A spec that is read from a file; errors as in `optreg.load_spec`."""
    spec = load_spec(file, overrides)
    alone = read_file(file)
    data = override(extended(alone, file), overrides).data
    try:
        own = override(alone, overrides).data
    except SpecError:  # an override goes into a list that is inherited
        own = data
    return Drawn(name, spec, own, data)


def html_page(specs: Sequence[Drawn], last: int | None = None, of: Sequence[str] = (), axis: Unit = Unit.STEPS) -> str:
    """The page, which needs nothing from a network.

    Args:
        specs: what to draw.
        last: the last update to draw; by default, the end of each schedule.
        of: the hyperparameters to draw; by default, learning rates, and all that changes.
        axis: what the horizontal axis counts at first.

    Raises:
        SpecError: a spec leaves to the trainer what its schedules need.
        PluginError: a schedule cannot be built.
    """
    described_ = [described(each, last, of) for each in specs]
    whole = {"version": version("optreg"), "last": last, "axis": axis, "specs": described_}
    data = json.dumps(_plain(whole), allow_nan=False).replace("<", "\\u003c")
    names = ", ".join(each.name for each in specs)
    parts = {name: (files(__name__) / name).read_text("utf-8") for name in PARTS}
    parts |= {"data": data, "title": _escaped(f"Schedules of {names}")}
    return re.sub(r"\{\{([\w.]+)\}\}", lambda place: parts[place[1]], parts.pop("page.html"))


def described(one: Drawn, last: int | None = None, of: Sequence[str] = ()) -> dict[str, Any]:
    """A spec as the script takes it."""
    spec = one.spec
    kinds: dict[str, list[dict[str, Any]]] = {}
    for path, part in _scheduled(spec):
        components = part.components if isinstance(part, Timeline) else (part,)
        kinds[".".join(map(str, path))] = [_kind(component) for component in components]
    curves = [
        {**_source(spec, group, name), "of": curve.unit, "group": group, **_sampled(curve, last)}
        for name, group, curve in chosen(spec, of)
    ]
    scheduler = spec.scheduler
    parts = scheduler.components if isinstance(scheduler, Timeline) else (scheduler,) if scheduler else ()
    return {
        "name": one.name,
        "title": ", ".join([spec.optimizer.name, *dict.fromkeys(each.name for each in parts)]),
        "own": one.own,
        "data": one.data,
        "lr": defaults(spec.optimizer.registration.plugin.reference).get("lr"),
        "clock": _clock(spec.clock),
        "kinds": kinds,
        "curves": curves,
        "controls": [*_controls(spec, one.data)],
    }


def _scheduled(spec: Spec) -> list[tuple[Path, Component | Timeline]]:
    """Every schedule of a spec and its place."""
    found: list[tuple[Path, Component | Timeline]] = [(("scheduler",), spec.scheduler)] if spec.scheduler else []
    for place, settings, _ in _places(spec):
        for key, value in settings.items():
            if isinstance(value, Timeline):
                found.append(((*place, key), value))
            elif isinstance(value, tuple):
                items = ((index, item) for index, item in enumerate(value) if isinstance(item, Timeline))
                found += [((*place, key, index), item) for index, item in items]
    return found


def _places(spec: Spec) -> Iterator[tuple[Path, Mapping[str, Any], Component]]:
    """The places where hyperparameters are set, with these, and with the optimizer that they are of."""
    yield ("optimizer",), spec.optimizer.settings, spec.optimizer
    for index, rule in enumerate(spec.groups):
        component = rule.optimizer or spec.optimizer
        yield ("groups", index), rule.settings, component
        if rule.optimizer:
            yield ("groups", index, "optimizer"), rule.optimizer.settings, component


def _kind(component: Component) -> dict[str, Any]:
    """What the script must know of a schedule."""
    plugin = component.registration.plugin
    assert isinstance(plugin, SchedulePlugin)
    try:
        formula, reason = translated(plugin.reference), None
    except UntranslatableError as error:
        formula, reason = None, str(error)
    if component.by_metric:
        reason = "a metric drives it, and only its start is known"
    counted = {*counts(plugin.reference), *(name for name in (plugin.horizon, plugin.traits.peak) if name)}
    return {
        "name": component.name,
        "formula": formula,
        "reason": reason,
        "defaults": defaults(plugin.reference),
        "counts": sorted(counted),
        "end": plugin.horizon,
        "tail": plugin.traits.tail,
        "levels": {key: component.settings[key] for key in plugin.traits.levels or () if key in component.settings},
        "own": not plugin.takes_warmup and "warmup_steps" in _names(component),
        "warmed": plugin.takes_warmup,
    }


def _names(component: Component) -> list[str]:
    return [*json_schema(component.registration.plugin.reference)["properties"]]


def _clock(clock: Clock) -> dict[str, Any]:
    """The batch and the epoch."""
    units = (Unit.TOKENS, Unit.SAMPLES)
    stages = [
        {
            "begin": stage.begin,
            "each": {unit: stage.size.of(unit) for unit in units},
            "before": dict(zip(units, (stage.tokens, stage.samples), strict=True)),
        }
        for stage in clock.stages
    ]
    return {"batch": stages, "epoch": _amount(clock.epoch) if clock.epoch else None}


def _amount(quantity: Quantity) -> dict[str, Any]:
    whole = quantity.amount.denominator == 1
    return {"amount": int(quantity.amount) if whole else float(quantity.amount), "unit": quantity.unit}


def _rule(spec: Spec, group: str) -> tuple[int, Rule] | None:
    """The rule that makes a group, with its place; None for the default group."""
    return next(((index, rule) for index, rule in enumerate(spec.groups) if str(rule) == group), None)


def _source(spec: Spec, group: str, of: str) -> dict[str, Any]:
    """Where the numbers of a curve stand: the schedule that it follows, the base rate, and what changes it."""
    found = _rule(spec, group)
    name, _, index = of.removesuffix("]").partition("[")
    place: Path = ("optimizer",)
    settings: Mapping[str, Any] = spec.optimizer.settings
    if found:
        number, rule = found
        places = [(("groups", number), rule.settings), (("groups", number, "optimizer"), rule.optimizer)]
        own = [(at, part.settings if isinstance(part, Component) else part) for at, part in places if part]
        place, settings = next((each for each in own if name in each[1]), (place, settings))
    value = settings.get(name)
    value = value[int(index)] if index and isinstance(value, tuple) else value
    at: Path = (*place, name, *([int(index)] if index else []))
    changes = {
        key: ("groups", found[0], stated) if found and of == "lr" and stated in found[1].settings else None
        for key, stated in (("scale", "lr_scale"), ("decay", "layer_decay"), ("freeze", "freeze"))
    }
    if isinstance(value, Timeline):
        return {"follows": at, "base": None, "basis": None, **changes}
    follows = ("scheduler",) if spec.scheduler and of in ("lr", "multiplier") else None
    if of == "multiplier":
        return {"follows": follows, "base": None, "basis": None, **changes}
    return {"follows": follows, "base": at, "basis": value, **changes}


def _sampled(curve: Curve, last: int | None) -> dict[str, Any]:
    """The values of a curve as optreg computes them, up to the first update without one."""
    steps, values = curve.sampled(last)
    stops = steps[-1] < (last or curve.end + curve.end // 20 + 1)
    return {"steps": steps, "values": values, "ends": curve.end, "stops": stops}


def _controls(spec: Spec, data: Any) -> list[dict[str, Any]]:
    """The numbers that can be changed, with their places and ranges."""
    found: list[dict[str, Any]] = []
    if data.get("horizon") is not None:
        found.append(_control(("horizon",), data["horizon"], {"type": "integer", "exclusiveMinimum": 0}))
    for place, settings, component in _places(spec):
        ranges = {
            "lr": _properties(component).get("lr", {}),
            "lr_scale": {"type": "number", "minimum": 0},
            "layer_decay": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "freeze": {"type": "integer", "minimum": 0},
        }
        stated = {key: settings[key] for key in ranges if key in settings}
        if "freeze" in stated:
            stated["freeze"] = _at(data, (*place, "freeze"))  # as it is written: true, or a length
        found += [_control((*place, key), value, ranges[key]) for key, value in stated.items()]
    for path, follows in _scheduled(spec):
        section = _at(data, path)
        listed = isinstance(follows, Timeline) and isinstance(section, tuple)
        components = follows.components if isinstance(follows, Timeline) else (follows,)
        for number, component in enumerate(components):
            place = (*path, number) if listed else path
            numbers = _of_schedule(place, component, _at(data, place), phase=are_phases(section))
            found += [{**control, "of": component.name} for control in numbers if control]
    return [control for control in found if control]


def _of_schedule(place: Path, component: Component, section: Mapping[str, Any], *, phase: bool) -> list[dict[str, Any]]:
    """The numbers of a schedule, or of a phase."""
    plugin = component.registration.plugin
    assert isinstance(plugin, SchedulePlugin)
    length: dict[str, Any] = {"type": "integer", "minimum": 0}
    ways = {"warmup_steps": length, "for": length, "until": length}
    levels: dict[str, Any] = {"type": "number", "minimum": 0}
    ways |= {"from": levels, "to": levels, "warmup_from": levels}
    found = [
        _control((*place, key), section[key], schema) for key, schema in ways.items() if section.get(key) is not None
    ]
    elsewhere = {*ways, *(plugin.traits.levels or () if phase else ())}
    if phase and plugin.horizon not in section:
        elsewhere.add(plugin.horizon or "")
    given = {**component.settings, **section}
    for key, schema in _properties(component).items():
        value = given.get(key)
        if key in elsewhere or value is None:
            continue
        if isinstance(value, tuple):
            item = schema.get("items", {})
            found += [_control((*place, key, index), each, item) for index, each in enumerate(value)]
        else:
            found.append(_control((*place, key), value, schema))
    return found


def _properties(component: Component) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = json_schema(component.registration.plugin.reference)["properties"]
    return properties


def _control(path: Path, value: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A number with its range; empty if it is no number, or a text that counts nothing."""
    is_text = isinstance(value, str) and schema.get("type") in ("integer", "number")
    if isinstance(value, bool) or not (is_text or isinstance(value, int | float)):
        return {}
    return {
        "path": path,
        "value": value,
        "whole": schema.get("type") == "integer",
        "low": schema.get("minimum", schema.get("exclusiveMinimum")),
        "high": schema.get("maximum", schema.get("exclusiveMaximum")),
        "above": "exclusiveMinimum" in schema,
        "below": "exclusiveMaximum" in schema,
    }


def _at(data: Any, path: Path) -> Any:
    for key in path:
        data = data[key]
    return data


def _plain(value: Any) -> Any:
    """The value as JSON has it; numbers that JSON does not have as marked texts."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return SPECIAL + {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}[str(value)]
    return value


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
