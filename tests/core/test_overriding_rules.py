"""What a rule for a param group may set: checked as the optimizer's own settings are, and on top of them."""

import pytest
import torch

import optreg
from optreg import SpecError

JOINT = """\
low: NonNegative = 0.0
high: NonNegative = 1.0

def __post_init__(self):
    if self.low > self.high:
        raise ValueError(f"low ({self.low}) must not be more than high ({self.high})")
"""

SCHEDULER = {"name": "constant"}


def told(optimizer, *rules):
    with pytest.raises(SpecError) as caught:
        optreg.load_spec({"optimizer": optimizer, "groups": list(rules), "scheduler": SCHEDULER})
    return str(caught.value).splitlines()


def test_a_joint_condition_is_checked_with_what_the_rule_inherits(optimizer):
    optimizer("joint", JOINT)
    assert told({"name": "joint", "high": 0.5}, {"match": "*", "low": 0.75}) == [
        "groups.0: joint: low (0.75) must not be more than high (0.5)"
    ]
    assert told({"name": "joint"}, {"match": "*", "low": 0.75}, {"ndim": 1, "high": -1}) == [
        "groups.1.high: joint: high must be greater than or equal to 0, not -1"
    ]


def test_a_mistake_in_the_defaults_is_not_told_again_for_every_rule(optimizer):
    optimizer("joint", JOINT)
    assert told({"name": "joint", "low": 3}, {"match": "*", "low": 0.5}, {"ndim": 1, "high": 0.75}) == [
        "optimizer: joint: low (3) must not be more than high (1.0)"
    ]
    assert told({"name": "joint", "low": "3"}, {"match": "*", "high": -0.5}) == [
        "optimizer.low: joint: low must be a valid number, not '3'; remove the quotes",
        "groups.0.high: joint: high must be greater than or equal to 0, not -0.5",
    ]


def test_rules_are_read_even_where_the_optimizer_is_not_known():
    problems = told({"name": "lyon"}, {"ndim": "1", "lr": -1}, {"regex": "[", "lr": 1}, {"lr": 1})
    assert [problem.split(":")[0] for problem in problems] == [
        "optimizer.name", "groups.0.ndim", "groups.1.regex", "groups.2",
    ]  # fmt: skip


def test_a_rule_sets_what_it_says_and_inherits_the_rest():
    model = torch.nn.Linear(2, 2)
    spec = {
        "optimizer": {"name": "adamw", "lr": 0.5, "betas": [0.5, 0.75]},
        "groups": [{"match": "bias", "betas": [0.25, 0.5]}, {"match": "weight", "execution": "loop"}],
        "scheduler": SCHEDULER,
    }
    bias, weight = optreg.build(spec, model).optimizer.param_groups
    assert (bias["betas"], bias["lr"], bias["execution"]) == ((0.25, 0.5), 0.5, "auto")
    assert (weight["betas"], weight["lr"], weight["execution"]) == ((0.5, 0.75), 0.5, "loop")
