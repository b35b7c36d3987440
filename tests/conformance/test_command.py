"""`optreg conform` as people run it."""

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner
from junitparser import JUnitXml

from optreg.cli import main
from optreg.cli.selection import read_selection
from optreg.conformance import CannotBeJudged, Status, Target, Verdict, checks
from optreg.conformance.chapters import find
from optreg.conformance.report.junit import junit_xml
from optreg.conformance.results.causes import causes
from optreg.conformance.results.verdict import Finding
from optreg.conformance.running import allowance, sandbox
from optreg.conformance.running.check import describe, judge

HERE = Path(__file__).parent
OPTREG = Path(sysconfig.get_path("scripts")) / "optreg"


def conform(*arguments, folder=HERE, timeout=280, start=(OPTREG,), **environ):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", *start, "conform", "-n", "1", *arguments],
        capture_output=True, text=True, check=False, cwd=folder, timeout=timeout, env=os.environ | environ,
    )  # fmt: skip
    assert "Traceback" not in run.stdout + run.stderr, run.stdout + run.stderr
    return run


def verdicts_of(file):
    """The verdicts of a JSON report, without what no two runs share."""
    return [{**verdict, "seconds": None} for verdict in json.loads(file.read_text())["verdicts"]]


def test_a_right_plugin_passes_and_its_reports_say_so(tmp_path):
    run = conform(
        "lion", "linear", "-k", "lion-M0 or linear-L", "--json", str(tmp_path / "r.json"), "--junit", str(tmp_path / "r.xml"), "--html", str(tmp_path / "r.html")
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    row = next(line.split("\t") for line in run.stdout.splitlines() if line.startswith("lion\t"))
    assert row[1].startswith("optreg ")
    assert row[3:5] == ["0", "0"]
    report = json.loads((tmp_path / "r.json").read_text())
    assert {verdict["status"] for verdict in report["verdicts"]} == {"passed", "not applicable"}
    assert all(verdict["comparisons"] for verdict in report["verdicts"] if verdict["status"] == "passed")
    suites = JUnitXml.fromfile(str(tmp_path / "r.xml"))
    assert [f"{suite.name} {case.name[:3]}" for suite in suites for case in suite] == [
        f"{verdict['subject']} {verdict['check']}" for verdict in report["verdicts"]
    ]
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


IN_THE_WAY = ("conftest", "json", "numpy", "queue", "random", "selectors", "sitecustomize", "torch")


@pytest.mark.no_cover
def test_nothing_around_the_command_has_an_effect_on_it(tmp_path, elsewhere):
    names = ("lion", "linear", "-k", "lion-M02 or lion-M25 or linear-L0")
    conform(*names, "--json", str(tmp_path / "clean.json"), folder=elsewhere.folder)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in IN_THE_WAY:
        (folder / f"{name}.py").write_text("raise RuntimeError('imported from the working folder')\n")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    (folder / "mine.py").write_text("import queue, random\nfrom torch.optim import AdamW\n")
    elsewhere.install("broken-of-pytest", "raise RuntimeError", group="pytest11", names=["broken"])
    (elsewhere.folder / "pytest.py").write_text("raise ModuleNotFoundError('the command needs no pytest')\n")
    around = {"folder": folder, "PYTEST_ADDOPTS": "--nonsense", "PYTHONPATH": str(elsewhere.folder)}
    run = conform(*names, "--json", str(tmp_path / "r.json"), **around)
    assert run.returncode == 0, run.stderr
    assert verdicts_of(tmp_path / "r.json") == verdicts_of(tmp_path / "clean.json")
    run = conform("mine:AdamW", "--as", "adamw", "-k", "M02", start=("-m", "optreg"), **around)
    assert run.returncode == 0, "a class that is named by its module is found in the working folder"


@pytest.mark.no_cover
def test_two_runs_by_one_process_and_by_two_give_equal_reports(tmp_path):
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    names = ("broken.mathematics:EpsClamps", "broken.engineering:WritesToTheGradient", "--as", "adamw")
    runs = [conform(*names, "-k", "-M0 or -C0", "-n", file.stem, "--json", str(file)) for file in (one, two)]
    assert runs[0].stdout == runs[1].stdout
    assert verdicts_of(one) == verdicts_of(two)


@pytest.mark.parametrize(
    ("expression", "picked"),
    [
        ("m02", True),
        ("M02 and K01", False),
        ("K01 or torch.optim:adamw-M02", True),
        ("K01 and M02 or trajectory", True),
        ("not M02 or K01", False),
        ("not (K01 or nothing)", True),
        ("origin or not not android", False),
    ],
)
def test_an_expression_picks_checks_by_name(expression, picked):
    assert read_selection(expression)("torch.optim:AdamW-M02-hostile_trajectory") is picked


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ("M02 orr M03", "column 5: M02 <here>orr M03"),
        ("M02 or", "column 7"),
        ("(M02", "column 5"),
        ("M02)", "column 4"),
        ("and M02", "column 1"),
    ],
)
def test_a_wrong_expression_is_told_with_its_place(expression, place):
    result = CliRunner().invoke(main, ["conform", "-n", "1", "lion", "-k", expression])
    assert result.exit_code == 2
    assert "Invalid value for -k: " in result.output
    assert place in result.output


