"""What `optreg schema` accepts and what `optreg validate` accepts: the same, but for reasons that no JSON Schema can state."""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from drawn_specs import Draw, mutated

import optreg
from optreg.cli import main
from optreg.cli.schema import make_schema
from optreg.criteria import CRITERIA
from optreg.quantities import Unit, form, quantity, size, size_form
from optreg.settings_checks import own_names
from optreg.spec import RULE_KEYS

COUNT = 3_000
"""Specs that are drawn; `python tests/language/test_schema.py 50000` draws more."""


Place = tuple[str, ...]


@dataclass(frozen=True)
class Reason:
    """Why a spec may be refused that the schema accepts.

    Args:
        words: a regular expression of the message.
        holds: what must be so, given the spec, the place that the message is about, and the value there.
    """

    words: str
    holds: Callable[[Any, Place, Any], bool] = lambda spec, place, value: True


def is_text(spec: Any, place: Place, value: Any) -> bool:
    return isinstance(value, str)


def is_float(spec: Any, place: Place, value: Any) -> bool:
    return isinstance(value, float)


def is_curve(spec: Any, place: Place, value: Any) -> bool:
    """Whether the value is a schedule in place of a number, each level of which must be in range."""
    return len(place) > 1 and any(isinstance(item, dict) for item in (value if isinstance(value, list) else [value]))


def is_of_another_optimizer(spec: Any, place: Place, value: Any) -> bool:
    """Whether a setting of a rule belongs to the optimizer of a rule, if anywhere, and so depends on other rules."""
    if place[0] != "groups" or len(place) < 3 or not any("optimizer" in rule for rule in spec["groups"]):
        return False
    first = optreg.default_registry().optimizer(spec["optimizer"]["name"]).plugin
    return place[2] not in {*RULE_KEYS, *CRITERIA, *own_names(first)}


RANGE = r"must be (greater|less) than( or equal to)? [-\d.e]+, not "

REASONS = {
    "A pattern sees the form of a text, and not the number in it.": [
        Reason(r"must be a whole number of updates, not '", is_text),
        Reason(r"is out of range: '", is_text),
        Reason(r"must be at most (100% of the run|2\^53 updates)", is_text),
        Reason(r"must be made of whole numbers above zero", is_text),
        Reason(r"must be more than nothing", is_text),
        Reason(r"must not be that large", is_text),
        Reason(RANGE + r"0$", is_text),
    ],
    "JSON has no infinity, and does not tell 1e20, which may be rounded, from a whole number.": [
        Reason(r"must be( a)? finite", is_float),
        Reason(r"must be at most 2\^53 updates"),
        Reason(r"must be a (valid integer|whole number of updates), not \d\S*e\+\d+$", is_float),
    ],
    "What a quantity comes to depends on other sections.": [
        Reason(r"needs the (tokens|samples) of an update, but"),
        Reason(r"needs the length of an epoch; add"),
        Reason(r"is a share of the whole run, whose length is not stated; add"),
        Reason(r"reaches back beyond the beginning of the run"),
        Reason(RANGE + r"0$", is_text),
    ],
    "Where a phase or a stage begins depends on those before it.": [
        Reason(r"update [\d,]+, but the (phase|stage) begins at update [\d,]+"),
        Reason(r"the warm-up lasts until update [\d,]+, but the phase ends at update [\d,]+"),
        Reason(r"only the last phase may be open; say how long"),
        Reason(r"only the last stage of a ramp is open; add"),
        Reason(r"the ramp ends at update [\d,]+, before the run does"),
        Reason(r"needs a length; add 'for: 1000 steps', 'until: 10T tokens', or the section 'horizon'"),
    ],
    "A level depends on the hyperparameter, or on the rate of the section `optimizer`.": [
        Reason(RANGE, is_curve),
        Reason(r"is a rate of \S+, \S+ times the optimizer's lr"),
        Reason(r"is a rate, but the optimizer states no lr above 0"),
        Reason(r"of 0, where \S+ begins; write the value"),
        Reason(r"begins and ends at \S+ with these settings, so that it cannot go to a level; leave 'to' out"),
        Reason(r"begins at 0, so that it cannot go on from another level; (add 'to'|choose)"),
    ],
    "Settings must suit each other.": [
        Reason(r"must not be more than total_steps"),
        Reason(r"where \w+ is what the warm-up leaves of it"),
        Reason(r"rises along a curve of its own, not along a line; leave \w+ out"),
        Reason(r"says where a warm-up begins, but none is stated; add"),
        Reason(r"lead to the end, which is not stated; add total_steps"),
        Reason(r"must have room for decay_steps"),
        Reason(r"never reaches 0; set min_lr_ratio"),
        Reason(r"'fused' and 'foreach' exclude each other"),
        Reason(r"nesterov needs a momentum and no dampening"),
        Reason(r"the total_steps must be|max_momentum|base_momentum|pct_start"),
    ],
    "Sections must suit each other.": [
        Reason(r"the lr of the optimizer is a schedule already"),
        Reason(r"is an LRScheduler, which sets the rates alone, but .* (is|are) to follow a schedule"),
        Reason(r"of this rule(, \S+)?,? has no effect"),
        Reason(r"would raise the rate of this rule's group"),
        Reason(r"has no parameter '", is_of_another_optimizer),
        Reason(r"must be ", is_of_another_optimizer),
        Reason(r"is not a number that a schedule can set|has \d elements; write a list", is_of_another_optimizer),
    ],
    "A text has a language of its own.": [
        Reason(r"is not a regular expression: "),
        Reason(r"has no place for the number of the layer"),
        Reason(r"the value is missing \('\?\?\?'\)|the interpolation '", is_text),
    ],
}


