"""Train the same GPT twice, with AdamW and with Lion; only the spec differs. Draw what happened.

python demo.py                                        # two minutes on two cores, writes out/demo.png
"""

import math
from pathlib import Path

import click
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from rich.console import Console
from rich.table import Table
from train import Curves, train

HERE = Path(__file__).resolve().parent
SPECS = [HERE.parents[1] / "specs" / name for name in ("char_lm_adamw.yaml", "char_lm_lion.yaml")]
COLOURS = ("#1f6fb4", "#e07b1a")
LABELS = {"adamw": "AdamW", "lion": "Lion"}
GREY = "#5c6570"
FAR_BELOW = 1.0  # nats per character
STYLE = {
    "font.size": 10,
    "axes.edgecolor": "#b4bac1",
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "grid.color": "#e8eaed",
    "legend.frameon": False,
    "text.color": "#1d232a",
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def draw(runs: list[Curves], target: Path) -> None:
    """Losses on the left, learning rates on the right."""
    with plt.rc_context(STYLE):
        figure, (losses, rates) = plt.subplots(1, 2, figsize=(9.34, 4.4), width_ratios=(3, 2), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1, wspace=0.04)
        millions = runs[0].parameters / 1e6
        figure.suptitle(
            f"One trainer, two specs: a {millions:.1f}M-parameter GPT on Python's help topics",
            x=0.012, ha="left", fontsize=13, weight="bold",
        )  # fmt: skip
        draw_losses(losses, runs)
        draw_rates(rates, runs)
        for axes in (losses, rates):
            axes.grid(visible=True)
            axes.set_axisbelow(True)
            axes.set_xlim(0, max(len(run.lr) for run in runs) * 1.01)
            axes.set_xlabel("update")
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 3, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=150)
        plt.close(figure)


def draw_losses(axes: Axes, runs: list[Curves]) -> None:
    """Every update's training loss, faint; the validation loss where it was measured; the unigram line."""
    entropy = runs[0].unigram_entropy
    axes.axhline(entropy, color=GREY, linestyle=(0, (5, 3)), linewidth=1.2)
    axes.annotate(
        f"unigram entropy {entropy:.2f}", (1, entropy), xycoords=("axes fraction", "data"),
        xytext=(0, 4), textcoords="offset points", ha="right", fontsize=9, color=GREY,
    )  # fmt: skip
    for run, colour in zip(runs, COLOURS, strict=True):
        label = LABELS.get(run.optimizer, run.optimizer)
        axes.plot(
            run.train_loss, color=colour, alpha=0.28, linewidth=0.8, zorder=1, label=f"{label}, training",
        )  # fmt: skip
        axes.plot(
            run.val_steps, run.val_loss, color=colour, linewidth=1.4, marker="o", markersize=5,
            markeredgecolor="white", zorder=3,
            label=f"{label}, validation: {run.val_loss[-1]:.2f} at the end",
        )  # fmt: skip
    axes.set_ylim(math.floor(10 * min(min(run.train_loss) for run in runs)) / 10, None)
    axes.set_title("Loss")
    axes.set_ylabel("cross-entropy (nats per character)")
    axes.legend(loc="upper right", fontsize=9)


def draw_rates(axes: Axes, runs: list[Curves]) -> None:
    """The learning rate that each update used."""
    for run, colour in zip(runs, COLOURS, strict=True):
        axes.plot(run.lr, color=colour, linewidth=1.8, label=LABELS.get(run.optimizer, run.optimizer))
    axes.set_ylim(0, None)
    axes.set_title("Learning rate")
    axes.set_ylabel("learning rate (× 10⁻³)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda lr, _: f"{1000 * lr:g}"))
    axes.legend(loc="upper right", fontsize=9)


def report(runs: list[Curves], console: Console) -> None:
    """A table of how the runs ended, and in words whether they learned."""
    table = Table()
    for heading in ("optimizer", "train loss", "val loss", "unigram entropy", "tokens/s", "seconds"):
        table.add_column(heading, justify="left" if heading == "optimizer" else "right")
    for run in runs:
        table.add_row(
            run.optimizer, f"{run.final_train_loss:.3f}", f"{run.val_loss[-1]:.3f}",
            f"{run.unigram_entropy:.3f}", f"{run.tokens_per_second:,.0f}", f"{run.seconds:.1f}",
        )  # fmt: skip
    console.print(table)
    for run in runs:
        gap = run.unigram_entropy - run.val_loss[-1]
        verdict = "far below" if gap > FAR_BELOW else "NOT far below"
        words = f"{run.optimizer}: val loss is {verdict} the unigram entropy, by {gap:.2f} nats."
        console.print(words, highlight=False)


@click.command(help=__doc__.splitlines()[0])
@click.option("--steps", type=click.IntRange(min=1), help="Shorten both schedules to so many updates.")
@click.option("--seed", default=1, show_default=True, help="The same for both runs.")
@click.option("--out", default=Path("out/demo.png"), show_default=True, type=click.Path(path_type=Path))
def main(steps: int | None, seed: int, out: Path) -> None:
    """Run the demonstration from the command line."""
    overrides: tuple[str, ...] = ()
    if steps:
        overrides = (f"scheduler.total_steps={steps}", f"scheduler.warmup_steps={steps // 10}")
    runs = [train(spec, overrides=overrides, seed=seed) for spec in SPECS]
    console = Console()
    report(runs, console)
    draw(runs, out)
    console.print(f"Wrote {out}", highlight=False)


if __name__ == "__main__":
    main()
