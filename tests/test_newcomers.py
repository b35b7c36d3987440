"""CONTRIBUTING.md is enough: each of its additions is made on a copy of the project, in the touches that it names."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[1]

THIRD_PARTY = ROOT / "tests" / "third_party" / "optreg-signsgd" / "optreg_signsgd"

FILES = {
    **{  # the example of a third party, as a plugin of the project
        f"optreg_plugins/signum/{name}": (THIRD_PARTY / source)
        .read_text()
        .replace("optreg_signsgd", "optreg_plugins.signum")
        for name, source in (("reference.py", "reference.py"), ("optimizer.py", "signum.py"))
    },
    "optreg_plugins/signum/__init__.py": '''\
"""signum: the sign of a moving average."""

from optreg import OptimizerPlugin, OptimizerTraits, PointwiseOptions, hookimpl
from optreg_plugins.signum import reference


@hookimpl
def optreg_optimizers():
    return [
        OptimizerPlugin(
            name="signum",
            implementation="optreg_plugins.signum.optimizer:Signum",
            reference=reference.Signum,
            options=PointwiseOptions,
            traits=OptimizerTraits(decay="decoupled", complex_params=True, tensor_lr=True, temporaries=1.0),
        )
    ]
''',
    "optreg_plugins/inverse_root/reference.py": '''\
"""The formula of inverse_root, in arbitrary precision."""

from dataclasses import dataclass

from optreg import PositiveSteps


@dataclass
class InverseRoot:
    """Warm up linearly, then fall with the root of the step.

    Vaswani et al. 2017, arXiv:1706.03762, section 5.3, as a multiple of its peak; W = warmup_steps:

        f(t) = min(t / W, sqrt(W / t))
    """

    warmup_steps: PositiveSteps

    def multiplier(self, t, mp):
        W = self.warmup_steps
        return mp.mpf(t) / W if t < W else mp.sqrt(mp.mpf(W) / t)
''',
    "optreg_plugins/inverse_root/schedule.py": '''\
"""inverse_root as a pure function of the step."""

import math

import optreg
from optreg_plugins.inverse_root.reference import InverseRoot as Paper


class InverseRoot(optreg.PureSchedule):
    """Up linearly, then down with the root of the step."""

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, warmup_steps: int) -> float:
        return t / warmup_steps if t < warmup_steps else math.sqrt(warmup_steps / t)
''',
    "optreg_plugins/inverse_root/__init__.py": '''\
"""inverse_root: a warm-up, then the root of the step."""

from optreg import SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.inverse_root import reference


@hookimpl
def optreg_schedulers():
    return [
        SchedulePlugin(
            name="inverse_root",
            implementation="optreg_plugins.inverse_root.schedule:InverseRoot",
            reference=reference.InverseRoot,
            traits=ScheduleTraits(end=None, peak="warmup_steps"),
        )
    ]
''',
    "optreg/cli/count.py": '''\
"""`optreg count`: how many components are installed."""

import click

from optreg import Kind, default_registry


@click.command("count")
def command() -> None:
    """How many optimizers and schedules are installed."""
    for kind in (Kind.OPTIMIZER, Kind.SCHEDULER):
        click.echo(f"{kind}s: {len(default_registry().entries(kind))}")
''',
}
"""The files that are new."""

LINES = {
    "pyproject.toml": {
        '[project.entry-points."optreg.optimizers"]\n': 'signum = "optreg_plugins.signum"\n',
        '[project.entry-points."optreg.schedulers"]\n': 'inverse_root = "optreg_plugins.inverse_root"\n',
    },
    "optreg/cli/__init__.py": {"COMMANDS = {\n": '    "count": "How many optimizers and schedules are installed.",\n'},
    "optreg/criteria.py": {
        """\
