"""Specs: every kind of mistake with its place and its remedy, overrides, mappings, round trips."""

import copy
import dataclasses
import functools
import operator
import pickle
from collections import UserDict, UserList
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optreg
from optreg import OptregError, SpecError, load_spec

GOOD = """\
optimizer:
  name: adamw
  lr: 3e-4
  weight_decay: 0.1
  betas: [0.9, 0.95]
groups:
  - match: ["*.bias", "*norm*"]
    weight_decay: 0.0
scheduler:
  name: warmup_cosine
  warmup_steps: 20
  total_steps: 100_000
"""

DATA = {
    "optimizer": {"name": "adamw", "lr": 3e-4, "weight_decay": 0.1, "betas": [0.9, 0.95]},
    "groups": [{"match": ["*.bias", "*norm*"], "weight_decay": 0.0}],
    "scheduler": {"name": "warmup_cosine", "warmup_steps": 20, "total_steps": 100_000},
}


def problems(source, overrides=()):
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides)
    return str(caught.value).splitlines()


def test_a_file_a_mapping_and_the_resolved_spec_say_the_same(file):
    spec = load_spec(file(GOOD))
    assert spec == load_spec(DATA) == load_spec(spec.as_dict()) == load_spec(spec)
    assert spec.as_dict()["optimizer"] == {
        "name": "adamw", "lr": 3e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1,
        "maximize": False, "execution": "auto", "stochastic_rounding": False, "state_dtype": None, "seed": 0,
    }  # fmt: skip
    assert spec.as_dict()["scheduler"]["min_lr_ratio"] == 0.1
    assert spec.optimizer.entry.distribution == "optreg"


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ("weight_decay: 0.1", "weigth_decay: 0.1", "run.yaml:4:3: adamw has no parameter 'weigth_decay'; did you mean 'weight_decay'?"),
        ("adamw", "adamww", "run.yaml:2:9: there is no optimizer 'adamww'; did you mean 'adamw'?"),
        ("  name: adamw\n", "", "run.yaml:2:3: the optimizer's 'name' is missing; choose from: adam, adamw, lion"),
        ("name: adamw", "name: 3", "run.yaml:2:9: the optimizer's 'name' must be a string; choose from"),
        ("3e-4", "'3e-4'", "run.yaml:3:7: adamw: lr must be a valid number, not '3e-4'; remove the quotes"),
        ("3e-4", "true", "run.yaml:3:7: adamw: lr must be a valid number, not true"),
        ("3e-4", "null", "run.yaml:3:7: adamw: lr must be a valid number, not null"),
        ("3e-4", "{a: 1}", "run.yaml:3:7: adamw: lr must be a valid number, not a mapping"),
        ("3e-4", "-1", "run.yaml:3:7: adamw: lr must be greater than or equal to 0, not -1"),
        ("3e-4", ".nan", "run.yaml:3:7: adamw: lr must be a finite number, not nan"),
        ("3e-4", "1e999", "run.yaml:3:7: adamw: lr must be a finite number, not inf"),
        ("3e-4", "no", "run.yaml:3:7: 'no' is a boolean to some YAML readers"),
        ("0.95]", "1.0]", "run.yaml:5:16: adamw: betas[1] must be less than 1, not 1.0"),
        ("[0.9, 0.95]", "0.9", "run.yaml:5:10: adamw: betas must be a list, not 0.9"),
        ("100_000", "1e5.5", "run.yaml:12:16: warmup_cosine: total_steps must be a quantity, such as 100_000, '10T tokens', '4_096_000 samples', '40 epochs' or '3%', not '1e5.5'"),
        ("100_000", "100.5", "run.yaml:12:16: warmup_cosine: total_steps must be a valid integer, not 100.5"),
        ("100_000", "1e30", "run.yaml:12:16: warmup_cosine: total_steps must be a valid integer, not 1e+30"),
        ("100_000", "-1e3", "run.yaml:12:16: warmup_cosine: total_steps must be greater than or equal to 1, not -1000"),
        ("  total_steps: 100_000\n", "", "run.yaml:10:3: warmup_cosine needs 'total_steps', which has no default; add it, or the section 'horizon'"),
        ("100_000", "10", "run.yaml:10:3: warmup_cosine: warmup_steps (20) must not be more than total_steps (10)"),
        ("optimizer:", "optimiser:", "run.yaml:1:1: the section 'optimizer' is missing; write 'optimizer:'"),
        ("scheduler:", "shedule:", "run.yaml:9:1: there is no section 'shedule'; did you mean 'scheduler'?"),
        ("scheduler:\n", "schedular: 1\nscheduler:\n", "run.yaml:9:1: there is no section 'schedular'; did you mean 'scheduler'?"),
        ("- match", "- mach", "run.yaml:7:5: the rule has no criterion; add one of: match, regex, ndim, type"),
        ('match: ["*.bias", "*norm*"]', 'regex: ["["]', "run.yaml:7:13: '[' is not a regular expression"),
        ('match: ["*.bias", "*norm*"]', "regex: (", "run.yaml:7:12: '(' is not a regular expression"),
        ('match: ["*.bias", "*norm*"]', "ndim: one", "run.yaml:7:11: 'ndim' must be a number of dimensions or a list"),
        ('match: ["*.bias", "*norm*"]', "ndim: true", "run.yaml:7:11: 'ndim' must be a number of dimensions or a list"),
        ('match: ["*.bias", "*norm*"]', "match: []", "run.yaml:7:12: 'match' must be a string or a list of strings"),
        ("    weight_decay: 0.0", "    weight_decay: -0.5", "run.yaml:8:19: adamw: weight_decay must be greater than"),
        ("    weight_decay: 0.0", "    weight_deacy: 0.5", "run.yaml:8:5: adamw has no parameter 'weight_deacy'; did you mean"),
        ("    weight_decay: 0.0", "    maximize: 3", "run.yaml:8:15: adamw: maximize must be a valid boolean, not 3"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_place_and_remedy(file, right, wrong, expected):
    text = GOOD.replace(right, wrong, 1)
    assert text != GOOD
    told = problems(file(text))
    assert any(line.startswith(expected) for line in told), told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", "run.yaml:1:1: a spec is a mapping with the sections optimizer, groups, scheduler"),
        ("", "run.yaml:1:1: is empty"),
        ("optimizer: 3\nscheduler: {name: constant}", "run.yaml:1:12: 'optimizer' must be a mapping"),
        ("optimizer: {name: lion}\ngroups: 3\nscheduler: {name: constant}", "run.yaml:2:9: 'groups' must be a list"),
        ("optimizer: {name: lion}\ngroups: [3]\nscheduler: {name: constant}", "run.yaml:2:10: a rule must be a mapping"),
    ],
)  # fmt: skip
def test_a_spec_of_the_wrong_shape_is_told_so(file, text, expected):
    assert problems(file(text))[0].startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer: no\nscheduler: {name: constant}",
        "optimizer: {name: lion}\ngroups: no\nscheduler: {name: constant}",
        "optimizer: {name: lion}\nscheduler: no",
        GOOD.replace("adamw", "no"),
        GOOD.replace("3e-4", "no"),
        "optimizer: {name: lion}\ngroups: [no]\nscheduler: {name: constant}",
        GOOD.replace('["*.bias", "*norm*"]', '["a", no]'),
    ],
)
def test_a_faulty_value_is_told_once_and_not_again_for_its_consequences(file, text):
    assert len(problems(file(text))) == 1


