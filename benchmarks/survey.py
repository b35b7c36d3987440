"""Has `optreg conform` judge every public optimizer class of some installed libraries alone, and counts the verdicts.

    python benchmarks/survey.py timm.optim pytorch_optimizer:Lion --json out/survey.json

Each argument is a module, or one class of it. A class gets a verdict if the command says that it passed or has
findings. It could not be judged if the command says why. Anything else is a crash of the command.
"""

import argparse
import importlib
import inspect
import json
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

BATCH = 10
"""How many classes one command judges, since a new one takes some seconds to begin."""

REPORTED = ("subjects", "verdicts", "findings")
"""What a report lists, each with the name of the class."""


def classes(place: str) -> list[str]:
    """The public optimizer classes of a module, or the one that is named."""
    module, _, name = place.partition(":")
    if name:
        return [place]
    found: dict[type, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        public = {name: value for name, value in vars(importlib.import_module(module)).items() if name[0] != "_"}
    for name, value in public.items():
        own = inspect.isclass(value) and value.__module__.partition(".")[0] == module.partition(".")[0]
        if own and issubclass(value, Optimizer):
            found.setdefault(value, f"{module}:{name}")
    return [*found.values()]


def judged(places: Sequence[str], *options: str) -> list[dict[str, Any]]:
    """What came of each of some classes."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "optreg", "conform", *places, "--json", str(report), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return [_row(place, found, ended.stderr) for place in places]


def _row(place: str, found: dict[str, Any], told: str) -> dict[str, Any]:
    """What a report says of a class; `told` is what the command printed as errors."""
    mine = {name: [each for each in found.get(name, ()) if place in each.values()] for name in REPORTED}
    refusal = found.get("refused", {}).get(place)
    outcome = "could not be judged" if refusal else "verdict" if mine["verdicts"] else "crash"
    return {
        "class": place,
        "outcome": outcome,
        "reason": None if outcome == "verdict" else refusal or told,
        "notes": [note for subject in mine["subjects"] for note in subject["notes"]],
        "statuses": Counter(verdict["status"] for verdict in mine["verdicts"]),
        "findings": {cause["check"]: cause["finding"]["reason"] for cause in mine["findings"]},
    }


def _line(row: dict[str, Any]) -> str:
    found = row["reason"] or f"{len(row['findings'])} findings: {', '.join(row['findings'])}"
    return f"{row['outcome']}\t{row['class']}\t{found}".replace("\n", " ")[:300]


def main() -> None:
    """Judge the classes that the arguments name, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog="Other options are the command's.")
    parser.add_argument("places", nargs="+", metavar="MODULE[:CLASS]")
    parser.add_argument("--json", type=Path)
    options, others = parser.parse_known_args()
    rows: list[dict[str, Any]] = []
    places = [*chain.from_iterable(map(classes, options.places))]
    for begin in range(0, len(places), BATCH):
        batch = places[begin : begin + BATCH]
        rows += judged(batch, *others)
        print(*map(_line, rows[-len(batch) :]), sep="\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(*(f"{outcome}: {count}" for outcome, count in Counter(row["outcome"] for row in rows).items()), sep="; ")


if __name__ == "__main__":
    main()
