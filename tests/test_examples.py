"""The examples run as their README says, and learn."""

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples" / "char_lm"


def run(*arguments, check=True):
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)], cwd=FOLDER, capture_output=True, text=True, check=check
    )


def test_the_minimal_trainer_learns_more_than_the_frequencies_of_characters():
    lines = run("minimal.py").stdout.splitlines()
    losses = [float(line.split()[-1]) for line in lines]
    assert losses[-2] < losses[-1] < losses[0]


def test_the_trainer_takes_any_spec_with_overrides(tmp_path):
    curves = tmp_path / "run.json"
    arguments = ["--set", "scheduler.warmup_steps=4", "--set", "scheduler.total_steps=20", "--json", curves]
    run("train.py", "../../specs/char_lm_lion.yaml", *arguments)
    logged = json.loads(curves.read_text())
    assert logged["optimizer"] == "lion"
    assert logged["lr"][:5] == [0.0, 1.5e-4, 3e-4, 4.5e-4, 6e-4]
    assert len(logged["train_loss"]) == 20
    assert logged["val_loss"][-1] < logged["val_loss"][0]


def test_a_mistake_in_an_override_is_one_clear_line():
    result = run("train.py", "--set", "optimizer.lrr=1", check=False)
    assert result.returncode == 1
    assert "adamw has no parameter 'lrr'; did you mean 'lr'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_demo_prints_its_table_and_draws_its_picture(tmp_path):
    result = run("demo.py", "--steps", "10", "--out", tmp_path / "demo.png")
    assert "adamw" in result.stdout
    assert "lion" in result.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