@cache
def validator() -> jsonschema.Draft202012Validator:
    schema = make_schema(optreg.default_registry())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def refusals(source: Any) -> list[str]:
    """What `optreg validate` says about a spec."""
    try:
        optreg.load_spec(source)
    except optreg.SpecError as error:
        return [problem.message for problem in error.problems]
    return []


def place_and_value(spec: Any, message: str) -> tuple[Place, Any]:
    """The place that a message begins with, and the value there; of a key that is missing, what should have it."""
    place = tuple(message.partition(": ")[0].split("."))
    value = spec
    for part in place:
        inner = value[int(part)] if isinstance(value, list) else value.get(part) if isinstance(value, dict) else None
        if inner is None:
            break
        value = inner
    return place, value


def has_reason(spec: Any, message: str) -> bool:
    place, value = place_and_value(spec, message)
    reasons = [reason for listed in REASONS.values() for reason in listed]
    return any(re.search(reason.words, message) and reason.holds(spec, place, value) for reason in reasons)


def drawn(count: int) -> Iterator[dict[str, Any]]:
    """Specs: right ones, and twice as many with a mistake."""
    for seed in range(count):
        spec = Draw(seed).spec()
        yield mutated(spec, seed) if seed % 3 else spec


def disagreements(count: int) -> tuple[list[str], dict[tuple[bool, bool], int]]:
    """Specs about which the two disagree without a reason, with what was said; and how often each said what."""
    found, counted = [], dict.fromkeys([(a, b) for a in (True, False) for b in (True, False)], 0)
    for spec in drawn(count):
        said, accepted = refusals(spec), validator().is_valid(spec)
        counted[not said, accepted] += 1
        if accepted:
            found += [f"{message}\n  {spec}" for message in said if not has_reason(spec, message)]
        elif not said:
            error = jsonschema.exceptions.best_match(validator().iter_errors(spec))
            found.append(f"{error.json_path}: {error.message[:300]}\n  {spec}")
    return found, counted


@pytest.mark.no_cover
def test_the_schema_and_validate_agree_on_specs_right_and_wrong():
    found, counted = disagreements(COUNT)
    assert not found, "\n".join(found[:5])
    assert counted[True, True] > COUNT / 4, "right ones"
    assert counted[False, False] > COUNT / 4, "wrong ones"
    assert counted[False, True] < COUNT / 20, "what only validate can tell"


NUMBERS = [
    "0",
    "3",
    "1.5",
    ".5",
    "3.",
    "1_000",
    "1__0",
    "_1",
    "1e3",
    "1e-3",
    "2E+2",
    "1e9999",
    "1e",
    "-3",
    "+3",
    "",
    "x",
    "\u0663",
]
SUFFIXES = ["", "", "k", "K", "M", "B", "T", "m", "kk", "\u212a"]
UNITS = [
    "steps",
    "step",
    "updates",
    "tokens",
    "token",
    "samples",
    "epoch",
    "epochs",
    "%",
    "Tokens",
    "days",
    "",
    "tokens x",
]
BLANKS = ["", " ", "  ", "\t", "\n"]
OF_VALUE = r"whole number of updates|is out of range|at most (100%|2\^53)|made of whole numbers above zero"
"""Words of the refusals that are about the number, which a pattern does not know."""


