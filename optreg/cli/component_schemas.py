"""Component schemas: optimizers, schedules and phases of the plugins that are installed, as JSON Schema.

A spec that extends another may lack what this sets. So for each part there are two schemas: what may stand there, and
what must (`whole`).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from optreg.cli.settings_schema import CURVE, LENGTH, LEVEL, WHOLE_CURVE, Schema, ref

_PHASE: Final = {"anyOf": [{"required": [key]} for key in ("from", "to", "for", "until")]}
"""What makes a mapping a phase."""

_MAPPING: Final = {"type": "object"}


@dataclass(frozen=True)
class Described:
    """A plugin in the schema."""

    key: str
    """The name of its definition."""
    names: list[str]
    """The spellings that an editor offers: the author's, bare if that leads here, and qualified."""
    pattern: str
    """What every spelling matches that leads here."""
    settings: Schema
    """What `optreg.cli.settings_schema.describe` says."""

    @property
    def in_phases(self) -> Schema | None:
        """What a phase may state of it; None if it cannot be one."""
        found: Schema | None = self.settings.get("in_phases")
        return found

    @property
    def named(self) -> Schema:
        """A mapping that has one of the plugin's names."""
        return ref(f"{self.key}.named")

    def if_named(self, then: Schema) -> Schema:
        """What holds where a mapping has one of the plugin's names."""
        return {"if": self.named, "then": then}

    def definitions(self) -> Schema:
        """All that is said of the plugin in one place, by the names of the definitions."""
        about, own = self.settings["description"], self.settings["properties"]
        spelling = {"type": "string", "pattern": self.pattern}
        made: Schema = {
            f"{self.key}.named": {"properties": {"name": spelling}, "required": ["name"]},
            self.key: {"description": about, "properties": own},
            **self.settings["$defs"],
        }
        if "curves" in self.settings:
            made[f"{self.key}.whole"] = {"properties": dict.fromkeys(self.settings["curves"], ref("number.whole"))}
        if self.in_phases:
            first = about.partition("\n")[0]
            own = self.in_phases["properties"]
            made[f"{self.key}.phase"] = {"description": first, "properties": own, "additionalProperties": False}
        return made


def only(keys: Iterable[str]) -> Schema:
    """Only these keys may be there; what their values are is said elsewhere."""
    return {"properties": dict.fromkeys(keys, True), "additionalProperties": False}


def all_of(schemas: Iterable[Schema]) -> Schema:
    """All of them hold; there may be none."""
    listed = [*schemas]
    return {"allOf": listed} if listed else {}


def optimizer(optimizers: Sequence[Described]) -> Schema:
    """The section `optimizer`."""
    return {
        "description": "The optimizer: its name, hyperparameters and execution options.",
        **_MAPPING,
        "properties": {"name": _names(optimizers)},
        **_own_keys(optimizers),
    }


def whole_optimizer(optimizers: Sequence[Described]) -> Schema:
    """What an optimizer must state."""
    needs = [each.if_named({**ref(f"{each.key}.whole"), **_required(each.settings["required"])}) for each in optimizers]
    return {"required": ["name"], **all_of(needs)}


def scheduler(schedules: Sequence[Described]) -> Schema:
    """The section `scheduler`: a schedule, a phase, or a list of phases."""
    keys = _phase_keys()
    rates = {key: {"minimum": 0} for key in ("from", "to")}
    return {
        "description": "A schedule, or a list of phases; without it, all rates are constant.",
        "type": ["object", "array"],
        "properties": {"name": _names(schedules), **keys, **{key: keys[key] | rates[key] for key in rates}},
        "items": {"properties": rates},
        "if": {"type": "array"},
        "then": ref("phases"),
        "else": {"if": _PHASE, "then": ref("phase"), "else": _own_keys(schedules)},
    }


def whole_scheduler(schedules: Sequence[Described]) -> Schema:
    """What a schedule must state besides its end."""
    needs = [
        each.if_named(_required(needed))
        for each in schedules
        if (needed := [name for name in each.settings["required"] if name != each.settings["end"]])
    ]
    alone = {"required": ["name"], **all_of(needs)}
    return {"if": _MAPPING, "then": {"if": _PHASE, "then": ref("phase.whole"), "else": alone}}


