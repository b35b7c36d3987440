"""`optreg conform` as people run it."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from optreg.conformance import CannotBeJudged, Target, checks, isolation
from optreg.conformance.running.check import judge, tried

HERE = Path(__file__).parent


def conform(*arguments, folder=HERE, timeout=280):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "optreg.cli", "conform", *arguments],
        capture_output=True, text=True, check=False, cwd=folder, timeout=timeout,
    )  # fmt: skip
    assert "Traceback" not in run.stdout + run.stderr, run.stdout + run.stderr
    return run


def test_a_right_plugin_passes_and_its_reports_say_so(tmp_path):
    run = conform(
        "lion", "linear", "--json", str(tmp_path / "r.json"), "--junit", str(tmp_path / "r.xml"), "--html", str(tmp_path / "r.html")
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\d+ passed, \d+ skipped in ", run.stdout)
    row = next(line.split("\t") for line in run.stdout.splitlines() if line.startswith("lion\t"))
    assert row[1].startswith("optreg ")
    assert row[3:5] == ["0", "0"]
    report = json.loads((tmp_path / "r.json").read_text())
    assert {verdict["status"] for verdict in report["verdicts"]} == {"passed", "not applicable"}
    assert all(verdict["comparisons"] for verdict in report["verdicts"] if verdict["status"] == "passed")
    cases = list(ElementTree.parse(tmp_path / "r.xml").iter("testcase"))
    assert len(cases) == len(report["verdicts"])
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")


def test_two_runs_give_equal_reports(tmp_path):
    def once(number):
        file = tmp_path / f"{number}.json"
        conform("broken.mathematics:EpsClamps", "--as", "adamw", "--json", str(file))
        verdicts = json.loads(file.read_text())["verdicts"]
        return [{key: value for key, value in verdict.items() if key != "seconds"} for verdict in verdicts]

    assert once(1) == once(2)


def test_a_broken_class_is_told_with_measure_cause_and_a_program_that_shows_it(tmp_path):
    run = conform("broken.mathematics:EpsInsideTheRoot", "--as", "adamw", "--json", str(tmp_path / "r.json"))
    assert run.returncode == 1
    assert "likely: matches eps inside the square root" in run.stdout
    verdicts = json.loads((tmp_path / "r.json").read_text())["verdicts"]
    finding = next(verdict["finding"] for verdict in verdicts if verdict["check"] == "M02")
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
    target = Target(f"broken.mathematics:{name}", "adamw")
    found = [judge(target, check).finding for check in checks("optimizer") if check.id in {"M02", "M08", "M09", "G10"}]
    assert any(cause in (finding.likely or "") for finding in found if finding), [f.likely for f in found if f]


LION, ADAMW = "harmful:Lion", "torch.optim:AdamW"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Target("lyon"), "there is no optimizer 'lyon'; did you mean 'lion'?"),
        (Target(ADAMW), "say by which plugin's reference to judge it: --as adamw"),
        (Target("lion", "adamw"), "--as adamw judges a class"),
        (Target("no.such.module:Class", "lion"), "cannot be imported: ModuleNotFoundError"),
        (Target("torch.optim:NoSuchClass", "lion"), "cannot be imported: AttributeError"),
        (Target("harmful:NeedsMore", "lion"), "needs 'secret', which the reference of 'lion' has not"),
        (Target("harmful:CannotBeMade", "lion"), "RuntimeError: no device of that kind"),
        (Target(ADAMW, "adamw", (("lr", "speed"),)), "the reference has no hyperparameter 'speed'"),
        (Target(ADAMW, "adamw", (("speed", "lr"),)), "has no argument 'speed'"),
        (Target(ADAMW, "adamw", (), (("speed", 1),)), "--set speed: the reference has no hyperparameter 'speed'"),
        (Target(ADAMW, "adamw", traits=(("colour", "red"),)), "there is no such trait; choose from: decay"),
        (Target("torch.optim.lr_scheduler:CosineAnnealingLR", "cosine"), "needs 'T_max'"),
        (Target("idle:NoHorizon", "cosine"), "tell its name, --param THEIRS=total_steps, or the value"),
    ],
)
def test_what_cannot_be_judged_is_told_why(target, reason):
    with pytest.raises(CannotBeJudged) as caught:
        tried(target)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [["lyon"], ["lion", "-k", "no_such_check"], ["harmful:CannotBeMade", "--as", "lion"]]
)
def test_what_cannot_be_judged_exits_2(arguments):
    run = conform(*arguments)
    assert run.returncode == 2, run.stdout
    assert run.stderr.startswith("cannot be judged: ")


def test_what_cannot_be_judged_spoils_its_own_row_and_not_the_run(tmp_path):
    run = conform("lyon", "lion", "-k", "M02", "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html"))
    assert run.returncode == 2
    assert run.stderr == "cannot be judged: there is no optimizer 'lyon'; did you mean 'lion'?\n"
    report = json.loads((tmp_path / "r.json").read_text())
    assert [verdict["status"] for verdict in report["verdicts"]] == ["passed"]
    assert report["refused"] == {"lyon": "there is no optimizer 'lyon'; did you mean 'lion'?"}
    assert "could not be judged" in (tmp_path / "r.html").read_text()


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


def test_a_class_with_its_own_names_is_judged_by_mapping_them():
    names = (
        "--param",
        "beta1=betas[0]",
        "--param",
        "beta2=betas[1]",
        "--param",
        "epsilon=eps",
        "--param",
        "l2=weight_decay",
    )
    run = conform("right:DataAdam", "--as", "adam", *names, "-k", "M02 or M08 or P01 or G02")
    assert run.returncode == 0, run.stdout
    run = conform(
        "torch.optim.lr_scheduler:CosineAnnealingLR",
        "--as",
        "cosine",
        "--param",
        "T_max=total_steps",
        "-k",
        "L01 or L04",
    )
    assert run.returncode == 1, "it rises again after the end, and does not declare it"
    assert "after_the_end" in run.stdout


def test_harmful_plugins_spoil_their_own_rows_and_not_the_run(tmp_path):
    reasons = {
        "Segfaults": "died of SIGSEGV during the check",
        "ExitsAtOnce": "the process ended during the check, with exit code 0",
        "Exits": "raises SystemExit",
        "Hangs": "did not end within 15 s",
        "Grows": "allocate",
    }
    file = tmp_path / "r.json"
    names = [f"harmful:{name}" for name in reasons]
    options = ("--as", "lion", "-k", "M02 or K01", "--limit", "15", "--json", str(file))
    run = conform(*names, "broken.textbook:Lion", *options)
    assert run.returncode == 1, run.stdout + run.stderr
    verdicts = {(v["subject"], v["check"]): v for v in json.loads(file.read_text())["verdicts"]}
    for name, reason in reasons.items():
        assert reason in verdicts[f"harmful:{name}", "M02"]["finding"]["reason"]
        assert verdicts[f"harmful:{name}", "K01"]["status"] == "passed"
    assert verdicts["broken.textbook:Lion", "M02"]["status"] == "passed"


def test_a_subject_that_hangs_again_and_again_gets_less_time(monkeypatch):
    monkeypatch.setattr(isolation, "PATIENCE", 1)
    monkeypatch.setattr(isolation, "IMPATIENT", 0.5)
    worker = isolation.Isolation()
    target = Target("harmful:Hangs", "lion")
    reasons = [worker.judge(target, check, limit=1.0).finding.reason for check in ("M02", "M04")]
    worker.close()
    assert reasons == [f"the check did not end within {limit} s, and was stopped" for limit in ("1", "0.5")]


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


def test_a_parallel_run_finds_the_same(tmp_path):
    def statuses(*more):
        file = tmp_path / "r.json"
        names = ("broken.textbook:AdamW", "broken.engineering:WritesToTheGradient", "--as", "adamw")
        conform(*names, "-k", "S0 or D0 or C0", "--json", str(file), *more)
        return {(v["subject"], v["check"]): v["status"] for v in json.loads(file.read_text())["verdicts"]}

    assert statuses("-n", "2") == statuses()
