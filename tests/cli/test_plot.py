"""`optreg plot` as an image: which curves it draws, over what, and what it marks."""

import re
from pathlib import Path

import matplotlib
import pytest
from click.testing import CliRunner

from optreg import load_spec
from optreg.cli import main
from optreg.cli.plan import chosen

PHASES = """\
optimizer: {name: adamw, lr: 1e-3, weight_decay: {name: linear, from: 0.1, to: 0.2}}
groups: [{match: head, lr: 1e-4}, {match: body, weight_decay: 0}]
scheduler: [{name: linear, from: 0, for: 100, to: 100%}, {name: cosine, for: 300}]
batch: 2M tokens
"""
COSINE = "optimizer: {name: adamw}\nscheduler: {name: cosine, warmup_steps: 10, total_steps: 100}\n"


@pytest.fixture
def plot(tmp_path, monkeypatch):
    """Draws specs, and returns the result and the texts of the image."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")

    def plot(*texts, options=()):
        names = [f"{name}.yaml" for name, _ in zip("abc", texts, strict=False)]
        for name, text in zip(names, texts, strict=True):
            Path(name).write_text(text)
        result = CliRunner().invoke(main, ["plot", *names, *options, "-o", "of.svg"])
        image = Path("of.svg").read_text() if result.exit_code == 0 else ""
        return result, re.findall(r"<text[^>]*>([^<]*)</text>", image)

    return plot


def test_every_hyperparameter_that_is_asked_for_is_drawn_in_every_group_with_its_own(plot):
    result, texts = plot(PHASES, options=["--of", "lr", "--of", "weight_decay"])
    assert result.output == "of.svg\n"
    assert {"Learning rate of each update", "weight_decay of each update", "update"} <= {*texts}
    assert {"adamw, linear, cosine (a)", "match: head (a)", "adamw, linear (a)", "match: body (a)"} <= {*texts}
    _, texts = plot(PHASES)
    assert "weight_decay of each update" not in texts
    assert "match: body (a)" not in texts


def test_several_specs_share_a_picture(plot):
    _, texts = plot(PHASES, COSINE, options=["--of", "weight_decay", "--of", "betas[1]"])
    assert {"adamw, linear (a)", "adamw, constant (b)", "weight_decay of each update", "betas[1] of each update"} <= {
        *texts
    }


def test_the_axis_can_count_tokens_where_a_spec_says_how_many_an_update_consumes(plot):
    _, texts = plot(PHASES, options=["--axis", "tokens"])
    assert {"Learning rate over the tokens", "tokens", "800M"} <= {*texts}
    result, _ = plot(PHASES, COSINE, options=["--axis", "tokens"])
    assert result.exit_code == 2
    assert "b does not say how many tokens an update consumes; add for example 'batch: 1024 tokens'" in result.stderr
    result, _ = plot(PHASES, options=["--axis", "epochs"])
    assert "a does not say how many epochs an update consumes; add for example 'epoch: 312 steps'" in result.stderr


@pytest.mark.parametrize("name", ["wieght_decay", "foreach", "betas", "betas[7]", "betas[x]", "lr[0]", ""])
def test_what_cannot_be_drawn_is_told_with_what_can(plot, name):
    result, _ = plot(COSINE, options=["--of", name])
    assert result.exit_code == 2
    assert f"no spec has a number '{name}'; choose from lr, betas[0], betas[1], eps, weight_decay" in result.stderr


def test_joints_are_where_phases_meet_and_where_a_schedule_bends(plot):
    plot(PHASES, COSINE)
    curves = {(name, group): found for name, group, found in chosen(load_spec("a.yaml"))}
    assert curves["lr", "default"].joints == [100, 400]
    assert curves["weight_decay", "default"].joints == [400]
    assert curves["weight_decay", "match: body"].joints == []
    assert chosen(load_spec("b.yaml"))[0][2].joints == [10, 100]


def test_a_narrow_range_is_drawn_without_the_zero(plot):
    _, texts = plot(
        "optimizer: {name: adamw, betas: [{name: linear, from: 0.90, to: 0.95, for: 9}, 0.99]}\n",
        options=["--of", "betas"],
    )
    assert "0.90" in texts
    assert "0.0" not in texts


def test_the_spec_that_waits_for_its_trainer_is_named_with_an_override(plot):
    waiting = "optimizer: {name: adamw, lr: 1e-3}\nhorizon: trainer\nscheduler: {name: cosine}\n"
    remedy = "the horizon is left to the trainer; to see the run, add for example --set horizon=10_000"
    result, _ = plot(COSINE, waiting)
    assert (result.exit_code, result.stderr) == (1, f"error: b.yaml: {remedy}\n")
    assert plot(COSINE, waiting, options=["--set", "horizon=10_000"])[0].exit_code == 0
    result = CliRunner().invoke(main, ["diff", "b.yaml", "a.yaml"])
    assert (result.exit_code, result.stderr) == (1, f"error: b.yaml: {remedy}\n")
