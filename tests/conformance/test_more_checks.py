"""Checks that ambient plugins add, through the hook `optreg_checks`: each is run, or refused by name."""

import json
from pathlib import Path

import pytest
from test_command import conform

from optreg.conformance import checks
from optreg.conformance.chapters import CHAPTERS
from optreg.errors import PluginError

pytestmark = pytest.mark.no_cover

HOUSERULES = Path(__file__).parents[1] / "third_party" / "optreg-houserules"

PLUGIN = """
import optreg

@optreg.hookimpl
def optreg_checks():
    return [optreg.CheckPlugin(module="family_checks", kind="optimizer")]
"""

CHECKS = """
'''Family: checks of one plugin family.'''
from optreg.conformance import Tier, check

@check("Z01", Tier.MUST, still=True)
def check_the_name_is_short(subject):
    \"\"\"The name has at most five letters.\"\"\"
    subject.assert_true(len(subject.name) <= 5, f"'{subject.name}' is long")
"""


@pytest.fixture
def family(elsewhere, monkeypatch):
    """Installs a distribution `family` that adds checks."""
    monkeypatch.setenv("PYTHONPATH", str(elsewhere.folder))

    def install(plugin=PLUGIN, checks=CHECKS, group="optreg.hooks", name="family"):
        elsewhere.install(name, plugin, group=group, names=[name])
        (elsewhere.folder / f"{name}_checks.py").write_text(checks)

    return install


@pytest.mark.parametrize("named", ["def optreg_checks", "def more"])
def test_a_check_of_an_ambient_plugin_is_run_with_the_others(family, named):
    plugin = PLUGIN if named == "def optreg_checks" else PLUGIN.replace(
        "hookimpl\ndef optreg_checks", 'hookimpl(specname="optreg_checks")\ndef more'
    )  # fmt: skip
    family(plugin)
    run = conform("lion", "momentum", "-k", "Z01")
    assert run.returncode == 1
    assert "Z01-the_name_is_short (must): The name has at most five letters." in run.stdout
    assert "'momentum' is long" in run.stdout
    assert "'lion' is long" not in run.stdout


FAULTY = {
    "a module that is not there": (
        PLUGIN.replace("family_checks", "no_such_checks"), CHECKS,
        "its checks in 'no_such_checks' cannot be imported: ModuleNotFoundError",
    ),
    "an id of a built-in check": (
        PLUGIN, CHECKS.replace("Z01", "M02"),
        "'M02-the_name_is_short', and distribution 'optreg' a check 'M02-hostile_trajectory' of the same id",
    ),
    "a kind that does not exist": (
        PLUGIN.replace('"optimizer"', '"optimiser"'), CHECKS,
        "hook 'optreg_checks' returned checks of kind 'optimiser'; a kind is 'optimizer' or 'scheduler'",
    ),
    "no kind": (
        PLUGIN.replace(', kind="optimizer"', ""), CHECKS, "hook 'optreg_checks' failed: TypeError",
    ),
    "a module in place of a record": (
        PLUGIN.replace('optreg.CheckPlugin(module="family_checks", kind="optimizer")', "optreg"), CHECKS,
        "hook 'optreg_checks' returned a module, not a CheckPlugin",
    ),
    "a function without its mark": (
        PLUGIN, CHECKS + "\ndef check_more(subject):\n    assert False\n",
        "in 'family_checks', function 'check_more' is not marked as a check, by @optreg.conformance.check",
    ),
    "no check at all": (PLUGIN, "", "in 'family_checks', no function is marked as a check"),
    "an id of another form": (PLUGIN, CHECKS.replace("Z01", "z-1"), "needs an id of capital letters and a number"),
    "no claim": (PLUGIN, CHECKS.replace("The name has at most five letters.", ""), "docstring whose first line is a"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTY)
def test_checks_that_would_not_be_run_are_refused(site, fault):
    plugin, code, message = FAULTY[fault]
    site.install("family", plugin, group="optreg.hooks", names=["family"])
    (site.folder / "family_checks.py").write_text(code)
    with pytest.raises(PluginError) as caught:
        checks.__wrapped__()
    assert "distribution 'family'" in str(caught.value)
    assert message in str(caught.value)


def test_checks_of_two_distributions_of_one_id_are_refused_and_nothing_is_judged(family):
    family()
    family(PLUGIN.replace("family", "other"), name="other")
    run = conform("lion", "momentum", "-k", "M20")
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "distribution 'other' has a check 'Z01-the_name_is_short', and distribution 'family'" in run.stderr


def test_checks_in_a_module_that_the_suite_never_asks_are_refused(family):
    code = "\n@optreg.hookimpl\ndef optreg_optimizers():\n    return []\n"
    family(PLUGIN + code, group="optreg.optimizers")
    run = conform("family")
    assert run.returncode == 2
    assert "implements 'optreg_checks', which optreg calls only for the entry-point group 'optreg.hooks'" in run.stderr


def test_the_example_distribution_judges_by_the_public_vocabulary(elsewhere, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", f"{elsewhere.folder}:{HOUSERULES}")
    elsewhere.install("optreg-houserules", group="optreg.hooks", names=["houserules"], module="optreg_houserules")
    (elsewhere.folder / "optreg_houserules.py").unlink()  # the package itself is the checkout's
    report = tmp_path / "report.json"
    arguments = ("-k", "H0", "--tier", "should", "--json", report)
    run = conform("lion", "momentum", "cosine", "constant", *arguments)
    assert run.returncode == 1, run.stdout + run.stderr
    found = {(v["subject"], v["check"]): v for v in json.loads(report.read_text())["verdicts"]}
    statuses = {key: verdict["status"] for key, verdict in found.items()}
    assert statuses == {
        ("lion", "H01"): "passed",
        ("momentum", "H01"): "failed",
        ("cosine", "H02"): "passed",
        ("constant", "H02"): "not applicable",
    }
    assert "import torch" in found["momentum", "H01"]["finding"]["snippet"]


def test_the_letter_of_a_check_is_its_chapters():
    letters = {(chapter.letter, chapter.kind, chapter.module) for chapter in CHAPTERS}
    for check in checks():
        module = check.function.__module__.rpartition(".")[2]
        assert (check.id[0], check.kind, module) in letters, check
