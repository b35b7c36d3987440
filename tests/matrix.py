"""Runs the core of the suite on other Pythons and other torches, and writes docs/compatibility.md.

Run by `make matrix`; cells may be named, `make matrix CELLS="3.12-2.13.0 3.11-2.6.0"`. Each cell (a Python, a torch) gets an
environment of its own, which is removed after the run; `pythonX.Y` has to be on PATH. What a run found is kept in out/matrix,
a file for each cell, and the page is written from all of these files.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "out" / "matrix"
PAGE = ROOT / "docs" / "compatibility.md"

CELLS = (
    ("3.11", "2.6.0"),  # the oldest of both that the project allows
    ("3.11", "2.9.1"),
    ("3.11", "2.13.0"),  # what continuous integration runs with
    ("3.11", "2.14.1"),
    ("3.12", "2.13.0"),
    ("3.13", "2.13.0"),
)

CORE = ("tests/core", "tests/pointwise", "tests/plugins", "tests/test_schedule.py")
WITHOUT = "not test_what_fails_is_what_is_expected_to"  # findings in torch's own differ between torches; judged below
"""The tests that every cell runs; then `optreg conform` judges every component."""

HEAD = """\
# What has been run where

Written by `make matrix`, which makes an environment for each pair of a Python and a torch, on the CPU. *Tests* are those
of the core, the engine, the plugins and the schedules ({core}).
*Ours* and *torch's own* are the components that `optreg conform` judges, at tier MUST: how many passed all checks, of how
many. torch's own have findings on every torch; [their tests](../tests/plugins/test_torch_optim.py) list those of the pinned
one.

| Python | torch | tests passed | failed | skipped | ours | torch's own | platform | run on |
|---|---|---|---|---|---|---|---|---|
"""


class UnavailableError(Exception):
    """A cell cannot be made here; the text says why."""


def run(*command, **options):
    """Run a command in the repository; its output as text, both streams together."""
    return subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        **options,
    )


def environment(python, torch, folder):
    """Make the cell's environment; returns its `bin`."""
    interpreter = shutil.which(f"python{python}")
    if not interpreter or run(interpreter, "-c", "").returncode:
        raise UnavailableError(f"no python{python} was found")
    shutil.rmtree(folder, ignore_errors=True)
    made = run(interpreter, "-m", "venv", folder)
    if made.returncode:
        raise UnavailableError(made.stdout.strip().splitlines()[-1])
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("torch==")]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join([*pins, f"torch=={torch}", ""]))
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "--quiet")
    installed = run(*pip, "--constraint", constraints, "--editable", ".[dev]")
    if installed.returncode:
        errors = [line for line in installed.stdout.splitlines() if line.startswith("ERROR")]
        raise UnavailableError((errors or ["pip failed"])[-1].removeprefix("ERROR: "))
    return folder / "bin"


def tested(binaries, folder):
    """Run the tests: the counts, and what failed."""
    report = folder / "tests.xml"
    arguments = ("-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider", "--junitxml", report, "-k", WITHOUT)
    ended = run(binaries / "python", "-m", "pytest", *arguments, *CORE)
    if ended.returncode not in {0, 1}:
        raise UnavailableError(f"pytest ended with {ended.returncode}: {ended.stdout.strip().splitlines()[-1]}")
    counts, failed, skipped = Counter(), {}, Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        left_out = case.find("skipped")
        counts["failed" if wrong is not None else "skipped" if left_out is not None else "passed"] += 1
        if wrong is not None:
            failed[f"{case.get('classname')}::{case.get('name')}"] = wrong.get("message")
        if left_out is not None:
            skipped[left_out.get("message")] += 1
    return {**{word: counts[word] for word in ("passed", "failed", "skipped")}, "failures": failed, "reasons": skipped}


def judged(binaries, folder):
    """Judge every component: the findings of each, by the name of the check."""
    listed = json.loads(run(binaries / "optreg", "list", "--json").stdout)
    own = [entry for entry in listed if entry["distribution"] == "optreg"]
    names = [entry["name"] for entry in own if entry["state"] == "available"]
    report = folder / "conform.json"
    ended = run(binaries / "optreg", "conform", "-n", "2", "--json", report, *names)
    if ended.returncode not in {0, 1}:
        raise UnavailableError(f"optreg conform ended with {ended.returncode}: {ended.stdout.strip().splitlines()[-1]}")
    verdicts = json.loads(report.read_text())["verdicts"]
    findings = {
        name: sorted(found["check"] for found in verdicts if found["subject"] == name and found["status"] in WRONG)
        for name in names
    }
    return {
        "findings": findings,
        "not available": {entry["name"]: entry["state"] for entry in own if entry["state"] != "available"},
    }


