"""The picture: how close each contestant comes to the memory bandwidth."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

OURS, PEERS, ROOFLINE, INK = "#2f6fde", "#b9c0ca", "#c8442f", "#3b4149"
ALGORITHMS = {"adamw": "AdamW", "lion": "Lion"}
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": "#8a919c",
    "axes.labelcolor": INK,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "figure.constrained_layout.w_pad": 0.15,
    "figure.constrained_layout.h_pad": 0.09,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
}
DOTS = 100
"""Dots per inch, for a width of 1600."""


def draw(figures: dict[str, Any], path: Path) -> None:
    """A panel for each race: works below each other, algorithms side by side."""
    races = {(race["work"], race["algorithm"]): race for race in figures["races"]}
    works = list(dict.fromkeys(work for work, _ in races))
    rows = [max(len(race["entries"]) for (work, _), race in races.items() if work == name) for name in works]
    heights = [0.25 * row + 1.15 for row in rows]
    size = (16, sum(heights) + 1.2)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(works), 2, squeeze=False, figsize=size, height_ratios=heights, layout="constrained"
        )
        for work, row, pair in zip(works, rows, panels, strict=True):
            for algorithm, axes in zip(ALGORITHMS, pair, strict=True):
                if (work, algorithm) in races:
                    _panel(axes, races[work, algorithm], row)
                else:
                    axes.set_axis_off()
        _frame(figure, figures["machine"])
        figure.savefig(path, dpi=DOTS)
        plt.close(figure)


def _panel(axes: Axes, race: dict[str, Any], rows: int) -> None:
    """Bars of GB/s, the fastest on top, each with its milliseconds, as thick as in the panel beside it."""
    entries = sorted(race["entries"], key=lambda entry: -entry["gigabytes_per_second"])
    speeds = [entry["gigabytes_per_second"] for entry in entries]
    colours = [OURS if entry["ours"] else PEERS for entry in entries]
    copy = race["copy_gigabytes_per_second"]
    bars = axes.barh(range(len(entries)), speeds, color=colours, height=0.72)
    axes.bar_label(
        bars, [_milliseconds(entry["milliseconds"]) for entry in entries], padding=4, fontsize=10, zorder=3,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip
    axes.axvline(copy, color=ROOFLINE, linestyle=(0, (4, 3)), linewidth=1.4, zorder=2.5)
    right = max(copy, *speeds) * 1.12 if speeds else copy * 1.12
    before = copy > right / 2
    axes.annotate(
        f"memory roofline: copy, {copy:.3g} GB/s", (copy, rows), xytext=(-6 if before else 6, 0),
        textcoords="offset points", color=ROOFLINE, fontsize=10, va="center", ha="right" if before else "left",
    )  # fmt: skip
    axes.set_title(f"{ALGORITHMS[race['algorithm']]}, {race['work']}")
    axes.set_title(_size(race), loc="right", fontsize=10, fontweight="normal")
    axes.set_yticks(range(len(entries)), [entry["name"] for entry in entries])
    for label, entry in zip(axes.get_yticklabels(), entries, strict=True):
        label.set_color(OURS if entry["ours"] else INK)
    axes.set(xlabel="GB/s", xlim=(0, right), ylim=(rows + 0.6, -0.6))


def _frame(figure: Figure, machine: str) -> None:
    figure.suptitle(
        "Optimizer steps: bytes that have to be moved, per second (more is better), and milliseconds of a step",
        x=0.01, y=0.992, ha="left", va="top", fontsize=15, fontweight="bold",
    )  # fmt: skip
    figure.legend(
        handles=[Patch(color=OURS, label="optreg"), Patch(color=PEERS, label="others")],
        loc="outside upper right", ncols=2, frameon=False,
    )  # fmt: skip
    figure.supxlabel("\n".join(textwrap.wrap(machine, 190)), x=0.01, ha="left", fontsize=10, color="#6a717c")


def _size(race: dict[str, Any]) -> str:
    """The size of a work."""
    tensors, elements = race["tensors"], race["elements"]
    many = f"{tensors:,} tensors" if tensors > 1 else "1 tensor"
    dtype = "" if race["dtype"] in race["work"] else f", {race['dtype']}"
    return f"{many}, {elements / 1e6:.3g}M elements{dtype}"


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"