def test_all_mistakes_of_a_file_are_told_at_once_in_order(file):
    text = GOOD.replace("3e-4", "-1").replace("    weight_decay", "    weight_dekay").replace("100_000", "0")
    assert [line.split(": ")[0] for line in problems(file(text))] == ["run.yaml:3:7", "run.yaml:8:5", "run.yaml:12:16"]


def test_a_mapping_has_paths_in_place_of_lines():
    assert problems({**DATA, "optimizer": {"name": "lion", "betas": [0.9, 2]}})[0] == (
        "optimizer.betas.1: lion: betas[1] must be less than 1, not 2"
    )
    assert problems({"scheduler": {"name": "constant"}}) == [
        "the section 'optimizer' is missing; write 'optimizer:' and below it 'name: ...'"
    ]


@pytest.mark.parametrize("wrap", [UserDict, MappingProxyType])
def test_any_mapping_sequence_and_number_will_do(wrap):
    data = wrap({
        "optimizer": wrap({"name": "adamw", "lr": np.float64(3e-4), "weight_decay": 0.1, "betas": UserList([0.9, 0.95])}),
        "groups": UserList([wrap({"match": ("*.bias", "*norm*"), "weight_decay": 0})]),
        "scheduler": wrap({"name": "warmup_cosine", "warmup_steps": np.int64(20), "total_steps": 100_000}),
    })  # fmt: skip
    assert load_spec(data) == load_spec(DATA)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=1e-2", "groups.0.weight_decay=0.5", "scheduler.min_lr_ratio=0"],
        {"optimizer.lr": 1e-2, "groups.0.weight_decay": 0.5, "scheduler.min_lr_ratio": 0},
    ],
)
def test_overrides_set_values_by_dotted_path(file, overrides):
    spec = load_spec(file(GOOD), overrides)
    assert spec.optimizer.settings["lr"] == 1e-2
    assert spec.groups[0].settings == {"weight_decay": 0.5}
    assert spec.scheduler.settings["min_lr_ratio"] == 0