WRONG = {"failed", "crashed"}


def carry_out(python, torch):
    """Run one cell, and keep what was found."""
    folder = RESULTS / f"{python}-{torch}"
    found = {"python": python, "torch": torch, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    found["platform"] = f"{platform.system()} {platform.machine()}"
    try:
        binaries = environment(python, torch, folder)
        versions = "import platform, torch; print(platform.python_version(), torch.__version__)"
        found["python"], found["torch"] = run(binaries / "python", "-W", "ignore", "-c", versions).stdout.split()[-2:]
        found["tests"] = tested(binaries, folder)
        found["conform"] = judged(binaries, folder)
    except UnavailableError as error:
        found["reason"] = str(error)
    (RESULTS / f"{python}-{torch}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return found


def kept(python, torch):
    """What the last run of a cell found."""
    file = RESULTS / f"{python}-{torch}.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    return {"python": python, "torch": torch, "platform": "", "date": "", "reason": "nobody has yet"}


def page(results):
    """The text of docs/compatibility.md."""
    rows, lacking, differing = [], {}, {}
    for result in results:
        cells = [result["python"], result["torch"]]
        if "reason" in result:
            rows.append([*cells, f"not run: {result['reason']}", *[""] * 4, result["platform"], result["date"]])
            continue
        tests, findings = result["tests"], result["conform"]["findings"]
        counted = [tests[word] for word in ("passed", "failed", "skipped")]
        ours = [not found for name, found in findings.items() if not name.startswith("torch.")]
        theirs = [not found for name, found in findings.items() if name.startswith("torch.")]
        parts = [f"{sum(part)} of {len(part)}" for part in (ours, theirs)]
        rows.append([*cells, *counted, *parts, result["platform"], result["date"]])
        for name, state in result["conform"]["not available"].items():
            lacking.setdefault((name, state), []).append(f"Python {result['python']}")
        for name, found in findings.items():
            differing.setdefault(name, {})[f"{result['python']}, torch {result['torch']}"] = sorted(found)
    text = HEAD.format(core=", ".join(f"`{folder}`" for folder in CORE)) + "".join(map(line, rows))
    if lacking:
        text += "\n## Not available\n\n"
        text += "".join(f"- `{name}` ({', '.join(where)}): {state}.\n" for (name, state), where in lacking.items())
    failures = [
        f"- Python {result['python']}, torch {result['torch']}: `{name}`\n"
        for result in results
        for name in result.get("tests", {}).get("failures", ())
    ]
    if failures:
        text += "\n## Tests that failed\n\n" + "".join(failures)
    skipped = {
        (f"Python {result['python']}, torch {result['torch']}", reason): count
        for result in results
        for reason, count in result.get("tests", {}).get("reasons", {}).items()
    }
    if skipped:
        text += "\n## Tests that were skipped\n\n"
        text += "".join(f"- {cell}: {count}, since {reason}\n" for (cell, reason), count in skipped.items())
    return text + (varying(differing) if len(results) > 1 else "")


def varying(differing):
    """The components whose findings are not the same everywhere, or that are ours and have any."""
    rows = [
        (f"`{name}`", cell, ", ".join(found) or "none")
        for name, by_cell in differing.items()
        if len({*map(tuple, by_cell.values())}) > 1 or (any(by_cell.values()) and not name.startswith("torch."))
        for cell, found in by_cell.items()
    ]
    if not rows:
        return "\nEvery component has the same findings in every environment.\n"
    head = "\n## Findings that differ between environments\n\n| component | Python | failed checks |\n|---|---|---|\n"
    return head + "".join(map(line, rows))


def line(cells):
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ["-".join(cell) for cell in CELLS]
    parser.add_argument(
        "cells", nargs="*", metavar="PYTHON-TORCH", help=f"what to run; by default all: {', '.join(known)}"
    )
    names = parser.parse_args().cells or known
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name not in known:
            parser.error(f"there is no cell '{name}'; choose from: {', '.join(known)}")
        found = carry_out(*name.split("-"))
        print(
            name,
            found.get("reason") or json.dumps({**found["tests"], "failures": [*found["tests"]["failures"]]}),
            flush=True,
        )
    results = [kept(*cell) for cell in CELLS]
    PAGE.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
