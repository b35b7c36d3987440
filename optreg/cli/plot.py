"""`optreg plot`: the learning-rate curves of specs in one picture."""

from pathlib import Path

import click

from optreg.cli.curve import horizon, learning_rate
from optreg.cli.output import overrides_option
from optreg.spec import load_spec

POINTS = 1000
"""How many points of a curve are drawn; a joint between two of them is drawn all the same."""


@click.command("plot")
@click.argument("specs", nargs=-1, required=True)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The picture: .png or .svg.")
@click.option("--steps", type=click.IntRange(min=1), help="How far to draw; by default to the end of each schedule.")
@overrides_option
def command(specs: tuple[str, ...], output: str, steps: int | None, overrides: tuple[str, ...]) -> None:
    """Draw the learning rate of SPECS over the updates."""
    resolved = {spec: load_spec(spec, overrides) for spec in specs}
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise click.ClickException("drawing needs matplotlib: pip install 'optreg[plot]'") from error
    if Path(output).suffix not in {".png", ".svg"}:
        raise click.BadParameter(f"'{output}' must end in .png or .svg", param_hint="--output")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, spec in resolved.items():
        last = steps or horizon(spec) + horizon(spec) // 20 + 1
        joints = [value for key, value in spec.scheduler.settings.items() if key.endswith("_steps") and value <= last]
        drawn = sorted({*range(0, last + 1, max(1, last // POINTS)), *joints, last})
        rate = learning_rate(spec)
        label = f"{Path(name).stem}: {spec.optimizer.name}, {spec.scheduler.name}"
        axes.plot(drawn, [rate(t) for t in drawn], label=label, linewidth=2)
    axes.set(xlabel="update", ylabel="learning rate", title="Learning rate of each update")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    try:
        figure.savefig(output, dpi=150)
    except OSError as error:
        raise click.ClickException(f"{output}: cannot be written: {error.strerror}") from error
    click.echo(output)
