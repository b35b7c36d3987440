"""Commands in front of third-party plugins that are unlike ours, damaged, or merely unlucky."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from optreg import load_spec
from optreg.cli import main

SCHEDULE = """
    from dataclasses import dataclass, field
    from typing import Literal
    from optreg import SchedulePlugin, PositiveSteps, Steps, hookimpl

    @dataclass(frozen=True)
    class Reference:
        '''Whatever the test says.'''
{fields}

    class Implementation(Reference):
        def __call__(self, step):
            {body}

    @hookimpl
    def optreg_schedulers():
        return [SchedulePlugin(name="odd", implementation="{implementation}", reference=Reference)]
"""

OPTIMIZER = """
    from dataclasses import dataclass, field
    from optreg import OptimizerPlugin, NonNegative, hookimpl

    @dataclass
    class Point:
        x: float = 0.0

    @dataclass
    class Reference:
        '''Whatever the test says.'''
{fields}

    @hookimpl
    def optreg_optimizers():
        return [OptimizerPlugin(name="odd", implementation="torch.optim:SGD", reference=Reference)]
"""

SPEC = "optimizer: {name: lion, lr: 0.5}\nscheduler: {name: odd}\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(SPEC)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def indented(fields):
    return "\n".join(f"        {line}" for line in fields.splitlines())


def schedule(site, *, fields="total_steps: PositiveSteps = 100", body="return 0.5", implementation=None):
    code = SCHEDULE.format(
        fields=indented(fields), body=body, implementation=implementation or "odd_schedule:Implementation"
    )
    site.install("odd-schedule", code, group="optreg.schedulers", names=["odd"])


def optimizer(site, fields):
    site.install("odd-optimizer", OPTIMIZER.format(fields=indented(fields)), names=["odd"])


@pytest.mark.parametrize("command", [["explain", "run.yaml"], ["plot", "run.yaml", "-o", "lr.png"]])
def test_a_schedule_that_cannot_be_built_is_one_clear_line(site, here, command):
    schedule(site, implementation="builtins:ValueError")  # refuses keywords
    result = run(*command)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(
        "error: scheduler 'odd' of distribution 'odd-schedule' 1.0, module 'odd_schedule' cannot be built: TypeError"
    )
    assert not (here / "lr.png").exists()


def test_explain_tells_at_which_steps_a_schedule_has_no_rate(site, here):
    schedule(site, body="return 1 / (100 - step)")
    lines = run("explain", "run.yaml").output.splitlines()
    assert "50\t0.01\tmiddle" in lines
    assert "100\tnone: ZeroDivisionError: division by zero\ttotal_steps, end" in lines


def test_plot_draws_as_far_as_a_schedule_goes(site, here):
    schedule(site, body="return [1.0] * 50 and [1.0] * (50 - step) and 1 / (50 - step) ** 0.5 * 1.0 or 1 / 0")
    result = run("plot", "run.yaml", "-o", "lr.svg")
    assert result.exit_code == 0, result.output
    assert "<svg" in Path("lr.svg").read_text()


def test_plot_of_a_schedule_that_fails_at_once_is_one_clear_line(site, here):
    schedule(site, body="return 1 / 0")
    result = run("plot", "run.yaml", "-o", "lr.svg")
    assert result.exit_code == 1
    assert "module 'odd_schedule' fails at step 0: ZeroDivisionError" in result.stderr


def test_a_torch_scheduler_is_stepped_no_further_than_it_goes(site, here):
    fields = "max_lr: float = 0.1\ntotal_steps: PositiveSteps = 20"
    schedule(site, fields=fields, implementation="torch.optim.lr_scheduler:OneCycleLR")
    lines = run("explain", "run.yaml").output.splitlines()
    assert "0\t0.004\tstart" in lines
    assert "10\t0.0716943\tmiddle" in lines
    assert next(line for line in lines if line.startswith("23\t")).startswith("23\tnone: ValueError: Tried to step 21")
    assert run("plot", "run.yaml", "-o", "lr.png").exit_code == 0


def test_every_step_of_a_tuple_is_telling(site, here):
    fields = "decay_steps: tuple[Steps, ...] = (30, 60)\nscale: float = 1.0\nuse_steps: bool = True"
    schedule(site, fields=fields)
    lines = run("explain", "run.yaml").output.splitlines()
    assert "30\t0.25\tdecay_steps" in lines
    assert "60\t0.25\tdecay_steps" in lines
    assert "180\t0.25\tend" in lines
    assert run("plot", "run.yaml", "-o", "lr.png").exit_code == 0


def test_an_optimizer_without_lr_shows_multipliers(site, here):
    optimizer(site, "momentum: float = 0.0")
    (here / "run.yaml").write_text("optimizer: {name: odd}\nscheduler: {name: linear, total_steps: 10}\n")
    output = run("explain", "run.yaml").output
    assert "step\tmultiplier\twhich is" in output
    assert "5\t0.5\tmiddle" in output
    assert run("plot", "run.yaml", "-o", "lr.png").exit_code == 0


def test_what_explain_prints_is_a_spec(site, here):
    fields = (
        "mode: Literal['a', 'off'] = 'off'\n"
        "points: tuple[tuple[int, int], ...] = ((1, 2), (3, 4))\n"
        "nothing: None = None\n"
        "tiny: float = 1e-300\n"
        "milestones: list[int] = field(default_factory=lambda: [3, 5])"
    )
    schedule(site, fields=fields)
    printed = run("explain", "run.yaml").output.partition("\n\n")[0]
    (here / "printed.yaml").write_text(printed)
    assert load_spec("printed.yaml") == load_spec("run.yaml")
    assert yaml.safe_load(printed)["scheduler"]["milestones"] == [3, 5]
    (here / "run.yaml").write_text(SPEC.replace("odd", "odd, milestones: [1, 2, 8]"))
    assert load_spec("run.yaml").scheduler.settings["milestones"] == (1, 2, 8)


def test_show_of_a_default_that_no_spec_can_state_names_the_field(site, here):
    optimizer(site, "origin: object = Point")
    result = run("show", "odd")
    assert result.exit_code == 1
    assert "the default of 'origin' is a type, which a spec cannot express" in result.stderr


@pytest.mark.parametrize("name", ["copy", "schema", "json", "model_config", "_private", "self_"])
def test_any_name_can_be_a_hyperparameter(site, here, name):
    optimizer(site, f"lr: NonNegative = 0.1\n{name}: NonNegative = 2.0")
    assert f"{name}\tfloat\t>= 0\t2.0" in run("show", "odd").output
    (here / "run.yaml").write_text(f"optimizer: {{name: odd, {name}: -1.0}}\nscheduler: {{name: constant}}\n")
    result = run("validate", "run.yaml")
    assert f"odd: {name} must be greater than or equal to 0, not -1.0" in result.stderr


def test_the_schema_resolves_nested_types_and_leaves_out_what_it_cannot_describe(site, here):
    optimizer(site, "lr: NonNegative = 0.1\npoint: Point | None = None\nother: Point | None = None")
    schedule(site, fields="call: type = None")
    result = run("schema")
    assert result.exit_code == 0
    assert result.stderr.startswith("left out: ")
    assert "odd_schedule:Reference" in result.stderr
    schema = json.loads(result.stdout)
    assert "odd" not in schema["properties"]["scheduler"]["properties"]["name"]["enum"]
    validator = jsonschema.Draft202012Validator(schema)
    spec = {"optimizer": {"name": "odd", "point": {"x": 1.0}}, "scheduler": {"name": "constant"}}
    validator.validate(spec)
    spec["optimizer"]["point"] = {"x": "far"}
    assert not validator.is_valid(spec)


def test_list_check_finds_an_implementation_that_is_not_there(site, here):
    schedule(site, implementation="odd_schedule:Implementatoin")
    result = run("list", "--check")
    assert result.exit_code == 1
    row = next(line for line in result.output.splitlines() if line.startswith("scheduler\todd\t"))
    assert "broken: " in row
    assert "'odd_schedule:Implementatoin', which cannot be imported: AttributeError" in row


def test_validate_says_which_file_names_a_broken_plugin(site, here):
    site.install("odd-schedule", "1 / 0", group="optreg.schedulers", names=["odd"])
    result = run("validate", "run.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("run.yaml: scheduler 'odd' is broken: distribution 'odd-schedule' 1.0")
    assert "ZeroDivisionError" in result.stderr


def test_a_legend_tells_files_of_equal_name_apart(here):
    text = "optimizer: {name: lion}\nscheduler: {name: linear, total_steps: 10}\n"
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "run.yaml").write_text(text)
    Path("_$x$.yaml").write_text(text)
    result = run("plot", "a/run.yaml", "b/run.yaml", "_$x$.yaml", "-o", "lr.SVG")
    assert result.exit_code == 0, result.output
    drawn = Path("lr.SVG").read_text()
    for label in ("lion, linear (a/run.yaml)", "lion, linear (b/run.yaml)", r"lion, linear (_\$x\$)"):
        assert f"<!-- {label} -->" in drawn or f"<!-- {label.replace(chr(92), '')} -->" in drawn, label


MODELS = """
import os, sys, torch

