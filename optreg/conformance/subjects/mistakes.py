"""Mistakes: the common ones, each as switches of the family of update rules."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optreg.conformance.subjects.family import NO_CORRECTION, Changes, Rule
from optreg.conformance.subjects.variants import SWITCHES
from optreg.hyperparameters import defaults

IGNORED = "{name} ignored: it behaves as with the default, {value!r}"
"""The mistake that a hyperparameter has no effect."""

MISTAKES: dict[str, dict[str, Any]] = {
    "eps inside the square root": {"eps": "inside"},
    "eps outside the square root": {"eps": "outside"},
    "eps added before the second moment's bias correction": {"eps": "uncorrected"},
    "eps as a lower bound of the denominator": {"eps": "clamped"},
    "an update without eps": {"eps": "none"},
    "no bias correction of the first moment": {"correct_mean": False},
    "no bias correction of the second moment": {"correct_square": False},
    "no bias correction at all": NO_CORRECTION,
    "a bias correction where there should be none": {"correct_mean": True, "correct_square": True},
    "a step count that begins one too late (t - 1)": {"first_count": 0},
    "a step count that begins one too early (t + 1)": {"first_count": 2},
    "updates counted for the group instead of for each parameter (if that is intended, declare counter=group)":
        {"counting": "group"},
    "updates counted for the group or for all, with or without gradients, instead of for each parameter (if that is "
    "intended, declare counter=group or counter=optimizer)":
        {"counting": "all"},
    "one count for all parameters, kept outside the state and the groups, where no checkpoint contains it":
        {"counting": "all", "resume": "count lost"},
    "one count for the parameters of a group, kept outside the state and the group, where no checkpoint contains it":
        {"counting": "group", "resume": "count lost"},
    "one count for all parameters, which each of them increments": {"counting": "parameters"},
    "a step count that stands still at 256, as a bfloat16 does": {"last_count": 256},
    "a step count that stands still at 2048, as a float16 does": {"last_count": 2048},
    "a missing gradient treated as zero": {"gap": "zero"},
    "weight decay of parameters without a gradient": {"gap": "decay"},
    "the last gradient used again when one is missing": {"gap": "last"},
    "a gradient of zeros treated as missing": {"zeros": "skip"},
    "decay coupled to the gradient (L2) instead of decoupled": {"decay": "coupled"},
    "decoupled decay instead of decay in the gradient (L2)": {"decay": "decoupled"},
    "no weight decay": {"decay": "none"},
    "decay of the parameter after its update instead of before": {"decay_first": False},
    "decay that is not multiplied by the learning rate": {"decay_by": 0.0},
    "decay by the first group's learning rate instead of the group's own": {"decay_rate": "first group"},
    "decay by the constructor's learning rate instead of the group's": {"decay_rate": "constructor"},
    "decay that is applied twice": {"decay_by": 2.0},
    "decay with the wrong sign": {"decay_by": -1.0},
    "decay only of parameters with two or more dimensions": {"decay_of": "matrices"},
    "a decay that subtracts a constant instead of a share of the parameter":
        {"decay_of": "one", "decay": "decoupled"},
    "betas in the wrong order": {"swapped": "everywhere"},
    "betas in the wrong order in the means (not in the corrections)": {"swapped": "means"},
    "means to which the gradient is added without the factor 1 - beta": {"damped": "no"},
    "means to which the gradient is added with the factor 1 - beta": {"damped": "beta"},
    "a mean that begins as the first gradient instead of at zero": {"begins": "gradient"},
    "a second moment that begins at one instead of at zero": {"begins": "one"},
    "a second moment of the mean instead of the gradient": {"square_of": "mean"},
    "a second moment of the gradient with its decay": {"square_of": "decayed"},
    "a denominator without the current gradient": {"stale_square": True},
    "the largest second moment so far (amsgrad), which was not asked for": {"largest_square": True},
    "a Nesterov step, which was not asked for": {"nesterov": True},
    "momentum that is updated before it is used": {"remembers_first": True},
    "the direction itself instead of its sign": {"sign": False},
    "the sign of the direction instead of the direction": {"sign": True},
    "ascent instead of descent": {"ascend": "gradient"},
    "an update of the wrong sign": {"ascend": "update"},
    "momentum of steps in which the learning rate is included": {"accumulates": "step"},
    "the learning rate of the step before": {"rate": "before"},
    "the learning rate of the first step in all steps": {"rate": "first"},
    "a step size that is computed once for each count, and used again by parameters and groups with the same count":
        {"rate": "count"},
    "a run that starts over when it is resumed": {"resume": "afresh"},
    "a step count that is reset when the run is resumed": {"resume": "count lost"},
    "moments that are reset when the run is resumed": {"resume": "means lost"},
    "a step count that is incremented when the run is resumed": {"resume": "counted"},
    "a step count that is decremented when the run is resumed": {"resume": "uncounted"},
}  # fmt: skip

NOT_OF_THE_FORMULA = frozenset(
    {"counting", "decay_rate", "first_count", "gap", "last_count", "rate", "resume", "zeros"}
)
"""Switches that a run of one parameter, with a gradient in every update, does not show."""


def in_rule(rule: Rule) -> dict[str, Rule]:
    """The rule with each mistake that changes it; to ignore dampening is a mistake about a hyperparameter."""
    wrong = {sentence: replace(rule, **change) for sentence, change in MISTAKES.items()}
    undamped = replace(rule, damped="no") if rule.damped == "dampening" else rule
    return {sentence: each for sentence, each in wrong.items() if each not in (rule, undamped)}


def of_the_formula(reference: type, hostile: Mapping[str, Any]) -> dict[str, Changes]:
    """The mistakes that change the formula of a reference. What a trait declares is no mistake."""
    traits = [change for values in SWITCHES.values() for change in values.values()]
    shown = {sentence: change for sentence, change in MISTAKES.items() if not change.keys() & NOT_OF_THE_FORMULA}
    ignored = {name: value for name, value in defaults(reference).items() if name != "lr" and value != hostile[name]}
    return {
        **{sentence: Changes(change) for sentence, change in shown.items() if change not in traits},
        **{IGNORED.format(name=name, value=value): Changes(settings={name: value}) for name, value in ignored.items()},
    }
