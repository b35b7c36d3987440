"""Rule schemas: the section `groups` of a spec, as JSON Schema."""

from collections.abc import Sequence
from typing import Final

from optreg.cli.component_schemas import Described, all_of, only
from optreg.cli.settings_schema import LENGTH, Schema, ref
from optreg.criteria import CRITERIA, TEXTS
from optreg.layers import PLACE
from optreg.spec import RULE_KEYS

_ASKING: Final = ("not", "layers", "embeddings")
"""The keys of a rule that set nothing, besides the criteria."""

_OTHER: Final = PLACE.replace("{", r"\{").replace("}", r"\}")
_ONCE: Final = rf"^((?!{_OTHER})[\s\S])*{_OTHER}((?!{_OTHER})[\s\S])*$"
"""What has the place for the number of a layer once."""


def groups() -> Schema:
    """The section `groups`."""
    return {"description": "Rules: what is different for some parameters.", "type": "array", "items": ref("rule")}


def rules(optimizers: Sequence[Described]) -> Schema:
    """The definitions of rules, under any optimizer."""
    criteria = {key: criterion.json_schema for key, criterion in CRITERIA.items()}
    excluded = {
        "description": "Criteria; parameters that meet all of them are left out.",
        "type": "object",
        "properties": criteria,
        "additionalProperties": False,
        "minProperties": 1,
    }
    layer = {"type": "string", "pattern": _ONCE}
    settings = dict.fromkeys(key for each in optimizers for key in each.settings["properties"])
    return {
        "rule": {
            "description": "What is different for the parameters that meet all its criteria.",
            "type": "object",
            "properties": {
                **criteria,
                "not": {"anyOf": [ref("rule.not"), {"type": "array", "items": ref("rule.not"), "minItems": 1}]},
                "layers": {
                    "description": f"Patterns of the names of layers: 'blocks.{PLACE}.*'.",
                    "anyOf": [layer, {"type": "array", "items": layer, "minItems": 1}],
                },
                "embeddings": {**TEXTS.json_schema, "description": "Globs on what lies below all layers."},
                "layer_decay": {
                    "description": "Multiplies the rate, once for every layer above.",
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": 1,
                },
                "lr_scale": {"description": "Multiplies the rate.", "type": "number", "minimum": 0},
                "freeze": {
                    "description": "true: these parameters never train. Or for how long: '1 epoch'.",
                    "anyOf": [{"type": "boolean"}, ref(LENGTH)],
                },
                "optimizer": {
                    "description": "An optimizer of their own.",
                    "allOf": [{"$ref": "#/properties/optimizer"}, ref("optimizer.whole")],
                },
            },
            "anyOf": [{"required": [key]} for key in (*CRITERIA, "layers")],
            "dependentRequired": {
                "layers": ["layer_decay"],
                "embeddings": ["layer_decay"],
                "layer_decay": ["layers"],
            },
            "propertyNames": {"enum": [*CRITERIA, *RULE_KEYS, *settings]},
            "not": {"propertyNames": {"enum": [*CRITERIA, *_ASKING]}},
        },
        "rule.not": excluded,
    }


def rules_under(optimizers: Sequence[Described]) -> Schema:
    """What rules may set under each optimizer: its settings, and those of the optimizers that rules name."""
    several = {"contains": {"required": ["optimizer"]}}
    return all_of(
        {
            "if": {"properties": {"optimizer": each.named}, "required": ["optimizer"]},
            "then": {
                "properties": {
                    "groups": {
                        "items": {"allOf": [ref(each.key), ref(f"{each.key}.whole")]},
                        "if": several,
                        "else": {"items": only([*CRITERIA, *RULE_KEYS, *each.settings["properties"]])},
                    }
                }
            },
        }
        for each in optimizers
    )
