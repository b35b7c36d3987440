"""Loading: a file or plain data becomes a checked spec, or one error with every problem, sorted by position."""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from optreg.checking import check_component, check_on_resume, check_rules, check_spec
from optreg.clock import Clock
from optreg.clock_sections import with_facts
from optreg.entries import Kind
from optreg.errors import Problem, SpecError
from optreg.extending import extended
from optreg.on_resume import OnResume
from optreg.overrides import Overrides, override
from optreg.registry import Registry, default_registry
from optreg.run_length import with_whole
from optreg.spec import Component, Rule, Spec
from optreg.yaml_reader import Document, read_file, read_mapping

Source = str | os.PathLike[str] | Mapping[str, Any] | Spec
"""What a spec is read from: the path of a YAML file, plain data, or an existing spec."""

Value = TypeVar("Value")


def load_spec(
    source: Source,
    overrides: Overrides = (),
    *,
    on_resume: Mapping[str, str] = MappingProxyType({}),
    facts: Mapping[str, Any] = MappingProxyType({}),
    registry: Registry | None = None,
) -> Spec:
    """Read and check a spec, and the files that it extends.

    Args:
        source: the path of a YAML file, or a mapping of the same shape.
        overrides: values to set before checking, by dotted path: `["optimizer.lr=1e-4", "groups.0.lr=0"]`, or a
            mapping from such paths to values.
        on_resume: choices that win over the section of that name: `{"schedule": "follow"}`.
        facts: what only the trainer knows, of `horizon`, `batch` and `epoch`, as a spec would say it:
            `{"horizon": 10_000, "batch": "4M tokens"}`. A spec that leaves one to the trainer loads without it too.
        registry: where plugins are looked up; by default, everything installed.

    Raises:
        SpecError: the spec is wrong; every problem is listed with its position and what to write instead.
        PluginError: a plugin that the spec names is broken.
    """
    document = with_facts(override(override(_read(source), overrides), _dotted(on_resume)), facts)
    spec, problems = check_spec(document, registry or default_registry())
    return _settled(spec, [*document.problems, *problems])


def load_component(
    kind: Kind,
    name: str,
    settings: Mapping[str, Any],
    groups: Sequence[Any] = (),
    on_resume: Mapping[str, str] = MappingProxyType({}),
    base_lr: float | None = None,
) -> tuple[Component, tuple[Rule, ...], OnResume]:
    """One component, for an optimizer the rules of its groups, and what becomes of checkpoints, from Python values.

    Args:
        kind: what it is.
        name: the plugin's name.
        settings: its settings.
        groups: rules of param groups.
        on_resume: choices about checkpoints that differ.
        base_lr: of a schedule, the rate of which its levels become shares.

    Raises:
        SpecError: a value is wrong.
        PluginError: the plugin is broken.
    """
    document = read_mapping({kind.value: {"name": name, **settings}, "groups": groups, "on_resume": on_resume})
    registry, clock = default_registry(), Clock()
    if kind is Kind.SCHEDULER:
        clock = with_whole(document, registry, clock)
    component, problems = check_component(document, kind, registry, clock, base_lr)
    rules, in_rules = check_rules(document, component, registry, clock)
    choices, in_choices = check_on_resume(document)
    return _settled(component, [*document.problems, *problems, *in_rules, *in_choices]), rules, choices


def _read(source: Source) -> Document:
    if isinstance(source, Spec):
        source = source.as_dict()
    if isinstance(source, Mapping):
        return extended(read_mapping(source))
    if isinstance(source, str | os.PathLike):
        return extended(read_file(source), source)
    what = type(source).__name__  # type: ignore[unreachable]  # callers may have no type checker
    raise SpecError([Problem(None, f"a spec is the path of a YAML file, a mapping or a Spec, not {what}")])


def _dotted(on_resume: Mapping[str, str]) -> dict[str, Any]:
    """Choices as overrides."""
    if not isinstance(on_resume, Mapping):
        what = type(on_resume).__name__  # type: ignore[unreachable]  # callers may have no type checker
        raise SpecError([Problem(None, f"on_resume is a mapping such as {{'schedule': 'follow'}}, not {what}")])
    return {f"on_resume.{key}": value for key, value in on_resume.items()}


def _settled(value: Value | None, problems: list[Problem]) -> Value:
    """The value, if there is no problem; otherwise raises them all."""
    if value is None or problems:
        raise SpecError(sorted(problems, key=_place))
    return value


def _place(problem: Problem) -> tuple[str, int, int]:
    where = problem.where
    return (where.source, where.line, where.column or 0) if where and where.line else ("", 0, 0)
