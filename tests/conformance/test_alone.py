"""A class alone: judged by plain runs of itself, as far as no formula is needed."""

import functools

import numpy as np
import pytest
import torch
from broken.zoo import FAULTS

from optreg.conformance import CannotBeJudged, Status, Target, Tier, checks
from optreg.conformance.catalogue import floor, of_tier
from optreg.conformance.chapters import find
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.trials import in_words, settled
from optreg.conformance.running.check import judge, judge_subject
from optreg.conformance.running.sandbox import sandbox
from optreg.conformance.subjects.resolving import resolve

CLASSES = [fault for fault in FAULTS if not find(fault.meant).formula and not fault.subject().registered]

OPEN = {
    "CountsByGroup": "updates may rightly be counted so",
    "CountsParameters": "parameters may rightly be coupled",
    "ClipsByTheNormOfAll": "parameters may rightly be coupled",
    "DrawsLots": "updates may rightly be random",
    "LeansToOneSide": "an update may rightly lean to one side",
    "TakesNoMetric": "a schedule alone is fed metrics if its step needs one",
    "StepsInFloat32": "a schedule alone is not asked for its end, from which that is far",
}
"""Faults that only a formula tells from a right algorithm, though the check that is meant for them needs none."""

UNSEEN = dict.fromkeys(
    ("SwitchedAtFirst", "LeavesOutWhatHasNoMaximum"),
    "of edits, those are judged alone whose hyperparameters mean the same everywhere",
)
"""Faults that the check which is meant for them passes alone."""


@pytest.fixture(autouse=True)
def whole():
    """Some faults leave torch's global switches behind."""
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


def test_most_faults_are_meant_for_a_check_that_needs_no_formula():
    assert len(CLASSES) > 0.6 * len([fault for fault in FAULTS if not fault.subject().registered])


@pytest.mark.parametrize("fault", CLASSES, ids=lambda fault: fault.name)
def test_a_fault_is_caught_alone_by_the_check_that_is_meant_for_it(fault):
    if fault.name == "LosesTheLoss":  # no scheduler can be made on the optimizer that it leaves
        with pytest.raises(CannotBeJudged, match="__func__"):
            settled(Target(fault.subject().name))
        return
    verdict = judge(Target(fault.subject().name), find(fault.meant))
    expected = {**dict.fromkeys(OPEN, Status.NOT_APPLICABLE), **dict.fromkeys(UNSEEN, Status.PASSED)}
    assert verdict.status is expected.get(fault.name, Status.FAILED), fault.sentence


def judged(target):
    """The verdicts on a class alone, of all checks that are a MUST."""
    target = settled(target)
    kind = resolve(target).kind.value
    return kind, [judge_subject(resolve(target), check) for check in of_tier(checks(kind), Tier.MUST)]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "name",
    [
        "right:FlatAdamW",
        "right:GroupCountedAdamW",
        "right:DataAdam",
        "right:LionWithModes",
        "right:lambda_warmup_cosine",
        "styles:KeepsPowers",
        "styles:SplitInGroups",
        "styles:CountsForAll",
        "styles:ViewsOfOneBuffer",
        "styles:NarrowRanges",
        "styles:OwnCheckpoints",
        "styles:RatesInTensors",
        "torch.optim.lr_scheduler:OneCycleLR",
        "torch.optim.lr_scheduler:ReduceLROnPlateau",
        "optreg_plugins.schedules.schedule:WarmupCosine",
        "peculiar:Matrices",
        "peculiar:Closure",
        "peculiar:Trains",
        "peculiar:Normed",
        "peculiar:Draws",
        "peculiar:WarmsUp",
        "peculiar:OneGroup",
        "peculiar:Halves",
        "peculiar:HalvesOfAModel",
        "peculiar:ByFlag",
        "peculiar:Curved",
        "peculiar:Compiles",
        "peculiar:cosine",
        "composites:TwoAdamW",
        "composites:MuonAndAdamW",
    ],
)
def test_a_right_class_passes_alone(name):
    kind, verdicts = judged(Target(name))
    assert [f"{verdict.check}: {verdict.finding}" for verdict in verdicts if verdict.finding] == []
    passed = sum(verdict.status is Status.PASSED for verdict in verdicts)
    assert passed >= floor(kind, Tier.MUST, alone=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("right:GroupCountedAdamW", ["updates are counted for the whole group"]),
        ("styles:CountsForAll", ["updates are counted for the whole optimizer"]),
        ("peculiar:Matrices", ["it takes matrices alone"]),
        ("peculiar:Closure", ["it makes updates only with a closure"]),
        ("peculiar:Trains", ["it makes updates after a call of `train()`"]),
        ("peculiar:Normed", ["the elements of a parameter are coupled", "the parameters of a group are coupled"]),
        ("peculiar:Draws", ["it draws random numbers, and is seeded"]),
        ("peculiar:WarmsUp", ["its first 2 updates move nothing"]),
        ("peculiar:Halves", ["it takes another optimizer: it was given torch.optim.SGD"]),
        (
            "peculiar:HalvesOfAModel",
            [
                "it takes a model: it was given one of the parameters alone",
                "it takes the class of another optimizer: it was given torch.optim.SGD",
                "it refuses groups: a model has no groups",
            ],
        ),
        ("peculiar:ByFlag", ["it takes matrices alone", "its groups say that use_muon is True"]),
        ("peculiar:Curved", ["it needs gradients that carry a graph"]),
        ("peculiar:Compiles", ["it compiles its updates: it is judged uncompiled"]),
        ("peculiar:OfOneDtype", ["grad_dtype is the parameters' dtype"]),
        ("torch.optim:AdamW", []),
    ],
)
def test_what_is_peculiar_is_found_out_and_told(name, words):
    assert in_words(settled(Target(name)).found) == words


