"""The registry over real distributions: names, collisions, lists, broken plugins, and laziness."""

import sys
import threading

import pytest

from optreg import PluginError, Registry, UnknownPluginError
from optreg.registry import Kind

GOOD = """\
from dataclasses import dataclass
from optreg import OptimizerPlugin, hookimpl

@dataclass
class Reference:
    '''One sentence.'''
    lr: float = 0.1

@hookimpl
def optreg_optimizers():
    return [
        OptimizerPlugin(name=name, implementation="torch.optim:SGD", reference=Reference)
        for name in ("good", "other-good")
    ]
"""


def test_names_are_normalised_and_can_be_qualified(site):
    site.install("My.Dist", GOOD, module="my_dist", names=["Good", "other-good"])
    registry = Registry()
    for name in ("good", "GOOD", "my-dist/good", "my-dist/Good"):
        assert registry.optimizer(name).entry.qualified == "my-dist/good"
    assert registry.optimizer("other_good").plugin.name == "other-good"
    assert "my_dist" in sys.modules


def test_nothing_is_imported_before_it_is_named(site):
    site.install("lazy", "raise SystemExit('imported')", names=["lazy"])
    registry = Registry()
    (entry,) = [entry for entry in registry.entries(Kind.OPTIMIZER) if entry.name == "lazy"]
    assert registry.state(entry) == "available"
    assert registry.find(Kind.OPTIMIZER, "lazy") == entry
    assert "lazy" not in sys.modules


