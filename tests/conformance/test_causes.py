"""Likely causes: the cause that is named is the one that holds, and the program shows it."""

from dataclasses import replace

import numpy as np
import pytest
from broken.zoo import FAULTS
from junitparser import JUnitXml

from optreg.conformance import Finding, Status, Target, Verdict
from optreg.conformance.chapters import find
from optreg.conformance.explain.optimizer_causes import likely
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.report.junit import junit_xml
from optreg.conformance.results.causes import causes
from optreg.conformance.running.check import describe, judge, judge_subject


def subject(name):
    return next(fault for fault in FAULTS if fault.name == name).subject()


def finding(name, check):
    verdict = judge_subject(subject(name), find(check))
    assert verdict.status is Status.FAILED
    return verdict.finding


OUTSIDE = "matches one count for all parameters, kept outside the state and the groups, where no checkpoint contains it"
FIRST_GROUP = "matches decay by the first group's learning rate instead of the group's own"


@pytest.mark.parametrize("check", ["G02", "G03", "G12"])
def test_a_decay_by_the_first_groups_rate_is_named(check):
    assert finding("DecaysByTheFirstGroupsRate", check).likely == FIRST_GROUP


def test_a_decay_by_the_first_groups_rate_is_not_a_missing_decay_even_where_that_rate_is_zero():
    broken = subject("DecaysByTheFirstGroupsRate")
    problem = hostile_problem(broken, [(6,), (4, 3)], missing=False)
    groups = [([0], {"lr": 0.0}), ([1], {"lr": 0.25})]
    run = OptimizerRun(broken, problem.starts, groups=groups)
    reference = ReferenceRun(broken, problem.starts, groups=groups)
    for step in problem.steps:
        for each in (run, reference):
            each.step(step.grads)
    assert likely(run.recording, run.values(), reference)[0] == FIRST_GROUP


@pytest.mark.parametrize("check", ["M02", "S01", "S03", "S09", "G12", "P01", "P02", "P07", "P11", "P17", "P19", "P22"])
def test_a_count_outside_the_state_is_not_one_for_the_group_that_could_be_declared(check):
    assert finding("CountsOutsideTheState", check).likely == OUTSIDE


@pytest.mark.parametrize("check", ["M02", "S01", "P11"])
def test_a_count_for_the_group_that_checkpoints_contain_is_told_to_be_declared(check):
    assert "if that is intended, declare counter=group" in finding("CountsByGroup", check).likely


@pytest.mark.parametrize(
    ("name", "check", "cause"),
    [
        ("NoDecay", "M05", "no weight decay"),
        ("FirstMomentBeginsWithTheGradient", "M04", "a mean that begins as the first gradient instead of at zero"),
        ("MomentumIsASum", "M02", "means to which the gradient is added without the factor 1 - beta"),
        ("RMSpropStaleSquares", "M02", "a denominator without the current gradient"),
        ("FirstGroupForAll", "G02", "the first group's hyperparameters in every group"),
        ("DecayFromTheDefaults", "G02", "the constructor's weight_decay, whatever is in the group"),
        ("KeepsTheLastGradient", "S09", "the last gradient used again when one is missing"),
        ("NoGradientIsZero", "S03", "a missing gradient treated as zero"),
        ("CountsInFloat16", "M31", "a step count that stands still at 2048, as a float16 does"),
        ("CountsInAnAttribute", "P11", "a step count that is reset when the run is resumed"),
        ("MemoryInAnAttribute", "P02", "a run that starts over when it is resumed"),
    ],
)
def test_of_the_mistakes_that_match_the_one_that_holds_is_named(name, check, cause):
    assert finding(name, check).likely == f"matches {cause}"


def test_a_part_of_a_check_has_a_cause_of_its_own():
    likely = "`maximize` is read from the constructor, not from the group in every update"
    assert finding("MaximizesAsAtFirst", "M10").likely == likely


def test_a_mistake_is_looked_for_in_the_rule_that_the_formula_equals_not_in_one_that_its_first_update_does():
    verdict = judge(Target("deviations:DampedSGD", "torch.SGD"), find("M04"))
    assert verdict.finding.likely == "matches means to which the gradient is added with the factor 1 - beta"


def test_another_default_is_not_taken_for_the_precision_of_float32():
    assert finding("OtherDefaults", "M22").likely == find("M22").hint


def test_what_is_in_float32_is_still_told():
    assert "in float32" in finding("StateInFloat32", "M06").likely


