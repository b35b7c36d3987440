"""Where registries made with `catalogue` surprise: the rows of README.md's table, each with real distributions."""

import pytest
from click.testing import CliRunner

from optreg.cli import main

BROKEN = "print('imported')\nimport no_such_module\n"


@pytest.fixture
def installed(site, tmp_path, monkeypatch):
    """Installs distributions, each in a folder of its own; the last is the first on the path."""
    monkeypatch.chdir(tmp_path)

    def install(distribution, name, before=""):
        folder = type(site)(site.folder / distribution)
        folder.offer(distribution, name, before=before, sentence=f"Of {distribution}.")
        monkeypatch.syspath_prepend(str(folder.folder))

    return install


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def validate(tmp_path, name):
    (tmp_path / "run.yaml").write_text(f"optimizer: {{name: {name}}}\nscheduler: {{name: constant}}\n")
    return run("validate", "run.yaml")


def test_a_plugin_named_like_a_built_in_does_not_replace_it(installed, tmp_path):
    installed("rival", "adamw")
    result = validate(tmp_path, "adamw")
    assert result.exit_code == 1
    assert "offered by 2 distributions; write one of 'optreg/adamw', 'rival/adamw'" in result.stderr
    assert validate(tmp_path, "optreg/adamw").exit_code == 0
    assert "Of rival." in run("show", "rival/adamw").stdout


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_of_two_plugins_of_one_name_none_wins_whatever_the_order(installed, tmp_path, order):
    for distribution in order:
        installed(distribution, "shared")
    result = validate(tmp_path, "shared")
    assert result.exit_code == 1
    assert "offered by 2 distributions; write one of 'first/shared', 'second/shared'" in result.stderr
    assert "Of first." in run("show", "first/shared").stdout


def test_a_misspelt_name_is_told_as_such_and_imports_nobody(installed, tmp_path):
    installed("broken-plugin", "other", BROKEN)
    result = validate(tmp_path, "lyon")
    assert result.exit_code == 1
    assert "there is no optimizer 'lyon'; did you mean 'lion'?" in result.stderr
    assert "imported" not in result.output
    assert "imported" in validate(tmp_path, "other").output


def test_one_broken_plugin_spoils_no_list(installed):
    installed("broken-plugin", "other", BROKEN)
    result = run("list")
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert {"other", "adamw"} <= {row[1] for row in rows}
    result = run("list", "--check")
    assert result.exit_code == 1
    states = {tuple(line.split("\t")[1:3]): line.split("\t")[-1] for line in result.stdout.splitlines() if "\t" in line}
    assert states["other", "broken-plugin"].startswith("broken: ")
    assert "no_such_module" in states["other", "broken-plugin"]
    assert {state for (_, distribution), state in states.items() if distribution == "optreg"} == {"ok"}