CRITERIA = {
    row.key: row
    for row in (
""": """\
        Criterion(
            "dtype",
            TEXTS,
            lambda names: lambda parameter: str(parameter.tensor.dtype).removeprefix("torch.") in names,
            "Names of dtypes; one must be the parameter's.",
        ),
"""
    },
    "docs/groups.md": {
        "| criterion | meaning |\n|---|---|\n": "| `dtype` | Names of dtypes; one must be the parameter's. |\n"
    },
    "optreg/pointwise/operations.py": {'        _unary("sin", at_once=True),\n': '        _unary("sinc"),\n'},
    "optreg/conformance/chapters/mathematics.py": {
        "": '''

@check("M99", Tier.INFO, hint="gradients that are small are taken for none")
def check_tiny_gradients_count(subject: OptimizerSubject) -> None:
    """Gradients of 1e-18 and less are followed as all others."""
    follow(subject, hostile_problem(subject, missing=False).scaled(range(STEPS), 1e-20))
'''
    },
    "tests/conformance/broken/mathematics.py": {
        "": '''

@fault("M99", "lion")
class IgnoresTinyGradients(Lion):
    """Gradients below 1e-15 are taken for none."""

    def direction(self, group, state, g):
        return super().direction(group, state, g.where(g.abs() > 1e-15, 0.0))
'''
    },
}
"""The lines that are added to files, each after another; at the end, where none is named."""

BUILD = """\
import optreg, torch
optimizer, scheduler = optreg.build("run.yaml", torch.nn.Linear(2, 2).double())
rates = []
for _ in range(5):
    rates += scheduler.get_last_lr()
    optimizer.step()
    scheduler.step()
group = optimizer.param_groups[0]
print(type(optimizer).__name__, group["momentum"], scheduler.schedule, rates)
"""

SPEC = """\
optimizer: {name: signum, lr: 1.0, momentum: 0.9}
groups: [{dtype: float64, momentum: 0.5}]
scheduler: {name: inverse_root, warmup_steps: 2}
"""

COMMANDS = ("list", "show signum", "show inverse_root", "count", "--help", "schema")

PRINT_ALL = f"""\
from optreg.cli import main
for command in {COMMANDS}:
    main(command.split(), standalone_mode=False)
    print(end="\\f")
"""

PROVE = """\
import runpy, sys
import pytest
options, proofs = ["-q", "-n", "0", "-p", "no:cacheprovider"], sys.argv[1:]
sys.argv[1:] = ["--checks"]
runpy.run_path("tests/conformance/tables.py", run_name="__main__")
pytest.main([*options, "--collect-only", "tests/conformance/test_right.py"])
sys.exit(pytest.main([*options, *proofs]))
"""

COPIED = ("optreg", "tests", "docs", "pyproject.toml")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the project in which all touches have been made, installed in front of the project itself."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    shutil.copytree(ROOT / "plugins" / "optreg_plugins", folder / "optreg_plugins")
    for name, code in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    for name, additions in LINES.items():
        text = (folder / name).read_text()
        for after, lines in additions.items():
            assert not after or text.count(after) == 1
            text = text.replace(after, after + lines) if after else text + lines
        (folder / name).write_text(text)
    install(folder)
    (folder / "run.yaml").write_text(SPEC)
    return folder


def install(folder):
    """Write the metadata that an installation would have written."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"optreg-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: optreg\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def ran(folder, *arguments):
    """What Python prints, with the copy in front."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_page_names_every_file_that_is_touched():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    places = {
        "optreg_plugins/signum/reference.py": "plugins/optreg_plugins/NAME/reference.py",
        "optreg_plugins/signum/optimizer.py": "plugins/optreg_plugins/NAME/optimizer.py",
        "optreg_plugins/signum/__init__.py": "__init__.py",
        "optreg_plugins/inverse_root/reference.py": "plugins/optreg_plugins/NAME/reference.py",
        "optreg_plugins/inverse_root/schedule.py": "plugins/optreg_plugins/NAME/schedule.py",
        "optreg_plugins/inverse_root/__init__.py": "__init__.py",
        "optreg/cli/count.py": "optreg/cli/NAME.py",
        "optreg/conformance/chapters/mathematics.py": "optreg/conformance/chapters/CHAPTER.py",
        "tests/conformance/broken/mathematics.py": "tests/conformance/broken/",
    }
    assert [name for name in (*FILES, *LINES) if f"`{places.get(name, name)}`" not in page] == []


@pytest.fixture(scope="module")
def printed(copied):
    """What each command prints, by its words; all of them run in one process."""
    return dict(zip(COMMANDS, ran(copied, "-c", PRINT_ALL).split("\f"), strict=False))


def test_a_plugin_is_listed_and_shown_beside_the_others(printed):
    for name in ("signum", "inverse_root", "adamw", "cosine"):
        assert f"\t{name}\t" in printed["list"]
    assert "arXiv:1802.04434" in printed["show signum"]
    assert "warmup_steps\tint\t>= 1\trequired" in printed["show inverse_root"]


def test_a_run_is_built_of_plugins_and_of_rules_with_a_new_criterion(copied, printed):
    rates = [0.0, 0.5, 1.0, (2 / 3) ** 0.5, 0.5**0.5]
    assert ran(copied, "-W", "error", "-c", BUILD) == f"Signum 0.5 InverseRoot(warmup_steps=2) {rates}\n"
    assert "one must be the parameter's.\"" in printed["schema"]


def test_a_command_runs_and_is_listed(printed):
    assert re.fullmatch(r"optimizers: \d+\nschedulers: \d+\n", printed["count"])
    assert "How many optimizers and schedules are installed." in printed["--help"]


def test_the_suite_judges_plugins_and_runs_a_new_check(copied):
    told = ran(
        copied, "-m", "optreg", "conform", "-n", "1", "signum", "inverse_root", "--tier", "info",
        "-k", "M02 or M03 or M99 or K04 or K05 or L01 or K14 or K15",
    )  # fmt: skip
    assert f"signum\toptreg {version('optreg')}\t5\t0\t0\t" in told
    assert f"inverse_root\toptreg {version('optreg')}\t3\t0\t0\t" in told


def test_the_projects_own_tests_prove_a_check_a_criterion_and_an_operation_and_judge_plugins(copied):
    caught = "test_a_broken_plugin_is_caught_by_the_check_that_is_meant_for_it[IgnoresTinyGradients]"
    proofs = [
        f"tests/conformance/test_broken.py::{caught}",
        "tests/conformance/test_broken.py::test_every_check_has_a_broken_plugin_that_it_is_meant_for",
        "tests/conformance/test_tables.py::test_the_page_of_checks_is_what_the_suite_has",
        "tests/core/test_criteria.py::test_the_page_tells_every_criterion",
        "tests/pointwise/test_operations.py::test_every_row_gives_what_torch_gives_in_blocks_and_lists[sinc]",
    ]
    told = ran(copied, "-c", PROVE, *proofs)
    assert f"{len(proofs)} passed" in told
    for name in ("signum", "inverse_root"):
        assert f"test_a_first_party_plugin_passes_every_check[{name}]" in told
