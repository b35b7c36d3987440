"""The suite can fail: every broken plugin is caught by the check that is meant for it, and every check has one."""

from collections import Counter

import pytest
import torch
from broken.zoo import FAULTS

from optreg.conformance import Status, Target, checks
from optreg.conformance.chapters import find
from optreg.conformance.running.check import judge, judge_subject

WITHOUT_A_PROGRAM = {
    # the reference or the declaration is at fault
    "WrongClosedForm", "Imprecise", "WritesToItsInput", "ReferenceIgnoresDecay", "UndeclaredState", "UndeclaredMemory",
    "EpsElsewhere", "DecayOtherwise", "RefusesComplex", "ClaimsMaximize", "OtherSignature", "EagerModule", "OtherName",
    "ClaimsToCountByGroup", "ClaimsRandomness", "FormulaIgnoresFloor", "FormulaFallsOn", "ScheduleTakesAnything",
    "ScheduleOtherDefaults", "ScheduleImportsTorch", "ScheduleOtherName", "ScheduleRemembers", "MakesNoFunction",
    "ClaimsAnLRScheduler", "RaisesAtItsEnd", "ClaimsNotToTurn", "LevelThatBends", "NoSuchLevel",
    # the sentence says it all: what is there and should not be, what is refused or accepted
    "ReplacesTheParameter", "MakesParametersContiguous", "CountsInTheClass", "EmptiesTheList", "TakesDuplicates", "DropsUnknownKeys",
    "SparseByItsValues", "CallsTheClosureTwice", "LeavesAGraph", "LeavesGradientsDisabled", "WithoutHooks",
    "WithoutStateHooks", "KeepsAnObject", "EmptiesTheCheckpoint", "SharesTheCheckpoint", "StateInFloat64",
    "CountsInTheStatesDtype", "TakesAnyCheckpoint", "BeginsAnewSilently", "NeedsANewKey",
    "KeepsEveryGradient", "DecayInAnAttribute", "TakesAnything", "TakesMoreMemoryThanDeclared", "ReadsTheNorm",
    "WritesToATensorRate", "ReplacesTheTensor", "SavesTheOptimizer", "SavesATensor",
    "EmptiesTheSchedulesCheckpoint", "StepsOnLoading", "WarnsOfSkippedUpdates", "KeepsEverythingAlive",
    "AQuarterCosine", "Seeds", "Thaws", "ClearsTheFirstGroup", "ClearsWithinTheGraph", "ClearsGradients",
    "SavesWhatLives", "LeavesOutWhatHasNoMaximum", "TakesNoMetric", "KeepsTheTensor",
    # something else than the optimizer is used: a checkpoint not its own, another process, a tensor
    "CountsInTensorsAlone", "SavesTickets", "ReadsATensorOnce",
    # a program would have to write out a thousand numbers or a million
    "DropsTheRemainder", "ForgetsARemainder", "LeavesOutTheRest", "DropsTheLastRows", "DropsTheRestOfARow",
    "NarrowsLargeGradients",
    # what is wrong is a statistic of thousands of elements
    "DropsTheLowerBits", "RoundsUpTooOften", "RoundsToTheNearest", "NoiseTwiceAsLarge", "OneRowOfNoise",
    "NoiseOfTheGlobalGenerator", "CountsRoundingsInAnAttribute", "OneSeedForAll", "StateStandsStill", "StateStaysWide",
    "ParametersGoThroughTheStatesDtype", "CompiledRoundsToTheNearest",
}  # fmt: skip
"""Faults whose findings carry no program that shows them; all others do."""


IDLE = {"optimizer": Target("harmful:DoesNothing", "lion"), "scheduler": Target("idle:Idle", "warmup_cosine")}


@pytest.fixture(autouse=True)
def whole():
    """Some faults leave torch's global switches behind."""
    yield
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_broken_plugin_is_caught_by_the_check_that_is_meant_for_it(fault):
    verdict = judge_subject(fault.subject(), find(fault.meant))
    assert verdict.status is Status.FAILED, f"{fault.sentence} {fault.meant} passes it"
    finding = verdict.finding
    assert finding.reason
    assert finding.likely, "no finding is without a probable cause"
    assert bool(finding.snippet) is (fault.name not in WITHOUT_A_PROGRAM), finding.snippet
    if finding.snippet:
        assert finding.snippet.startswith(
            ("import copy\n", "import io\n", "import json\n", "import torch\n", "import pickle\n")
        )


def test_every_check_has_a_broken_plugin_that_it_is_meant_for():
    assert {check.id for check in checks()} == {fault.meant for fault in FAULTS}


def test_ids_and_names_are_unique():
    assert max(Counter(check.id for check in checks()).values()) == 1
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1


def test_every_check_makes_one_sentence_of_claim():
    for check in checks():
        assert check.claim.endswith("."), check
        assert len(check.claim) > 20, check


@pytest.mark.parametrize("check", [check for check in checks() if not check.still], ids=str)
def test_no_check_passes_a_subject_that_does_nothing(check):
    assert judge(IDLE[check.kind], check).status in {Status.FAILED, Status.NOT_APPLICABLE}