@pytest.mark.parametrize(
    ("name", "check"),
    [("peculiar:HalvesAndForgets", "P01"), ("peculiar:ByOneFlag", "G02"), ("peculiar:CurvedAndForgets", "P01")],
)
def test_a_peculiar_class_that_is_wrong_is_caught_alone(name, check):
    verdict = judge(Target(name), find(check))
    assert verdict.status is Status.FAILED
    assert not verdict.finding.raised


def test_a_program_makes_a_class_as_it_was_made():
    verdict = judge(Target("peculiar:HalvesAndForgets"), find("P01"))
    made = "optimizer = HalvesAndForgets(torch.optim.SGD(params, lr=0.01, momentum=0.8), share=0.5)"
    assert made in verdict.finding.snippet


def test_a_class_that_compiles_its_updates_is_judged_uncompiled():
    target, compiled = settled(Target("peculiar:Compiles")), []
    with torch.compiler.set_stance("default", force_backend=lambda graph, _: compiled.append(graph) or graph.forward):
        assert judge(target, find("G01")).status is Status.PASSED
    assert not compiled


def test_a_class_that_needs_a_process_group_is_given_one():
    described = sandbox().describe(Target("peculiar:InAGroupOfOne"))
    assert described["notes"] == ["it needs a process group: it was given one of one process"]
    target = Target("peculiar:InAGroupOfOne", found=described["found"])
    assert sandbox().judge(target, "P26").status is Status.PASSED


def test_a_class_that_makes_no_update_is_refused_with_the_line_that_says_so():
    with pytest.raises(CannotBeJudged, match=r"raises NotImplementedError: .* at .*peculiar.py:\d+: raise NotImpl"):
        settled(Target("peculiar:Abstract"))


@functools.cache
def idle():
    """An optimizer that does nothing, with what is found out about it."""
    return settled(Target("harmful:DoesNothing"))


def test_a_schedule_that_does_nothing_cannot_be_judged_alone():
    with pytest.raises(CannotBeJudged, match="its rate never changes"):
        settled(Target("idle:NoHorizon", settings=(("peak", 1.0), ("floor", 0.0))))


@pytest.mark.parametrize(
    "check", [check for check in checks("optimizer") if not check.still and not check.formula], ids=str
)
def test_no_check_passes_alone_a_class_that_does_nothing(check):
    assert judge(idle(), check).status in {Status.FAILED, Status.NOT_APPLICABLE}


def test_a_value_that_cannot_be_guessed_is_given():
    found = settled(Target("harmful:NeedsMore", settings=(("secret", 3),))).found
    assert found["coupled"] is None


def test_a_dtype_that_is_not_the_parameters_is_kept():
    told, own = (
        OptimizerRun(resolve(settled(Target(f"peculiar:{name}"))), [np.ones(3)], dtype=torch.float32).settings
        for name in ("OfOneDtype", "SumsInOneDtype")
    )
    assert (told["grad_dtype"], own["sums"]) == ("float32", "float64")
