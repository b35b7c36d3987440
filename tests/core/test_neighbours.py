"""Where registries made with `catalogue` surprise: the rows of README.md's table, each with real distributions."""

import os
import subprocess
import sys

import pytest

COMPONENT = """\
from dataclasses import dataclass
from optreg import OptimizerPlugin, hookimpl

@dataclass
class Reference:
    '''Of {distribution}.'''
    lr: float = 0.1

@hookimpl
def optreg_optimizers():
    return [OptimizerPlugin(name="{name}", implementation="torch.optim:SGD", reference=Reference)]
"""
BROKEN = "import os\nprint('imported')\nimport no_such_module\n"


@pytest.fixture
def installed(elsewhere, tmp_path):
    """Installs distributions, in this order of the path, and runs commands beside them."""
    folders = []

    def install(distribution, name, code=None):
        folder = tmp_path / f"{len(folders)}"
        folder.mkdir()
        elsewhere.folder = folder
        elsewhere.install(distribution, code or COMPONENT.format(distribution=distribution, name=name), names=[name])
        folders.append(str(folder))

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "optreg", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        )  # fmt: skip

    install.run = run
    return install


def spec_of(tmp_path, name):
    (tmp_path / "run.yaml").write_text(f"optimizer: {{name: {name}}}\nscheduler: {{name: constant}}\n")
    return "run.yaml"


def test_a_plugin_named_like_a_built_in_does_not_replace_it(installed, tmp_path):
    installed("rival", "adamw")
    result = installed.run("validate", spec_of(tmp_path, "adamw"))
    assert result.returncode == 1
    assert "offered by 2 distributions; write one of 'optreg/adamw', 'rival/adamw'" in result.stderr
    assert installed.run("validate", spec_of(tmp_path, "optreg/adamw")).returncode == 0
    assert "Of rival." in installed.run("show", "rival/adamw").stdout


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_of_two_plugins_of_one_name_none_wins_whatever_the_order(installed, tmp_path, order):
    for distribution in order:
        installed(distribution, "shared")
    result = installed.run("validate", spec_of(tmp_path, "shared"))
    assert result.returncode == 1
    assert "offered by 2 distributions; write one of 'first/shared', 'second/shared'" in result.stderr
    assert "Of first." in installed.run("show", "first/shared").stdout


def test_a_misspelt_name_is_told_as_such_and_imports_nobody(installed, tmp_path):
    installed("broken-plugin", "other", BROKEN)
    result = installed.run("validate", spec_of(tmp_path, "lyon"))
    assert result.returncode == 1
    assert "there is no optimizer 'lyon'; did you mean 'lion'?" in result.stderr
    assert "imported" not in result.stdout


def test_one_broken_plugin_spoils_no_list(installed):
    installed("broken-plugin", "other", BROKEN)
    result = installed.run("list")
    assert result.returncode == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert {"other", "adamw"} <= {row[1] for row in rows}
    result = installed.run("list", "--check")
    assert result.returncode == 1
    states = {tuple(line.split("\t")[1:3]): line.split("\t")[-1] for line in result.stdout.splitlines() if "\t" in line}
    assert states["other", "broken-plugin"].startswith("broken: ")
    assert "no_such_module" in states["other", "broken-plugin"]
    assert {state for (_, distribution), state in states.items() if distribution == "optreg"} == {"ok"}
