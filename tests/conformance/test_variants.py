"""First which, then whether: what a class is, is found out, told in one finding, and judged as that."""

import json

import pytest
from junitparser import JUnitXml
from test_command import conform

from optreg.conformance import CannotBeJudged, Status, Target
from optreg.conformance.chapters import find
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.running.check import describe, judge
from optreg.conformance.subjects.resolving import resolve

GROUP_COUNTED = Target("right:GroupCountedAdamW", "adamw")
ANNEALING = "torch.optim.lr_scheduler:CosineAnnealingLR"


def test_the_first_line_says_what_a_class_is_and_the_difference_is_one_finding_in_every_report(tmp_path):
    files = {kind: tmp_path / f"r.{kind}" for kind in ("json", "junit", "html")}
    options = (word for kind, file in files.items() for word in (f"--{kind}", str(file)))
    names = ("right:GroupCountedAdamW", "torch.optim:AdamW", "broken.mathematics:DecayAfterTheUpdate")
    run = conform(*names, "--as", "adamw", "-k", "M02 or M05 or S01", *options)
    assert run.returncode == 1
    assert run.stdout.splitlines()[:3] == [
        "right:GroupCountedAdamW: adamw, counted by group",
        "torch.optim:AdamW: adamw",
        f"{names[2]}: adamw, but for decay of the parameter after its update instead of before",
    ]
    assert "declare it: --trait counter=group\n" in run.stdout
    assert run.stdout.count(": 1 finding\n") == 2
    report = json.loads(files["json"].read_text())
    told = [(finding["subject"], {finding["check"], *finding["same"]}) for finding in report["findings"]]
    assert told == [(names[0], {"V01"}), (names[2], {"M02", "M05", "S01"})]
    assert sum(verdict["status"] == "failed" for verdict in report["verdicts"]) == 4, "each check keeps its verdict"
    assert [suite.failures for suite in JUnitXml.fromfile(str(files["junit"]))] == [1, 0, 1]
    assert "<h2>2 findings</h2>" in files["html"].read_text()


def found(*arguments, **options):
    return describe(Target(*arguments, **options))["found"]


@pytest.mark.parametrize(
    ("name", "like", "traits"),
    [
        ("right:GroupCountedAdamW", "adamw", {"counter": "group"}),
        ("styles:CountsInGroupsState", "adamw", {"counter": "group"}),
        ("styles:CountsForAll", "adamw", {"counter": "optimizer"}),
        ("variants:InFloat32", "adamw", {"arithmetic": "float32"}),
        ("variants:SkippingRAdam", "torch.RAdam", {"decay": "decoupled", "unrectified": "skip", "counter": "group"}),
        ("iterations:MuonInFloat32", "torch.Muon", {"arithmetic": "float32"}),
        ("broken.mathematics:EpsInsideTheRoot", "adamw", {"eps": "inside"}),
        ("broken.mathematics:EpsClamps", "adamw", {"eps": "clamped"}),
        ("broken.mathematics:NoBiasCorrection", "adamw", {"correction": "none"}),
        ("torch.optim:Adam", "adamw", {"decay": "coupled"}),
        ("torch.optim:AdamW", "torch.Adam", {"decay": "decoupled"}),
        ("torch.optim:AdamW", "adamw", {}),
        ("torch.optim:RAdam", "torch.RAdam", {}),
        ("right:PlainLion", "lion", {}),
        ("broken.mathematics:DecayAfterTheUpdate", "adamw", {}),
        ("torch.optim:NAdam", "adamw", None),
        ("broken.engineering:NoGradientIsZero", "adamw", {}),
        (ANNEALING, "cosine", {"after": "cycle"}),
        (ANNEALING, "torch.CosineAnnealingLR", {}),
        ("broken.schedules:Linear", "linear", {}),
    ],
)
def test_a_variant_is_found_out_and_a_mistake_is_none(name, like, traits):
    assert found(name, like) == traits


@pytest.mark.parametrize(
    ("declared", "traits"),
    [({"counter": "group"}, {}), ({"counter": "optimizer"}, {"counter": "group"}),
     ({"counter": "group", "decay": "coupled"}, {"decay": "decoupled"}),
     ({"counter": "group", "arithmetic": "float32"}, {"arithmetic": "parameter"})],
)  # fmt: skip
def test_a_declaration_is_stated_beforehand_and_a_false_one_is_found_out(declared, traits):
    assert found(*GROUP_COUNTED.name.split(), "adamw", traits=tuple(declared.items())) == traits


def test_strict_judges_by_what_was_asked_for():
    strict = Target(GROUP_COUNTED.name, "adamw", strict=True)
    description = describe(strict)
    assert (description["is"], description["found"]) == (None, None)
    assert [judge(strict, find(id)).status for id in ("V01", "S01")] == [Status.NOT_APPLICABLE, Status.FAILED]


@pytest.mark.parametrize("check", ["M01", "M04", "M05", "M16", "M17", "M27", "Q04", "S01", "G12", "D01"])
@pytest.mark.parametrize(
    ("name", "like", "traits"),
    [
        ("variants:SkippingRAdam", "torch.RAdam", {"decay": "decoupled", "unrectified": "skip", "counter": "group"}),
        ("torch.optim:Adam", "adamw", {"decay": "coupled"}),
        ("broken.mathematics:EpsInsideTheRoot", "adamw", {"eps": "inside"}),
    ],
)
def test_a_variant_that_is_declared_is_judged_by_its_own_formula(name, like, traits, check):
    verdict = judge(Target(name, like, traits=tuple(traits.items())), find(check))
    assert verdict.status in {Status.PASSED, Status.NOT_APPLICABLE}, verdict.finding


def test_a_fault_in_a_variant_is_still_caught():
    coupled = Target("broken.mathematics:DecayAfterTheUpdate", "adamw", traits=(("decay", "coupled"),))
    assert judge(coupled, find("M02")).status is Status.FAILED


def test_the_decay_of_a_reference_that_no_rule_equals_is_moved_too():
    asked = Target("torch.optim:NAdam", "torch.NAdam", traits=(("decay", "decoupled"), ("arithmetic", "float32")))
    assert judge(asked, find("M02")).status is Status.FAILED
    given = Target("variants:DecoupledNAdam", "torch.NAdam", traits=(("decay", "decoupled"), ("arithmetic", "float32")))
    assert [judge(given, find(id)).status for id in ("M02", "M05", "V01")] == [Status.PASSED] * 3


def test_a_variant_that_a_reference_does_not_have_is_refused():
    with pytest.raises(CannotBeJudged, match="--trait eps=inside: no such variant of the reference of 'lion' is known"):
        resolve(Target("right:PlainLion", "lion", traits=(("eps", "inside"),)))


def test_in_float32_a_problem_begins_with_numbers_that_float32_holds():
    subject = resolve(Target("variants:InFloat32", "adamw", traits=(("arithmetic", "float32"),)))
    for array in hostile_problem(subject).starts:
        assert (array.astype("float32") == array).all()


def test_arguments_with_common_names_are_known_and_those_of_the_class_alone_can_be_set():
    schedule = Target("variants:polynomial_with_warmup", "polynomial", settings=(("lr_end", 0.0),))
    description = describe(schedule)
    assert (description["is"], description["extra"]) == ("polynomial", {"num_warmup_steps": "0"})
    assert [judge(schedule, find(id)).status for id in ("L01", "L03", "V02")] == [Status.PASSED] * 3
