"""Train the small GPT. Which optimizer and which learning rates: that is what the spec says, and it alone.

python train.py                                       # configs/run.yaml
python train.py ../../specs/char_lm_lion.yaml
python train.py --set optimizer.lr=1e-3 --set scheduler.total_steps=500
python train.py --checkpoint out/run.pt               # killed and started again, it goes on where it was
"""

import json
import time
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import click
import torch
from data import Corpus, load_corpus
from model import GPT
from torch import nn
from tqdm import tqdm

import optreg

DEFAULT_SPEC = Path(__file__).parent / "configs" / "run.yaml"
BATCH, BLOCK = 16, 64
MAX_GRAD_NORM = 1.0
VALIDATE_EVERY = 100


@dataclass
class Curves:
    """What a run logs. Losses are in nats per character; `train_loss[t]` and `lr[t]` belong to update t."""

    optimizer: str
    parameters: int
    unigram_entropy: float
    train_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    val_steps: list[int] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: float = 0.0
    sample: str = ""

    @property
    def tokens_per_second(self) -> float:
        """Characters trained on per second of the whole run, validation included."""
        return len(self.train_loss) * BATCH * BLOCK / self.seconds

    @property
    def final_train_loss(self) -> float:
        """Mean over the last updates, as many as lie between two validations."""
        tail = self.train_loss[-VALIDATE_EVERY:]
        return sum(tail) / len(tail)


@dataclass
class Checkpoint:
    """A file from which a run goes on as if it had never ended.

    Args:
        path: the file; it always holds a whole checkpoint, because a new one is written beside it and renamed.
        every: save after so many updates.
    """

    path: Path
    every: int = 100

    def save(self, step: int, curves: Curves, **parts: Any) -> None:
        """Save the curves and the state of all parts, after so many updates."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save({"step": step, "curves": asdict(curves), **states}, beside)
        beside.replace(self.path)

    def load(self, **parts: Any) -> tuple[int, Curves] | None:
        """Load the state of all parts; returns the number of updates and the curves, or None if there is no file."""
        if not self.path.exists():
            return None
        saved = torch.load(self.path)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return saved["step"], Curves(**saved["curves"])


@torch.no_grad()
def validate(model: GPT, corpus: Corpus) -> float:
    """Mean loss over the whole validation text."""
    model.eval()
    batches = corpus.validation_batches(size=4 * BATCH, block=BLOCK)
    losses = [(model.loss(inputs, targets).item(), len(inputs)) for inputs, targets in batches]
    model.train()
    return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)


def train(
    spec: str | PathLike[str] = DEFAULT_SPEC,
    *,
    steps: int | None = None,
    overrides: tuple[str, ...] = (),
    seed: int = 1,
    sample: int = 0,
    layers: int = 4,
    width: int = 128,
    checkpoint: Checkpoint | None = None,
) -> Curves:
    """Train one model as the spec says.

    Args:
        spec: the path of a YAML file.
        steps: how many updates; by default the schedule's `total_steps`.
        overrides: values that replace the spec's, such as `optimizer.lr=1e-3`.
        seed: decides the initial weights, the batches and the sample.
        sample: how many characters to write at the end.
        layers: how many blocks the model has.
        width: the width of its residual stream.
        checkpoint: where to save, and to go on from if it is there.
    """
    plan = optreg.load_spec(spec, overrides)
    steps = steps or plan.as_dict().get("scheduler", {}).get("total_steps")
    if steps is None:
        raise click.UsageError("the spec's schedule has no total_steps; say --steps")

    corpus = load_corpus()
    torch.manual_seed(seed)
    model = GPT(len(corpus.alphabet), block=BLOCK, layers=layers, width=width)

    optimizer, scheduler = optreg.build(spec, model, overrides=overrides)

    parameters = sum(parameter.numel() for parameter in model.parameters())
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    names = dict.fromkeys(each.name for each in plan.optimizers)
    start, curves = 0, Curves(" and ".join(names), parameters, corpus.unigram_entropy)
    if checkpoint:
        start, curves = checkpoint.load(**parts) or (start, curves)
    started = time.perf_counter() - curves.seconds
    batches = corpus.batches(size=BATCH, block=BLOCK, seed=seed)
    for _ in range(start):  # those that the run has seen
        next(batches)
    bar = tqdm(range(start, steps), desc=curves.optimizer, unit="step", initial=start, total=steps)
    for step in bar:
        if step % VALIDATE_EVERY == 0:
            curves.val_steps.append(step)
            curves.val_loss.append(validate(model, corpus))

        inputs, targets = next(batches)
        loss = model.loss(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        curves.lr.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()

        curves.train_loss.append(loss.item())
        bar.set_postfix(
            train=f"{curves.train_loss[-1]:.3f}",
            val=f"{curves.val_loss[-1]:.3f}",
            lr=f"{curves.lr[-1]:.1e}",
            refresh=False,
        )
        if checkpoint and ((step + 1) % checkpoint.every == 0 or step + 1 == steps):
            curves.seconds = time.perf_counter() - started
            checkpoint.save(step + 1, curves, **parts)
    curves.val_steps.append(steps)
    curves.val_loss.append(validate(model, corpus))
    curves.seconds = time.perf_counter() - started

    if sample:
        newline = torch.tensor([corpus.alphabet.index("\n")])
        curves.sample = corpus.decode(model.generate(newline, sample, seed=seed)).strip()
    return curves


@click.command(help=__doc__.splitlines()[0])
@click.argument("spec", default=DEFAULT_SPEC, type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), help="Stop after so many updates; default: total_steps.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a value of the spec.")
@click.option("--seed", default=1, show_default=True, help="Decides weights, batches and sample.")
@click.option("--sample", default=300, show_default=True, help="Characters to write at the end.")
@click.option("--layers", default=4, show_default=True, type=click.IntRange(min=1), help="Blocks of the model.")
@click.option("--width", default=128, show_default=True, type=click.IntRange(min=4), help="A multiple of 4.")
@click.option("--checkpoint", "file", type=click.Path(path_type=Path), help="Save here; go on from it if it is there.")
@click.option("--save-every", default=100, show_default=True, type=click.IntRange(min=1), help="In updates.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the curves to this file.")
def main(spec: Path, file: Path | None, save_every: int, target: Path | None, **options: Any) -> None:
    """Run the training from the command line."""
    checkpoint = Checkpoint(file, save_every) if file else None
    try:
        curves = train(spec, checkpoint=checkpoint, **options)
    except optreg.OptregError as error:
        raise click.ClickException(str(error)) from error
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(curves)))
    click.echo(
        f"{curves.optimizer}: {curves.parameters:,} parameters, "
        f"{len(curves.lr):,} updates in {curves.seconds:.0f} s, "
        f"train loss {curves.final_train_loss:.3f}, val loss {curves.val_loss[-1]:.3f} "
        f"(unigram entropy {curves.unigram_entropy:.3f})"
    )
    if curves.sample:
        click.echo(f"\n{curves.sample}")


if __name__ == "__main__":
    main()