def test_a_module_is_imported_once_by_any_number_of_threads(site):
    site.install(
        "counted",
        "import builtins\nbuiltins.optreg_count = getattr(builtins, 'optreg_count', 0) + 1\n" + GOOD,
        names=["good"],
    )
    registry, found = Registry(), []
    threads = [threading.Thread(target=lambda: found.append(registry.optimizer("good"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    import builtins

    assert builtins.__dict__.pop("optreg_count") == 1
    assert len(set(found)) == 1
    assert len(found) == 8


def test_an_unknown_name_is_an_error_with_a_suggestion():
    with pytest.raises(UnknownPluginError, match=r"there is no scheduler 'cosin'; did you mean 'cosine'\?"):
        Registry().scheduler("cosin")
    with pytest.raises(UnknownPluginError, match="there is no optimizer 'nobody/lion'"):
        Registry().optimizer("nobody/lion")


def test_a_name_of_two_distributions_must_be_qualified_whoever_was_first(site):
    site.install("rival", GOOD.replace('"good"', '"lion"'), names=["lion"])
    registry = Registry()
    with pytest.raises(
        UnknownPluginError, match="offered by 2 distributions; write one of 'optreg/lion', 'rival/lion'"
    ):
        registry.optimizer("lion")
    assert registry.optimizer("rival/lion").entry.distribution == "rival"
    assert registry.optimizer("optreg/lion").entry.distribution == "optreg"
    assert {registry.state(entry) for entry in registry.entries() if entry.name == "lion"} == {
        "ambiguous: write optreg/lion", "ambiguous: write rival/lion",
    }  # fmt: skip
    assert "lion" not in [entry.name for entry in registry.usable(Kind.OPTIMIZER)]
    blocking = Registry(environ={"OPTREG_BLOCK": "rival"})
    assert blocking.optimizer("lion").entry.distribution == "optreg"
    assert {blocking.state(entry) for entry in blocking.entries() if entry.name == "lion"} == {
        "available", "hidden by OPTREG_BLOCK",
    }  # fmt: skip


def test_one_distribution_that_offers_a_name_twice_is_told_by_name(site):
    site.install("twice", GOOD, names=["good", "Good"])
    with pytest.raises(UnknownPluginError, match=r"distribution 'twice' 1\.0 offers optimizer 'good' twice"):
        Registry().optimizer("good")


@pytest.mark.parametrize(
    ("environ", "variable"),
    [({"OPTREG_PLUGINS": "other, third"}, "OPTREG_PLUGINS"), ({"OPTREG_BLOCK": "optreg/LION"}, "OPTREG_BLOCK")],
)
def test_a_hidden_plugin_says_what_hides_it(environ, variable):
    registry = Registry(environ=environ)
    with pytest.raises(UnknownPluginError, match=f"'lion' is installed, but {variable} hides 'optreg/lion'"):
        registry.optimizer("lion")
    with pytest.raises(UnknownPluginError, match=f"{variable} hides"):
        registry.optimizer("optreg/lion")


def test_an_allow_list_may_name_distributions_or_single_plugins():
    assert Registry(environ={"OPTREG_PLUGINS": "optreg"}).optimizer("lion")
    narrow = Registry(environ={"OPTREG_PLUGINS": "optreg/lion"})
    assert [entry.name for entry in narrow.usable(Kind.OPTIMIZER)] == ["lion"]


HOOK = "from optreg import OptimizerPlugin, SchedulePlugin, hookimpl\n@hookimpl\ndef optreg_optimizers():\n    "


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise SystemExit('needs CUDA')", "cannot be imported: SystemExit: needs CUDA"),
        ("", "implements no hook 'optreg_optimizers'"),
        (HOOK + "return 1 / 0", "hook 'optreg_optimizers' failed: ZeroDivisionError"),
        (HOOK + "return None", "hook 'optreg_optimizers' failed: TypeError"),
        (HOOK + "return ['lion']", "returned a str, not an OptimizerPlugin"),
        (HOOK + "return []", "needs one record of that name; 'optreg_optimizers' returned nothing"),
        (GOOD.replace('"good"', '"bad"'), "needs one record of that name; 'optreg_optimizers' returned 'bad', 'other-good'"),
        (GOOD.replace("@dataclass\n", ""), "the reference of 'good' is no dataclass"),
        (GOOD.replace("lr:", "match:"), "has hyperparameters that specs use for something else: match"),
        (GOOD.replace("def optreg_optimizers", "def optreg_optimisers"), "'optreg_optimisers', which is no hook of optreg; did you mean 'optreg_optimizers'"),
        (GOOD.replace("def optreg_optimizers()", "def optreg_optimizers(extra)"), "extra"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_an_error_that_names_its_distribution_and_harms_nobody_else(site, code, message):
    module = site.install("bad-dist", code, version="3.2", names=["good"])
    registry = Registry()
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            registry.optimizer("good")
        assert message in str(caught.value)
        assert f"distribution 'bad-dist' 3.2, module '{module}'" in str(caught.value)
        assert registry.optimizer("lion").plugin.name == "lion"
    (entry,) = [entry for entry in registry.entries() if entry.distribution == "bad-dist"]
    with pytest.raises(PluginError):
        registry.load(entry)


def test_the_cause_of_a_failed_import_is_chained(site):
    site.install("bad", "raise RuntimeError('no card')", names=["bad"])
    with pytest.raises(PluginError) as caught:
        Registry().optimizer("bad")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("place", ["no_such_module:Class", "torch.optim:NoSuchClass", "torch.optim"])
def test_an_implementation_that_is_not_there_is_told_with_its_distribution(site, place):
    site.install("bad-dist", GOOD.replace("torch.optim:SGD", place), names=["good"])
    registration = Registry().optimizer("good")
    with pytest.raises(PluginError, match=f"distribution 'bad-dist' 1.0.*names its implementation '{place}'"):
        registration.implementation()


def test_a_module_that_is_not_there_shows_without_importing_anything(site):
    site.install("gone", names=["gone"])
    (site.folder / "gone.py").unlink()
    registry = Registry()
    (entry,) = [entry for entry in registry.entries() if entry.name == "gone"]
    assert registry.state(entry) == "broken: no module 'gone'"


def test_given_entry_points_stand_in_for_what_is_installed():
    assert Registry(entry_points=[]).entries() == []


def test_every_kind_of_entry_can_be_loaded():
    registry = Registry()
    for entry in registry.entries():
        if not registry.state(entry).startswith("not available"):
            registry.load(entry)
