"""Judge again and again beside busy loops, and compare every report with that of a run that was left alone.

python tests/load.py                  # `make load`: 20 runs beside 4 loops, a quarter of an hour on two cores
python tests/load.py lion linear      # other subjects and options of `optreg conform`

Exit codes, what is printed, and reports must be equal, but for the seconds that checks took.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


def judged(arguments: tuple[str, ...]) -> tuple[Any, ...]:
    """The exit code of `optreg conform`, what it printed, and its report."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [sys.executable, "-m", "optreg", "conform", *arguments, "--json", file]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        report = json.loads(file.read_text())
    for verdict in report["verdicts"]:
        del verdict["seconds"]
    return run.returncode, run.stdout, run.stderr, report


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that use a processor each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@click.command(help=__doc__.splitlines()[0], context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--runs", default=20, show_default=True, type=click.IntRange(min=1))
@click.option("--loops", default=4, show_default=True, type=click.IntRange(min=0))
def main(arguments: tuple[str, ...], runs: int, loops: int) -> None:
    """Run all of it; exit 1 if a report differs."""
    arguments = arguments or ("adamw",)
    alone = judged(arguments)
    click.echo(f"alone: exit code {alone[0]}, {len(alone[-1]['verdicts'])} verdicts")
    with busy(loops):
        same = 0
        for run in range(1, runs + 1):
            same += (equal := judged(arguments) == alone)
            click.echo(f"run {run} beside {loops} busy loops: {'equal' if equal else 'another report'}")
    click.echo(f"{same} of {runs} reports are equal")
    sys.exit(int(same < runs))


if __name__ == "__main__":
    main()
