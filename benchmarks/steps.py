"""The cost of steps: optimizers and their peers, first compiled steps, schedulers, and memory.

python benchmarks/steps.py
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import compilation
import imports
import memory
import schedules
import tables
import torch
from machine import machine
from picture import ALGORITHMS, draw
from rich.console import Console
from rich.table import Table
from rich.text import Text
from timing import Settings, race
from works import WORKS

PARTS = ("compilation", "schedules", "memory", "imports")
PACKAGES = ("optreg", "lion-pytorch", "pytorch_optimizer", "torch-optimi", "timm", "bitsandbytes", "heavyball")
SEED = 0

console = Console()
if not console.is_terminal:
    console = Console(width=120)


@click.command
@click.option("--only", multiple=True, type=click.Choice([*WORKS, *PARTS]), help="Measure this alone; repeatable.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Steps in each allocation.")
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="Allocations, and processes.")
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Of torch on the CPU.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="By default cuda, where there is any.")
@click.option("--out", default=Path("out"), show_default=True, type=click.Path(path_type=Path), help="A folder.")
def main(only: Sequence[str], rounds: int, repeats: int, threads: int, device: str | None, out: Path) -> None:
    """Measure, print the tables, write performance.json and performance.png."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    wanted = only or (*WORKS, *PARTS)
    figures: dict[str, Any] = {
        "machine": machine(device),
        "settings": {"device": device, "threads": threads, "rounds": rounds, "repeats": repeats, "seed": SEED},
        "versions": _versions(),
        "races": [],
    }
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "compilation": lambda: compilation.measure(device, repeats),
        "schedules": schedules.measure,
        "memory": lambda: memory.measure(device),
        "imports": imports.measure,
    }
    for part in PARTS:
        if part in wanted:
            figures[part] = parts[part]()
            show(getattr(tables, f"{part}_sheet")(figures))
    for name in WORKS:
        for algorithm in ALGORITHMS:
            if name in wanted:
                figures["races"].append(asdict(race(WORKS[name], algorithm, Settings(device, rounds, repeats))))
                show(tables.race_sheet(figures["races"][-1]))
    show(tables.left_out_sheet(figures))
    console.print(figures["machine"], highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    (out / "performance.json").write_text(json.dumps(figures, indent=1) + "\n")
    if figures["races"]:
        draw(figures, out / "performance.png")


def _versions() -> dict[str, str]:
    """The installed packages and their versions."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def show(sheet: tables.Sheet) -> None:
    """Print a table, with our rows in colour."""
    table = Table(title=sheet.title, title_justify="left")
    for number, column in enumerate(sheet.columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in sheet.rows:
        table.add_row(*(Text(cell, style="cyan" if cell.startswith("optreg ") else "") for cell in row))
    if sheet.rows:
        console.print(table)


if __name__ == "__main__":
    main()
