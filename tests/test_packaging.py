"""What is installed is what pyproject.toml says."""

import importlib.metadata
import tomllib
from pathlib import Path

STALE = "pyproject.toml has changed since optreg was installed; run: pip install -e '.[dev]'"


def test_the_installed_entry_points_are_those_of_pyproject():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    tables = {**project["entry-points"], "console_scripts": project["scripts"]}
    written = {(group, name, value) for group, names in tables.items() for name, value in names.items()}
    points = importlib.metadata.distribution("optreg").entry_points
    installed = {(point.group, point.name, point.value) for point in points}
    assert installed == written, STALE
