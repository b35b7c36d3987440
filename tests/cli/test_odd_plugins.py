"""Commands in front of third-party plugins that are unlike ours, damaged, or merely unlucky."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from optreg import load_spec
from optreg.cli import main

POINT = "@dataclass\nclass Point:\n    x: float = 0.0\n"

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


@pytest.mark.parametrize("command", [["explain", "run.yaml"], ["plot", "run.yaml", "-o", "lr.png"]])
def test_a_schedule_that_cannot_be_built_is_one_clear_line(schedule, here, command):
    schedule(implementation="builtins:ValueError")  # refuses keywords
    result = run(*command)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(
        "error: scheduler 'odd' of distribution 'odd-schedule' 1.0, module 'odd_schedule' cannot be built: TypeError"
    )
    assert not (here / "lr.png").exists()


def test_explain_tells_at_which_steps_a_schedule_has_no_rate(schedule, here):
    schedule(body="return 1 / (100 - step)")
    lines = run("explain", "run.yaml").output.splitlines()
    assert "50\t0.01\tmiddle" in lines
    assert "100\tnone: ZeroDivisionError: division by zero\ttotal_steps, end" in lines


def test_plot_draws_as_far_as_a_schedule_goes(schedule, here):
    schedule(body="return [1.0] * 50 and [1.0] * (50 - step) and 1 / (50 - step) ** 0.5 * 1.0 or 1 / 0")
    result = run("plot", "run.yaml", "-o", "lr.svg")
    assert result.exit_code == 0, result.output
    assert "<svg" in Path("lr.svg").read_text()


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_plot_of_a_schedule_that_fails_at_once_is_one_clear_line(schedule, here, suffix):
    schedule(body="return 1 / 0")
    result = run("plot", "run.yaml", "-o", f"lr.{suffix}")
    assert result.exit_code == 1
    assert "module 'odd_schedule' fails at step 0: ZeroDivisionError" in result.stderr


def test_diff_tells_where_only_one_schedule_has_a_value(schedule, here):
    schedule(body="return 1 / (3 - step) if self.total_steps == 100 else 1 / (3.5 - step)")
    Path("other.yaml").write_text(SPEC.replace("name: odd", "name: odd, total_steps: 99"))
    result = run("diff", "run.yaml", "other.yaml")
    assert result.exit_code == 1
    assert "learning rate\tdefault\t3\tnone\t1\tthe largest difference" in result.stdout


def test_a_torch_scheduler_is_stepped_no_further_than_it_goes(schedule, here):
    fields = "max_lr: float = 0.1\ntotal_steps: PositiveSteps = 20"
    schedule(fields=fields, implementation="torch.optim.lr_scheduler:OneCycleLR")
    lines = run("explain", "run.yaml").output.splitlines()
    assert "0\t0.004\tstart" in lines
    assert "10\t0.0716943\tmiddle" in lines
    assert next(line for line in lines if line.startswith("23\t")).startswith("23\tnone: ValueError: Tried to step 21")
    assert run("plot", "run.yaml", "-o", "lr.png").exit_code == 0


def test_every_step_of_a_tuple_is_telling(schedule, here):
    fields = "decay_steps: tuple[Steps, ...] = (30, 60)\nscale: float = 1.0\nuse_steps: bool = True"
    schedule(fields=fields)
    lines = run("explain", "run.yaml").output.splitlines()
    assert "30\t0.25\tdecay_steps" in lines
    assert "60\t0.25\tdecay_steps" in lines
    assert "180\t0.25\tend" in lines
    assert run("plot", "run.yaml", "-o", "lr.png").exit_code == 0


def test_an_optimizer_without_lr_shows_multipliers(optimizer, here):
    optimizer(fields="momentum: float = 0.0")
    (here / "run.yaml").write_text("optimizer: {name: odd}\nscheduler: {name: linear, total_steps: 10}\n")
    output = run("explain", "run.yaml").output
    assert "step\tmultiplier\twhich is" in output
    assert "5\t0.5\tmiddle" in output
    assert run("plot", "run.yaml", "-o", "lr.png").exit_code == 0


def test_what_explain_prints_is_a_spec(schedule, here):
    fields = (
        "mode: Literal['a', 'off'] = 'off'\n"
        "points: tuple[tuple[int, int], ...] = ((1, 2), (3, 4))\n"
        "nothing: None = None\n"
        "tiny: float = 1e-300\n"
        "milestones: list[int] = field(default_factory=lambda: [3, 5])"
    )
    schedule(fields=fields)
    printed = run("explain", "run.yaml").output.partition("\n\n")[0]
    (here / "printed.yaml").write_text(printed)
    assert load_spec("printed.yaml") == load_spec("run.yaml")
    assert yaml.safe_load(printed)["scheduler"]["milestones"] == [3, 5]
    (here / "run.yaml").write_text(SPEC.replace("odd", "odd, milestones: [1, 2, 8]"))
    assert load_spec("run.yaml").scheduler.settings["milestones"] == (1, 2, 8)


def test_show_of_a_default_that_no_spec_can_state_names_the_field(optimizer, here):
    optimizer(fields=POINT + "origin: object = Point")
    result = run("show", "odd")
    assert result.exit_code == 1
    assert "the default of 'origin' is a type, which a spec cannot express" in result.stderr


@pytest.mark.parametrize("name", ["copy", "schema", "json", "model_config", "_private", "self_"])
def test_any_name_can_be_a_hyperparameter(optimizer, here, name):
    optimizer(fields=f"lr: NonNegative = 0.1\n{name}: NonNegative = 2.0")
    assert f"{name}\tfloat\t>= 0\t2.0" in run("show", "odd").output
    (here / "run.yaml").write_text(f"optimizer: {{name: odd, {name}: -1.0}}\nscheduler: {{name: constant}}\n")
    result = run("validate", "run.yaml")
    assert f"odd: {name} must be greater than or equal to 0, not -1.0" in result.stderr


def test_the_schema_resolves_nested_types_and_leaves_out_what_it_cannot_describe(
    optimizer, schedule, here, monkeypatch
):
    monkeypatch.setenv("OPTREG_PLUGINS", "odd-optimizer, odd-schedule, optreg/constant")
    optimizer(fields=POINT + "lr: NonNegative = 0.1\npoint: Point | None = None\nother: Point | None = None")
    schedule(fields="call: type = None")
    result = run("schema")
    assert result.exit_code == 0
    assert result.stderr.startswith("left out: ")
    assert "odd_schedule:Reference" in result.stderr
    schema = json.loads(result.stdout)
    assert "odd" not in schema["properties"]["scheduler"]["properties"]["name"]["anyOf"][0]["enum"]
    validator = jsonschema.Draft202012Validator(schema)
    spec = {"optimizer": {"name": "odd", "point": {"x": 1.0}}, "scheduler": {"name": "constant"}}
    validator.validate(spec)
    spec["optimizer"]["point"] = {"x": "far"}
    assert not validator.is_valid(spec)


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


EVIL = "\x1b]0;evil\x07\x9b31m\u202e"


@pytest.fixture
def commanding(site, optimizer, here):
    """Plugins whose every text would command a terminal."""
    optimizer(fields=f"lr: Literal['{EVIL}'] = '{EVIL}'")
    for code in (site.folder / "odd_optimizer.py",):
        code.write_text(code.read_text().replace("One sentence.", f"One {EVIL} sentence."))
    code = f"raise ValueError({EVIL!r})"
    site.install("loud", code, names=[f"{EVIL}loud"], version=f"1{EVIL}", module="loud")
    site.install("lower", code, names=["lower"])
    (site.folder / "lower-1.0.dist-info" / "METADATA").write_text(f"Name: lower{EVIL}\nVersion: {EVIL}\n")
    damaged = site.folder / f"worse{EVIL}-1.0.dist-info"
    damaged.mkdir()
    (damaged / "entry_points.txt").write_text(f"[{EVIL}]\n{EVIL}\n")
    for file, name in {"odd": "odd", "lower": "lower", "loud": f"{EVIL}loud", "none": f"no such {EVIL}"}.items():
        text = yaml.safe_dump({"optimizer": {"name": name, "lr": EVIL}, "scheduler": {"name": "constant"}})
        (here / f"{file}.yaml").write_text(text)


@pytest.mark.parametrize(
    "command",
    [
        ["list"], ["list", "--check"], ["list", "--json"], ["show", "odd"], ["show", "lower"], ["show", f"{EVIL}loud"], ["show", EVIL], ["validate", "odd.yaml", "lower.yaml", "loud.yaml", "none.yaml"],
        ["explain", "odd.yaml"], ["explain", "lower.yaml"], ["schema"], ["conform", f"{EVIL}loud"],
    ],
)  # fmt: skip
def test_nothing_that_a_plugin_says_commands_the_terminal(commanding, monkeypatch, command):
    if command[0] in ("list", "schema"):
        monkeypatch.setenv("OPTREG_BLOCK", "optreg")  # whose plugins need not be loaded
    result = run(*command)
    assert result.stdout + result.stderr
    for letter in EVIL:
        assert letter.isprintable() or letter not in result.stdout + result.stderr


def test_nothing_that_a_plugin_says_commands_a_terminal_that_draws_tables(commanding, site, terminal):
    shown = terminal("list", PYTHONPATH=str(site.folder))
    assert "loud" in shown
    assert "\x1b]0;" not in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit(0)", "cannot be imported: SystemExit: 0"),
        (
            "import optreg\n@optreg.hookimpl\ndef optreg_schedulers():\n    exit()",
            "hook 'optreg_schedulers' failed: SystemExit",
        ),
    ],
)
def test_validate_tells_of_a_plugin_that_exits(site, here, code, message):
    site.install("odd-schedule", code, group="optreg.schedulers", names=["odd"])
    result = run("validate", "run.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("run.yaml: ")
    assert message in result.stderr


def test_validate_tells_of_a_reference_that_exits(schedule, here):
    schedule(fields="total_steps: PositiveSteps = 100\ndef __post_init__(self):\n    raise SystemExit")
    result = run("validate", "run.yaml")
    assert result.exit_code == 1
    assert result.stderr == (
        "run.yaml: distribution 'odd-schedule' 1.0, module 'odd_schedule': 'odd_schedule:Reference' cannot be created "
        "from values that are in range: SystemExit\n"
    )


def test_a_schedule_that_exits_is_told_step_by_step(schedule, here):
    schedule(body="raise SystemExit('enough')")
    assert "none: SystemExit: enough" in run("explain", "run.yaml").output
