"""Every command as people run it: what it prints, how it exits, what it refuses."""

import json
import subprocess
import sys

import jsonschema
import pytest
from click.testing import CliRunner

from optreg.cli import COMMANDS, main
from optreg.yaml_reader import read_file

GOOD = """\
optimizer:
  name: adamw
  lr: 1e-3
groups:
  - match: "*.bias"
    weight_decay: 0.0
scheduler:
  name: warmup_cosine
  warmup_steps: 10
  total_steps: 100
"""

MODEL = """\
import os, sys, torch

class Zoo:
    @staticmethod
    def make():
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 5))
        model[1].weight.requires_grad_(False)
        return model

def moves():
    os.chdir("/")
    return Zoo.make()

whole = Zoo.make()
broken = lambda: 1 / 0
number = lambda: 7
leaves = lambda: sys.exit(3)
lazy = lambda: torch.nn.LazyLinear(3)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a right spec, a wrong one and a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD.replace("lr:", "lrr:").replace("100", "ten"))
    (tmp_path / "my_model.py").write_text(MODEL)
    yield tmp_path
    sys.modules.pop("my_model", None)


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    assert "Usage:" in run(name, "--help").output


def test_an_unknown_command_is_a_usage_error():
    result = run("conjure")
    assert result.exit_code == 2
    assert "No such command 'conjure'" in result.output


def test_list_names_the_first_party_plugins_with_distribution_and_state():
    lines = [line.split("\t") for line in run("list").output.splitlines()]
    assert lines[0] == ["kind", "name", "distribution", "version", "state"]
    assert ["optimizer", "lion", "optreg"] in [line[:3] for line in lines]
    assert {line[4] for line in lines[1:] if line[2] == "optreg"} == {"available"}


def test_list_as_json_is_json():
    lion = next(row for row in json.loads(run("list", "--json").output) if row["name"] == "lion")
    assert (lion["kind"], lion["module"]) == ("optimizer", "optreg_plugins.lion")


def test_list_check_imports_every_plugin_and_finds_ours_in_order():
    result = run("list", "--check")
    assert result.exit_code == 0
    assert {line.split("\t")[4] for line in result.output.splitlines()[1:]} == {"ok"}


def test_show_prints_paper_equations_ranges_and_options():
    output = run("show", "Lion").output
    assert "arXiv:2302.06675" in output
    assert "theta_t = theta_{t-1}" in output
    assert "betas\t(float, float)\teach >= 0, < 1\t(0.9, 0.99)" in output
    assert "execution\t'auto' | 'loop' | 'foreach' | 'compiled'\t\tauto" in output
    assert "total_steps\tint\t>= 1\trequired" in run("show", "warmup-cosine").output


@pytest.mark.parametrize(
    ("name", "hint"), [("lyon", "did you mean 'lion'?"), ("cosin", "did you mean"), ("zzz", "lion")]
)
def test_show_of_an_unknown_name_suggests_one(name, hint):
    result = run("show", name)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no")
    assert hint in result.stderr


def test_validate_accepts_what_is_right(here):
    result = run("validate", "good.yaml")
    assert (result.exit_code, result.output) == (0, "good.yaml: ok\n")
    assert run("validate", "-q", "good.yaml").output == ""


def test_validate_prints_every_problem_with_its_place(here):
    result = run("validate", "good.yaml", "bad.yaml")
    assert result.exit_code == 1
    assert result.stdout == "good.yaml: ok\n"
    assert result.stderr.splitlines() == [
        "bad.yaml:3:3: adamw has no parameter 'lrr'; did you mean 'lr'?",
        "bad.yaml:10:16: warmup_cosine: total_steps must be a valid integer, not 'ten'",
    ]


def test_a_wrong_override_is_named(here):
    result = run("validate", "good.yaml", "--set", "optimizer.lr=-1")
    assert result.exit_code == 1
    assert result.stderr == "override 'optimizer.lr': adamw: lr must be greater than or equal to 0, not -1\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(bytes(range(256)) * 10),
        lambda path: path.write_text(GOOD, encoding="utf-16"),
    ],
    ids=["missing", "folder", "garbage", "utf16"],
)
def test_an_unreadable_spec_is_one_clear_line_and_no_traceback(here, make):
    make(here / "spec")
    result = run("validate", "spec")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("spec")
    assert len(result.stderr.splitlines()) == 1


def test_explain_prints_values_origins_and_telling_rates(here):
    output = run("explain", "good.yaml", "--set", "optimizer.lr=0.5").output
    assert "weight_decay: 0.01" in output
    assert "optimizer\tadamw\toptreg\t" in output
    rates = [line.split("\t") for line in output.splitlines()]
    assert ["0", "0", "start"] in rates
    assert ["10", "0.5", "warmup_steps"] in rates
    assert ["50", "0.314071", "middle"] in rates
    assert ["100", "0.05", "total_steps, end"] in rates
    assert ["111", "0.05", "after the end"] in rates


def test_explain_prints_the_notes(here):
    (here / "base.yaml").write_text("notes: {ema: 0.9999}\n" + GOOD)
    (here / "noted.yaml").write_text("extends: base.yaml\nnotes: {clipping: [{norm: 1.0, of: [all, groups]}]}\n")
    printed = run("explain", "noted.yaml").stdout
    assert "notes:\n  ema: 0.9999\n  clipping:\n  - norm: 1.0\n    of: [all, groups]\n" in printed


@pytest.mark.parametrize("factory", ["Zoo.make", "moves", "whole"])
def test_explain_with_a_model_prints_the_groups(here, factory):
    output = run("explain", "good.yaml", "--model", f"my_model:{factory}").output
    assert "(all others)\t1\t12\t(the defaults)" in output
    assert "match: *.bias\t2\t9\tweight_decay=0.0" in output
    assert "(frozen)\t1\t20\tnot trained" in output


def test_explain_counts_frozen_parameters_apart_and_keeps_the_groups_that_have_no_others(here):
    (here / "my_model.py").write_text(MODEL + "half = Zoo.make()\nhalf[1].requires_grad_(False)\n")
    (here / "good.yaml").write_text(GOOD.replace('"*.bias"', '"1.*"'))
    output = run("explain", "good.yaml", "--model", "my_model:half").output
    assert output.splitlines()[-3:] == [
        "(all others)\t2\t16\t(the defaults)",
        "match: 1.*\t0\t0\tweight_decay=0.0",
        "(frozen)\t2\t25\tnot trained",
    ]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("my_model", "is not of the form package.module:factory"),
        ("no_model:make", "ModuleNotFoundError"),
        ("my_model:nothing", "AttributeError"),
        ("my_model:broken", "ZeroDivisionError"),
        ("my_model:number", "returned int, not a torch.nn.Module"),
        ("my_model:leaves", "failed: SystemExit: 3"),
        ("my_model:lazy", "parameters have no shape yet: weight, bias"),
    ],
)
def test_explain_says_what_is_wrong_with_the_model_before_it_prints_anything(here, place, message):
    result = run("explain", "good.yaml", "--model", place)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_draws_several_specs(here, suffix):
    result = run("plot", "good.yaml", "good.yaml", "-o", f"lr.{suffix}")
    assert result.exit_code == 0, result.output
    begins = {"png": b"\x89PNG", "svg": b"<?xml"}[suffix]
    assert (here / f"lr.{suffix}").read_bytes().startswith(begins)


@pytest.mark.parametrize("output", ["lr.gif", "no/such/folder/lr.png"])
def test_plot_refuses_what_it_cannot_write(here, output):
    result = run("plot", "good.yaml", "--steps", "50", "-o", output)
    assert result.exit_code != 0
    assert output in result.stderr
    assert "Traceback" not in result.stderr


def test_explain_tells_what_is_known_of_a_spec_that_leaves_facts_to_the_trainer(here):
    text = (
        "optimizer: {name: lion}\nscheduler: {name: cosine, warmup_steps: 1 epoch}\nhorizon: trainer\nepoch: trainer\n"
    )
    (here / "open.yaml").write_text(text)
    result = run("explain", "open.yaml")
    assert result.exit_code == 0
    assert "warmup_steps: 1 epoch" in result.stdout
    assert result.stdout.splitlines()[-2:] == [
        "the epoch is left to the trainer; to see the run, add for example --set 'epoch=312 steps'",
        "the horizon is left to the trainer; to see the run, add for example --set horizon=10_000",
    ]
    given = run("explain", "open.yaml", "--set", "epoch=312 steps", "--set", "horizon=10_000")
    assert "\n312\t" in given.stdout


@pytest.fixture(scope="module")
def schema():
    """What `optreg schema` prints."""
    return json.loads(run("schema").stdout)


@pytest.fixture(scope="module")
def validator(schema):
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_one_and_accepts_right_specs_alone(here, schema, validator):
    jsonschema.Draft202012Validator.check_schema(schema)

    def data(text):
        (here / "spec.yaml").write_text(text)
        return json.loads(json.dumps(read_file("spec.yaml").data))

    assert validator.is_valid(data(GOOD))
    for wrong in (
        GOOD.replace("lr:", "rl:"),
        GOOD.replace("1e-3", "-1"),
        GOOD.replace("1e-3", "'1e-3'"),
        GOOD.replace("adamw", "adamwww"),
        GOOD.replace("total_steps: 100", "total_steps: 0"),
        GOOD.replace("  total_steps: 100\n", ""),
        GOOD.replace("match", "mach"),
        GOOD.replace("weight_decay: 0.0", "weight_decay: -1"),
        GOOD.replace("scheduler:", "shed:"),
    ):
        assert wrong != GOOD
        assert not validator.is_valid(data(wrong)), wrong


def test_the_schema_lets_a_spec_lack_what_it_inherits(validator):
    inherited = {"optimizer": {"lr": 1e-3}, "scheduler": {"name": "cosine"}, "notes": [{"any": ["thing", None]}, 3]}
    assert validator.is_valid({"extends": "base.yaml", **inherited})
    assert not validator.is_valid(inherited)
    assert not validator.is_valid({"extends": ["base.yaml"], **inherited})
    assert not validator.is_valid({"extends": "base.yaml", "optimizer": {"name": "adamw", "rl": 1e-3}})
    assert not validator.is_valid({"optimizer": {"name": "adamw"}, "scheduler": {"name": "cosine"}}), "total_steps"
    assert not validator.is_valid({"scheduler": {"name": "constant"}})


SPELLINGS = [
    ("torch.SGD", "linear-warmup"),
    ("Torch.sgd", "Linear Warmup"),
    (" torch.sgd ", "LINEAR__WARMUP"),
    ("optreg/torch.SGD", "optreg/linear_warmup"),
    ("OptReg/TORCH.SGD", "optreg/ linear-warmup"),
]


@pytest.mark.parametrize(("optimizer", "scheduler"), SPELLINGS)
def test_the_schema_knows_every_spelling_that_validate_takes_and_its_parameters(here, validator, optimizer, scheduler):
    data = {
        "optimizer": {"name": optimizer, "momentum": 0.5},
        "groups": [{"ndim": 1, "momentum": 0.9}],
        "scheduler": {"name": scheduler, "warmup_steps": 1e2},
    }
    (here / "spec.yaml").write_text(json.dumps(data))
    assert run("validate", "spec.yaml").exit_code == 0
    validator.validate(data)
    for section in (data["optimizer"], data["groups"][0], data["scheduler"]):
        section["mommentum"] = 0.5
        assert not validator.is_valid(data)
        del section["mommentum"]


@pytest.mark.parametrize("name", ["torchSGD", "xtorch.SGD", "torch.SGDx", "torch/SGD", "optre/torch.SGD", "torch.S_GD"])
def test_the_schema_refuses_a_spelling_that_validate_refuses(here, validator, name):
    data = {"optimizer": {"name": name}, "scheduler": {"name": "constant"}}
    (here / "spec.yaml").write_text(json.dumps(data))
    assert run("validate", "spec.yaml").exit_code == 1
    assert not validator.is_valid(data)


def test_the_schema_offers_names_as_their_authors_spell_them(schema):
    offered = schema["properties"]["optimizer"]["properties"]["name"]["anyOf"][0]["enum"]
    assert {"lion", "optreg/lion", "torch.SGD", "optreg/torch.SGD"} <= {*offered}
    assert "torch.sgd" not in offered


def test_the_schema_accepts_every_spec_of_this_project(request, validator):
    specs = sorted((request.config.rootpath / "specs").glob("**/*.yaml"))
    assert specs
    for spec in specs:
        validator.validate(json.loads(json.dumps(read_file(spec).data)))
        assert run("validate", str(spec)).exit_code == 0


ONE_AFTER_ANOTHER = """\
import sys
from optreg.cli import main
for command in ("list", "show adamw", "validate good.yaml", "explain good.yaml", "plot good.yaml -o lr.png", "schema"):
    main(command.split(), standalone_mode=False)
    unwanted = {"torch"} | ({"numpy", "pydantic", "yaml", "optreg_plugins"} if command == "list" else set())
    print(command, *(unwanted & {*sys.modules}), file=sys.stderr)
"""


def test_a_command_imports_no_more_than_it_needs(here):
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stderr.splitlines() == [
        "list", "show adamw", "validate good.yaml", "explain good.yaml", "plot good.yaml -o lr.png", "schema",
    ]  # fmt: skip


def test_on_a_terminal_the_list_is_a_drawn_table(terminal):
    shown = terminal("list")
    assert "\t" not in shown
    assert "──" in shown
    assert "warmup_cosine" in shown
