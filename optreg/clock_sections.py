"""Clock sections: `horizon`, `batch` and `epoch` of a document, and the facts of a trainer, become a Clock."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optreg.clock import FACTS, Clock, LackingError, OpenError, Point, begun
from optreg.errors import Path, Position, Problem, SpecError, did_you_mean
from optreg.quantities import TRAINER, Quantity, Size, Unit, is_meant, quantity, size
from optreg.yaml_reader import FAULTY, Document, read_mapping

_LENGTHS = {"horizon": "100_000 or '10T tokens'", "epoch": "'312 steps' or '1_281_167 samples'"}
STAGE_KEYS = ("size", "for", "until")

BY_TRAINER = Position("facts")
"""Where a fact stands that the trainer gives."""


def with_facts(document: Document, facts: Mapping[str, Any]) -> Document:
    """The document with what the trainer knows in the sections that leave it open or are missing.

    Raises:
        SpecError: a fact is not one of `FACTS`, or it differs from what the spec says.
    """
    if not isinstance(facts, Mapping):
        what = type(facts).__name__  # type: ignore[unreachable]  # callers may have no type checker
        raise SpecError([Problem(None, f"facts are a mapping such as {{'horizon': 10_000}}, not {what}")])
    strange = [key for key in facts if key not in FACTS]
    problems = [Problem(BY_TRAINER, f"there is no fact '{key}'{did_you_mean(str(key), FACTS)}") for key in strange]
    given = read_mapping({key: value for key, value in facts.items() if key in FACTS and value is not None})
    problems += [Problem(BY_TRAINER, problem.message) for problem in given.problems]
    for key, value in given.data.items():
        stated = document.data.get(key, TRAINER) if isinstance(document.data, dict) else FAULTY
        if stated is None or stated == TRAINER:
            document = document.put((key,), value, BY_TRAINER)
        elif FAULTY not in (stated, value) and _meaning(key, stated) != _meaning(key, value):
            message = f"the spec says {_shown(stated)}, but the trainer says {_shown(value)}; write '{key}: {TRAINER}'"
            problems.append(document.problem((key,), f"{message}, or give the trainer the same"))
    if problems:
        raise SpecError(problems)
    return document


def check_clock(document: Document) -> tuple[Clock, list[Problem]]:
    """The clock that the sections describe; what is wrong counts as left to the trainer, so that it is told once."""
    stated = {key: document.data[key] for key in FACTS if key in document.data}
    opened = frozenset(key for key, value in stated.items() if isinstance(value, str) and value == TRAINER)
    faulty = {key for key, value in stated.items() if value is FAULTY}
    clock = Clock(open=opened | faulty, said=stated)
    problems: list[Problem] = []
    rest = {key: value for key, value in stated.items() if key not in opened | faulty}
    if "epoch" in rest:
        epoch, wrong = _length(document, "epoch", rest["epoch"])
        clock = _unknown(replace(clock, epoch=epoch), "epoch", wrong)
        problems += wrong
    if "horizon" in rest:
        horizon, wrong = _length(document, "horizon", rest["horizon"])
        clock = _unknown(replace(clock, horizon=horizon), "horizon", wrong)
        problems += wrong
    if "batch" in rest:
        clock, wrong = _batch(document, rest["batch"], clock)
        clock = _unknown(clock, "batch", wrong)
        problems += wrong
    if clock.horizon:
        wrong = _unreachable_end(document, clock)
        clock = _unknown(clock, "horizon", wrong)
        problems += wrong
    return clock, problems


def _unknown(clock: Clock, fact: str, problems: Sequence[Problem]) -> Clock:
    """The clock, in which a fact that is wrong is open, so that nothing else is told because of it."""
    return replace(clock, open=clock.open | {fact}) if problems else clock


def _length(document: Document, key: str, value: Any) -> tuple[Quantity | None, list[Problem]]:
    """What the section `epoch` or `horizon` says."""
    own = {"epoch": Unit.EPOCHS}.get(key)
    try:
        found = quantity(value)
        if found.unit is Unit.SHARE or found.unit is own:
            raise ValueError(f"must be a length of its own, such as {_LENGTHS[key]}, not '{found}'")
        if found.amount <= 0:
            raise ValueError("must be more than nothing")
    except ValueError as error:
        is_unsaid = isinstance(value, str | None) and not is_meant(value) and document.where((key,)) != BY_TRAINER
        hint = f"; write '{key}: {TRAINER}' if only the trainer knows it" if is_unsaid else ""
        return None, [document.problem((key,), f"'{key}' {error}{hint}")]
    return found, []


def _batch(document: Document, value: Any, clock: Clock) -> tuple[Clock, list[Problem]]:
    """The clock with its batch, constant or a ramp."""
    if not isinstance(value, tuple):
        found, problems = _size(document, ("batch",), value)
        return (begun(clock, found) if found else clock), problems
    begin: Point | None = Point(0)
    problems = [] if value else [document.problem(("batch",), "the ramp has no stage; begin with '- size: 4M tokens'")]
    for index, item in enumerate(value):
        path: Path = ("batch", index)
        if item is FAULTY:
            return clock, problems
        if not isinstance(item, dict):
            problems.append(document.problem(path, "a stage is a mapping: 'size: 4M tokens' and 'until: 252M tokens'"))
            return clock, problems
        problems += [
            document.problem((*path, key), f"a stage has no '{key}'{did_you_mean(key, STAGE_KEYS)}", key=True)
            for key in item
            if key not in STAGE_KEYS
        ]
        found, wrong = _size(document, (*path, "size"), item.get("size"))
        problems += wrong
        if found is None or begin is None:
            return clock, problems
        clock = begun(clock, found, begin.update)
        begin, wrong = _end_of_stage(document, path, item, begin, clock, last=index == len(value) - 1)
        problems += wrong
    return clock, problems


def _size(document: Document, path: Path, value: Any) -> tuple[Size | None, list[Problem]]:
    if value is FAULTY:
        return None, []
    try:
        return size(value), []
    except ValueError as error:
        return None, [document.problem(path, f"'{path[-1]}' {error}")]


def _end_of_stage(
    document: Document, path: Path, item: Mapping[str, Any], begin: Point, clock: Clock, *, last: bool
) -> tuple[Point | None, list[Problem]]:
    """Where a stage of the ramp ends; None if it is open or wrong."""
    keys = [key for key in ("for", "until") if key in item]
    if not keys:
        message = "only the last stage of a ramp is open; add 'until: 252M tokens' or 'for: 1000 steps'"
        return None, [] if last else [document.problem(path, message)]
    if len(keys) > 1:
        message = "a stage has 'for' or 'until', not both"
        return None, [document.problem((*path, "until"), message, key=True)]
    key = keys[0]
    if item[key] is FAULTY:
        return None, []
    try:
        length = quantity(item[key])
        end = clock.after(begin, length) if key == "for" else clock.at(length)
        if end.update <= begin.update:
            where = f"leads to update {end.update:,}, but the stage begins at update {begin.update:,}"
            counted = "'until' is counted from the beginning of the run"
            remedy = counted if key == "until" else "make it longer, or leave the stage out"
            raise ValueError(f"{where}; {remedy}")
    except OpenError:
        return None, []
    except LackingError as error:
        return None, [document.problem((*path, key), str(error))]
    except ValueError as error:
        return None, [document.problem((*path, key), f"'{key}' {error}")]
    if last and not _covers(clock, end):
        message = f"the ramp ends at update {end.update:,}, before the run does; leave '{key}' out of its last stage"
        return None, [document.problem((*path, key), message, key=True)]
    return end, []


def _covers(clock: Clock, end: Point) -> bool:
    """Whether a ramp that ends there covers the run."""
    try:
        whole = clock.end
    except (OpenError, LackingError):
        return False
    return whole is not None and end.update >= whole


def _unreachable_end(document: Document, clock: Clock) -> list[Problem]:
    """What is wrong with the unit of the horizon."""
    try:
        _ = clock.end
    except OpenError:
        return []
    except LackingError as error:
        return [document.problem(("horizon",), str(error))]
    return []


def _meaning(key: str, value: Any) -> Any:
    """A fact in a form that is equal for what means the same."""
    try:
        return size(value) if key == "batch" else quantity(value)
    except ValueError:
        return value


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str | int | float) else "something else"
