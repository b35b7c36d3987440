"""`optreg explain --why`: where each setting of a parameter comes from."""

import pytest
from click.testing import CliRunner

from optreg.cli import main

MODEL = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Parameter(torch.ones(4))
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = self.tied = nn.Linear(4, 2)
        self.codes = nn.Parameter(torch.ones(2, dtype=torch.uint8), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(2), requires_grad=False)
"""

SPEC = """\
optimizer: {name: adamw, lr: 0.5, weight_decay: 0.25}
groups:
  - {match: "*.bias", weight_decay: 0.0}
  - {match: "blocks.1.*", lr_scale: 0.5, freeze: 100, execution: loop}
  - {layers: "blocks.{layer}.*", embeddings: embed, layer_decay: 0.5}
  - {match: "head.*", lr: 0.125, betas: [{name: linear, from: 0.5, to: 0.75, for: 100}, 0.95]}
  - {match: embed, optimizer: {name: lion, lr: 0.0625}}
  - {match: scale, optimizer: {name: torch.Muon, lr: 0.5}}
scheduler: {name: linear, total_steps: 200}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(SPEC)
    (tmp_path / "why_model.py").write_text(MODEL)
    return tmp_path


def why(*arguments):
    return CliRunner().invoke(main, ["explain", "run.yaml", "--model", "why_model:Net", *arguments])


def rows(*arguments):
    result = why(*arguments)
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_every_setting_is_told_with_its_value_and_the_rule_that_gave_it():
    header, *told = rows("--why", "blocks.1.bias")
    section, layers = "the section optimizer", "rule 3 (layers: blocks.{layer}.*, embeddings: embed)"
    assert header == ["blocks.1.bias", "update 0", "given by"]
    assert told == [
        ["optimizer", "adamw", section],
        ["trained", "no", "rule 2 (match: blocks.1.*)"],
        [
            "lr", "0",
            f"{section} times 0.5 by rule 2 (match: blocks.1.*) times 0.5 by {layers}, then the section scheduler",
        ],
        ["betas", "0.9, 0.999", section],
        ["eps", "1e-08", section],
        ["weight_decay", "0", "rule 1 (match: *.bias)"],
        ["execution", "loop", "rule 2 (match: blocks.1.*)"],
    ]  # fmt: skip


def test_values_are_told_at_points_of_the_run():
    told = {row[0]: row[1:] for row in rows("--why", "blocks.1.weight", "--at", "0", "--at", "100")}
    assert told["blocks.1.weight"] == ["update 0", "update 100", "given by"]
    assert told["trained"][:2] == ["no", "yes"]
    assert told["lr"][:2] == ["0", "0.0625"]
    head = {row[0]: row[1:] for row in rows("--why", "head.weight", "--at", "0", "--at", "100")}
    assert head["betas"][:2] == ["0.5, 0.95", "0.75, 0.95"]
    assert head["lr"] == ["0.125", "0.0625", "rule 4 (match: head.*), then the section scheduler"]


def test_a_parameter_of_another_optimizer_has_its_settings_from_that_rule():
    told = {row[0]: row[1:] for row in rows("--why", "embed")}
    assert told["optimizer"] == ["lion", "rule 5 (match: embed)"]
    assert told["betas"] == ["0.9, 0.99", "rule 5 (match: embed)"]
    assert told["lr"][1].startswith("rule 5 (match: embed) times 0.125 by rule 3 (")


def test_several_parameters_are_told_one_after_another_by_any_of_their_names():
    told = rows("--why", "tied.weight", "--why", "blocks.0.weight")
    assert [row[0] for row in told if "given by" in row] == ["tied.weight", "blocks.0.weight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--why", "blokcs.0.bias"],
            "the model has no parameter 'blokcs.0.bias'; it has, for example, 'blocks.0.bias'",
        ),
        (["--why", "codes"], "'codes' is in no group: it can never have a gradient"),
        (["--why", "scale"], "'scale' is in no group: torch.Muon does not take it, and it is frozen"),
        (["--why", "embed", "--json", "--at", "0"], "--why prints tables, of a parameter of a model; add --model, and"),
        (["--why", "embed", "--at", "soon"], "soon: "),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_reason(arguments, message):
    result = why(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_without_a_model_nothing_can_be_told_of_a_parameter():
    result = CliRunner().invoke(main, ["explain", "run.yaml", "--why", "embed"])
    assert result.exit_code == 2
    assert "add --model" in result.stderr


def test_a_parameter_that_the_model_froze_is_told_so(here):
    (here / "run.yaml").write_text(SPEC.replace("torch.Muon", "lion"))
    told = {row[0]: row[1:] for row in rows("--why", "scale")}
    assert told["trained"] == ["no", "the model (requires_grad=False)"]


def test_the_table_of_groups_counts_what_is_trained_and_names_other_optimizers():
    output = CliRunner().invoke(main, ["explain", "run.yaml", "--model", "why_model:Net"]).output
    assert "match: head.*\t1\t8\tbetas=(linear, 0.95), lr=0.125" in output
    assert "match: embed\t1\t4\toptimizer=lion, lr=0.0078125" in output
    assert "(frozen)\t2\t4\tnot trained" in output
