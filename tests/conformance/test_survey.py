"""The survey: every class of a module is judged by the command, and what came of it is counted."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "benchmarks"))
import survey  # noqa: E402


def test_the_classes_of_a_module_are_those_that_it_has_itself():
    assert "peculiar:Halves" in survey.classes("peculiar")
    assert not {"peculiar:Momentum", "peculiar:cosine"} & {*survey.classes("peculiar")}


def test_a_class_gets_a_verdict_or_a_reason(monkeypatch, capsys):
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "argv", ["survey", "peculiar:Normed", "peculiar:Abstract", "-k", "S02"])
    survey.main()
    verdict, refusal, total = capsys.readouterr().out.splitlines()
    assert verdict == "verdict\tpeculiar:Normed\t0 findings: "
    assert refusal.startswith("could not be judged\tpeculiar:Abstract\tpeculiar:Abstract cannot be judged alone: ")
    assert total == "verdict: 1; could not be judged: 1"


def test_classes_that_all_cannot_be_judged_are_no_crash(monkeypatch):
    monkeypatch.chdir(HERE)
    assert [row["outcome"] for row in survey.judged(["peculiar:Abstract"])] == ["could not be judged"]


def test_what_is_neither_judged_nor_refused_is_a_crash():
    assert survey.judged(["peculiar:Normed"], "--no-such-option")[0]["outcome"] == "crash"
