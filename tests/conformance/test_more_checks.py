"""Checks that ambient plugins add, through the hook `optreg_checks`."""

from test_command import conform

PLUGIN = """
import optreg

@optreg.hookimpl
def optreg_checks():
    import family_checks
    return [family_checks]
"""

CHECKS = """
'''Family: checks of one plugin family.'''
from optreg.conformance import Tier, check

KIND = "optimizer"

@check("Z01", Tier.MUST, still=True)
def check_the_name_is_short(subject):
    \"\"\"The name has at most five letters.\"\"\"
    subject.assert_true(len(subject.name) <= 5, f"'{subject.name}' is long")
"""


def test_a_check_of_an_ambient_plugin_is_run_with_the_others(elsewhere, monkeypatch):
    elsewhere.install("family", PLUGIN, group="optreg.hooks", names=["family"])
    (elsewhere.folder / "family_checks.py").write_text(CHECKS)
    monkeypatch.setenv("PYTHONPATH", str(elsewhere.folder))
    run = conform("lion", "momentum", "-k", "Z01")
    assert run.returncode == 1
    assert "Z01-the_name_is_short (must): The name has at most five letters." in run.stdout
    assert "'momentum' is long" in run.stdout
    assert "'lion' is long" not in run.stdout


def test_a_broken_one_is_told_and_nothing_is_judged(elsewhere, monkeypatch):
    elsewhere.install("family", PLUGIN, group="optreg.hooks", names=["family"])
    monkeypatch.setenv("PYTHONPATH", str(elsewhere.folder))
    run = conform("lion", "-k", "M20")
    assert run.returncode == 2
    assert "distribution 'family' 1.0, module 'family': hook 'optreg_checks' failed: ModuleNotFoundError" in run.stderr