def test_a_program_of_one_parameter_has_the_hyperparameters_of_its_group():
    program = finding("DecayFromTheDefaults", "G02").snippet
    assert "[{'params': [params[0]], 'weight_decay': 0.075}]" in program


def test_a_reference_in_groups_follows_each_groups_hyperparameters():
    broken = subject("DecaysByTheFirstGroupsRate")
    starts, grads = [np.ones(3), np.ones(3)], [np.full(3, 0.5), np.full(3, 0.5)]
    own = {"lr": 0.25, "weight_decay": 0.5}
    both = ReferenceRun(broken, starts, groups=[([0], {}), ([1], own)])
    alone = [ReferenceRun(broken, starts[:1]), ReferenceRun(broken, starts[:1], **own)]
    for _ in range(3):
        both.step(grads)
        for each in alone:
            each.step(grads[:1])
    for index, each in enumerate(alone):
        assert np.array_equal(both.values()[index], each.values()[0])
        assert np.array_equal(both.bound(index), each.bound(0))


def failed(check, reason, **details):
    return Verdict(subject="a", check=check, status=Status.FAILED, finding=Finding(reason=reason, **details))


REFERENCE, OTHER_RUN = "parameter 0 is 1.5 where the reference says 1.25", "parameter 0 is 1.5 where alone it is 1.25"


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        # the mistake that explains most is told; another that explains some of them is not
        (
            [failed("M01", REFERENCE, causes=("no decay", "a decay ignored"), snippet="long"),
             failed("M02", REFERENCE, causes=("a decay ignored",), snippet="short")],
            [("M01", ("M02",), ())],
        ),
        ([failed("M01", REFERENCE, causes=("one",)), failed("M02", REFERENCE, causes=("two",))],
         [("M01", (), ()), ("M02", (), ())]),
        # one exception, from one line: the checks could not be run
        (
            [failed("M01", "it raises KeyError", causes=("KeyError at a.py:3",), raised=True, snippet="x"),
             failed("M02", "it raises KeyError", causes=("KeyError at a.py:3",), raised=True),
             failed("M03", "it raises KeyError", causes=("KeyError at a.py:7",), raised=True)],
            [("M01", (), ("M02",)), ("M03", (), ())],
        ),
        # what is wrong in the plainest run is wrong in others too; a resume that is wrong is another cause
        (
            [failed("M02", REFERENCE, circumstances=("where gradients are missing",)),
             failed("M01", REFERENCE, circumstances=()),
             failed("D02", REFERENCE, circumstances=("in torch.float32",)),
             failed("P01", OTHER_RUN, circumstances=("resumed",)),
             failed("P17", OTHER_RUN, circumstances=("in several groups", "resumed")),
             failed("S07", OTHER_RUN, circumstances=("seen in params[{i}].grad",))],
            [("M02", ("M01", "D02"), ()), ("P01", ("P17",), ()), ("S07", (), ())],
        ),
        # what is wrong only in float32 does not explain what is wrong in several groups
        ([failed("D02", REFERENCE, circumstances=("in torch.float32",)),
          failed("G02", REFERENCE, circumstances=("in several groups",))], [("D02", (), ()), ("G02", (), ())]),
        # a resume in another process is a resume
        ([failed("P01", OTHER_RUN, circumstances=("resumed",)),
          failed("P26", OTHER_RUN, circumstances=("resumed", "in another process"))], [("P01", ("P26",), ())]),
        # what is wrong after the end, and known, does not explain a wrong formula
        ([failed("L01", REFERENCE, circumstances=()),
          failed("L04", OTHER_RUN, causes=("it goes on",), circumstances=())], [("L01", (), ()), ("L04", (), ())]),
        # but a wrong formula, and known, explains a relation that does not hold
        ([failed("M02", REFERENCE, causes=("one",), circumstances=()), failed("M12", OTHER_RUN, circumstances=())],
         [("M02", ("M12",), ())]),
        # sentences that differ by their numbers
        ([failed("G04", "group 1 has no 'lr' after 2 updates"), failed("G05", "group 3 has no 'lr' after 17 updates"),
          failed("G06", "group 1 has no 'eps'")], [("G04", ("G05",), ()), ("G06", (), ())]),
        ([Verdict(subject="a", check=id, status=Status.CRASHED, finding=Finding(reason="it did not end within 5 s"))
          for id in ("M01", "M02")], [("M01", (), ("M02",))]),
    ],
)  # fmt: skip
def test_findings_of_one_cause_are_told_once(verdicts, told):
    assert [(cause.lead.check, cause.same, cause.halted) for cause in causes(verdicts)] == told


