"""Output: tables, drawn on a terminal and tab-separated in a pipe; docstrings; what plugins print; `--set`."""

import contextlib
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from optreg.errors import printable

overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value: optimizer.lr=1e-4."
)
"""Adds the repeatable option `--set key=value` as the argument `overrides`."""


DROPPED = "(no description: Python runs with -OO, which drops docstrings)"


def description(thing: object) -> str:
    """The docstring, or why there is none."""
    return DROPPED if sys.flags.optimize > 1 else inspect.getdoc(thing) or ""


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: drawn on a terminal, with tabs between cells when piped. A row is one line, whatever is in it."""
    printed = [[printable(str(cell), keep="") for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (headers, *printed):
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*headers, box=box.SIMPLE_HEAD)
    for row in printed:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


@contextlib.contextmanager
def plugins_print_to_stderr() -> Iterator[None]:
    """What is printed meanwhile goes to standard error, since scripts read what the command itself prints.

    That holds for code in C and for processes that are started, too: descriptor 1 leads to standard error.
    """
    _write_what_is_buffered()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _write_what_is_buffered()
        os.dup2(ours, 1)
        os.close(ours)


def _write_what_is_buffered() -> None:
    """Write what Python and C have kept back of standard output to where it leads now."""
    with contextlib.suppress(OSError, ValueError):  # a plugin has closed it
        if sys.__stdout__:
            sys.__stdout__.flush()
    if os.name == "posix":
        import ctypes

        ctypes.CDLL(None).fflush(None)
