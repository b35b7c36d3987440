"""The cost of an import in a fresh process."""

import statistics
import subprocess
import sys
from typing import Any

MODULES = ("optreg", "torch")
RUNS = 5
PROGRAM = """\
import importlib, sys, time
start = time.perf_counter()
importlib.import_module(sys.argv[1])
print(time.perf_counter() - start)
"""


def measure() -> list[dict[str, Any]]:
    """Milliseconds of each import, medians of several processes after one warm-up."""
    return [
        {"module": module, "milliseconds": statistics.median([_seconds(module) for _ in range(RUNS + 1)][1:]) * 1e3}
        for module in MODULES
    ]


def _seconds(module: str) -> float:
    command = [sys.executable, "-c", PROGRAM, module]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