def test_the_cause_is_told_by_the_smallest_program_and_with_the_sentence_that_explains_all():
    both = ("matches no decay", "matches a decay ignored")
    verdicts = [failed("M01", REFERENCE, causes=both, likely=both[0], snippet="a long program"),
                failed("M02", REFERENCE, causes=both[1:], likely=both[1], snippet="shorter"),
                failed("M03", REFERENCE, causes=both[1:], likely=both[1])]  # fmt: skip
    (cause,) = causes(verdicts)
    assert (cause.lead.check, cause.finding.likely, cause.others) == ("M02", both[1], "the same in: M01, M03")


def test_causes_of_one_subject_say_nothing_of_another():
    verdicts = [failed("M01", REFERENCE, causes=("one",))]
    assert len(causes([*verdicts, replace(verdicts[0], subject="b")])) == 2


def test_an_exception_of_the_subject_is_known_by_its_line():
    verdicts = [judge(Target("harmful:Breaks", "lion"), find(id)) for id in ("M02", "M04", "G01")]
    assert [len(causes(verdicts)), len({*verdicts[0].finding.causes, *verdicts[2].finding.causes})] == [1, 1]
    assert "ZeroDivisionError at " in verdicts[0].finding.causes[0]


LATE_DECAY = "matches decay of the parameter after its update instead of before"
BEGINS_AT_ONE = "a second moment that begins at one instead of at zero"
RATE_INSIDE = "momentum of steps in which the learning rate is included"
BY_COUNT = (
    "a step size that is computed once for each count, and used again by parameters and groups with the same count"
)


@pytest.mark.parametrize(
    ("name", "like", "told"),
    [
        ("LateDecayAdamW", "adamw", ["eps is added to the root before its bias is corrected", LATE_DECAY]),
        (
            "TensorFlowRMSprop", "torch.RMSprop",
            [
                "eps is added to the mean of squares before its root is taken",
                f"matches {BEGINS_AT_ONE}",
                f"matches {RATE_INSIDE} together with {BEGINS_AT_ONE}",
            ],
        ),
        ("ConstantDecaySGD", "torch.SGD", ["matches a decay that subtracts a constant instead of a share of the parameter"]),
        ("CachedRateAdam", "adam", [f"matches {BY_COUNT}"]),
    ],
)  # fmt: skip
def test_each_deviation_of_a_class_is_one_finding(name, like, told):
    assert likely_causes(Target(f"deviations:{name}", like), "V01 M02 M04 M30 G02 S01 D02") == sorted(told)


def likely_causes(target, ids):
    described = describe(target)
    as_found = replace(target, found=described["found"], mistakes=tuple(described["mistakes"]))
    return sorted(cause.finding.likely for cause in causes([judge(as_found, find(id)) for id in ids.split()]))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("endless_cosine", ["right at ordinary settings, and wrong where warmup_steps equals total_steps",
                            "the formula is evaluated beyond the last step"]),
        ("cosine_ahead", ["it goes on after its last step", "matches the formula one step ahead (t + 1)"]),
    ],
)  # fmt: skip
def test_each_deviation_of_a_schedule_is_one_finding(name, told):
    target = Target(f"deviations:{name}", "warmup_cosine", settings=(("min_lr_ratio", 0.0),))
    assert likely_causes(target, "V02 L01 L02 L03 L04 L05 L07 L13 X01") == sorted(told)


def test_an_interface_of_its_own_is_one_finding():
    target = Target("deviations:StepsToEpochs", "cosine")
    assert likely_causes(target, "K11 L01 L11 L14 X01") == ["its interface is not that of torch's classes"]


def test_a_check_that_tells_two_causes_is_two_failures():
    both = ("matches no decay", "matches ascent")
    verdicts = [failed("M02", REFERENCE, causes=both, together=True, likely=both[0])]
    found = causes(verdicts)
    likely = ["matches no decay together with ascent", "matches ascent together with no decay"]
    assert [cause.finding.likely for cause in found] == likely
    xml = JUnitXml.fromstring(junit_xml({"M02": find("M02")}, verdicts, found, {}))
    assert [(suite.tests, len(next(iter(suite)).result)) for suite in xml] == [(1, 2)]