def ended_scheduler(schedules: Sequence[Described]) -> Schema:
    """What must say where a schedule ends, if it is not where the run does."""
    by_end: dict[str, list[Described]] = defaultdict(list)
    for each in schedules:
        if each.settings["end"]:
            by_end[each.settings["end"]].append(each)
    alone = [
        {"if": _one_of(needy), "then": _required([end])}
        for end, ending in by_end.items()
        if (needy := [each for each in ending if end in each.settings["required"]])
    ]
    phases = [
        {"if": _one_of(pure), "then": {"anyOf": [{"required": [key]} for key in ("for", "until", end)]}}
        for end, ending in by_end.items()
        if (pure := [each for each in ending if each.in_phases])
    ]
    return {"if": _MAPPING, "then": {"if": _PHASE, "then": all_of(phases), "else": all_of(alone)}}


def phases(schedules: Sequence[Described]) -> Schema:
    """The definitions of phases, their lists, and curves of a hyperparameter."""
    able = [(each, each.in_phases) for each in schedules if each.in_phases]
    needs = [each.if_named(_required(own["required"])) for each, own in able if own["required"]]
    warm = [each for each, own in able if own["warms_up"]]
    begun = {**ref("phase.whole"), "required": ["from"], "properties": {"from": {"type": "number"}}}
    return {
        "phase": {
            "description": "A schedule over a stretch of the run.",
            **_MAPPING,
            "properties": {"name": _names([each for each, _ in able]), **_phase_keys()},
            "not": {"required": ["for", "until"]},
            **all_of(each.if_named(ref(f"{each.key}.phase")) for each, _ in able),
        },
        "phase.whole": {**ref("phase"), "required": ["name"], **all_of(needs)},
        "phases": {
            "description": "Phases, one after another; the last may be open.",
            "type": "array",
            "minItems": 1,
            "prefixItems": [ref("phase.whole")],
            "items": {
                **ref("phase.whole"),
                "if": _one_of(warm),
                "then": {"dependentRequired": {"warmup_steps": ["from"]}},
            },
        },
        CURVE: {
            "description": "A schedule in place of a number: a phase, or a list of them, whose first says 'from'.",
            "type": ["object", "array"],
            "if": {"type": "array"},
            "then": {**ref("phases"), "prefixItems": [ref("curve.first")]},
            "else": ref("phase"),
        },
        WHOLE_CURVE: {**ref(CURVE), **all_of([ref("number.whole")])},
        "curve.first": begun,
        "number.whole": {"if": _MAPPING, "then": ref("curve.first")},
    }


def _phase_keys() -> Schema:
    return {
        "from": {**ref(LEVEL), "description": "Where it begins: a value, or a share such as '10%'."},
        "to": {**ref(LEVEL), "description": "Where it ends: a value, or a share such as '10%'."},
        "for": {**ref(LENGTH), "description": "How long it is: 2000 updates, '10T tokens'."},
        "until": {**ref(LENGTH), "description": "Where it ends, counted from the beginning of the run."},
        "warmup_steps": {**ref(LENGTH), "description": "A line up to where it begins."},
    }


def _names(plugins: Sequence[Described]) -> Schema:
    """The key `name`: what an editor offers, and every other spelling."""
    offered = [name for each in plugins for name in each.names]
    return {"anyOf": [{"enum": offered}, *_spellings(plugins)]}


def _spellings(plugins: Sequence[Described]) -> list[Schema]:
    return [ref(f"{each.key}.named", "properties", "name") for each in plugins]


def _one_of(plugins: Sequence[Described]) -> Schema:
    """Whether a mapping names one of the plugins."""
    return {"properties": {"name": {"anyOf": _spellings(plugins)}}, "required": ["name"]} if plugins else {"not": {}}


def _own_keys(plugins: Sequence[Described]) -> Schema:
    """A mapping's name determines its other keys; without one, it inherits it."""
    return all_of(each.if_named({**ref(each.key), **only(["name", *each.settings["properties"]])}) for each in plugins)


def _required(keys: Sequence[str]) -> Schema:
    return {"required": [*keys]} if keys else {}
