"""Section schemas: what is the same whatever is installed, as JSON Schema: lengths, levels, what an update consumes."""

from optreg.cli.settings_schema import AMOUNT, CONVENTION, LENGTH, LEVEL, RISE, Schema, ref
from optreg.conventions import CONVENTIONS
from optreg.hyperparameters import json_schema
from optreg.on_resume import OnResume
from optreg.quantities import MOST_UPDATES, TRAINER, Unit, form, size_form

_EXAMPLES = "2000 updates, '10T tokens', '4_096_000 samples', '40 epochs'"

_BY_TRAINER = {"const": TRAINER, "description": "Only the trainer knows it, and gives it when it builds."}

_SIZE = "batch.size"


def definitions() -> Schema:
    """What sections and settings refer to."""
    return {
        LENGTH: {
            "description": f"A length of the run: {_EXAMPLES}, or '3%' of it.",
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST_UPDATES}, ref(AMOUNT)],
        },
        AMOUNT: {
            "description": f"A length of the run in another unit: {_EXAMPLES}, or '3%' of it.",
            "type": "string",
            "pattern": form(*Unit),
        },
        LEVEL: {
            "description": "A value, or a share of the base, such as '10%'.",
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": form(Unit.SHARE)}],
        },
        RISE: {
            **ref(LEVEL),
            "minimum": 0,
            "description": "Where the warm-up begins: a rate, or a share of it.",
        },
        CONVENTION: {
            "description": "Whose way of counting the schedule follows. "
            + " ".join(f"{each.name}: {each.says}" for each in CONVENTIONS.values()),
            "enum": [*CONVENTIONS],
        },
        _SIZE: {
            "description": "What one update consumes: '4M tokens', '1024 samples', '2048 samples of 4096 tokens'.",
            "type": "string",
            "pattern": size_form(),
        },
    }


def plain_sections() -> Schema:
    """The sections that name no plugin, except `groups`."""
    return {
        "extends": {
            "description": "A file within the project whose values hold unless this sets them.",
            "type": "string",
            "pattern": r"\S",
        },
        "notes": {"description": "Plain data of the author's: shown by explain, and nothing is made of it."},
        "horizon": _length(f"The length of the run: {_EXAMPLES}.", [Unit.SHARE]),
        "batch": {
            "description": "What one update consumes, over all processes and micro-batches; or a ramp of stages.",
            "anyOf": [ref(_SIZE), {"type": "array", "minItems": 1, "items": _stage()}, _BY_TRAINER],
        },
        "epoch": _length(
            "The length of an epoch: '1_281_167 samples', '312 steps'.", without=[Unit.SHARE, Unit.EPOCHS]
        ),
        "on_resume": {"description": "What a run does where a checkpoint differs.", **json_schema(OnResume)},
    }


def _length(says: str, without: list[Unit]) -> Schema:
    """A length that others are measured by."""
    units = [unit for unit in Unit if unit not in without]
    updates = {"type": "integer", "minimum": 1, "maximum": MOST_UPDATES}
    return {"description": says, "anyOf": [updates, {"type": "string", "pattern": form(*units)}, _BY_TRAINER]}


def _stage() -> Schema:
    return {
        "description": "A stretch of the run in which every update consumes the same; the last stage is open.",
        "type": "object",
        "properties": {
            "size": ref(_SIZE),
            "for": {**ref(LENGTH), "description": "How long it is."},
            "until": {**ref(LENGTH), "description": "Where it ends, counted from the beginning of the run."},
        },
        "required": ["size"],
        "not": {"required": ["for", "until"]},
        "additionalProperties": False,
    }
