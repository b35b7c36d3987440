"""The suite can pass: right plugins, ours and others', in whatever style they are written."""

from dataclasses import replace

import pytest
from broken import subject_of
from broken.precision import low_plugin

from optreg import default_registry
from optreg.conformance import Status, Target, Tier, checks
from optreg.conformance.catalogue import of_tier
from optreg.conformance.chapters import find
from optreg.conformance.running.check import judge, judge_subject
from optreg.conformance.subjects.target import kind_of
from optreg.entries import Kind

OURS = [entry.name for kind in (Kind.OPTIMIZER, Kind.SCHEDULER) for entry in default_registry().entries(kind)
        if entry.distribution == "optreg" and not entry.name.startswith("torch.")]  # fmt: skip

STEPS = (("num_warmup_steps", "warmup_steps"), ("num_training_steps", "total_steps"))
OLD_NAMES = (("beta1", "betas[0]"), ("beta2", "betas[1]"), ("epsilon", "eps"), ("l2", "weight_decay"))

OTHERS = [
    Target("right:OutOfPlaceAdamW", "adamw"),
    Target("right:FlatAdamW", "adamw"),
    Target("right:ForeachAdamW", "adamw"),
    Target("right:GroupCountedAdamW", "adamw", traits=(("counter", "group"),)),
    Target("right:DataAdam", "adam", params=OLD_NAMES),
    Target("right:PlainLion", "lion"),
    Target("right:LionWithModes", "lion"),
    Target("styles:OtherArguments", "adamw"),
    Target("styles:SplitInGroups", "adamw"),
    Target("styles:KeepsPowers", "adamw"),
    Target("styles:ScaledState", "momentum"),
    Target("styles:CountsInGroupsState", "adamw", traits=(("counter", "group"),)),
    Target("styles:CountsForAll", "adamw", traits=(("counter", "optimizer"),)),
    Target("styles:ViewsOfOneBuffer", "adamw"),
    Target("styles:CachesLists", "lion"),
    Target("styles:RefusesFused", "adamw"),
    Target("styles:RefusesNaN", "lion"),
    Target("styles:NarrowRanges", "adamw"),
    Target("styles:RefusesMuch", "adamw"),
    Target("styles:OwnCheckpoints", "lion"),
    Target("styles:RatesInTensors", "adamw"),
    Target("styles:configured", "adamw"),
    Target("styles:LateMaximum", "torch.Adam"),
    Target("styles:SumsFromTheConstructor", "torch.Adagrad"),
    Target("composites:TwoAdamW", "adamw"),
    Target("variants:InFloat32", "adamw", traits=(("arithmetic", "float32"),)),
    Target("right:lambda_warmup_cosine", "warmup_cosine", STEPS, (("min_lr_ratio", 0.0),)),
    Target("broken.textbook:AdamW", "adamw"),
    Target("broken.textbook:Adam", "adam"),
    Target("broken.textbook:Lion", "lion"),
    Target("broken.textbook:Momentum", "momentum"),
    Target("broken.textbook:RMSprop", "rmsprop"),
    Target("broken.schedules:WarmupCosine", "warmup_cosine"),
    Target("torch.optim:AdamW", "adamw"),
    Target("torch.optim:Adam", "adam"),
    Target("torch.optim.lr_scheduler:ExponentialLR", "exponential"),
    Target("torch.optim.lr_scheduler:MultiStepLR", "multistep"),
    Target("torch.optim.lr_scheduler:ReduceLROnPlateau", "reduce_on_plateau"),
    Target(
        "torch.optim.lr_scheduler:CosineAnnealingLR", "cosine", (("T_max", "total_steps"),), (), (("after", "cycle"),)
    ),
]


def findings(target, tier):
    verdicts = [judge(target, check) for check in of_tier(checks(kind_of(target)), tier)]
    return [f"{verdict.check}: {verdict.finding}" for verdict in verdicts if verdict.status is Status.FAILED]


TRACED = {"lion", "warmup_cosine"}
"""What shows coverage which lines the checks of right plugins reach; tracing takes a third of the time."""


@pytest.mark.parametrize(
    "name", [name if name in TRACED else pytest.param(name, marks=pytest.mark.no_cover) for name in OURS]
)
def test_a_first_party_plugin_passes_every_check(name):
    assert findings(Target(name), Tier.INFO) == []


@pytest.mark.no_cover
@pytest.mark.parametrize("target", OTHERS, ids=str)
def test_a_right_class_passes_every_must(target):
    assert findings(target, Tier.MUST) == []


def test_a_count_by_group_that_is_not_declared_is_one_finding():
    target = Target("right:GroupCountedAdamW", "adamw")
    assert judge(target, find("S01")).status is Status.FAILED
    found = findings(replace(target, found={"counter": "group"}), Tier.MUST)
    assert [finding[:3] for finding in found] == ["V01"]
    assert "it is adamw, counted by group; if that is intended, declare it: --trait counter=group" in found[0]


@pytest.mark.parametrize("check", [check for check in checks("optimizer") if check.id.startswith("E")], ids=str)
def test_right_low_precision_of_a_plugin_that_is_not_ours_passes(check):
    assert judge_subject(subject_of(low_plugin("Low")), check).status is Status.PASSED