def texts(count: int) -> Iterator[str]:
    """Quantities, right and wrong."""
    pick = random.Random(0).choice
    for _ in range(count):
        yield "".join(map(pick, [BLANKS, NUMBERS, SUFFIXES, BLANKS, UNITS, BLANKS]))


def judged(read: Callable[[Any], Any], text: str) -> str:
    """What is wrong with the text; empty if nothing is."""
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


def test_the_pattern_of_quantities_matches_what_is_read_as_one():
    both = 0
    for text in texts(20_000):
        said = judged(quantity, text)
        accepted = re.search(form(*Unit), text) is not None
        assert accepted == (not said or re.search(OF_VALUE, said) is not None), (text, said)
        both += not said
    assert both > 500


def test_a_pattern_of_some_units_matches_no_others():
    for text in texts(5000):
        if not judged(quantity, text):
            units = {quantity(text).unit}
            assert {unit for unit in Unit if re.search(form(unit), text)} == units
            assert bool(re.search(form(Unit.TOKENS, Unit.SHARE), text)) == bool(units & {Unit.TOKENS, Unit.SHARE})


def test_the_pattern_of_sizes_matches_what_is_read_as_one():
    both, pick = 0, random.Random(1).choice
    of = [" of ", " of", "of ", "  of\n", " off "]
    for text in texts(20_000):
        whole = text if pick([True, False]) else pick(["3 samples", "2k samples", "1 token", text]) + pick(of) + text
        said = judged(size, whole)
        accepted = re.search(size_form(), whole) is not None
        assert accepted == (not said or re.search(OF_VALUE, said) is not None), (whole, said)
        both += not said
    assert both > 300


BASE = {"optimizer": {"name": "adamw", "lr": 1e-3}, "horizon": 1000}

WRONG = [
    {"scheduler": [{"name": "torch.StepLR", "step_size": 3, "for": 10}]},
    {"scheduler": [{"name": "cosine", "for": 10, "until": 20}]},
    {"scheduler": [{"name": "cosine", "for": 10, "min_lr_ratio": 0.1}]},
    {"scheduler": [{"name": "constant", "to": "10%"}]},
    {"scheduler": [{"name": "wsd", "decay_steps": 3, "decay": "linear", "to": "10%"}]},
    {"scheduler": [{"name": "exponential", "for": 3}]},
    {"scheduler": [{"name": "cosine", "for": None}]},
    {"scheduler": [{"name": "linear_warmup", "warmup_steps": 0, "": 1}]},
    {"scheduler": [{"name": "cosine", "from": -0.1}]},
    {"scheduler": [{"name": "cosine", "from": "1/3%"}]},
    {"scheduler": [{"name": "cosine", "from": "-10%"}]},
    {"scheduler": [{"name": "cosine", "for": "10k"}]},
    {"scheduler": [{"name": "cosine", "for": 3}, {"name": "cosine", "for": 3, "warmup_steps": 1}]},
    {"scheduler": {"name": "cosine", "from": 0, "convention": "timm"}},
    {"scheduler": {"name": "cosine", "convention": "jax"}},
    {"scheduler": {"name": "torch.StepLR", "step_size": 3, "convention": "timm"}},
    {"scheduler": []},
    {"optimizer": {"name": "adamw", "weight_decay": {"name": "cosine", "to": 0.2}}},
    {"optimizer": {"name": "adamw", "weight_decay": {"from": 0.1, "to": 0.2}}},
    {"optimizer": {"name": "adamw", "weight_decay": {"name": "cosine", "from": "10%", "to": 0.2}}},
    {"optimizer": {"name": "adamw", "betas": {"name": "cosine", "from": 0.1, "to": 0.2}}},
    {"optimizer": {"name": "adamw", "seed": {"name": "constant", "from": 1}}},
    {"horizon": "10%"},
    {"horizon": 0},
    {"horizon": None},
    {"epoch": "3 epochs"},
    {"batch": 1024},
    {"batch": []},
    {"batch": [{"size": "4M tokens", "for": 3, "until": 9}, {"size": "4M tokens"}]},
    {"batch": "2048 samples of 4096 samples"},
    {"groups": [{"match": "x"}]},
    {"groups": [{"match": "x", "not": {"ndim": 1}}]},
    {"groups": [{"lr": 0.1}]},
    {"groups": [{"match": "x", "not": {"lr": 1}, "lr": 0.1}]},
    {"groups": [{"match": "x", "not": {}, "lr": 0.1}]},
    {"groups": [{"match": "x", "layer_decay": 0.5}]},
    {"groups": [{"layers": "h.{layer}.*", "lr_scale": 0.5}]},
    {"groups": [{"layers": "h.*", "layer_decay": 0.5}]},
    {"groups": [{"match": "x", "layers": "h.{layer}", "layer_decay": 1.5}]},
    {"groups": [{"match": "x", "embeddings": "wte", "lr": 1}]},
    {"groups": [{"match": "x", "freeze": "1.5"}]},
    {"groups": [{"match": "x", "lr_scale": -1}]},
    {"groups": [{"match": "x", "optimizer": "lion"}]},
    {"groups": [{"match": "x", "optimizer": {"lr": 0.1}}]},
    {"groups": [{"match": "x", "optimizer": {"name": "lion", "eps": 0.1}}]},
    {"groups": [{"match": "x", "momentum": 0.1}]},
    {"groups": [{"match": "x", "momentum": 0.1, "optimizer": {"name": "lion"}, "nesterovv": True}]},
]


