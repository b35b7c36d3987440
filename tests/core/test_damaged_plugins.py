"""Distributions that are damaged in unusual ways: each is told by name, and none stands in another's way."""

import importlib
import sys

import pytest
import torch

import optreg
from optreg import PluginError, Registry, SpecError
from optreg.entries import Kind

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
    return [OptimizerPlugin(name="good", implementation="torch.optim:SGD", reference=Reference, options=Options)]
"""

SCHEDULER = {"name": "constant"}


def entry_of(registry, distribution):
    (entry,) = [entry for entry in registry.entries() if entry.distribution == distribution]
    return entry


@pytest.mark.parametrize("spelling", ["my-dist/good", "My.Dist/good", "my_dist/Good", "MY-_-DIST/GOOD"])
def test_a_qualified_name_may_be_spelt_as_its_author_does(site, spelling):
    site.install("My.Dist", GOOD, module="my_dist", names=["good"])
    assert Registry().optimizer(spelling).entry.qualified == "my-dist/good"


def test_the_options_of_a_plugin_are_checked_and_reach_its_class(site):
    site.install("solo", GOOD, names=["good"])
    spec = optreg.load_spec({"optimizer": {"name": "good", "nesterov": False}, "scheduler": SCHEDULER})
    assert spec.optimizer.settings == {"lr": 0.1, "nesterov": False}
    with pytest.raises(SpecError, match=r"optimizer\.nesterov: good: nesterov must be a valid boolean, not 1"):
        optreg.load_spec({"optimizer": {"name": "good", "nesterov": 1}, "scheduler": SCHEDULER})


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("options=Options", "options=dict", "the options class of 'good' is no dataclass"),
        ("options=Options", "options=None", "the options class of 'good' is no dataclass"),
        ("nesterov", "name", "'good' has hyperparameters that specs use for something else: name"),
        ("reference=Reference", "reference=Reference()", "the reference of 'good' is no dataclass"),
        ('name="good"', "name=None", "needs one record of that name; 'optreg_optimizers' returned 'None'"),
    ],
)
def test_a_record_that_breaks_the_contract_is_told_with_its_distribution(site, right, wrong, message):
    site.install("bad-dist", GOOD.replace(right, wrong), names=["good"])
    with pytest.raises(PluginError) as caught:
        Registry().optimizer("good")
    assert message in str(caught.value)
    assert "distribution 'bad-dist' 1.0, module 'bad_dist'" in str(caught.value)


def test_a_class_in_place_of_its_path_is_told_with_its_distribution(site):
    site.install("bad-dist", GOOD.replace('"torch.optim:SGD"', "Reference"), names=["good"])
    with pytest.raises(PluginError, match=r"distribution 'bad-dist' 1\.0.* names its implementation '<class"):
        Registry().optimizer("good").implementation()


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
    assert (entry.distribution, entry.version) == ("unknown", "unknown")


@pytest.mark.parametrize("target", [".relative", "", "no.such.module", "no_such:attribute"])
def test_an_entry_point_that_leads_nowhere_shows_as_broken(site, target):
    site.install("astray", names=["x"])
    (site.folder / "astray-1.0.dist-info" / "entry_points.txt").write_text(f"[optreg.optimizers]\nx = {target}\n")
    registry = Registry()
    entry = entry_of(registry, "astray")
    assert registry.state(entry).startswith("broken: no module")
    with pytest.raises(PluginError, match=r"optimizer 'x' is broken: distribution 'astray' 1\.0"):
        registry.load(entry)


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


def test_parameters_of_which_some_have_names_are_built_without(site):
    model = torch.nn.Linear(2, 2)
    groups = [{"ndim": 1, "lr": 0.5}]
    optimizer = optreg.optimizer("adamw", [("weight", model.weight), model.bias], groups=groups)
    assert [group["params"] for group in optimizer.param_groups] == [[model.weight], [model.bias]]
    assert all("param_names" not in group for group in optimizer.param_groups)


@pytest.mark.parametrize("rate", [torch.ones(2), torch.ones(0)])
def test_a_rate_that_is_not_one_number_is_refused_before_anything_is_built(rate):
    with pytest.raises(SpecError, match=r"optimizer\.lr: a Tensor is no plain value"):
        optreg.optimizer("adamw", torch.nn.Linear(2, 2), lr=rate)