def test_junit_has_findings_crashes_reasons_and_what_is_not_judged_whatever_was_printed():
    finding = Finding(reason="parameter 0 is <b>", measured=2.0, bound=1.0, likely="matches a slip")
    verdicts = [
        Verdict(subject="a", check="M02", status=Status.FAILED, finding=finding, output="\x1b[31mred\0", seconds=0.5),
        Verdict(subject="a", check="M03", status=Status.CRASHED, finding=Finding(reason="it died")),
        Verdict(subject="a", check="M04", status=Status.NOT_APPLICABLE, reason="it has no eps"),
    ]
    suite, other = JUnitXml.fromstring(
        junit_xml({check.id: check for check in checks()}, verdicts, causes(verdicts), {"b": "it is lost"})
    )
    assert (other.name, other.errors) == ("b", 1)
    assert [case.result[0].message for case in other] == ["cannot be judged: it is lost"]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped, suite.time) == (3, 1, 1, 1, 0.5)
    failure, error, skipped = (case.result[0] for case in suite)
    assert (failure.message, error.message) == ("parameter 0 is <b>", "it died")
    assert failure.text.startswith("M02-hostile_trajectory (must): ")
    assert failure.text.endswith("likely: matches a slip\n\nIt printed:\n\\x1b[31mred\\x00")
    assert skipped.message == "not applicable: it has no eps"


@pytest.mark.no_cover
def test_a_broken_class_is_told_with_measure_cause_and_a_program_that_shows_it(tmp_path):
    file = tmp_path / "r.json"
    run = conform("broken.mathematics:DecayAfterTheUpdate", "--as", "adamw", "-k", "M02", "--json", str(file))
    assert run.returncode == 1
    assert "likely: matches decay of the parameter after its update instead of before" in run.stdout
    finding = verdicts_of(file)[0]["finding"]
    assert finding["measured"] > 1000 * finding["bound"]
    assert finding["step"] == 1
    assert finding["coordinate"] == "parameter 0[0]"
    shown = subprocess.run(
        [sys.executable, "-c", finding["snippet"]], capture_output=True, text=True, check=True, cwd=HERE
    ).stdout
    actual, expected = (json.loads(part) for part in re.findall(r"\[[^]]*\]", shown))
    assert len(actual) == len(expected) == 1
    assert abs(actual[0] - expected[0]) == pytest.approx(finding["measured"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("CoupledDecay", "decay coupled to the gradient"),
        ("NoBiasCorrection", "no bias correction at all"),
        ("SecondMomentUncorrected", "no bias correction of the second moment"),
        ("DecayAfterTheUpdate", "decay of the parameter after its update"),
        ("DecayWithoutLearningRate", "decay that is not multiplied by the learning rate"),
        ("NoDecay", "no weight decay"),
        ("BetasSwapped", "betas in the wrong order"),
        ("CountsFromTwo", "begins one too early"),
        ("LateLearningRate", "the learning rate of the step before"),
        ("EpsIgnored", "eps ignored"),
    ],
)
def test_a_known_mistake_is_named(name, cause):
    assert cause in judge(Target(f"broken.mathematics:{name}", "adamw"), find("M02")).finding.likely


