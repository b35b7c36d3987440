"""`optreg plot`: the curves of specs in one picture, or as a page with sliders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import click

from optreg.cli.curve import Curve, refuse_open
from optreg.cli.files import OutputFile
from optreg.cli.output import overrides_option, plugins_print_to_stderr
from optreg.cli.page import drawn, html_page
from optreg.cli.plan import DEFAULT, chosen, plan, short
from optreg.errors import SpecError
from optreg.loading import load_spec
from optreg.quantities import Unit
from optreg.spec import Component, Spec, Timeline

AXES = (Unit.STEPS, Unit.TOKENS, Unit.SAMPLES, Unit.EPOCHS)

NARROW = 0.7
"""Curves whose least value is above this part of their peak, such as betas, are drawn without the 0."""

MOST_INSIDE = 4
"""The most curves whose legend has room in the panel; that of more stands below it."""

ROW = 0.3
"""The height of a row of such a legend, in inches."""

STYLES = ("-", "--", ":", "-.")
"""How the groups of a spec are drawn, so that they differ not by colour alone."""


@dataclass(frozen=True)
class Line:
    """A curve as it is drawn.

    Args:
        label: what the legend calls it.
        unit: what its values are.
        steps: the updates at which it is drawn.
        values: its value at each.
        curve: the curve.
    """

    label: str
    unit: str
    steps: Sequence[int]
    values: Sequence[float]
    curve: Curve


@click.command("plot")
@click.argument("specs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=OutputFile,
    metavar="FILE",
    help="The file: an image, .png or .svg, or a page with sliders, .html.",
)
@click.option(
    "--of",
    multiple=True,
    metavar="NAME",
    help="A hyperparameter to draw, such as weight_decay or betas[0]; repeatable. By default, an image shows lr, and a "
    "page all that changes.",
)
@click.option(
    "--axis",
    type=click.Choice([unit.value for unit in AXES]),
    default=Unit.STEPS.value,
    help="What the horizontal axis counts; other units than steps need 'batch' or 'epoch' in the specs.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="The last update to draw; by default, the end of each schedule."
)
@overrides_option
def command(
    specs: tuple[str, ...],
    output: OutputFile,
    of: tuple[str, ...],
    axis: str,
    steps: int | None,
    overrides: tuple[str, ...],
) -> None:
    """Draw the curves of SPECS: the learning rate, or other hyperparameters, in each group that has its own."""
    kind = Path(output.path).suffix.lower().removeprefix(".")
    if kind not in {"png", "svg", "html"}:
        raise click.BadParameter(f"'{output.path}' must end in .png, .svg or .html", param_hint="--output")
    files = dict(zip(_short(specs := tuple(dict.fromkeys(specs))), specs, strict=True))
    unit = Unit(axis)
    with plugins_print_to_stderr():
        loaded = {name: load_spec(file, overrides) for name, file in files.items()}
        for name, spec in loaded.items():
            refuse_open(spec, files[name])
        _refuse_unknown(loaded, of)
        _refuse_unit(loaded, unit)
        if kind == "html":
            written: str | bytes = html_page([drawn(*each, overrides) for each in files.items()], steps, of, unit)
        else:
            _refuse_metrics(loaded.values())
            lines = [line for name, spec in loaded.items() for line in _lines(name, spec, of or ("lr",), steps)]
    if kind != "html":
        written = _image(lines, unit, kind)
    output.write(written)
    click.echo(output.path)


def _short(files: Sequence[str]) -> list[str]:
    """The files in the legend: their names, or whole paths if names are equal."""
    names = [Path(file).stem for file in files]
    often = Counter(names)
    return [name if often[name] == 1 else file for name, file in zip(names, files, strict=True)]


def _refuse_metrics(specs: Iterable[Spec]) -> None:
    """Raise if there is nothing to draw because a metric drives a schedule."""
    for spec in specs:
        if isinstance(spec.scheduler, Component) and spec.scheduler.by_metric:
            message = f"{spec.scheduler.name} is driven by a metric: there is no curve before the run"
            raise SpecError([spec.scheduler.problem(message)])


def _refuse_unknown(specs: dict[str, Spec], of: Sequence[str]) -> None:
    """Raise if no spec has a number of a name."""
    known: dict[str, None] = {}
    for spec in specs.values():
        for group in plan(spec):
            known |= {each: None for name in group.values for each in _numbers(name, group.first(name))}
    for name in of:
        if not any(chosen(spec, [name]) for spec in specs.values()):
            choices = ", ".join(known)
            raise click.BadParameter(f"no spec has a number '{name}'; choose from {choices}", param_hint="--of")


def _numbers(name: str, value: Any) -> list[str]:
    """What `--of` calls the numbers of a hyperparameter."""
    if isinstance(value, list):
        return [each for index, item in enumerate(value) for each in _numbers(f"{name}[{index}]", item)]
    return [name] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _refuse_unit(specs: dict[str, Spec], unit: Unit) -> None:
    """Raise if a spec does not say how much of a unit an update consumes."""
    for name, spec in specs.items() if unit is not Unit.STEPS else ():
        if spec.clock.consumed(1, unit) is None:
            remedy = "epoch: 312 steps" if unit is Unit.EPOCHS else f"batch: 1024 {unit}"
            message = f"{name} does not say how many {unit} an update consumes; add for example '{remedy}'"
            raise click.BadParameter(message, param_hint="--axis")


def _lines(name: str, spec: Spec, of: Sequence[str], steps: int | None) -> list[Line]:
    """The curves of a spec."""
    return [
        Line(_label(name, spec, group, curve), curve.unit, *curve.sampled(steps), curve)
        for _, group, curve in chosen(spec, of)
    ]


def _label(name: str, spec: Spec, group: str, curve: Curve) -> str:
    if group != DEFAULT:
        return f"{group} ({name})"
    return f"{spec.optimizer.name}, {_schedule(curve)} ({name})"


def _schedule(curve: Curve) -> str:
    """The schedule in words, with the warm-up before it."""
    follows = curve.follows
    if follows is None:
        return "constant"
    if isinstance(follows, Timeline):
        return ", ".join(dict.fromkeys(component.name for component in follows.components))
    return f"warm-up, then {follows.name}" if follows.warmup_steps else follows.name


def _image(lines: Sequence[Line], unit: Unit, kind: str) -> bytes:
    """The picture: a panel for each hyperparameter."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise click.ClickException("drawing needs matplotlib: pip install 'optreg[plot]'") from error
    panels: dict[str, list[Line]] = {}
    for line in lines:
        panels.setdefault("learning rate" if line.unit == "multiplier" else line.unit, []).append(line)
    heights = [4.5 + ROW * max(0, len(each) - MOST_INSIDE) for each in panels.values()]
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for part, of_panel in zip(parts, panels.values(), strict=True):
        _draw(part, of_panel, unit)
    image = BytesIO()
    figure.savefig(image, dpi=150, format=kind)
    return image.getvalue()


