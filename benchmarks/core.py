"""The cost of the core: listing, validating, building. Medians of several runs, printed beside their goals.

python benchmarks/core.py
"""

import contextlib
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import machine
from rich.console import Console
from rich.table import Table

import optreg
from optreg.cli import main as command_line

RUNS = 9
PUBLISHED = Path(__file__).parents[1] / "specs" / "published"
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


TELL_MODULES = """\
import sys
from optreg.cli import main
main(standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


BUILD_MANY = """\
import time, torch, optreg
model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(1000)))
rules = [{"match": name, "lr": 1e-3 * 0.999**index} for index, (name, _) in enumerate(model.named_parameters())]
spec = {"optimizer": {"name": "adamw"}, "groups": rules, "scheduler": {"name": "constant"}}
start = time.perf_counter()
run = optreg.build(spec, model)
print(time.perf_counter() - start, len(run.optimizer.param_groups))
"""


TEN_PHASES = """\
optimizer:
  name: adamw
  lr: 1e-3
batch: 4M tokens
scheduler:
  - {name: linear, from: 0, for: 2000 steps, to: 100%}
  - {name: constant, until: 500B tokens}
  - {name: cosine, for: 500B tokens, to: 10%}
  - {name: linear, warmup_steps: 1000, from: 50%, for: 400B tokens, to: 5%}
  - {name: polynomial, power: 2.0, from: 40%, for: 400B tokens, to: 4%}
  - {name: constant, for: 200B tokens}
  - {name: exponential, gamma: 0.99999, for: 400B tokens}
  - {name: cosine, from: 20%, for: 800B tokens, to: 2%}
  - {name: linear, for: 500B tokens, to: 0}
