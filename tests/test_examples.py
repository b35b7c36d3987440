"""The examples run as their README says, and learn."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

pytestmark = pytest.mark.no_cover

FOLDER = Path(__file__).parents[1] / "examples" / "char_lm"


@pytest.fixture
def run(monkeypatch):
    """Runs a script that has options, in this process."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(str(FOLDER))
    before = {*sys.modules}
    yield lambda script, *arguments: CliRunner().invoke(import_module(script).main, [*map(str, arguments)])
    for name in {*sys.modules} - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(FOLDER)):
            del sys.modules[name]


def test_the_minimal_trainer_learns_more_than_the_frequencies_of_characters():
    command = [sys.executable, "-W", "error", "minimal.py"]
    lines = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True).stdout.splitlines()
    losses = [float(line.split()[-1]) for line in lines]
    assert losses[-2] < losses[-1] < losses[0]


def test_the_trainer_takes_any_spec_with_overrides(run, tmp_path):
    curves = tmp_path / "run.json"
    arguments = ["--set", "scheduler.warmup_steps=4", "--set", "scheduler.total_steps=20", "--json", curves]
    small = ["--layers", 1, "--width", 16, "--sample", 10]
    result = run("train", "../../specs/char_lm_lion.yaml", *arguments, *small)
    assert result.exit_code == 0, result.output
    logged = json.loads(curves.read_text())
    assert logged["optimizer"] == "lion"
    assert logged["lr"][:5] == [0.0, 1.5e-4, 3e-4, 4.5e-4, 6e-4]
    assert len(logged["train_loss"]) == 20
    assert logged["val_loss"][-1] < logged["val_loss"][0]


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_and_adamw_of_one_spec_learn_and_go_on_with_the_same_bits(run, tmp_path):
    spec, small = "../../specs/char_lm_muon.yaml", ["--layers", 1, "--width", 16, "--sample", 0]
    whole = ["--set", "scheduler.warmup_steps=4", "--set", "scheduler.total_steps=12", *small]

    def trained(name, *more):
        arguments = ["--checkpoint", tmp_path / f"{name}.pt", "--json", tmp_path / f"{name}.json", *whole, *more]
        result = run("train", spec, *arguments)
        assert result.exit_code == 0, result.output
        return torch.load(tmp_path / f"{name}.pt"), json.loads((tmp_path / f"{name}.json").read_text())

    at_once, curves = trained("at_once")
    assert curves["optimizer"] == "adamw and torch.Muon"
    assert curves["val_loss"][-1] < curves["val_loss"][0]
    groups = at_once["optimizer"]["param_groups"]
    assert [sorted({"betas", "momentum"} & group.keys()) for group in groups] == [["betas"], ["momentum"]]
    trained("in_two", "--steps", 5)
    in_two, resumed = trained("in_two")
    assert resumed["train_loss"] == curves["train_loss"]
    for name, weight in at_once["model"].items():
        assert torch.equal(in_two["model"][name], weight), name


def test_a_mistake_in_an_override_is_one_clear_line(run):
    result = run("train", "--set", "optimizer.lrr=1")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "adamw has no parameter 'lrr'; did you mean 'lr'?" in result.stderr


def test_the_demo_prints_its_table_and_draws_its_picture(run, tmp_path):
    result = run("demo", "--steps", 6, "--out", tmp_path / "demo.png")
    assert result.exit_code == 0, result.output
    assert "adamw" in result.stdout
    assert "lion" in result.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
