"""What is installed is what pyproject.toml says."""

import importlib.metadata
import tomllib
from pathlib import Path


def test_the_installed_entry_points_are_those_of_pyproject():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    written = {
        (group, name, value) for group, names in project["entry-points"].items() for name, value in names.items()
    }
    points = importlib.metadata.distribution("optreg").entry_points
    installed = {(point.group, point.name, point.value) for point in points if point.group.startswith("optreg.")}
    assert installed == written, "pyproject.toml has changed since optreg was installed; run: pip install -e '.[dev]'"
