"""Judges every public optimizer class of some installed libraries alone, and counts what gets a verdict.

    python benchmarks/survey.py timm.optim pytorch_optimizer:Lion --json out/survey.json

Each argument is a module, or one class of it. A class gets a verdict if its checks ran; it could not be judged if the
suite says why; anything else is a crash of the suite.
"""

import argparse
import importlib
import inspect
import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from optreg.conformance import CannotBeJudged, Target, Tier
from optreg.conformance.catalogue import of_tier
from optreg.conformance.running.pool import Pool

LIMIT = 20.0
"""Seconds that a check may take."""


def classes(place):
    """The public optimizer classes of a module, or the one that is named."""
    module, _, name = place.partition(":")
    if name:
        return [place]
    found = {}
    for name, value in vars(importlib.import_module(module)).items():
        public = not name.startswith("_") and inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
        if public and value.__module__.partition(".")[0] == module.partition(".")[0]:
            found.setdefault(value, f"{module}:{name}")
    return [*found.values()]


def judged(pool, place):
    """What came of a class: a row for the report."""
    began, target = time.monotonic(), Target(place)
    try:
        described = pool.describe(target, limit=LIMIT, ahead=True)
        target = replace(target, found=described["found"])
        verdicts = [
            *pool.judge([(target, check) for check in of_tier(pool.checks, Tier.MUST, "optimizer")], limit=LIMIT)
        ]
    except CannotBeJudged as error:
        return {"class": place, "outcome": "could not be judged", "reason": str(error)}
    except Exception as error:
        return {"class": place, "outcome": "crash", "reason": f"{type(error).__name__}: {error}"}
    lost = [str(verdict) for verdict in verdicts if isinstance(verdict, CannotBeJudged)]
    if lost:
        return {"class": place, "outcome": "could not be judged", "reason": lost[0]}
    return {
        "class": place,
        "outcome": "verdict",
        "notes": described["notes"],
        "seconds": round(time.monotonic() - began, 1),
        "judging": round(sum(verdict.seconds for verdict in verdicts), 1),
        "statuses": Counter(verdict.status.value for verdict in verdicts),
        "unanswered": sum(verdict.unanswered for verdict in verdicts),
        "findings": {verdict.check: verdict.finding.reason for verdict in verdicts if verdict.finding},
    }


def main():
    """Judge the classes that the arguments name, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", metavar="MODULE[:CLASS]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("-n", type=int, default=1, dest="workers")
    options = parser.parse_args()
    rows = []
    with Pool(options.workers) as pool:
        for place in options.places:
            for each in classes(place):
                rows.append(judged(pool, each))
                row = rows[-1]
                found = row.get("reason") or f"{len(row['findings'])} findings: {', '.join(row['findings'])}"
                print(
                    f"{row['outcome']}\t{each}\t{row.get('seconds', '')}\t{found}".replace("\n", " ")[:300], flush=True
                )
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(*(f"{outcome}: {count}" for outcome, count in Counter(row["outcome"] for row in rows).items()), sep="; ")


if __name__ == "__main__":
    sys.exit(main())