@pytest.mark.parametrize("sections", WRONG, ids=json.dumps)
def test_both_refuse(sections):
    assert refusals({**BASE, **sections})
    assert not validator().is_valid({**BASE, **sections})


def test_both_need_an_end_where_the_run_has_none():
    optimizer = {"optimizer": {"name": "adamw"}}
    for scheduler in ({"name": "cosine"}, {"name": "cosine", "to": "10%"}, {"name": "torch.CosineAnnealingLR"}):
        spec = {**optimizer, "scheduler": scheduler}
        assert refusals(spec)
        assert not validator().is_valid(spec)
        assert not refusals({**spec, "horizon": "trainer"})
        assert validator().is_valid({**spec, "horizon": "trainer"})


def test_a_rule_may_set_what_an_optimizer_of_another_rule_has():
    own = {"match": "head", "optimizer": {"name": "torch.SGD"}}
    spec = {**BASE, "groups": [{"match": "*", "momentum": 0.9}, own]}
    assert not refusals(spec)
    assert validator().is_valid(spec)
    assert not validator().is_valid({**spec, "groups": spec["groups"][:1]})


SAID = {
    "scheduler.0.for: 'for' has no value; write one, or leave 'for' out": {
        "scheduler": [{"name": "cosine", "for": None}]
    },
    "batch: 'batch' must be what one update consumes, such as '4M tokens', '1024 samples' or '2048 samples of 4096 "
    "tokens', not null": {"batch": None},
    "scheduler.0.for: '3 epochs' needs the length of an epoch; add 'epoch: 1_281_167 samples', 'epoch: 312 steps', or "
    "'epoch: trainer' if only the trainer knows it": {"scheduler": [{"name": "cosine", "for": "3 epochs"}]},
    "scheduler.milestones: multistep: milestones must be a list, not '3 epochs'": {
        "epoch": "trainer", "scheduler": {"name": "multistep", "milestones": "3 epochs"}
    },
    "scheduler.milestones.1: multistep: milestones[1] must be a valid integer, not a list of 1": {
        "epoch": "trainer", "scheduler": {"name": "multistep", "milestones": ["3 epochs", [5]]}
    },
    "scheduler.milestones: multistep: milestones must have at least 1 element, not 0": {
        "scheduler": {"name": "multistep", "milestones": []}
    },
    "scheduler.decay_steps: wsd: '3 tokens' needs the tokens of an update, but the batch is not stated; add 'batch: 4M "
    "tokens', or 'batch: trainer' if only the trainer knows it": {
        "horizon": "trainer", "scheduler": {"name": "wsd", "decay": "linear", "decay_steps": "3 tokens"}
    },
    "optimizer.betas: adamw: betas has 2 elements; write a list with a schedule in the place of one": {
        "optimizer": {"name": "adamw", "betas": {"from": 0.1}}
    },
    "optimizer.betas.0: adamw: betas[0] must be less than 1, not 2.0": {
        "optimizer": {"name": "adamw", "betas": [{"name": "constant", "from": 2}, 0.9]}
    },
}  # fmt: skip


