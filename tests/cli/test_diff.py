"""`optreg diff`: what differs is told with both values, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from optreg.cli import main

A = """\
optimizer: {name: adamw, lr: 1e-3}
groups:
  - {match: "*.bias", weight_decay: 0.0}
  - {ndim: 1, lr: 1e-4}
scheduler: {name: cosine, warmup_steps: 100, total_steps: 1000}
"""


@pytest.fixture
def diff(tmp_path, monkeypatch):
    """Runs the command on two specs."""
    monkeypatch.chdir(tmp_path)

    def diff(a, b, *arguments):
        Path("a.yaml").write_text(a)
        Path("b.yaml").write_text(b)
        return CliRunner().invoke(main, ["diff", "a.yaml", "b.yaml", *arguments])

    return diff


@pytest.fixture
def found(diff):
    """What the command finds, as JSON."""

    def found(a, b):
        result = diff(a, b, "--json")
        told = json.loads(result.stdout)
        assert result.exit_code == int(bool(told["values"] or told["groups"] or told["curves"]))
        return told

    return found


def told_of_a_curve(curve):
    return curve["group"], curve["first"]["update"], curve["largest"]["update"]


@pytest.mark.parametrize(
    "b",
    [
        A,
        A.replace("adamw", "AdamW").replace("cosine", "optreg/cosine"),
        A.replace("name: cosine", "min_lr_ratio: 0, name: cosine"),
        A.replace("{ndim: 1, lr: 1e-4}", "{lr: 0.0001, ndim: [1]}"),
    ],
    ids=["the same", "other spellings", "a default written out", "another order of keys"],
)
def test_specs_that_say_the_same_do_not_differ(diff, b):
    result = diff(A, b)
    assert (result.exit_code, result.stdout) == (0, "nothing differs\n")
    assert json.loads(diff(A, b, "--json").stdout) == {
        "a": "a.yaml",
        "b": "b.yaml",
        "values": [],
        "groups": [],
        "curves": [],
    }


def test_values_settings_and_curves_are_told_with_both_sides(diff):
    b = A.replace("1e-3", "2e-3").replace("0.0}", "0.5}").replace("total_steps: 1000", "total_steps: 500")
    result = diff(A, b)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "value\ta.yaml\tb.yaml",
        "optimizer.lr\t0.001\t0.002",
        "scheduler.total_steps\t1000\t500",
        "",
        "rule of groups\tsetting\ta.yaml\tb.yaml",
        "match: *.bias\tweight_decay\t0\t0.5",
        "",
        "curve\tgroup\tat update\ta.yaml\tb.yaml\twhich is",
        "learning rate\tdefault\t1\t1e-05\t2e-05\tthe first that differs",
        "learning rate\tdefault\t100\t0.001\t0.002\tthe largest difference",
        "learning rate\tndim: 1\t101\t9.99997e-05\t9.99985e-05\tthe first that differs",
        "learning rate\tndim: 1\t445\t6.79184e-05\t4.59284e-06\tthe largest difference",
    ]


def test_a_value_that_one_spec_lacks_is_absent(found, diff):
    b = "notes: {clip: [{norm: 1.0}, 3]}\n" + A.replace("cosine", "linear")
    told = found(A, b)
    assert told["values"] == [
        {"path": "scheduler.name", "a": "cosine", "b": "linear"},
        {"path": "scheduler.min_lr_ratio", "a": 0.0},
        {"path": "notes.clip.0.norm", "b": 1.0},
        {"path": "notes.clip.1", "b": 3},
        {"path": "scheduler.start_factor", "b": 1.0},
        {"path": "scheduler.end_factor", "b": 0.0},
    ]
    assert "scheduler.min_lr_ratio\t0\t(absent)" in diff(A, b).stdout


def test_what_is_extended_is_compared_as_a_whole(found):
    Path("base.yaml").write_text(A)
    told = found(A, "extends: base.yaml\noptimizer: {eps: 1}\n")
    assert (told["values"], told["groups"], told["curves"]) == (
        [{"path": "optimizer.eps", "a": 1e-8, "b": 1.0}],
        [],
        [],
    )


def test_an_override_holds_for_both(diff):
    assert diff(A, A.replace("1e-3", "2e-3"), "--set", "optimizer.lr=3").exit_code == 0


def test_true_is_not_one(found):
    told = found("notes: [1, true]\n" + A, "notes: [1, 1]\n" + A)
    assert told["values"] == [{"path": "notes", "a": [1, True], "b": [1, 1]}]


def test_rules_are_compared_by_what_they_ask_for(found):
    swapped = """\
groups:
  - {ndim: 1, lr: 1e-4}
  - {match: "*.bias", weight_decay: 0.0, eps: 1}
  - {type: Embedding, lr: 0}
