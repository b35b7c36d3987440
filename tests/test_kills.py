"""A training that is killed and resumed ends in the same bits; `make kills` does this fifty times."""

import copy
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.no_cover

SCRIPT = Path(__file__).parent / "kills.py"
differences = runpy.run_path(str(SCRIPT))["differences"]


def test_one_kill_changes_no_bit():
    told = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, "--kills", "1", "--updates", "12"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.endswith("1 kills in 1 runs: none ended in other bits\n")


CHECKPOINT = {
    "step": 3,
    "model": {"weight": torch.tensor([1.0, 0.0])},
    "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.95)}]},
    "curves": {"train_loss": [2.0, 1.0], "seconds": 1.0},
}


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        (("model", "weight"), torch.tensor([1.0, -0.0]), ".model.weight"),
        (("model", "weight"), torch.tensor([1.0, 0.0]).bfloat16(), ".model.weight"),
        (("optimizer", "state"), {1: {}}, ".optimizer.state"),
        (("optimizer", "state", 0, "step"), torch.tensor([3.0]), ".optimizer.state.0.step"),
        (("optimizer", "param_groups", 0, "betas"), (0.9, 0.96), ".optimizer.param_groups[0].betas[1]"),
        (("curves", "train_loss"), [2.0], ".curves.train_loss"),
        (("curves", "seconds"), 9.0, None),
        (("step",), 4, ".step"),
    ],
)
def test_other_bits_are_found_wherever_they_are(place, value, found):
    other = copy.deepcopy(CHECKPOINT)
    inner = other
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert differences(CHECKPOINT, other) == ([found] if found else [])
