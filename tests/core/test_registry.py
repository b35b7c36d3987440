"""The registry over real distributions: names, collisions, lists, broken plugins, and laziness."""

import importlib
import sys

import pytest

import optreg
from optreg import PluginError, Registry, SpecError, UnknownPluginError
from optreg.entries import Kind

SCHEDULER = {"name": "constant"}

GOOD = """\
from dataclasses import dataclass
from optreg import OptimizerPlugin, hookimpl

@dataclass
class Reference:
    '''One sentence.'''
    lr: float = 0.1

@dataclass
class Options:
    nesterov: bool = False

@hookimpl
def optreg_optimizers():
    return [
        OptimizerPlugin(name=name, implementation="torch.optim:SGD", reference=Reference, options=Options)
        for name in ("good", "other-good")
    ]
"""


def test_names_are_normalised_and_can_be_qualified(site):
    site.install("My.Dist", GOOD, module="my_dist", names=["Good", "other-good"])
    registry = Registry()
    for name in ("good", "GOOD", "my-dist/good", "My.Dist/good", "my_dist/Good", "MY-_-DIST/GOOD"):
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
        ("", "does not implement the hook 'optreg_optimizers'"),
        (HOOK + "return 1 / 0", "hook 'optreg_optimizers' failed: ZeroDivisionError"),
        (HOOK + "return None", "hook 'optreg_optimizers' failed: TypeError"),
        (HOOK + "return ['lion']", "returned a str, not an OptimizerPlugin"),
        (HOOK + "return []", "needs one record of that name; 'optreg_optimizers' returned nothing"),
        (GOOD.replace('"good"', '"bad"'), "needs one record of that name; 'optreg_optimizers' returned 'bad', 'other-good'"),
        (GOOD.replace("@dataclass\nclass Reference", "class Reference"), "the reference of 'good' is not a dataclass"),
        (GOOD.replace("lr:", "match:"), "has hyperparameters whose names are reserved in specs: match"),
        (GOOD.replace("reference=Reference", "reference=Reference()"), "the reference of 'good' is not a dataclass"),
        (GOOD.replace("options=Options", "options=dict"), "the options class of 'good' is not a dataclass"),
        (GOOD.replace("options=Options", "options=None"), "the options class of 'good' is not a dataclass"),
        (GOOD.replace("nesterov", "name"), "'good' has hyperparameters whose names are reserved in specs: name"),
        (GOOD.replace("name=name", "name=None"), "needs one record of that name; 'optreg_optimizers' returned 'None', 'None'"),
        (GOOD.replace("def optreg_optimizers", "def optreg_optimisers"), "'optreg_optimisers', which is not a hook of optreg; did you mean 'optreg_optimizers'"),
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


@pytest.mark.parametrize("place", ["'no_such_module:Class'", "'torch.optim:NoSuchClass'", "'torch.optim'", "Reference"])
def test_an_implementation_that_is_not_there_is_told_with_its_distribution(site, place):
    site.install("bad-dist", GOOD.replace('"torch.optim:SGD"', place), names=["good"])
    registration = Registry().optimizer("good")
    shown = "'<class 'bad_dist.Reference'>'" if place == "Reference" else place
    with pytest.raises(PluginError, match=f"distribution 'bad-dist' 1.0.*names its implementation {shown}"):
        registration.implementation()


@pytest.mark.parametrize("target", ["gone", ".relative", "", "no.such.module", "no_such:attribute"])
def test_an_entry_point_that_leads_nowhere_shows_as_broken(site, target):
    site.install("astray", names=["x"])
    (site.folder / "astray-1.0.dist-info" / "entry_points.txt").write_text(f"[optreg.optimizers]\nx = {target}\n")
    registry = Registry()
    (entry,) = [entry for entry in registry.entries() if entry.distribution == "astray"]
    assert registry.state(entry).startswith("broken: no module")
    with pytest.raises(PluginError, match=r"optimizer 'x' is broken: distribution 'astray' 1\.0"):
        registry.load(entry)


def test_every_kind_of_entry_can_be_loaded():
    registry = Registry()
    for entry in registry.entries():
        if not registry.state(entry).startswith("not available"):
            registry.load(entry)


def test_the_options_of_a_plugin_are_checked_and_reach_its_class(site):
    site.install("solo", GOOD, names=["good"])
    spec = optreg.load_spec({"optimizer": {"name": "good", "nesterov": False}, "scheduler": SCHEDULER})
    assert spec.optimizer.settings == {"lr": 0.1, "nesterov": False}
    with pytest.raises(SpecError, match=r"optimizer\.nesterov: good: nesterov must be a valid boolean, not 1"):
        optreg.load_spec({"optimizer": {"name": "good", "nesterov": 1}, "scheduler": SCHEDULER})


def test_fields_that_cannot_be_checked_against_harm_only_who_names_the_plugin(site):
    site.install("bad-dist", GOOD.replace("lr: float", "lr: 'NoSuchType'"), names=["good"])
    with pytest.raises(PluginError, match="the fields of 'bad_dist:Reference': NameError"):
        optreg.load_spec({"optimizer": {"name": "good"}, "scheduler": SCHEDULER})
    assert optreg.load_spec({"optimizer": {"name": "lion"}, "scheduler": SCHEDULER})


def test_a_distribution_without_metadata_harms_nobody(site):
    module = site.install("nameless", GOOD, names=["good"])
    (site.folder / f"{module}-1.0.dist-info" / "METADATA").unlink()
    registry = Registry()
    assert registry.optimizer("lion").entry.distribution == "optreg"
    entry = registry.optimizer("good").entry
    assert (entry.distribution, entry.version) == ("nameless", "1.0")
    (fault,) = registry.faults
    assert f"METADATA of distribution 'nameless' in '{site.folder / 'nameless-1.0.dist-info'}' cannot be read" in fault


def test_a_module_refused_by_pluggy_is_refused_again_and_can_be_loaded_once_mended(site):
    wrong = GOOD.replace("optreg_optimizers()", "optreg_optimizers(extra)")
    module = site.install("bad-dist", wrong, names=["good"])
    registry = Registry()
    for _ in range(2):
        with pytest.raises(PluginError, match="extra"):
            registry.optimizer("good")
    sys.modules.pop(module)
    (site.folder / f"{module}.py").write_text(GOOD)
    importlib.invalidate_caches()
    assert registry.optimizer("good").entry.distribution == "bad-dist"


def test_one_module_may_offer_several_kinds_and_is_registered_once(site):
    code = GOOD + (
        "\nfrom optreg import SchedulePlugin\n\n@hookimpl\ndef optreg_schedulers():\n"
        "    return [SchedulePlugin(name='good', implementation='bad:Nothing', reference=Reference)]\n"
    )
    site.install("solo", code, names=["good"])
    points = site.folder / "solo-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "[optreg.schedulers]\ngood = solo\n")
    registry = Registry()
    assert registry.optimizer("good").plugin.implementation == "torch.optim:SGD"
    assert registry.scheduler("good").entry.kind is Kind.SCHEDULER
    with pytest.raises(PluginError, match="scheduler 'good' of distribution 'solo'"):
        registry.scheduler("good").implementation()


def test_a_hook_entry_can_be_loaded_and_a_broken_one_told(site):
    site.install("watcher", "import optreg", group="optreg.hooks", names=["watcher"])
    site.install("broken-hook", "1 / 0", group="optreg.hooks", names=["broken"])
    registry = Registry()
    broken, watcher = registry.entries(Kind.HOOK)
    registry.load(watcher)
    with pytest.raises(PluginError, match="hook 'broken' is broken: distribution 'broken-hook'"):
        registry.load(broken)