"""
    a, _, _ = A.partition("scheduler:")
    told = found(a, a.partition("groups:")[0] + swapped)
    assert told["values"] == []
    assert told["groups"] == [
        {"rule": "match: *.bias", "setting": "eps", "b": 1.0},
        {"rule": "type: Embedding", "setting": None, "b": 3},
        {"rule": "type: Embedding", "setting": "lr", "b": 0.0},
        {"rule": "match: *.bias", "setting": None, "a": 1, "b": 2},
        {"rule": "ndim: 1", "setting": None, "a": 2, "b": 1},
    ]
    assert [told_of_a_curve(curve) for curve in told["curves"]] == [("type: Embedding", 0, 0)]


def test_a_rule_that_is_there_twice_is_two(found):
    a, b = (f"optimizer: {{name: lion}}\ngroups: [{{ndim: 1, lr: 1}}, {{ndim: 1, lr: {lr}}}]\n" for lr in (2, 3))
    assert found(a, b)["groups"] == [{"rule": "ndim: 1 (number 2)", "setting": "lr", "a": 2.0, "b": 3.0}]


def test_two_formulas_of_one_curve_have_no_curve_that_differs(found):
    told = found(
        "optimizer: {name: lion}\nscheduler: {name: linear, total_steps: 977}\n",
        "optimizer: {name: lion}\nscheduler: {name: polynomial, total_steps: 977}\n",
    )
    assert told["values"]
    assert told["curves"] == []


@pytest.mark.parametrize("total", [50_000, 3_000_000, 2**50])
def test_the_first_update_that_differs_is_found_in_short_and_in_long_runs(found, total):
    warm = f"optimizer: {{name: lion, lr: 1}}\nscheduler: {{name: warmup_cosine, warmup_steps: {total // 3}, total_steps: %d}}\n"
    (curve,) = found(warm % total, warm % (total - total // 5))["curves"]
    first = curve["first"]["update"]
    assert total // 3 < first < total // 3 + max(20, total // 20_000)
    assert abs(curve["first"]["a"] - curve["first"]["b"]) > 1e-12
    x = np.linspace(0, 1, 100_001)  # from the end of the warm-up, a third, to the longer one's end
    apart = (np.cos(np.pi * x) - np.cos(np.pi * np.minimum(x / 0.7, 1))) * 0.45
    assert curve["largest"]["a"] - curve["largest"]["b"] == pytest.approx(apart.max(), rel=1e-4)


def test_a_difference_of_one_update_in_a_hundred_thousand_is_found_where_the_spec_names_it(found):
    spec = "optimizer: {name: lion}\nscheduler: {name: step, step_size: %d, gamma: 0.1}\n"
    (curve,) = found(spec % 40_001, spec % 40_002)["curves"]
    assert told_of_a_curve(curve) == ("default", 40_001, 40_001)


def test_every_hyperparameter_that_follows_a_schedule_is_compared_in_every_group(found):
    spec = """\
horizon: 100
optimizer:
  name: adamw
  weight_decay: {name: linear, from: 0.1, to: %s}
  betas: [{name: linear, from: 0.85, to: 0.95, for: %s}, 0.95]
groups:
  - {match: head, weight_decay: %s}
scheduler: [{name: linear, for: 10}, {name: cosine, from: 50%%, to: %s}]
"""
    same = ("0.2", "30", "0.5", "10%")
    told = found(spec % same, spec % ("0.3", "60", "{name: cosine, from: 0.5, to: 0.6, until: 40}", "20%"))
    curves = {(curve["of"], curve["group"]): curve for curve in told["curves"]}
    assert curves["learning rate", "default"]["first"]["update"] == 11
    assert curves["weight_decay", "default"]["largest"] == {"update": 100, "a": 0.2, "b": 0.3}
    assert curves["weight_decay", "match: head"]["first"]["update"] == 1
    assert curves["betas[0]", "default"]["largest"]["update"] == 30
    assert len(curves) == 4
    assert found(spec % same, spec % same)["curves"] == []


def test_a_hyperparameter_that_one_optimizer_lacks_has_no_curve_there(found):
    spec = "optimizer: {name: %s}\n"
    (curve,) = found(spec % "lion, weight_decay: {name: linear, from: 1, to: 2, for: 9}", spec % "torch.Adadelta")[
        "curves"
    ][:1]
    assert told_of_a_curve(curve)[0] == "default"


def test_a_wrong_spec_is_told_as_everywhere(diff):
    result = diff(A, A.replace("lr:", "rl:"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: b.yaml:1:26: adamw has no parameter 'rl'")


def test_two_spellings_of_a_length_do_not_differ(diff):
    spec = "optimizer: {{name: adamw, lr: 1e-3}}\nnotes: {{x: {0}}}\nhorizon: {1}\nbatch: 4M tokens\nscheduler: [{{name: cosine, for: {0}, to: 0}}]\n"
    result = diff(spec.format("2_000 steps", "5T tokens"), spec.format(2000, "5_000B tokens"))
    assert result.stdout == "value\ta.yaml\tb.yaml\nnotes.x\t2_000 steps\t2000\n"
    result = diff(spec.format("2000 steps", "5T tokens"), spec.format("2001 steps", "5T tokens"))
    assert "scheduler.0.for\t2000 steps\t2001 steps\n" in result.stdout
