"""The figures as Markdown, for docs/performance.md.

python benchmarks/page.py out/performance.json
"""

import json
import sys
from pathlib import Path

from tables import Figures, Row, Sheet, sheets


def page(figures: Figures) -> str:
    """Everything that was measured."""
    return "\n\n".join([machine_line(figures), *map(markdown, sheets(figures))]) + "\n"


def machine_line(figures: Figures) -> str:
    """The date, the machine and the versions of the measurements."""
    settings = figures["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    return (
        f"Measured on {figures['machine']}; {settings['device']}, {settings['threads']} threads; medians of "
        f"{settings['rounds']} rounds in each of {settings['repeats']} allocations. Versions: {versions}."
    )


def markdown(sheet: Sheet) -> str:
    """A table under a heading; ours in bold."""
    rows = [_line(tuple(_marked(cell) for cell in row)) for row in sheet.rows]
    return "\n".join([f"### {sheet.title}", "", _line(sheet.columns), "|" + "---|" * len(sheet.columns), *rows])


def _line(cells: Row) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _marked(cell: str) -> str:
    return f"**{cell}**" if cell.startswith("optreg ") else cell


if __name__ == "__main__":
    print(page(json.loads(Path(sys.argv[1]).read_text())), end="")
