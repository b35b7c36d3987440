"""Commands where Python drops docstrings and assertions (`-OO`): they work, or say what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_cover

OPTREG = [sys.executable, "-m", "optreg"]
NOTE = "(no description: Python runs with -OO, which drops docstrings)"


def run(*command, folder, optimize="2"):
    """What a command prints with only a few plugins; by default in processes all of which run with -OO."""
    environ = {**os.environ, "PYTHONOPTIMIZE": optimize, "OPTREG_PLUGINS": "optreg/lion, optreg/linear"}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environ).stdout


@pytest.mark.parametrize(
    ("command", "optimize"),
    [(OPTREG, "2"), ([sys.executable, "-OO", "-m", "optreg"], ""), ([str(Path(sys.executable).with_name("optreg"))], "2")],
    ids=["variable", "option", "console script"],
)  # fmt: skip
def test_show_says_why_there_are_no_descriptions_and_the_schema_has_them(tmp_path, command, optimize):
    shown = run(*command, "show", "lion", folder=tmp_path, optimize=optimize)
    assert NOTE in shown
    assert "Lion(" not in shown, "what dataclasses put in place of a docstring"
    assert "betas\t(float, float)" in shown
    schema = run(*command, "schema", folder=tmp_path, optimize=optimize)
    assert "Step by the sign of an interpolation" in schema
    assert NOTE not in schema


IN_ONE_PROCESS = """\
from optreg.cli import main
for command in ("validate", "explain", "plot -o lr.svg"):
    print(main([*command.split(), "run.yaml"], standalone_mode=False))
print(main(["list", "--check"], standalone_mode=False))
main(["show", "--help"], standalone_mode=False)
"""


def test_all_else_works(tmp_path):
    (tmp_path / "run.yaml").write_text("optimizer: {name: lion}\nscheduler: {name: linear, total_steps: 10}\n")
    lines = run(sys.executable, "-c", IN_ONE_PROCESS, folder=tmp_path).splitlines()
    assert lines[:2] == ["run.yaml: ok", "0"]
    assert "10\t0\ttotal_steps, end" in lines
    assert "lr.svg" in lines
    assert (tmp_path / "lr.svg").stat().st_size
    assert "optimizer\tlion\toptreg\t" in "\n".join(lines)
    assert NOTE in " ".join(" ".join(lines).split())


def test_checks_are_judged_with_their_claims(tmp_path):
    told = run(
        *OPTREG, "conform", "-n", "1", "lion", "-k", "lion-M02 or lion-S01", "--html", "page.html", folder=tmp_path
    )
    assert told.splitlines()[-1].split("\t")[2:5] == ["2", "0", "0"]
    claims = json.loads((tmp_path / "page.html").read_text().partition('id="claims">')[2].partition("</script>")[0])
    assert claims.keys() == {"M02", "S01"}
    assert all(claims.values())


def test_pytest_runs_the_checks(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from optreg.conformance import parametrize_with_checks\n"
        "@parametrize_with_checks('lion')\ndef test_it(check): check()\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:cov", "-k", "M02"]
    assert "1 passed" in run(sys.executable, "-m", "pytest", *options, "test_it.py", folder=tmp_path)
