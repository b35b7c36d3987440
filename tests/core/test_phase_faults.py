"""Wrong phases, and wrong schedules in place of numbers: every fault is told at its place, with what to write."""

import math
import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import optreg
from optreg import SpecError
from optreg.cli.plan import plan
from optreg.errors import PluginError


def faults(text, path, **facts):
    """What is told of a spec, without the name of its file."""
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        optreg.load_spec(path, facts=facts)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


HEAD = "optimizer: {name: adamw, lr: 1e-3}\nscheduler:\n"

OF_PHASES = {
    # lengths
    "- {name: cosine, for: 10}\n- {name: cosine, until: 5}": [
        "4:25: 'until' leads to update 5, but the phase begins at update 10; 'until' is counted from the beginning of the run",
    ],
    "- {name: cosine, for: -10}\n- {name: cosine, for: -1 epochs}\n- {name: cosine, until: -3}": [
        "3:23: 'for' must not be negative, as -10 is",
        "4:23: 'for' must not be negative, as '-1 epochs' is",
        "5:25: 'until' must not be negative, as -3 is",
    ],
    "- {name: cosine}\n- {name: constant}": [
        "3:3: only the last phase may be open; say how long cosine lasts, such as 'for: 1000 steps' or 'until: 10T tokens'",
    ],
    "- {name: cosine, for: 10, until: 20}": ["3:27: a phase states its length once, but this one has 'for' and 'until'"],
    "- {name: cosine, for: 10k}\n- {name: constant, for: 3 furlongs}\n- {name: linear, until: 2.5 steps}\n- {name: linear, for: 120%}": [
        "3:23: 'for' has no unit in '10k'; write 10_000 for updates, or '10k tokens'",
        "4:25: 'for' has the unknown unit 'furlongs' in '3 furlongs'; choose from: steps, tokens, samples, epochs",
        "5:25: 'until' must be a whole number of updates, not '2.5 steps'",
        "6:23: 'for' must be at most 100% of the run, not '120%'",
    ],
    "- {name: cosine, for: 10B tokens}\n- {name: cosine, for: 1 epoch}\n- {name: cosine, for: 10%}\n- {name: cosine, for: 5 samples}": [
        "3:23: '10B tokens' needs the tokens of an update, but the batch is not stated; add 'batch: 4M tokens', or 'batch: trainer' if only the trainer knows it",
        "4:23: '1 epoch' needs the length of an epoch; add 'epoch: 1_281_167 samples', 'epoch: 312 steps', or 'epoch: trainer' if only the trainer knows it",
        "5:23: '10%' is a share of the whole run, whose length is not stated; add 'horizon: 100_000', or 'horizon: trainer' if only the trainer knows it",
        "6:23: '5 samples' needs the samples of an update, but the batch is not stated; add 'batch: 1024 samples', or 'batch: trainer' if only the trainer knows it",
    ],
    "- {name: cosine, for: 10}\n- {name: cosine}": [
        "4:3: cosine needs a length; add 'for: 1000 steps', 'until: 10T tokens', or the section 'horizon'",
    ],
    "- {name: cosine, for: 10}\n- {name: cosine}\nhorizon: 5": [
        "4:3: the phase lasts to the end of the run, update 5, but the phase begins at update 10; make the run longer, or leave the phase out",
    ],
    "- {name: cosine, for: 10, warmup_steps: 20}": [
        "3:41: the warm-up lasts until update 20, but the phase ends at update 10; make the phase longer, or the warm-up shorter",
    ],
    "- {name: cosine, for: 10, warmup_steps: 2.5}": ["3:41: 'warmup_steps' must be a whole number of updates, not 2.5"],
    "- {name: cosine, total_steps: 10k, for: 9}": ["3:31: 'total_steps' has no unit in '10k'"],
    # levels
    "- {name: cosine, for: 10, to: 1}\n- {name: cosine, for: 10, to: -0.1}\n- {name: cosine, for: 3, to: ten, from: '0.1'}": [
        "3:31: 'to' is a rate of 1, 1,000 times the optimizer's lr (0.001); write 100% if it is a share of that",
        "4:31: 'to' must not be negative, as -0.1 is",
        "5:30: 'to' must be a value or a share, such as 2.2e-5 or 10%, not 'ten'",
        "5:41: 'from' must be a value or a share, such as 2.2e-5 or 10%, not '0.1'; remove the quotes",
    ],
    "- {name: cosine, for: 3, to: -5%, from: .inf}\n- {name: cosine, for: 3, to: [1], from: true}\n- {name: linear, for: 2, to: 9e99%}": [
        "3:30: 'to' must not be negative, as -5% is",
        "3:41: 'from' must be finite, not inf",
        "4:30: 'to' must be a value or a share, such as 2.2e-5 or 10%, not a list",
        "4:41: 'from' must be a value or a share, such as 2.2e-5 or 10%, not true",
        "5:30: 'to' must not be that large, as 9e99% is",
    ],
    "- {name: cosine, for: 10, min_lr_ratio: 0.1}\n- {name: linear, for: 10, start_factor: 0.2}\n- {name: constant, factor: .1}": [
        "3:27: in a phase, 'from' and 'to' take the place of cosine's 'min_lr_ratio'; write for example 'to: 10%'",
        "4:27: in a phase, 'from' and 'to' take the place of linear's 'start_factor'; write for example 'to: 10%'",
        "5:20: in a phase, 'from' and 'to' take the place of constant's 'factor'; write for example 'to: 10%'",
    ],
    "- {name: exponential, gamma: .9, for: 10, to: 10%}\n- {name: one_cycle, warmup_steps: 2, for: 10, to: 10%}\n- {name: constant, to: 10}": [
        "3:43: exponential cannot be told where to go: it has no end; leave 'to' out",
        "4:47: one_cycle cannot be told where to go: its plugin does not declare that it goes to a level; leave 'to' out",
        "5:20: constant cannot be told where to go: it has no end; leave 'to' out",
    ],
    "- {name: cosine, for: 10}\n- {name: warmup_cosine, warmup_steps: 2, for: 10}": [
        "4:3: warmup_cosine begins at 0, so that it cannot go on from another level; choose a schedule that begins at its level",
    ],
    "- {name: cosine, for: 10}\n- {name: cosine, for: 10, warmup_steps: 3}": [
        "4:27: cosine warms up to a level that is not stated; add 'from'",
    ],
    # what is no phase
    "- 5\n- cosine\n- [a]": ["3:3: a phase is a mapping: 'name: ...' and 'for: ...'", "4:3: a phase is", "5:3: a phase is"],
    "  []": ["3:3: the list has no phase; begin with '- name: ...'"],
    "- {name: torch.StepLR, step_size: 3, for: 3}\n- {name: nope, for: 3}\n- {for: 3}": [
        "3:10: torch.StepLR cannot be a phase: it is an LRScheduler, and only a function of the step can be one",
        "4:10: there is no scheduler 'nope'; choose from: constant, ",
        "5:3: the scheduler's 'name' is missing; choose from: constant, ",
    ],
    "- {nam: cosine, for: 3}": ["3:4: the scheduler's 'name' is missing; did you mean it by 'nam'?"],
    "- {name: cosine, for: 10, convention: nanogpt, warmup_from: 3%}": [
        "3:27: a phase has no 'convention'; it is for a schedule by itself; in a list, phases of 'linear' count as optreg does",
        "3:48: a phase has no 'warmup_from'; write the rise as a phase of its own, such as {name: linear, from: 1%, for: 1000, to: 100%}",
    ],
    "- {name: cosine, for: 10, power: 2.0}\n- {name: polynomial, power: -1.0, for: 3}\n- {name: cosine, untill: 3}": [
        "3:27: cosine has no parameter 'power'; choose from: for, until, from, to, total_steps, warmup_steps",
        "4:29: polynomial: power must be greater than 0, not -1.0",
        "5:18: cosine has no parameter 'untill'; did you mean 'until'?",
        "5:3: cosine needs a length",
    ],
    "- {name: cosine, for: '???', to: '${floor}'}": [
        "3:23: the value is missing ('???'); set it",
        "3:34: the interpolation '${floor}' is not resolved here",
    ],
    "  {name: cosine, for: 10, to: 1}": ["3:31: 'to' is a rate of 1, 1,000 times the optimizer's lr"],
}  # fmt: skip