LION, ADAMW = "harmful:Lion", "torch.optim:AdamW"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Target("lyon"), "there is no optimizer 'lyon'; did you mean 'lion'?"),
        (Target("lion", reference="formulas:Adam"), "--reference formulas:Adam judges a class"),
        (Target(ADAMW, reference="math:sin"), "--reference math:sin: a reference is a dataclass"),
        (Target(ADAMW, reference="optreg:Spec"), "--reference optreg:Spec has no method `trajectory(theta)`"),
        (Target("math:sin"), "is neither a torch.optim.Optimizer nor a schedule"),
        (
            Target("harmful:CannotBeMade"),
            "parameters and its defaults alone, it raises RuntimeError: no device of that",
        ),
        (
            Target("harmful:NeedsMore"),
            "the constructor needs 'secret', for which there is no common value; give it: --set",
        ),
        (Target("lion", "adamw"), "--as adamw judges a class"),
        (Target("no.such.module:Class", "lion"), "cannot be imported: ModuleNotFoundError"),
        (Target("torch.optim:NoSuchClass", "lion"), "cannot be imported: AttributeError"),
        (Target("harmful:NeedsMore", "lion"), "needs 'secret', which 'lion' does not have. Give each its counterpart"),
        (Target("harmful:CannotBeMade", "lion"), "RuntimeError: no device of that kind"),
        (Target(ADAMW, "adamw", (("lr", "speed"),)), "the reference has no hyperparameter 'speed'"),
        (Target(ADAMW, "adamw", (("speed", "lr"),)), "--param speed: AdamW has no such argument; it has: lr, betas"),
        (Target(ADAMW, "adamw", (), (("speed", 1),)), "--set speed: AdamW has no such argument"),
        (Target(ADAMW, "adamw", traits=(("colour", "red"),)), "there is no such trait; choose from: decay"),
        (Target("torch.optim.lr_scheduler:OneCycleLR", "cosine"), "needs 'max_lr', which 'cosine' does not have"),
        (
            Target("idle:NoHorizon", "cosine"),
            (
                "--param peak=HYPERPARAMETER or --set peak=VALUE; --param floor=HYPERPARAMETER or --set floor=VALUE; "
                "--param THEIRS=total_steps or --set total_steps=VALUE"
            ),
        ),
        (Target(ADAMW, "lion", traits=(("eps", "inside"),)), "--trait eps=inside: no such variant of the reference"),
    ],
)
def test_what_cannot_be_judged_is_told_why(target, reason):
    with pytest.raises(CannotBeJudged) as caught:
        describe(target)
    assert reason in str(caught.value)


def test_no_check_that_matches_exits_2():
    run = conform("lion", "-k", "no_such_check")
    assert (run.returncode, run.stderr) == (2, "cannot be judged: no check matches\n")


def test_what_cannot_be_judged_exits_2_and_is_reported(tmp_path):
    report = tmp_path / "report.json"
    run = conform("harmful:CannotBeMade", "--as", "lion", "--json", str(report))
    assert run.returncode == 2, run.stdout
    assert run.stderr.startswith("cannot be judged: ")
    assert [*json.loads(report.read_text())["refused"]] == ["harmful:CannotBeMade"]


def test_what_cannot_be_judged_spoils_its_own_row_and_not_the_run(tmp_path):
    run = conform("lyon", "lion", "-k", "M02", "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html"))
    assert run.returncode == 2
    assert run.stderr == "cannot be judged: there is no optimizer 'lyon'; did you mean 'lion'?\n"
    report = json.loads((tmp_path / "r.json").read_text())
    assert [verdict["status"] for verdict in report["verdicts"]] == ["passed"]
    assert report["refused"] == {"lyon": "there is no optimizer 'lyon'; did you mean 'lion'?"}
    assert "could not be judged" in (tmp_path / "r.html").read_text()


@pytest.mark.no_cover
def test_a_worker_that_is_killed_leaves_its_subjects_not_judged():
    run = conform("harmful:KillsTheWorker", "--as", "lion", "-k", "M02 or M04")
    assert run.returncode == 2
    reason = "the worker process was killed (SIGKILL), as systems do when memory is short"
    assert run.stderr == f"cannot be judged: {reason}\n"


def test_what_a_class_does_not_have_is_told():
    run = conform("styles:OtherArguments", "--as", "momentum", "-k", "K01")
    assert run.stderr == (
        "note: styles:OtherArguments does not have what it was judged with: momentum=0.9; "
        "of its own arguments, beta1, beta2, epsilon, wd kept the default\n"
    )


def test_all_checks_are_listed():
    lines = conform("--list").stdout.splitlines()
    assert lines[0].split("\t") == ["check", "tier", "of", "claim"]
    assert [line.partition("-")[0] for line in lines[1:]] == [check.id for check in checks()]
    assert conform().returncode == 2


@pytest.mark.no_cover
def test_a_class_with_its_own_names_is_judged_by_mapping_them():
    pairs = ("beta1=betas[0]", "beta2=betas[1]", "epsilon=eps", "l2=weight_decay")
    names = (word for pair in pairs for word in ("--param", pair))
    run = conform("right:DataAdam", "--as", "adam", *names, "-k", "M02 or M08 or P01 or G02")
    assert run.returncode == 0, run.stdout
    annealing = Target("torch.optim.lr_scheduler:CosineAnnealingLR", "cosine", (("T_max", "total_steps"),))
    statuses = [judge(annealing, find(id)).status for id in ("L01", "L04")]
    assert statuses == [Status.FAILED, Status.FAILED], "it rises again after the end, and does not declare it"