class Zoo:
    @staticmethod
    def make():
        return torch.nn.Linear(2, 3)

def leaves():
    sys.exit(3)

def lazy():
    return torch.nn.LazyLinear(3)

def moves():
    os.chdir("/")
    return Zoo.make()
"""


@pytest.fixture
def models(here, monkeypatch):
    (here / "odd_models.py").write_text(MODELS)
    (here / "run.yaml").write_text("optimizer: {name: lion}\nscheduler: {name: linear, total_steps: 10}\n")
    import sys

    yield here
    sys.modules.pop("odd_models", None)


@pytest.mark.parametrize("factory", ["Zoo.make", "moves"])
def test_a_model_may_come_from_an_attribute_or_a_factory_that_changes_folders(models, factory):
    result = run("explain", "run.yaml", "--model", f"odd_models:{factory}")
    assert result.exit_code == 0, result.output
    assert "(all others)\t2\t9\t(the defaults)" in result.output


@pytest.mark.parametrize(
    ("factory", "message"),
    [("leaves", "failed: SystemExit: 3"), ("lazy", "parameters have no shape yet: weight, bias")],
)
def test_a_model_that_cannot_be_had_is_told_before_anything_is_printed(models, factory, message):
    result = run("explain", "run.yaml", "--model", f"odd_models:{factory}")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