@pytest.mark.parametrize("message", SAID)
def test_a_mistake_is_told_once_with_its_place_and_what_to_write(message):
    assert refusals({**BASE, **SAID[message]}) == [message]


def applying(schema: Any, value: Any) -> Iterator[dict[str, Any]]:
    """The schema and all those in it that apply to the same value."""
    if not isinstance(schema, dict):
        return
    yield schema
    root, inner = validator().schema, [*schema.get("allOf", ()), *schema.get("anyOf", ())]
    if "$ref" in schema:
        found = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        inner.append(found)
    if "if" in schema:
        holds = validator().evolve(schema={**schema["if"], "$defs": root["$defs"]}).is_valid(value)
        inner.append(schema.get("then" if holds else "else"))
    for each in inner:
        yield from applying(each, value)


def offered(schema: Any, value: Any) -> dict[str, list[dict[str, Any]]]:
    """The keys that an editor offers in a mapping, or in the first of a list, each with all that is said about it."""
    schemas = [*applying(schema, value)]
    if isinstance(value, list):
        value, items = value[0], [found for each in schemas for found in [each.get("items")] if found]
        schemas = [found for each in items for found in applying(each, value)]
    found: dict[str, list[dict[str, Any]]] = {}
    for each in schemas:
        for key, says in each.get("properties", {}).items():
            if says is not True:
                found.setdefault(key, []).append(says)
    return found


def test_an_editor_finds_keys_with_what_they_mean():
    sections = validator().schema["properties"]
    assert {*sections} == {
        "extends", "notes", "optimizer", "groups", "scheduler", "horizon", "batch", "epoch", "on_resume"
    }  # fmt: skip
    assert all(section["description"] for section in sections.values())
    found = {
        "schedule": offered(sections["scheduler"], {"name": "cosine"}),
        "phase": offered(sections["scheduler"], [{"name": "cosine"}]),
        "rule": offered(sections["groups"], [{"match": "x"}]),
        "optimizer": offered(sections["optimizer"], {"name": "lion"}),
    }
    phase = {"from", "to", "for", "until", "warmup_steps"}
    assert found["schedule"].keys() == phase | {"name", "total_steps", "min_lr_ratio", "warmup_from", "convention"}
    assert found["phase"].keys() == phase | {"name", "total_steps"}
    assert found["rule"].keys() == {*CRITERIA, *RULE_KEYS}
    assert found["optimizer"].keys() > {"name", "lr", "betas", "weight_decay", "execution"}
    for key in phase:
        assert any("description" in says for says in found["phase"][key])
    (names,) = (says["anyOf"][0]["enum"] for says in found["phase"]["name"])
    assert {"cosine", "optreg/linear_warmup"} <= {*names}
    assert "torch.StepLR" not in names


def test_only_validate_sees_that_a_key_is_doubled(tmp_path):
    for seed in range(0, 60, 3):
        spec = Draw(seed).spec()
        if refusals(spec):
            continue
        file, key = tmp_path / "spec.yaml", random.Random(seed).choice([*spec])
        text = yaml.safe_dump(spec) + yaml.safe_dump({key: spec[key]})
        file.write_text(text)
        result = CliRunner().invoke(main, ["validate", str(file)])
        assert re.search(rf"spec.yaml:\d+:1: '{key}' is repeated; it is also on line \d+, keep one", result.stderr)
        assert validator().is_valid(yaml.safe_load(text))


def test_validate_says_of_a_file_what_it_says_of_its_values_with_positions(tmp_path):
    file = tmp_path / "spec.yaml"
    for spec in drawn(150):
        file.write_text(yaml.safe_dump(spec))
        result = CliRunner().invoke(main, ["validate", str(file)])
        lines = result.stderr.splitlines()
        assert result.exit_code == bool(lines)
        assert all(re.match(r"\S*spec.yaml:\d+:\d+: ", line) for line in lines), lines
        if not result.exit_code:
            assert not refusals(spec)


if __name__ == "__main__":
    import sys

    found, counted = disagreements(int(sys.argv[1]))
    print(*found[:20], counted, sep="\n")