@pytest.mark.no_cover
def test_harmful_plugins_spoil_their_own_rows_and_not_the_run(tmp_path):
    reasons = {
        "Segfaults": "died of SIGSEGV during the check",
        "ExitsAtOnce": "the process ended with exit code 0 during the check",
        "Exits": "raises SystemExit",
        "Hangs": "the check stood still for 3 s, and was stopped",
        "SpinsElsewhere": "the check did not end within 3 s of processor time, and was stopped",
        "Grows": "allocate",
        "Forges": "the process wrote something else where its answer belongs during the check",
        "WritesEverywhere": "the process wrote something else where its answer belongs during the check",
        "Patches": "where the reference says",
    }
    file = tmp_path / "r.json"
    names = [f"harmful:{name}" for name in reasons]
    options = ("--as", "lion", "-k", "M02 or K01", "--limit", "3", "-n", "2", "--json", str(file))
    run = conform(*names, "harmful:Reads", "broken.textbook:Lion", *options)
    assert run.returncode == 1, run.stdout + run.stderr
    verdicts = {(v["subject"], v["check"]): v for v in json.loads(file.read_text())["verdicts"]}
    for name, reason in reasons.items():
        assert reason in verdicts[f"harmful:{name}", "M02"]["finding"]["reason"]
        assert verdicts[f"harmful:{name}", "K01"]["status"] == "passed"
    assert verdicts["harmful:Reads", "M02"]["status"] == "passed"
    assert verdicts["broken.textbook:Lion", "M02"]["status"] == "passed"
    assert len(verdicts) == 2 * len(names) + 4


@pytest.mark.no_cover
def test_what_is_written_to_the_worker_is_no_verdict_and_the_neighbour_is_judged(tmp_path):
    file = tmp_path / "r.json"
    names = ("harmful:WritesIntoTheWorker", "broken.textbook:Lion")
    run = conform(*names, "--as", "lion", "--strict", "-k", "M02", "--json", str(file))
    assert run.returncode == 2
    assert f"cannot be judged: {names[0]}: the worker replied to something that it was not asked\n" in run.stderr
    assert [(v["subject"], v["status"]) for v in verdicts_of(file)] == [(names[1], "passed")]


def test_a_subject_that_hangs_again_and_again_gets_less_time_and_in_the_end_none(monkeypatch, tmp_path):
    for name, value in {"PATIENCE": 1, "IMPATIENT": 0.5, "BUDGET": 2.0, "SHARE": 1}.items():
        monkeypatch.setattr(allowance, name, value)
    monkeypatch.chdir(HERE)
    file = tmp_path / "r.json"
    options = ("--as", "lion", "-k", "M02 or M04 or M20", "--limit", "1.5", "--json", str(file))
    result = CliRunner().invoke(main, ["conform", "-n", "1", "harmful:Hangs", "right:PlainLion", *options])
    assert result.exit_code == 2
    assert result.stderr == (
        "cannot be judged: harmful:Hangs: its checks have used 2 s together, and the others were not run; "
        "to allow more, set the limit of a check to more than 2 s\n"
    )
    verdicts = verdicts_of(file)
    assert [verdict["finding"]["reason"] for verdict in verdicts if verdict["finding"]] == [
        f"the check stood still for {limit} s, and was stopped" for limit in ("1.5", "0.5")
    ]
    assert [(v["check"], v["status"]) for v in verdicts[2:]] == [(id, "passed") for id in ("M02", "M04", "M20")]


def test_a_request_that_is_interrupted_does_not_leave_its_reply_to_the_next():
    def interrupt(number, frame):
        raise TimeoutError("a time limit of pytest")

    worker = sandbox.Sandbox()
    assert worker.checks
    before = signal.signal(signal.SIGALRM, interrupt)
    left = signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(TimeoutError, match="a time limit of pytest"):
            worker.judge(Target("harmful:Hangs", "lion"), "M02", limit=3.0)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)
    verdict = worker.judge(Target("right:PlainLion", "lion"), "M04")
    worker.close()
    assert (verdict.subject, verdict.check, verdict.status) == ("right:PlainLion", "M04", Status.PASSED)


@pytest.mark.no_cover
def test_what_a_plugin_prints_is_kept_to_its_beginning_and_what_it_changes_stays_with_it(tmp_path):
    file = tmp_path / "r.json"
    run = conform(
        "harmful:Chatters", "harmful:Disturbs", "--as", "lion", "-k", "M02 or K01 or M04", "--json", str(file)
    )
    verdicts = {(v["subject"], v["check"]): v for v in json.loads(file.read_text())["verdicts"]}
    assert len(run.stdout) < 20_000
    assert verdicts["harmful:Chatters", "M02"]["status"] == "passed"
    assert verdicts["harmful:Chatters", "M02"]["output"].startswith("chatter chatter")
    assert len(verdicts["harmful:Chatters", "M02"]["output"]) <= 2000
    assert verdicts["harmful:Disturbs", "K01"]["status"] == "passed"
