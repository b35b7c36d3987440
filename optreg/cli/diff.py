"""`optreg diff`: what two specs, once resolved, do differently."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Final

import click

from optreg.cli.curve import Curve, StepError, refuse_open
from optreg.cli.output import overrides_option, plugins_print_to_stderr, table
from optreg.cli.plan import DEFAULT, constant, group_curves, plan
from optreg.loading import load_spec
from optreg.quantities import Unit, quantity
from optreg.spec import Component, Spec

EVERY: Final = 100_000
"""Up to how many updates two curves are compared at every one."""

ROUNDING: Final = 1e-12
"""The part of the peak below which a difference is one of rounding. Two formulas of one curve differ by 1e-15."""


class Absent(Enum):
    """Stands for a value that one of the specs does not have."""

    ABSENT = "(absent)"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True)
class Value:
    """A value that differs.

    Args:
        path: its dotted path in the resolved spec.
        a: what it is in the first spec; `ABSENT` if it is not there.
        b: the same of the second.
    """

    path: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Setting:
    """A setting of a rule that differs, or a rule that one of the specs lacks.

    Args:
        rule: the criteria.
        setting: the name of the setting; None for the rule itself.
        a: what it is in the first spec; of a rule, its place from 1; `ABSENT` if it is not there.
        b: the same of the second.
    """

    rule: str
    setting: str | None
    a: Any
    b: Any


@dataclass(frozen=True)
class Point:
    """An update at which two curves differ.

    Args:
        update: its number, from 0.
        a: the value of the first; None if the schedule fails there.
        b: the same of the second.
    """

    update: int
    a: float | None
    b: float | None


@dataclass(frozen=True)
class CurveDifference:
    """How two curves differ.

    Args:
        of: what they are the curves of.
        group: the rule whose group has them.
        first: the first update at which they differ.
        largest: the update at which they differ most.
    """

    of: str
    group: str
    first: Point
    largest: Point


@dataclass(frozen=True)
class Differences:
    """All that two specs do differently."""

    values: Sequence[Value] = ()
    groups: Sequence[Setting] = ()
    curves: Sequence[CurveDifference] = ()

    def __bool__(self) -> bool:
        return bool(self.values or self.groups or self.curves)


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON; a value that one of the specs lacks is left out.")
@click.pass_context
def command(context: click.Context, a: str, b: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print what the specs A and B do differently: values, settings of groups, curves.

    Both are compared as they are resolved, with all that they extend and every default. Exits with 1 if anything
    differs. Curves are compared at every update up to the 100,000th, and beyond at 20,000 of them and around every
    step that a spec names. What rounding alone makes different does not count.
    """
    with plugins_print_to_stderr():
        specs = [load_spec(file, overrides) for file in (a, b)]
        for file, spec in zip((a, b), specs, strict=True):
            refuse_open(spec, file)
        found = differences(*specs)
    if as_json:
        click.echo(json.dumps(_plain({"a": a, "b": b, **asdict(found)}), indent=2))
    else:
        _print(found, a, b)
    context.exit(int(bool(found)))


def differences(a: Spec, b: Spec) -> Differences:
    """What two specs do differently.

    Raises:
        PluginError: a schedule cannot be built.
    """
    return Differences([*_values(a, b)], [*_settings(a, b)], [*_curves(a, b)])


def _values(a: Spec, b: Spec) -> Iterator[Value]:
    """The values that differ, without those of rules."""
    ours, theirs = (dict(_flat(_sections(spec, other), ())) for spec, other in ((a, b), (b, a)))
    for path in {**ours, **theirs}:
        one, other = ours.get(path, ABSENT), theirs.get(path, ABSENT)
        is_plain = path[0] == "notes"
        if not (_same(one, other) if is_plain else _same(_meant(one), _meant(other))):
            yield Value(".".join(path), one, other)


def _meant(value: Any) -> Any:
    """What a length means, however it is written; other values as they are."""
    if not isinstance(value, str):
        return value
    try:
        length = quantity(value)
    except ValueError:
        return value
    return length.amount if length.unit is Unit.STEPS else (length.unit, length.amount)


def _sections(spec: Spec, other: Spec) -> dict[str, Any]:
    """The spec as plain data, without its rules; each component has the name that its author gave it."""
    sections = {key: value for key, value in spec.as_dict().items() if key != "groups"}
    for key, part, beside in (
        ("optimizer", spec.optimizer, other.optimizer),
        ("scheduler", spec.scheduler, other.scheduler),
    ):
        if isinstance(part, Component):
            both = [each for each in (part, beside) if isinstance(each, Component)]
            names = {each.entry.qualified for each in both if each.entry.name == part.entry.name}
            name = part.registration.plugin.name if len(names) == 1 else part.entry.qualified
            sections[key] = {**sections[key], "name": name}
    return sections