"""
"""The warm-up within the fourth is a phase too."""


class Measured(NamedTuple):
    """The seconds of each run, a claim about the result, and whether it holds."""

    seconds: list[float]
    claim: str
    holds: bool


def timed(work: Callable[[], object], runs: int = RUNS) -> list[float]:
    """The seconds of each run, after one warm-up run."""
    work()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


class Interpreter:
    """Python processes with an additional folder of packages."""

    def __init__(self, path: Path) -> None:
        self.environ = {**os.environ, "PYTHONPATH": str(path)}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users do not compile every module at every start

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self.environ)

    def modules(self, *arguments: str) -> set[str]:
        """The modules that `optreg` has imported when it ends (`-X importtime` misses some)."""
        return set(self("-c", TELL_MODULES, *arguments).stderr.split())


def install_fakes(site: Path, count: int) -> None:
    """Install distributions whose modules end the process when imported."""
    for number in range(count):
        info = site / f"optreg_fake_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: optreg-fake-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[optreg.optimizers]\nfake_{number} = optreg_fake_{number}\n")
        (site / f"optreg_fake_{number}.py").write_text("import os\nos._exit(9)\n")


def measure_list(folder: Path) -> Measured:
    """`optreg list` with 200 third-party distributions, minus the start of the interpreter."""
    install_fakes(folder, 200)
    python = Interpreter(folder)
    start = statistics.median(timed(lambda: python("-c", "pass")))
    seconds = [run - start for run in timed(lambda: python("-m", "optreg", "list"))]
    listed = python("-m", "optreg", "list").stdout.count("optreg-fake-")
    plugins = [name for name in python.modules("list") if name.startswith(("optreg_fake_", "optreg_plugins"))]
    claim = f"{listed} listed, {len(plugins)} plugin modules imported"
    return Measured(seconds, claim, listed == 200 and not plugins)


def measure_validate(folder: Path) -> Measured:
    """`optreg validate` of 100 published specs, each several times, for the whole process."""
    published = sorted(PUBLISHED.glob("*.yaml"))
    specs = [folder / f"{number}.yaml" for number in range(100)]
    for spec, source in zip(specs, itertools.cycle(published), strict=False):
        spec.write_text(source.read_text())
    python = Interpreter(folder)
    command = ("validate", *map(str, specs))
    seconds = timed(lambda: python("-m", "optreg", *command))
    right = python("-m", "optreg", *command).stdout.count(": ok")
    torch_imported = "torch" in python.modules(*command)
    claim = f"{right} ok, torch {'imported' if torch_imported else 'not imported'}"
    return Measured(seconds, claim, right == 100 and not torch_imported)


def measure_build(folder: Path) -> Measured:
    """`optreg.build` from a file, for 1,000 parameters and 10 rules, after all imports."""
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(500)))
    rules = "".join(f'  - match: "{digit}*.bias"\n    weight_decay: 0.{digit}\n' for digit in range(1, 10))
    rules += '  - regex: "^0[.]"\n    lr: 1e-3\n'
    spec = folder / "build.yaml"
    spec.write_text(SPEC.replace('  - match: ["*.bias", "*norm*"]\n    weight_decay: 0.0\n', rules))
    seconds = timed(lambda: optreg.build(spec, model), runs=50)
    groups = optreg.build(spec, model).optimizer.param_groups
    params = sum(len(group["params"]) for group in groups)
    claim = f"{params:,} parameters in {len(groups)} groups"
    return Measured(seconds, claim, (params, len(groups)) == (1000, 11))


def measure_many_rules(folder: Path) -> Measured:
    """The first build of a process, with a rule of its own for each of 2,000 parameters."""
    python = Interpreter(folder)
    printed = [python("-c", BUILD_MANY).stdout.split() for _ in range(RUNS)]
    return Measured(
        [float(seconds) for seconds, _ in printed],
        f"{printed[0][1]} groups",
        all(groups == "2000" for _, groups in printed),
    )


def measure_phases(folder: Path) -> Measured:
    """One value of ten phases, each time at another update."""
    spec = folder / "phases.yaml"
    spec.write_text(TEN_PHASES)
    scheduler: Any = optreg.build(spec, torch.nn.Linear(1, 1)).scheduler
    schedule = scheduler.schedule
    steps = range(0, 1_000_000, 97)

    def all_of_them() -> None:
        for step in steps:
            schedule(step)

    seconds = [run / len(steps) for run in timed(all_of_them)]
    phases = len(schedule.pieces)
    return Measured(seconds, f"{phases} phases", phases == 10)


def measure_plot(folder: Path) -> Measured:
    """`optreg plot` of a million updates, after all imports."""
    spec, picture = folder / "phases.yaml", folder / "phases.png"
    spec.write_text(TEN_PHASES)
    arguments = ["plot", str(spec), "-o", str(picture), "--steps", "1000000"]
    with contextlib.redirect_stdout(io.StringIO()):
        seconds = timed(lambda: command_line(arguments, standalone_mode=False))
    return Measured(seconds, f"{picture.stat().st_size // 1000} kB", picture.read_bytes().startswith(b"\x89PNG"))


def main() -> None:
    """Measure everything and print the table."""
    measured_on = machine()
    title = f"optreg {version('optreg')}: the cost of the core"
    columns = ("work", "median", "range", "goal", "result")
    table = Table(*columns, title=title, title_justify="left")
    goals = [
        (measure_list, "list: 200 distributions, minus `python -c pass`", 0.4),
        (measure_validate, "validate: 100 published specs, whole process", 1.0),
        (measure_build, "build: 10 rules, everything imported", 0.025),
        (measure_many_rules, "build: 2,000 rules, after `import torch, optreg`", 0.5),
        (measure_phases, "f(t) of ten phases", 2e-6),
        (measure_plot, "plot: a million updates, everything imported", 1.0),
    ]
    for measure, work, goal in goals:
        with tempfile.TemporaryDirectory() as folder:
            seconds, claim, holds = measure(Path(folder))
        median = statistics.median(seconds)
        table.add_row(
            f"{work}; {len(seconds)} runs",
            coloured(told(median), median < goal),
            f"{told(min(seconds))} - {told(max(seconds))}",
            f"< {told(goal)}",
            coloured(claim, holds),
        )
    console = Console()
    console.print(table)
    console.print(measured_on, highlight=False)


def told(seconds: float) -> str:
    """Seconds in milliseconds, or in microseconds where they are few."""
    return f"{seconds * 1e3:.0f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.2f} us"


def coloured(text: str, good: bool) -> str:
    """Green, or red with a word that remains visible in a pipe."""
    return f"[green]{text}[/]" if good else f"[red]{text} (missed)[/]"


if __name__ == "__main__":
    main()
