"""Kill the example again and again while it trains, resume it each time, and compare it with a run that was left alone.

python tests/kills.py                 # `make kills`: 50 kills, minutes on two cores

Every parameter, every state of AdamW, the learning rate and all losses must have the same bits.
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "specs" / "char_lm_adamw.yaml"
SAVE_EVERY = 3
EARLY = 0.2
"""The share of kills that come before the first save, while Python imports or the checkpoint is loaded."""

PROGRESS = 0.1
"""The other kills come, on average, after this part of a whole run."""


class Training:
    """A process that trains a tiny model, and saves to a file from which it also goes on."""

    def __init__(self, file: Path, updates: int) -> None:
        self.file = file
        self.before = self.saved()
        command = [
            sys.executable, "train.py", SPEC, "--checkpoint", file, "--save-every", SAVE_EVERY,
            "--layers", 1, "--width", 16, "--sample", 0, "--set", f"scheduler.total_steps={updates}",
            "--set", f"scheduler.warmup_steps={updates // 10}",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [*map(str, command)], cwd=ROOT / "examples" / "char_lm", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def saved(self) -> int | None:
        """When the file was written."""
        return self.file.stat().st_mtime_ns if self.file.exists() else None

    def wait(self, seconds: float = float("inf"), *, save: bool = False) -> bool:
        """Wait for so long, or for the next save; returns whether the process still runs."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end and not (save and self.saved() != self.before):
            time.sleep(0.001)
        return self.process.poll() is None

    def end(self, kill: bool = False) -> None:
        """Kill it, or see that it ended well."""
        if kill:
            self.process.kill()
        _, told = self.process.communicate()
        if self.process.returncode not in ((0, -signal.SIGKILL) if kill else (0,)):
            raise click.ClickException(f"the training failed:\n{told.decode()}")


def left_alone(file: Path, updates: int) -> tuple[Any, float, float]:
    """The last checkpoint of a run that nobody kills, the seconds to its first save, and those after it."""
    began = time.monotonic()
    training = Training(file, updates)
    training.wait(save=True)
    first = time.monotonic()
    training.wait()
    training.end()
    return torch.load(file), first - began, time.monotonic() - first


def killed(file: Path, updates: int, count: int, chance: random.Random, start: float, rest: float) -> tuple[Any, int]:
    """The last checkpoint of a run that was killed at random moments, `count` times at most, and how often it was."""
    kills = 0
    while True:
        training = Training(file, updates)
        if kills < count:
            if chance.random() < EARLY:
                running = training.wait(chance.uniform(0, start))
            else:
                training.wait(save=True)
                running = training.wait(chance.uniform(0, 2 * PROGRESS * rest))
            if running:
                training.end(kill=True)
                kills += 1
                continue
        training.wait()
        training.end()
        return torch.load(file), kills


def differences(left: Any, right: Any, place: str = "") -> list[str]:
    """The places where two checkpoints do not have the same bits; times are left out."""
    if isinstance(left, torch.Tensor):
        same = left.dtype == right.dtype and left.shape == right.shape
        bits = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
        return [] if same and torch.equal(*bits) else [place]
    if isinstance(left, dict) and left.keys() == right.keys():
        return [
            each for key in left if key != "seconds" for each in differences(left[key], right[key], f"{place}.{key}")
        ]
    if isinstance(left, list | tuple) and len(left) == len(right):
        pairs = zip(left, right, strict=True)
        return [each for index, pair in enumerate(pairs) for each in differences(*pair, f"{place}[{index}]")]
    if isinstance(left, dict | list | tuple):  # other keys, or another length
        return [place]
    return [] if left == right else [place]


@click.command(help=__doc__.splitlines()[0])
@click.option("--kills", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--updates", default=150, show_default=True, type=click.IntRange(min=10), help="Of each run.")
@click.option("--seed", default=None, type=int, help="Decides the moments; by default another one each time.")
def main(kills: int, updates: int, seed: int | None) -> None:
    """Run all of it; exit 1 if a run ended in other bits."""
    seed = random.randrange(10**6) if seed is None else seed
    chance, done, runs, wrong = random.Random(seed), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        expected, start, rest = left_alone(Path(folder) / "alone.pt", updates)
        click.echo(f"seed {seed}: {updates} updates; first save after {start:.1f} s, end {rest:.1f} s later")
        while done < kills:
            ended, count = killed(Path(folder) / f"{runs}.pt", updates, kills - done, chance, start, rest)
            done, runs = done + count, runs + 1
            found = differences(expected, ended)
            wrong += bool(found)
            click.echo(f"run {runs}: {count} kills, {', '.join(found[:5]) + ' differ' if found else 'the same bits'}")
    click.echo(f"{done} kills in {runs} runs: {wrong or 'none'} ended in other bits")
    sys.exit(int(bool(wrong)))


if __name__ == "__main__":
    main()