def _flat(data: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value by its path; lists of plain values are values."""
    inner: Any = None
    if isinstance(data, dict):
        inner = data.items()
    elif isinstance(data, list) and any(isinstance(item, dict | list) for item in data):
        inner = enumerate(data)
    if not inner:
        yield path, data
        return
    for key, value in inner:
        yield from _flat(value, (*path, str(key)))


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one; true is not 1."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _settings(a: Spec, b: Spec) -> Iterator[Setting]:
    """The rules that one of the specs lacks, the settings that differ in others, and rules in another order."""
    ours, theirs = _rules(a), _rules(b)
    for rule in {**ours, **theirs}:
        one, other = (rules.get(rule, (ABSENT, {})) for rules in (ours, theirs))
        if ABSENT in (one[0], other[0]):
            yield Setting(rule, None, one[0], other[0])
        for name in {**one[1], **other[1]}:
            values = [settings.get(name, ABSENT) for _, settings in (one, other)]
            if not _same(*values):
                yield Setting(rule, name, *values)
    common = [[rule for rule in rules if rule in ours and rule in theirs] for rules in (ours, theirs)]
    for rule in common[0]:
        if common[0].index(rule) != common[1].index(rule):
            yield Setting(rule, None, ours[rule][0], theirs[rule][0])


def _rules(spec: Spec) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The place of each rule, from 1, and its settings as plain data, by its criteria; a second one has a number."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for place, rule in enumerate(spec.groups, 1):
        often = sum(str(rule) == str(earlier) for earlier in spec.groups[: place - 1])
        plain = {key: value for key, value in rule.as_dict().items() if key not in rule.criteria}
        found[f"{rule} (number {often + 1})" if often else str(rule)] = place, plain
    return found


def _curves(a: Spec, b: Spec) -> Iterator[CurveDifference]:
    """The curves that differ, of each hyperparameter that a schedule drives, in each group where they do so otherwise
    than by default.
    """
    ours, theirs = _Groups(a), _Groups(b)
    for of in {**ours.changing, **theirs.changing}:
        by_default: tuple[Point, Point] | None = None
        for group in {**ours.plans, **theirs.plans}:
            pair = ours.curve(of, group), theirs.curve(of, group)
            points = compared(*pair)
            if points and (group == DEFAULT or points != by_default):
                units = dict.fromkeys(each.unit for each in pair if each)
                yield CurveDifference(" / ".join(units), group, *points)
            by_default = points if group == DEFAULT else by_default


class _Groups:
    """The groups of a spec, with the curves of what changes in them."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.plans = {group.name: group for group in plan(spec)}
        self.curves = {name: group_curves(spec, group) for name, group in self.plans.items()}
        self.changing = {of: None for found in self.curves.values() for of in found}

    def curve(self, of: str, name: str) -> Curve | None:
        """The curve of a hyperparameter in a group, or in the default one if there is no such group."""
        name = name if name in self.plans else DEFAULT
        return self.curves[name].get(of) or constant(self.spec, self.plans[name], of)


def compared(a: Curve | None, b: Curve | None) -> tuple[Point, Point] | None:
    """The first point at which two curves differ, and the one where they differ most; None if they do not differ.

    A curve that is not there has no value anywhere.
    """
    steps = _looked_at(a, b)
    points = [_point(a, b, t) for t in steps]
    peak = max((abs(value) for point in points for value in (point.a, point.b) if value is not None), default=0.0)
    apart = [place for place, point in enumerate(points) if _distance(point) > ROUNDING * peak]
    if not apart:
        return None
    first, largest = points[apart[0]], max(points, key=_distance)
    low, high = steps[apart[0] - 1] if apart[0] else first.update, first.update
    while high - low > 1:  # the first is between two points that were looked at
        middle = _point(a, b, (low + high) // 2)
        if _distance(middle) > ROUNDING * peak:
            high, first = middle.update, middle
        else:
            low = middle.update
    return first, largest


def _looked_at(a: Curve | None, b: Curve | None) -> list[int]:
    """The updates at which two curves are compared, in order."""
    there = [each for each in (a, b) if each]
    last = max(each.end for each in there) if there else 0
    last += last // 20 + 1
    if last < EVERY:
        return [*range(last + 1)]
    named = {t + aside for each in there for t in each.key_steps() for aside in (-1, 0, 1)}
    return sorted({*range(0, last + 1, last // 20_000), *(t for t in named if 0 <= t <= last), last})


def _point(a: Curve | None, b: Curve | None, t: int) -> Point:
    return Point(t, _value(a, t), _value(b, t))


def _value(rates: Curve | None, t: int) -> float | None:
    try:
        return rates.at(t) if rates else None
    except StepError:
        return None


def _distance(point: Point) -> float:
    """How far two curves are apart; infinitely, if one of them has no value."""
    if point.a is None or point.b is None:
        return 0.0 if point.a is point.b else float("inf")
    return abs(point.a - point.b)


def _print(found: Differences, a: str, b: str) -> None:
    if not found:
        click.echo("nothing differs")
    values = [(value.path, *_told(value.a, value.b)) for value in found.values]
    settings = [(each.rule, each.setting or "(place)", *_told(each.a, each.b)) for each in found.groups]
    points = [
        (each.of, each.group, point.update, *_told(point.a, point.b), what)
        for each in found.curves
        for point, what in ((each.first, "the first that differs"), (each.largest, "the largest difference"))
    ]
    tables: dict[tuple[str, ...], Sequence[Sequence[object]]] = {
        ("value", a, b): values,
        ("rule of groups", "setting", a, b): settings,
        ("curve", "group", "at update", a, b, "which is"): points,
    }
    for place, headers in enumerate(headers for headers, rows in tables.items() if rows):
        if place:
            click.echo()
        table(headers, tables[headers])


def _told(a: Any, b: Any) -> tuple[str, str]:
    """Two values as specs have them; numbers with as many digits as it takes to tell them apart."""
    told = ("", "")
    for digits in range(6, 18):
        told = _one(a, digits), _one(b, digits)
        if told[0] != told[1]:
            break
    return told


def _one(value: Any, digits: int) -> str:
    if value is None:
        return "none"
    if value is ABSENT:
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return value if isinstance(value, str) else json.dumps(value)


def _plain(data: Any) -> Any:
    """The data without what is absent."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items() if value is not ABSENT}
    return [*map(_plain, data)] if isinstance(data, list | tuple) else data
