"""Commands where Python drops docstrings and assertions (`-OO`): they work, or say what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = "optimizer: {name: lion}\nscheduler: {name: linear, total_steps: 10}\n"


@pytest.fixture(params=["option", "variable"])
def run(request, tmp_path):
    """Runs a command both ways in which people ask for it."""
    (tmp_path / "run.yaml").write_text(SPEC)
    option, variable = (["-OO"], {}) if request.param == "option" else ([], {"PYTHONOPTIMIZE": "2"})

    def command(*arguments):
        return subprocess.run(
            [sys.executable, *option, "-m", "optreg", *arguments],
            capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, **variable},
        ).stdout  # fmt: skip

    return command


NOTE = "(no description: Python runs with -OO, which drops docstrings)"


def test_what_needs_no_docstring_works(run, tmp_path):
    assert "lion" in run("list", "--check")
    assert run("validate", "run.yaml") == "run.yaml: ok\n"
    assert "end" in run("explain", "run.yaml")
    assert run("plot", "run.yaml", "-o", "lr.svg") == "lr.svg\n"
    assert (tmp_path / "lr.svg").stat().st_size


def test_what_shows_docstrings_says_why_there_are_none(run):
    shown = run("show", "lion")
    assert NOTE in shown
    assert "Lion(" not in shown, "what dataclasses put in place of a docstring"
    assert "betas\t(float, float)" in shown
    assert NOTE in " ".join(run("show", "--help").split())
    schema = json.dumps(json.loads(run("schema")))  # made in processes that may have docstrings
    assert NOTE in schema or "Step by the sign of an interpolation" in schema


def test_checks_are_judged_with_their_claims(run):
    claims = [line.split("\t")[3] for line in run("conform", "--list").splitlines()]
    assert all(claims)
    row = run("conform", "lion", "-k", "lion-M02 or lion-S01").splitlines()[-1].split("\t")
    assert row[2:5] == ["2", "0", "0"]


def test_pytest_runs_the_checks(tmp_path):
    test = Path(tmp_path / "test_it.py")
    test.write_text(
        "from optreg.conformance import parametrize_with_checks\n"
        "@parametrize_with_checks('lion')\ndef test_it(check): check()\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:cov", "-k", "M02"]
    told = subprocess.run(
        [sys.executable, "-OO", "-m", "pytest", *options, str(test)], capture_output=True, text=True, check=True,
        cwd=tmp_path,
    ).stdout  # fmt: skip
    assert "1 passed" in told
