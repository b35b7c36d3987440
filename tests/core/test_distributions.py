"""Damaged and left-over distributions, as real folders on `sys.path`: each is named with what to do, and nobody stops."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import optreg
from optreg import PluginWarning, Registry, UnknownPluginError
from optreg.cli import main
from optreg.entries import Kind

SPEC = {"optimizer": {"name": "lion"}, "scheduler": {"name": "constant"}}


def undecodable(file):
    file.write_bytes(b"[optreg.optimizers]\nx = \xff\xfe\n")


def folder(file):
    file.unlink(missing_ok=True)
    file.mkdir()


def cannot_be_opened(file):
    file.unlink(missing_ok=True)
    file.symlink_to(file.name)


def not_an_entry(file):
    file.write_text("[optreg.optimizers]\n# a comment\n\nx = odd\nno entry\n")


def no_name(file):
    file.write_text("Metadata-Version: 2.1\n\nName: body\n")


DAMAGES = [
    *(("entry_points.txt", damage) for damage in (undecodable, folder, cannot_be_opened, not_an_entry)),
    *(("METADATA", damage) for damage in (undecodable, folder, cannot_be_opened, no_name)),
]


@pytest.fixture(params=DAMAGES, ids=lambda damage: f"{damage[0]}-{damage[1].__name__}")
def damaged(request, site):
    """The file of an installed distribution that has been damaged."""
    site.offer("odd-dist", "good")
    name, damage = request.param
    file = site.folder / "odd_dist-1.0.dist-info" / name
    damage(file)
    return file


def test_what_is_damaged_is_named_with_its_path_and_a_remedy(damaged):
    (fault,) = Registry().faults
    assert "distribution 'odd_dist'" in fault
    assert str(damaged.parent) in fault
    assert damaged.name in fault
    assert fault.endswith("install it again: pip install --force-reinstall odd_dist")


def test_all_others_work(damaged):
    registry = Registry()
    assert registry.optimizer("lion").entry.distribution == "optreg"
    with pytest.warns(PluginWarning, match="odd_dist"):
        assert optreg.build(SPEC, torch.nn.Linear(1, 1)).optimizer.param_groups


def test_damaged_metadata_hides_no_plugin(damaged):
    registry = Registry()
    if damaged.name == "METADATA":
        assert registry.optimizer("good").entry.qualified == "odd-dist/good"
        assert registry.optimizer("good").entry.version == "1.0"
        assert [registry.state(entry) for entry in registry.entries() if entry.name == "good"] == ["available"]
    else:
        with pytest.raises(UnknownPluginError, match="there is no optimizer 'good'"):
            registry.optimizer("good")


@pytest.mark.parametrize(
    "command", [["list"], ["list", "--json"], ["show", "lion"], ["validate", "run.yaml"], ["explain", "run.yaml"],
                ["schema"], ["plot", "run.yaml", "-o", "lr.svg"], ["--version"]],
)  # fmt: skip
@pytest.mark.parametrize("damaged", DAMAGES[:1], indirect=True)
def test_every_command_tells_it_once_in_a_line_and_goes_on(damaged, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTREG_PLUGINS", "optreg/lion, optreg/constant")
    Path("run.yaml").write_text("optimizer: {name: lion}\nscheduler: {name: constant}\n")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    told = [] if command == ["--version"] else ["warning: distribution 'odd_dist' is damaged, and its plugins"]
    assert [line.partition(" are left out")[0] for line in result.stderr.splitlines()] == told
    assert "warning" not in result.stdout


@pytest.mark.parametrize("command", ["list --check", "explain run.yaml --model torch.nn:PReLU", "conform --list"])
def test_commands_that_import_torch_work_although_torch_reads_all_entry_points(elsewhere, tmp_path, command):
    elsewhere.install("odd-dist", names=["good"])
    undecodable(elsewhere.folder / "odd_dist-1.0.dist-info" / "entry_points.txt")
    (tmp_path / "run.yaml").write_text("optimizer: {name: lion}\n")
    environ = {**os.environ, "PYTHONPATH": str(elsewhere.folder), "OPTREG_PLUGINS": "optreg/lion, optreg/torch.StepLR"}
    process = [sys.executable, "-m", "optreg", *command.split()]
    result = subprocess.run(process, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    assert [line[:40] for line in result.stderr.splitlines()] == ["warning: distribution 'odd_dist' is dama"]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_what_is_required_may_be_damaged(site, name, damage):
    site.install("needed")
    damage(site.folder / "needed-1.0.dist-info" / name)
    site.offer("odd-dist", "good")
    with (site.folder / "odd_dist-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: needed>=1; extra == 'good'\n")
    registry = Registry()
    (entry,) = [entry for entry in registry.entries() if entry.name == "good"]
    damaged = name == "METADATA"
    assert registry.state(entry).startswith("not available: needs needed>=1, " if damaged else "available")


def test_a_requirement_that_is_not_one_is_told(site):
    site.offer("odd-dist", "good")
    with (site.folder / "odd_dist-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Requires-Dist: >>>; extra == 'good'\n")
    with pytest.raises(UnknownPluginError, match="it needs '>>>; extra == 'good'', which is not a valid requirement"):
        Registry().optimizer("good")


def states(registry):
    return [(entry.qualified, registry.state(entry)) for entry in registry.entries()]


def leave_behind(site):
    """What an interrupted upgrade of optreg leaves: pip has moved the old metadata aside."""
    ours = next(found for found in importlib.metadata.distributions(name="optreg") if found.read_text("METADATA"))
    copy = site.folder / "~ptreg-0.1.0.dist-info"
    copy.mkdir()
    for file in ("METADATA", "entry_points.txt"):
        (copy / file).write_text(ours.read_text(file))
    return copy


@pytest.mark.parametrize("name", ["~ptreg-0.1.0.dist-info", "~=treg.egg-info", "-ptreg-0.1.0.dist-info"])
def test_what_an_interrupted_upgrade_leaves_is_ignored_and_told_once(site, name):
    before = states(Registry())
    left = leave_behind(site).rename(site.folder / name)
    registry = Registry()
    assert registry.optimizer("lion").entry.distribution == "optreg"
    assert registry.optimizer("optreg/lion")
    assert states(registry) == before
    (fault,) = registry.faults
    assert fault.startswith(f"'{left}' is not a valid distribution, and is ignored")
    assert fault.endswith("delete it")


def test_a_folder_that_is_twice_on_the_path_is_told_once(site, monkeypatch):
    leave_behind(site)
    monkeypatch.syspath_prepend(str(site.folder))
    assert len(Registry().faults) == 1


@pytest.mark.parametrize("other", ["optreg_old-0.0.9.dist-info", "optreg-0.0.9.dist-info", "optreg.egg-info"])
def test_a_distribution_that_is_found_twice_with_the_same_modules_is_one(site, other):
    """A copy of the folder, and what an editable installation leaves in the working folder."""
    before = states(Registry())
    leave_behind(site).rename(site.folder / other)
    registry = Registry()
    assert registry.optimizer("lion").entry.distribution == "optreg"
    assert states(registry) == before
    assert registry.faults == ()


def test_of_two_versions_the_first_on_the_path_counts(site, monkeypatch, tmp_path):
    site.offer("odd-dist", "good")
    later = type(site)(tmp_path / "later")
    later.offer("odd-dist", "good", version="2.0", module="another")
    monkeypatch.setattr(sys, "path", [*sys.path, str(later.folder)])
    assert Registry().optimizer("good").entry.version == "1.0"
    shutil.rmtree(site.folder / "odd_dist-1.0.dist-info")
    site.install("odd-dist")  # a version without plugins
    with pytest.raises(UnknownPluginError):
        Registry().optimizer("good")


def test_a_folder_without_metadata_that_hides_a_full_one_is_named(site, monkeypatch, tmp_path):
    empty = site.folder / "odd_dist-0.9.dist-info"
    empty.mkdir()
    later = type(site)(tmp_path / "later")
    later.offer("odd-dist", "good")
    monkeypatch.setattr(sys, "path", [*sys.path, str(later.folder)])
    registry = Registry()
    assert registry.optimizer("good").entry.version == "1.0"
    (fault,) = registry.faults
    full = later.folder / "odd_dist-1.0.dist-info"
    assert fault == f"'{empty}' has no metadata, and hides '{full}' from other tools: delete it"


def test_a_folder_without_metadata_that_hides_nothing_is_no_matter(site):
    (site.folder / "odd_dist-0.9.dist-info").mkdir()
    assert Registry().faults == ()


def test_distributions_in_a_zip_file_and_of_other_finders_are_read(site, monkeypatch):
    site.offer("odd-dist", "good")
    archive = site.folder.parent / "odd.zip"
    with zipfile.ZipFile(archive, "w") as written:
        for file in sorted(site.folder.rglob("*.*")):
            written.write(file, file.relative_to(site.folder))
    shutil.rmtree(site.folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(archive)])
    assert Registry().optimizer("good").entry.version == "1.0"
    del sys.modules["odd_dist"]


class Told(importlib.metadata.Distribution):
    """A distribution that lies in no folder."""

    def __init__(self, files):
        self.files_by_name = files

    def read_text(self, filename):
        return self.files_by_name.get(filename)

    def locate_file(self, path):
        return Path(path)


@pytest.mark.parametrize(
    ("files", "faults"),
    [
        ({"METADATA": "Name: odd.dist\nVersion: 3\n", "entry_points.txt": "[optreg.optimizers]\ngood = odd\n"}, []),
        ({"METADATA": "Name: odd.dist\nVersion: 3\n", "entry_points.txt": "[optreg.optimizers]\ngood\n"},
         ["a distribution of unknown name is damaged, and its plugins are left out: its entry points cannot be read"]),
    ],
)  # fmt: skip
def test_distributions_of_other_finders_are_read(monkeypatch, files, faults):
    class Finder:
        @staticmethod
        def find_spec(*_):
            return None

        @staticmethod
        def find_distributions(context):
            return [Told(files)] if context.name is None else []

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    registry = Registry()
    found = [entry.qualified for entry in registry.entries() if entry.name == "good"]
    assert found == ([] if faults else ["odd-dist/good"])
    assert [fault[: len(faults[0])] for fault in registry.faults] == faults


@pytest.mark.parametrize("target", ["odd_dist [extra]", "odd_dist:hooks", "odd_dist : hooks [extra, more]", "odd_dist"])
def test_every_legal_form_of_an_entry_point_works(site, target):
    hooks = "import types\nhooks = types.SimpleNamespace(optreg_optimizers=optreg_optimizers)\n"
    site.offer("odd-dist", "good", after=hooks)
    points = site.folder / "odd_dist-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[optreg.optimizers]\ngood = {target}\n")
    registry = Registry()
    registration = registry.optimizer("good")
    assert registration.plugin.name == "good"
    assert registry.state(registration.entry) == "available"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("odd_dist:Reference", "does not implement the hook 'optreg_optimizers'; if the module does, name it alone: good = odd_dist"),
        ("odd_dist:Reference.lr", "does not implement the hook 'optreg_optimizers'; if the module does, name it alone"),
        ("odd_dist:Missing", "cannot be imported: AttributeError: module 'odd_dist' has no attribute 'Missing'"),
    ],
)  # fmt: skip
def test_an_entry_point_that_names_something_else_gets_the_remedy(site, target, message):
    site.offer("odd-dist", "good")
    points = site.folder / "odd_dist-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[optreg.optimizers]\ngood = {target}\n")
    with pytest.raises(optreg.PluginError) as told:
        Registry().optimizer("good")
    assert message in str(told.value)


@pytest.mark.parametrize("name", ["a/b", "odd-dist/good", ""])
def test_a_name_that_nobody_can_ask_for_is_not_called_available(site, name):
    site.offer("odd-dist", "good", names=[name])
    registry = Registry()
    (entry,) = [entry for entry in registry.entries() if entry.distribution == "odd-dist"]
    assert registry.state(entry).startswith("broken: nobody can ask for the name '")
    assert entry not in registry.usable(Kind.OPTIMIZER)


@pytest.mark.parametrize("variable", ["OPTREG_BLOCK", "OPTREG_PLUGINS"])
@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("optregg", "; did you mean 'optreg'?"),
        ("optreg/lyon", "; did you mean 'optreg/lion'?"),
        ("lion", "; did you mean 'optreg/lion'?"),
        ("zzzzzz", "; `optreg list` shows"),
    ],
)  # fmt: skip
def test_a_word_of_a_variable_that_matches_nothing_is_told(variable, word, hint):
    (fault,) = Registry(environ={variable: f"optreg/adamw, {word}"}).faults
    assert fault.startswith(
        f"{variable} names '{word}', but no installed distribution or qualified name is called that{hint}"
    )
    assert Registry(environ={variable: "OptReg, optreg/Torch.SGD,"}).faults == ()


def test_commands_tell_words_that_match_nothing(site, monkeypatch):
    monkeypatch.setenv("OPTREG_BLOCK", "optreg/lyon")
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: OPTREG_BLOCK names 'optreg/lyon', but")


def test_whoever_hears_of_a_fault_may_ask_for_the_registry(site, monkeypatch):
    leave_behind(site)
    heard = []
    monkeypatch.setattr(warnings, "showwarning", lambda *_: heard.append(optreg.default_registry()))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        registry = optreg.default_registry()
    assert heard == [registry]
