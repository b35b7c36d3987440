"""The door: every public name, documented, and none imported before it is used."""

import importlib.metadata
import inspect
import subprocess
import sys
import typing
from typing import get_args, get_origin

import pytest

import optreg
from optreg import hookspecs


def test_the_version_is_that_of_the_distribution():
    assert optreg.__version__ == importlib.metadata.version("optreg")


PUBLIC = [
    name
    for name in optreg.__all__
    if inspect.isclass(getattr(optreg, name)) or inspect.isfunction(getattr(optreg, name))
]


def annotated(name):
    """A public function, or a public class with its methods and properties."""
    public = getattr(optreg, name)
    yield public
    for member in vars(public).values() if inspect.isclass(public) else ():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(function):
            yield function


def parts(hint):
    """The types that a type is made of."""
    yield get_origin(hint) or hint
    for argument in get_args(hint):
        yield from parts(argument)


@pytest.mark.parametrize("name", PUBLIC)
def test_type_hints_resolve_and_what_is_returned_can_be_imported(name):
    for public in annotated(name):
        hints = typing.get_type_hints(public)
        told = {name: hint for name, hint in hints.items() if inspect.isclass(public) or name == "return"}
        shown = [part for name, hint in told.items() if not name.startswith("_") for part in parts(hint)]
        ours = [part for part in shown if inspect.isclass(part) and part.__module__.startswith("optreg.")]
        if not public.__name__.startswith("_"):
            assert [part for part in ours if getattr(optreg, part.__name__, None) is not part] == []


def test_type_hints_of_hooks_resolve():
    for hook in ("optreg_optimizers", "optreg_schedulers", "optreg_checks", "optreg_built"):
        assert typing.get_type_hints(getattr(hookspecs, hook))


def test_references_and_schedules_fit_their_protocols():
    registry = optreg.default_registry()
    for entry in registry.usable(optreg.Kind.OPTIMIZER):
        assert members(optreg.OptimizerReference) <= {*dir(registry.optimizer(entry.name).plugin.reference)}
    for entry in registry.usable(optreg.Kind.SCHEDULER):
        plugin = registry.scheduler(entry.name).plugin
        of_steps = [optreg.ScheduleReference, optreg.RateReference]
        protocols = of_steps if plugin.traits.driven_by == "step" else [optreg.MetricReference]
        assert any(members(protocol) <= {*dir(plugin.reference)} for protocol in protocols)


def members(protocol):
    return {name for name in vars(protocol) if inspect.isfunction(vars(protocol)[name]) and not name.startswith("_")}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_class_and_function_is_documented(name):
    assert getattr(optreg, name).__doc__
    assert not getattr(optreg, name).__doc__.startswith(f"{name}(")


def test_the_tables_of_the_door_agree():
    assert sorted(optreg.__all__) == sorted(["__version__", *optreg._HOME])
    assert {*optreg.__all__} <= {*dir(optreg)}


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'optreg' has no attribute 'bild'"):
        _ = optreg.bild


def test_importing_optreg_imports_nothing_heavy_and_no_plugin():
    code = (
        "import sys, optreg\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'pluggy', 'click', 'rich', 'optreg_plugins'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
