"""Loading: a file or plain data becomes a checked spec, or one error with every problem, sorted by place."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from optreg.checking import check_component, check_rules, check_spec
from optreg.entries import Kind
from optreg.errors import Problem, SpecError
from optreg.overrides import Overrides, override
from optreg.registry import Registry, default_registry
from optreg.spec import Component, Rule, Spec
from optreg.yaml_reader import Document, read_file, read_mapping

Source = str | os.PathLike[str] | Mapping[str, Any] | Spec
"""What a spec is read from: the path of a YAML file, plain data, or a spec that exists already."""

Value = TypeVar("Value")


def load_spec(source: Source, overrides: Overrides = (), *, registry: Registry | None = None) -> Spec:
    """Read and check a spec.

    Args:
        source: the path of a YAML file, or a mapping of the same shape.
        overrides: values to set before checking, by dotted path: `["optimizer.lr=1e-4", "groups.0.lr=0"]`, or a
            mapping from such paths to values.
        registry: where plugins are looked up; by default among all that is installed.

    Raises:
        SpecError: the spec is wrong; every problem is listed, each with its place and what to write instead.
        PluginError: a plugin that the spec names is broken.
    """
    document = override(_read(source), overrides)
    spec, problems = check_spec(document, registry or default_registry())
    return _settled(spec, [*document.problems, *problems])


def load_optimizer(name: str, settings: Mapping[str, Any], groups: Sequence[Any] = ()) -> tuple[Component, list[Rule]]:
    """The optimizer section alone, from Python values.

    Raises:
        SpecError: something is wrong with it.
        PluginError: the plugin is broken.
    """
    document = read_mapping({"optimizer": {"name": name, **settings}, "groups": groups})
    component, problems = check_component(document, Kind.OPTIMIZER, default_registry())
    rules, in_rules = check_rules(document, component)
    return _settled(component, [*document.problems, *problems, *in_rules]), list(rules)


def load_scheduler(name: str, settings: Mapping[str, Any]) -> Component:
    """The scheduler section alone, from Python values.

    Raises:
        SpecError: something is wrong with it.
        PluginError: the plugin is broken.
    """
    document = read_mapping({"scheduler": {"name": name, **settings}})
    component, problems = check_component(document, Kind.SCHEDULER, default_registry())
    return _settled(component, [*document.problems, *problems])


def _read(source: Source) -> Document:
    if isinstance(source, Spec):
        source = source.as_dict()
    if isinstance(source, Mapping):
        return read_mapping(source)
    if isinstance(source, str | os.PathLike):
        return read_file(source)
    what = type(source).__name__  # type: ignore[unreachable]  # callers may have no type checker
    raise SpecError([Problem(None, f"a spec is the path of a YAML file, a mapping or a Spec, not {what}")])


def _settled(value: Value | None, problems: list[Problem]) -> Value:
    """The value, once nothing is wrong anywhere; raises all that is."""
    if value is None or problems:
        raise SpecError(sorted(problems, key=_place))
    return value


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.where.line or 0, problem.where.column or 0) if problem.where else (0, 0)
