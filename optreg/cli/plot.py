"""`optreg plot`: the learning-rate curves of specs in one picture."""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import click

from optreg.cli.curve import Curve, StepError, curve
from optreg.cli.files import OutputFile
from optreg.cli.output import overrides_option, plugins_print_to_stderr
from optreg.cli.page import drawn, html_page
from optreg.errors import PluginError, SpecError
from optreg.loading import load_spec
from optreg.spec import Component, Spec, Timeline


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
    "--steps", type=click.IntRange(min=1), help="The last update to draw; by default, the end of each schedule."
)
@overrides_option
def command(specs: tuple[str, ...], output: OutputFile, steps: int | None, overrides: tuple[str, ...]) -> None:
    """Draw the learning rate of SPECS over the updates."""
    kind = Path(output.path).suffix.lower().removeprefix(".")
    if kind not in {"png", "svg", "html"}:
        raise click.BadParameter(f"'{output.path}' must end in .png, .svg or .html", param_hint="--output")
    files = list(dict.fromkeys(specs))
    if kind == "html":
        with plugins_print_to_stderr():
            read = [drawn(name, file, overrides) for name, file in zip(_short(files), files, strict=True)]
            _refuse_metrics([each.spec for each in read])
            page = html_page(read, steps)
        output.write(page)
        click.echo(output.path)
        return
    with plugins_print_to_stderr():
        curves = [curve(load_spec(file, overrides)) for file in files]
        _refuse_metrics([rates.spec for rates in curves])
        lines = [(name, rates, *_points(rates, steps)) for name, rates in zip(_short(files), curves, strict=True)]
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise click.ClickException("drawing needs matplotlib: pip install 'optreg[plot]'") from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, rates, at, values in lines:
        # matplotlib hides labels that begin with an underscore, and reads $ as mathematics
        label = f"{rates.spec.optimizer.name}, {_schedule(rates)} ({name})".replace("$", r"\$")
        axes.plot(at, values, label=label, linewidth=2)
    unit = " / ".join(dict.fromkeys(rates.unit for _, rates, _, _ in lines))
    axes.set(xlabel="update", ylabel=unit, title=f"{unit.capitalize()} of each update")
    if all(min(values) >= 0 for *_, values in lines):
        axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    image = BytesIO()
    figure.savefig(image, dpi=150, format=kind)
    output.write(image.getvalue())
    click.echo(output.path)


def _short(files: Sequence[str]) -> list[str]:
    """The files in the legend: their names, or whole paths if names are equal."""
    names = [Path(file).stem for file in files]
    often = Counter(names)
    return [name if often[name] == 1 else file for name, file in zip(names, files, strict=True)]


def _refuse_metrics(specs: Sequence[Spec]) -> None:
    """Tell if there is nothing to draw because a metric drives a schedule."""
    for spec in specs:
        if isinstance(spec.scheduler, Component) and spec.scheduler.by_metric:
            message = f"{spec.scheduler.name} is driven by a metric: there is no curve before the run"
            raise SpecError([spec.scheduler.problem(message)])


def _points(rates: Curve, steps: int | None) -> tuple[list[int], list[float]]:
    """The steps to draw and the rate at each, up to the first step without a rate."""
    at = rates.points(steps or rates.end + rates.end // 20 + 1)
    try:
        rates.at(0)
    except StepError as error:
        raise PluginError(f"{rates.origin} fails at step 0: {error}") from error
    values = rates.values(at)
    return at[: len(values)], values


def _schedule(rates: Curve) -> str:
    """The schedule in words, with the warm-up before it."""
    follows = rates.follows
    if follows is None:
        return "constant rate"
    if isinstance(follows, Timeline):
        return ", ".join(dict.fromkeys(component.name for component in follows.components))
    return f"warm-up, then {follows.name}" if follows.warmup_steps else follows.name
