"""Output: tables, drawn on a terminal and tab-separated in a pipe; docstrings; the option `--set`."""

import inspect
import sys
from collections.abc import Iterable, Sequence

import click

overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value: optimizer.lr=1e-4."
)
"""Adds the repeatable option `--set key=value` as the argument `overrides`."""


DROPPED = "(no description: Python runs with -OO, which drops docstrings)"


def description(thing: object) -> str:
    """The docstring, or why there is none."""
    return DROPPED if sys.flags.optimize > 1 else inspect.getdoc(thing) or ""


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: drawn on a terminal, with tabs between cells when piped."""
    if not sys.stdout.isatty():
        for row in (headers, *rows):
            click.echo("\t".join(str(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*headers, box=box.SIMPLE_HEAD)
    for row in rows:
        drawn.add_row(*(Text(str(cell)) for cell in row))
    Console().print(drawn)