def _draw(part: Any, lines: Sequence[Line], unit: Unit) -> None:
    """Draw the curves of one hyperparameter in a part of the figure, with dots where phases meet."""
    axes = part.subplots()

    def across(line: Line, steps: Sequence[int]) -> list[float]:
        return [float(line.curve.spec.clock.consumed(t, unit) or 0) for t in steps]

    for number, line in enumerate(lines):
        # matplotlib hides labels that begin with an underscore, and reads $ as mathematics
        label = line.label.replace("$", r"\$")
        style = STYLES[number % len(STYLES)]
        (drawn_line,) = axes.plot(across(line, line.steps), line.values, style, label=label, linewidth=2)
        at = dict(zip(line.steps, line.values, strict=True))
        joints = [t for t in line.curve.joints if t in at]
        axes.plot(across(line, joints), [at[t] for t in joints], "o", markersize=4, color=drawn_line.get_color())
    what = " / ".join(dict.fromkeys(line.unit for line in lines))
    each = "of each update" if unit is Unit.STEPS else f"over the {unit}"
    title = what.capitalize() if " " in what or what == "multiplier" else what
    axes.set(xlabel="update" if unit is Unit.STEPS else unit.value, ylabel=what, title=f"{title} {each}")
    axes.xaxis.set_major_formatter(lambda amount, _: short(Fraction(amount)))
    least, most = min(min(line.values) for line in lines), max(max(line.values) for line in lines)
    if 0 <= least <= NARROW * most or least == most >= 0:
        axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) <= MOST_INSIDE:
        axes.legend(framealpha=0.8, edgecolor="none")
    else:
        part.legend(loc="outside lower center", frameon=False)
