"""The figures as tables of text, which `steps.py` prints and `page.py` writes."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from picture import ALGORITHMS

Figures = dict[str, Any]
Row = tuple[str, ...]


class Sheet(NamedTuple):
    """A table."""

    title: str
    columns: Row
    rows: Sequence[Row]


def sheets(figures: Figures) -> Iterator[Sheet]:
    """All measurements."""
    for race in figures.get("races", ()):
        yield race_sheet(race)
    for sheet in (compilation_sheet, schedules_sheet, memory_sheet, imports_sheet, left_out_sheet):
        made = sheet(figures)
        if made.rows:
            yield made


def race_sheet(race: dict[str, Any]) -> Sheet:
    """The time of each contestant, fastest first."""
    rows = [
        (
            entry["name"],
            f"{entry['milliseconds']:.3g}",
            f"{entry['fastest']:.3g} - {entry['slowest']:.3g}",
            f"{entry['bytes_per_element']:.3g}",
            f"{entry['gigabytes_per_second']:.3g}",
            f"{entry['of_copy'] * 100:.0f} %",
            f"{entry['ratio']:.2f}",
        )
        for entry in sorted(race["entries"], key=lambda entry: entry["milliseconds"])
    ]
    copy = f"{race['copy_milliseconds']:.3g}", "", "", f"{race['copy_gigabytes_per_second']:.3g}", "100 %", ""
    copied = ("copy of as many elements", *copy)
    columns = ("", "ms", "range", "bytes/element", "GB/s", "of copy", f"time of {race['baseline']}")
    return Sheet(f"{ALGORITHMS[race['algorithm']]}, {race['work']}", columns, [*rows, copied])


def compilation_sheet(figures: Figures) -> Sheet:
    """The first compiled step."""
    rows = [
        (ALGORITHMS[case["algorithm"]], case["work"], f"{case['cold_seconds']:.1f} s", f"{case['warm_seconds']:.1f} s")
        if "cold_seconds" in case
        else (ALGORITHMS[case["algorithm"]], case["work"], "failed", case["failed"])
        for case in figures.get("compilation", ())
    ]
    return Sheet("The first compiled step", ("", "work", "nothing cached", "cached"), rows)


def schedules_sheet(figures: Figures) -> Sheet:
    """The cost of a scheduler's step."""
    rows = [
        (one["name"], str(case["groups"]), f"{one['microseconds']:.2f} us", f"{one['ratio']:.2f}")
        for case in figures.get("schedules", ())
        for one in case["schedulers"]
    ]
    return Sheet("scheduler.step", ("", "groups", "time", "time of LambdaLR"), rows)


def memory_sheet(figures: Figures) -> Sheet:
    """Memory at the peak: a row for each path, a column for each work."""
    cases = figures.get("memory", ())
    works = list(dict.fromkeys(case["work"] for case in cases))
    paths: dict[Row, dict[str, str]] = {}
    for case in cases:
        path = (ALGORITHMS[case["algorithm"]], case["variant"], case["execution"])
        paths.setdefault(path, {})[case["work"]] = f"{case['extra_mib']:.1f}" if "extra_mib" in case else "failed"
    rows = [(*path, *(extras.get(work, "") for work in works)) for path, extras in paths.items()]
    title = "MiB beyond parameters, gradients and state, at the peak of a step"
    return Sheet(title, ("", "parameters and state", "execution", *works), rows)


def imports_sheet(figures: Figures) -> Sheet:
    """The cost of an import."""
    rows = [(f"import {one['module']}", f"{one['milliseconds']:.3g} ms") for one in figures.get("imports", ())]
    return Sheet("Imports", ("", "time"), rows)


def left_out_sheet(figures: Figures) -> Sheet:
    """Contestants that did not take part, with the work and the reason."""
    places: dict[Row, list[str]] = {}
    for race in figures.get("races", ()):
        for name, why in race["left_out"].items():
            places.setdefault((name, ALGORITHMS[race["algorithm"]], why), []).append(race["work"])
    rows = [(name, algorithm, ", ".join(works), why) for (name, algorithm, why), works in places.items()]
    return Sheet("Left out", ("", "algorithm", "works", "why"), rows)