def test_a_whole_number_may_be_written_as_a_float_where_steps_are_wanted(file):
    spec = load_spec(file(GOOD.replace("100_000", "1e5").replace("warmup_steps: 20", "warmup_steps: 20.0")))
    assert spec == load_spec(DATA)
    steps = [spec.scheduler.settings[name] for name in ("warmup_steps", "total_steps")]
    assert (steps, [type(step) for step in steps]) == ([20, 100_000], [int, int])
    for overrides in (["scheduler.total_steps=1e4"], {"scheduler.total_steps": 1e4}):
        total = load_spec(file(GOOD), overrides).scheduler.settings["total_steps"]
        assert (total, type(total)) == (10_000, int)
    assert type(load_spec(DATA, {"optimizer.lr": 1e1}).optimizer.settings["lr"]) is float


def test_in_a_rule_too_a_whole_number_may_be_written_as_a_float():
    (rule,) = load_spec({**DATA, "groups": [{"ndim": 1, "seed": 1e3}]}).groups
    assert (rule.settings["seed"], type(rule.settings["seed"])) == (1000, int)


def test_overrides_make_what_is_not_there():
    assert load_spec({"optimizer": {"name": "lion"}}, "scheduler.name=constant").scheduler.name == "constant"
    assert load_spec(DATA, {"groups": [{"ndim": 1, "lr": 0.5}]}).groups[0].criteria == {"ndim": (1,)}


@pytest.mark.parametrize(
    "notes", [{"ema": {"decay": 0.999, "from": [1, None, True]}}, ["clip at 1", 2.0], "as in the paper", 0]
)
def test_notes_are_kept_as_they_are_and_change_nothing(file, notes):
    spec = load_spec({**DATA, "notes": notes})
    assert spec.as_dict()["notes"] == notes
    assert load_spec(spec.as_dict()).as_dict() == spec.as_dict()
    assert load_spec(DATA).as_dict() == {key: value for key, value in spec.as_dict().items() if key != "notes"}
    assert spec == load_spec(DATA)
    assert {spec} == {load_spec(DATA)}
    assert pickle.loads(pickle.dumps(spec)).notes == spec.notes
    spec.as_dict()["notes"] = None
    assert load_spec(spec).as_dict()["notes"] == notes
    assert load_spec(file("notes: [ema, {decay: 0.9}]\n" + GOOD)).as_dict()["notes"] == ["ema", {"decay": 0.9}]


def test_notes_are_plain_data():
    assert problems({**DATA, "notes": {"model": object()}}) == ["notes.model: object is not a plain value"]
    assert (
        "nested deeper than 16 levels"
        in problems({**DATA, "notes": functools.reduce(lambda inner, _: [inner], range(20), 0)})[0]
    )


def test_specs_and_recipes_are_frozen_hashable_and_can_be_pickled():
    recipe = optreg.build(DATA)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert len({recipe, optreg.build(DATA)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.spec.optimizer.name = "lion"
    recipe.spec.optimizer.settings["lr"] = 7
    assert recipe.spec.optimizer.settings["lr"] == 3e-4


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(object())
keys = (
    st.sampled_from(["name", "lr", "betas", "match", "regex", "ndim", "type", "total_steps", "", "x"]) | st.integers()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from(["optimizer", "groups", "scheduler", "x", 3]), values) | values)
@settings(derandomize=True, max_examples=300, deadline=None)
def test_any_mapping_is_a_spec_or_the_projects_own_error(data):
    if isinstance(data, dict):
        try:
            load_spec(data)
        except OptregError as error:
            assert str(error)


@given(st.sampled_from([("optimizer",), ("groups", 0), ("scheduler",)]), keys, values)
@settings(derandomize=True, max_examples=500, deadline=None)
def test_a_right_spec_with_one_thing_changed_is_a_spec_or_the_projects_own_error(path, key, value):
    data = copy.deepcopy(DATA)
    functools.reduce(operator.getitem, path, data)[key] = value
    try:
        assert load_spec(load_spec(data).as_dict()) == load_spec(data)
    except OptregError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("foreach", "place"), [("  foreach: true\n", "2:3"), ("groups:\n  - match: '*'\n    foreach: true\n", "5:5")]
)
def test_options_that_exclude_each_other_are_told_with_their_place(file, foreach, place):
    text = f"optimizer:\n  name: torch.AdamW\n  fused: true\n{foreach}scheduler: {{name: constant}}\n"
    assert problems(file(text)) == [
        f"run.yaml:{place}: torch.AdamW: 'fused' and 'foreach' exclude each other; ask for one"
    ]