@pytest.mark.parametrize("text", OF_PHASES)
def test_each_fault_of_phases_is_told_once_and_all_of_them_at_once(tmp_path, text):
    found, expected = faults(HEAD + text + "\n", tmp_path / "run.yaml"), OF_PHASES[text]
    assert len(found) == len(expected), found
    for told, beginning in zip(sorted(found), sorted(expected), strict=True):
        assert told.startswith(beginning)


OF_NUMBERS = {
    "weight_decay: {name: cosine, to: 0.2, for: 10}": ["4:17: the first phase of weight_decay has no value to begin at; add 'from: ...'"],
    "weight_decay: {name: cosine, from: 10%, to: 0.2, for: 10}": ["4:38: 'from' is 10% of a value that is not stated; write the value of weight_decay"],
    "weight_decay: {name: cosine, from: 0.04, to: 0.2}": ["4:17: cosine needs a length; add 'for: 1000 steps', 'until: 10T tokens', or the section 'horizon'"],
    "weight_decay: {from: 0.04, to: 0.2}": ["4:17: adamw: weight_decay must be a valid number, not a mapping; a schedule in its place has a 'name'"],
    "weight_decay: [0.1]": ["4:17: adamw: weight_decay must be a valid number, not a list of 1"],
    "weight_decay: {name: torch.StepLR, step_size: 10}": ["4:24: torch.StepLR cannot be a phase: it is an LRScheduler"],
    "weight_decay: {name: linear, from: -0.1, for: 3, to: 0.1}": ["4:38: adamw: weight_decay must be greater than or equal to 0, not -0.1"],
    "weight_decay: [{name: linear, from: 0, for: 3, to: 0.1}, {name: linear, to: 50%, for: 4}]": ["4:79: 'to' is 50% of 0, where weight_decay begins; write the value"],
    "betas: {name: cosine, from: 0.04, to: 0.2, for: 3}": ["4:10: adamw: betas has 2 elements; write a list with a schedule in the place of one"],
    "betas: [{name: cosine, from: 0.9, to: 1.2, for: 3}, 0.95]": ["4:41: adamw: betas[0] must be less than 1, not 1.2"],
    "betas: [[{name: cosine, from: 0.9, to: 0.95, for: 3}, {name: linear, for: 3, to: 0.9}, {name: linear, for: 3, to: 1.9}], 2.0]": [
        "4:117: adamw: betas[0] must be less than 1, not 1.9",
        "4:124: adamw: betas[1] must be less than 1, not 2.0",
    ],
    "betas: [{name: one_cycle, warmup_steps: 3, from: 0.1, for: 10}, 0.999]": [
        "4:11: adamw: betas[0] must be less than 1, not 2.5, where one_cycle leads; choose another 'from', or another schedule",
    ],
    "betas: [{name: cosine, from: 0.9, to: 0.92, for: 3}]": ["4:10: adamw needs 'betas[1]', which has no default; add it"],
    "maximize: {name: cosine, from: 0, to: 1, for: 3}": ["4:13: adamw: maximize is not a number that a schedule can set"],
    "execution: {name: cosine, from: 0, to: 1, for: 3}": ["4:14: adamw: execution is not a number that a schedule can set"],
    "decay: {name: cosine, from: 0, to: 1, for: 3}": ["4:3: adamw has no parameter 'decay'"],
    "eps: {name: cosine, from: 1, for: 3 epochs}\n  weight_decay: {name: nope}": [
        "4:37: '3 epochs' needs the length of an epoch",
        "5:24: there is no scheduler 'nope'",
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", OF_NUMBERS)
def test_each_fault_of_a_schedule_in_place_of_a_number_is_told_at_its_place(tmp_path, text):
    found = faults(f"optimizer:\n  name: adamw\n  lr: 1e-3\n  {text}\n", tmp_path / "run.yaml")
    assert len(found) == len(OF_NUMBERS[text]), found
    for told, beginning in zip(found, OF_NUMBERS[text], strict=True):
        assert told.startswith(beginning)


def test_a_rule_is_told_of_its_own_schedules(tmp_path):
    text = (
        "optimizer: {name: adamw, lr: 1e-3}\ngroups:\n"
        "  - {match: '*.bias', betas: [{name: linear, from: .9, to: 2, for: 3}, 0.9]}\n"
        "  - {match: '*.weight', lr: {name: cosine, for: 3}}\n"
    )
    assert faults(text, tmp_path / "run.yaml") == [
        "3:60: adamw: betas[0] must be less than 1, not 2.0",
        "4:29: the first phase of lr has no value to begin at; add 'from: ...'",
    ]


def test_the_rate_has_one_schedule(tmp_path):
    text = "optimizer:\n  name: adamw\n  lr: {name: linear, from: 0, to: 1e-3, for: 10}\nscheduler: {name: cosine, total_steps: 10}\n"
    assert faults(text, tmp_path / "run.yaml") == [
        "4:1: the lr of the optimizer is a schedule already; leave one of the two out"
    ]


def test_a_value_is_refused_where_a_schedule_leads_that_has_no_to(optimizer, tmp_path):
    optimizer(before="from optreg import Positive", fields="eps: Positive = 1e-8")
    text = "optimizer: {name: odd, eps: {name: linear, from: 1e-8, for: 10}}\n"
    assert faults(text, tmp_path / "run.yaml") == [
        "1:29: odd: eps must be greater than 0, not 0.0, where linear leads; add 'to'"
    ]


def test_a_condition_on_several_values_is_told_beside_schedules_and_waits_for_what_is_unknown(tmp_path):
    text = "optimizer: {name: torch.SGD, lr: 0.1, nesterov: true, weight_decay: {name: cosine, from: 0, to: 0.1, for: 3}}\n"
    (told,) = faults(text, tmp_path / "run.yaml")
    assert told.startswith("1:12: torch.SGD: nesterov needs a momentum and no dampening")
    path = tmp_path / "root.yaml"
    path.write_text(HEAD + "  {name: inverse_sqrt, timescale: 3, cooldown_steps: 18}\nhorizon: trainer\n")
    assert optreg.load_spec(path).open == {"horizon"}
    (told,) = faults(path.read_text(), path, horizon=9)
    assert told.startswith(
        "3:3: inverse_sqrt: warmup_steps (0), hold_steps (0) and cooldown_steps (18) must not be more than total_steps (9)"
    )


def test_a_fact_makes_known_what_could_not_be_judged_before(tmp_path):
    text = HEAD + "- {name: cosine, for: 3 epochs, to: 10%}\n- {name: linear, until: 20, to: 0}\nepoch: trainer\n"
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert optreg.load_spec(path).open == {"epoch"}
    assert optreg.load_spec(path, facts={"epoch": 5}).open == set()
    assert faults(text, path, epoch=7) == [
        "4:25: 'until' leads to update 20, but the phase begins at update 21; 'until' is counted from the beginning of the run"
    ]


# Thousands of wrong documents

SCRAPS = (
    "cosine", "linear", "exponential", "wsd", "inverse_sqrt", "multistep", "torch.StepLR", "trainer", "10%", "10T tokens",
    "4M tokens", "1024 samples of 4 tokens", "3 epochs", "10k", "-5%", "1e400 tokens", "0%", 0, 1, -1, 2.5, 3e-4, 1e300,
    2**60, float("inf"), float("nan"), True, None, "", [], {}, "1-sqrt", "???", "${x}", "%", "9" * 500, "0.1",
)  # fmt: skip
NAMES = ("name", "for", "until", "from", "to", "warmup_steps", "total_steps", "min_lr_ratio", "gamma", "milestones", "decay",
         "decay_steps", "size", "convention", "warmup_from", "timescale", "start_factor", "betas", "lr")  # fmt: skip

values = st.recursive(
    st.sampled_from(SCRAPS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)
phase = st.builds(
    lambda name, more: {"name": name, **more},
    st.sampled_from(["cosine", "linear", "constant", "exponential", "wsd", "one_cycle", "inverse_sqrt", "multistep"]),
    st.dictionaries(st.sampled_from(NAMES[1:]), st.sampled_from(SCRAPS), max_size=4),
)
settings_of_numbers = st.dictionaries(
    st.sampled_from(["lr", "weight_decay", "betas", "eps", "maximize"]),
    phase | st.lists(phase | values, max_size=3) | values,
    max_size=3,
)
documents = st.fixed_dictionaries(
    {"optimizer": settings_of_numbers.map(lambda more: {"name": "adamw", **more})},
    optional={
        "scheduler": phase | st.lists(phase | values, max_size=4) | values,
        "horizon": values,
        "epoch": values,
        "batch": values
        | st.lists(st.dictionaries(st.sampled_from(["size", "for", "until"]), st.sampled_from(SCRAPS)), max_size=3),
        "groups": st.lists(settings_of_numbers.map(lambda more: {"match": "*", **more}), max_size=2),
    },
)


def judged(document, **facts):
    """What is told of a document, or its spec, which must be one that reads again and can be drawn."""
    try:
        spec = optreg.load_spec(document, facts=facts)
    except (SpecError, PluginError) as error:
        assert str(error)
        return str(error)
    assert optreg.load_spec(spec.as_dict()) == spec
    if not spec.open:
        for group in plan(spec):
            for t in (0, 1, 7, 10**6):
                assert all(map(math.isfinite, numbers(group.at(t))))
    return spec


def numbers(values):
    """The numbers in plain data."""
    if isinstance(values, dict | list):
        for item in values.values() if isinstance(values, dict) else values:
            yield from numbers(item)
    elif isinstance(values, int | float):
        yield values


@pytest.mark.no_cover
@settings(derandomize=True, max_examples=600, deadline=None)
@given(documents)
def test_no_wrong_document_ends_in_anything_but_words(document):
    judged(document)


@pytest.mark.no_cover
def test_no_mutilated_spec_ends_in_anything_but_words(tmp_path):
    """Recipes, in which some values stand elsewhere, are missing, or are others."""
    right = yaml.safe_load(
        HEAD.replace("1e-3", "0.001")
        + "- {name: linear, from: 0, for: 2000 steps, to: 100%}\n- {name: constant, until: 10T tokens}\n"
        + "- {name: cosine, for: 4.3T tokens, to: 10%}\n- {name: wsd, decay: linear, decay_steps: 3%, for: 9%}\n"
        + "horizon: 15T tokens\nepoch: 1000 samples\nbatch:\n- {size: 100 samples of 4096 tokens, until: 252M tokens}\n"
        + "- {size: 16000 samples of 4096 tokens}\ngroups:\n- {match: '*', betas: [{name: linear, from: 0.8, to: 0.9}, 0.9]}\n"
    )
    assert not isinstance(judged(right), str)
    draw, refused = random.Random(14), 0
    for _ in range(600):
        spec = yaml.safe_load(yaml.safe_dump(right))
        for _ in range(draw.randint(1, 3)):
            holders = [spec]
            for holder in holders:
                inner = holder.values() if isinstance(holder, dict) else holder
                holders += [item for item in inner if isinstance(item, dict | list) and item]
            holder = draw.choice(holders)
            keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
            key, act = draw.choice(keys), draw.randrange(3)
            if act == 0:
                del holder[key]
            elif act == 1:
                holder[key] = draw.choice(SCRAPS)
            elif isinstance(holder, dict):
                holder[draw.choice(NAMES)] = holder.pop(key)
            if not spec:
                break
        refused += isinstance(judged(spec), str)
    assert 200 < refused < 600
