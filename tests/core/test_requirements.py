"""Components that need more than their distribution does: an extra with the component's name states it."""

import sys

import pytest
from click.testing import CliRunner

from optreg import Registry, SpecError, UnknownPluginError, load_spec
from optreg.cli import main
from optreg.registry import Kind


@pytest.fixture
def install(site):
    """Installs a distribution with these requirements; its optimizer `Picky.One` cannot be imported."""

    def install(*requirements):
        site.install("picky", "raise SystemExit('imported')", names=["Picky.One"])
        with (site.folder / "picky-1.0.dist-info" / "METADATA").open("a") as metadata:
            metadata.writelines(f"Requires-Dist: {requirement}\n" for requirement in requirements)

    return install


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("pyyaml>=1000; extra == 'picky.one'", r"pyyaml>=1000, and pyyaml [\w.]+ is installed"),
        ('no-such-thing>=2; extra == "picky-one"', "no-such-thing>=2, which is not installed"),
    ],
)
def test_what_is_missing_is_told_from_metadata_alone_wherever_the_name_is_used(install, requirement, reason):
    install("pyyaml>=6; extra == 'picky-one'", requirement)
    registry = Registry()
    with pytest.raises(
        UnknownPluginError, match=f"^optimizer 'Picky.One' is not available: it needs {reason}; "
    ) as told:
        registry.optimizer("Picky.One")
    assert str(told.value).endswith("; pip install 'picky[picky.one]'")
    with pytest.raises(SpecError, match=reason):
        load_spec({"optimizer": {"name": "picky.one"}, "scheduler": {"name": "constant"}}, registry=registry)
    assert "picky.one" not in [entry.name for entry in registry.usable(Kind.OPTIMIZER)]
    result = CliRunner().invoke(main, ["list", "--check"])
    (row,) = [line for line in result.output.splitlines() if "\tpicky\t" in line]
    state = row.split("\t")[-1]
    assert state.startswith("not available: needs ")
    assert state.removeprefix("not available: ") in str(told.value)
    assert result.exit_code == 0
    assert "picky" not in sys.modules


@pytest.mark.parametrize(
    "requirement",
    [
        "no-such-thing; extra == 'another'",
        "no-such-thing",  # installers see to these
        "no-such-thing; extra == 'picky.one' and python_version < '3'",
        "pyyaml>=6; extra == 'picky.one'",
    ],
)
def test_what_is_met_or_concerns_something_else_is_no_matter(install, requirement):
    install(requirement)
    registry = Registry()
    assert registry.state(registry.find(Kind.OPTIMIZER, "picky.one")) == "available"
