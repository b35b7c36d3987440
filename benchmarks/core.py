"""What the core costs: listing, validating, building. Medians of several runs, printed beside their goals.

python benchmarks/core.py
"""

import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import optreg

RUNS = 7
SPEC = """\
optimizer:
  name: adamw
  lr: 3e-4
  betas: [0.9, 0.95]
groups:
  - match: ["*.bias", "*norm*"]
    weight_decay: 0.0
scheduler:
  name: warmup_cosine
  warmup_steps: 2000
  total_steps: 100_000
"""


def median_seconds(work: Callable[[], object]) -> float:
    """The median over `RUNS` runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def process(*arguments: str, path: Path) -> Callable[[], object]:
    """Running the interpreter on `arguments`, with `path` among its packages."""
    environ = {**os.environ, "PYTHONPATH": str(path)}
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environ)


def install_fakes(site: Path, count: int) -> None:
    """Distributions whose modules end the process when imported."""
    for number in range(count):
        info = site / f"optreg_fake_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: optreg-fake-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[optreg.optimizers]\nfake_{number} = optreg_fake_{number}\n")
        (site / f"optreg_fake_{number}.py").write_text("raise SystemExit('imported')\n")


def measure_list(folder: Path) -> float:
    """`optreg list` with 200 third-party distributions, beyond what the interpreter takes to start."""
    install_fakes(folder / "site", 200)
    start = median_seconds(process("-c", "pass", path=folder / "site"))
    return median_seconds(process("-m", "optreg.cli", "list", path=folder / "site")) - start


def measure_validate(folder: Path) -> float:
    """`optreg validate` of 100 specs, the whole process."""
    specs = []
    for number in range(100):
        specs.append(folder / f"{number}.yaml")
        specs[-1].write_text(SPEC)
    return median_seconds(process("-m", "optreg.cli", "validate", *map(str, specs), path=folder))


def measure_build(folder: Path) -> float:
    """`optreg.build` from a file, for 1,000 parameters and 10 rules, everything imported."""
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(500)))
    rules = "".join(f'  - match: "{digit}*.bias"\n    weight_decay: 0.{digit}\n' for digit in range(1, 10))
    rules += '  - regex: "^0[.]"\n    lr: 1e-3\n'
    spec = folder / "build.yaml"
    spec.write_text(SPEC.replace('  - match: ["*.bias", "*norm*"]\n    weight_decay: 0.0\n', rules))
    return median_seconds(lambda: optreg.build(spec, model))


def main() -> None:
    """Measure everything and print the table."""
    table = Table("work", "median", "goal", title="The core of optreg", title_justify="left")
    goals = [
        (measure_list, "optreg list, 200 third-party distributions, beyond `python -c pass`", 0.4),
        (measure_validate, "optreg validate, 100 specs, whole process", 1.0),
        (measure_build, "optreg.build, 1,000 parameters, 10 rules, everything imported", 0.025),
    ]
    for measure, work, goal in goals:
        with tempfile.TemporaryDirectory() as folder:
            seconds = measure(Path(folder))
        colour = "green" if seconds < goal else "red"
        table.add_row(work, f"[{colour}]{seconds * 1e3:.0f} ms", f"< {goal * 1e3:.0f} ms")
    console = Console()
    console.print(table)
    console.print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}; medians of {RUNS} runs"
    )


if __name__ == "__main__":
    main()
