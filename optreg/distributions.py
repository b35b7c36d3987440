"""Distributions: what is installed on `sys.path` with entry points for optreg, and what of it is damaged.

Reads metadata alone. What cannot be read is left out, and becomes a fault: a sentence that names the distribution and
its path, and says what to do.
"""

import importlib.metadata
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from optreg.requirements import canonical

VALID = re.compile(r"[A-Z0-9]([A-Z0-9._-]*[A-Z0-9])?", re.IGNORECASE)
"""What can be the name of a distribution (PEP 508). pip moves what it replaces to names that cannot, `~ptreg`."""

UNKNOWN = "unknown"
"""The name and the version of a distribution that does not state them."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution, as its metadata describes it.

    Args:
        name: in its canonical spelling (PEP 503).
        version: as stated.
        requires: its requirements, those of its extras included.
        entry_points: those of the groups that were asked for.
    """

    name: str
    version: str
    requires: tuple[str, ...]
    entry_points: tuple[EntryPoint, ...]


def installed(groups: Container[str]) -> tuple[list[Distribution], list[str]]:
    """The distributions on `sys.path` with entry points in these groups, and the faults of any.

    Of several with one name, the first counts, as it is the one whose modules are imported.
    """
    found: dict[str, Distribution] = {}
    passed: dict[str, Any] = {}  # the first of each name without such entry points
    faults: list[str] = []
    for candidate in importlib.metadata.distributions():
        place = _place(candidate)
        name = _name_in(place)
        if name and not VALID.fullmatch(name):
            faults.append(
                f"'{place}' is not a valid distribution, and is ignored; an interrupted installation leaves such a "
                "folder: delete it"
            )
            continue
        try:
            points = tuple(point for point in _entry_points(candidate) if point.group in groups)
        except _DamagedError as error:
            which = f"distribution '{name}'" if name else "a distribution of unknown name"
            faults.append(f"{which} is damaged, and its plugins are left out: {error}{_again(name)}")
            continue
        key = canonical(name)
        if not points:
            passed.setdefault(key, candidate)
            continue
        if name and key in passed:
            if _states_a_name(passed[key]):
                continue
            faults.append(f"'{_place(passed[key])}' has no metadata, and hides '{place}' from other tools: delete it")
        distribution, fault = described(candidate, points)
        faults += [fault] if fault else []
        found.setdefault(key or distribution.name, distribution)
    return list(found.values()), list(dict.fromkeys(faults))


def described(found: Any, entry_points: tuple[EntryPoint, ...]) -> tuple[Distribution, str | None]:
    """A distribution of `importlib.metadata`, or None, with its name, version and requirements, and what is damaged.

    Where the metadata does not state name and version, its folder does.
    """
    if found is None:
        return Distribution(UNKNOWN, UNKNOWN, (), entry_points), None
    place = _place(found)
    name, version = _name_in(place), _version_in(place)
    requires: list[str] | None = None
    fault: str | None = None
    try:
        metadata = found.metadata
        stated = metadata.get("Name")
        requires = found.requires if str(place).lower().endswith("egg-info") else metadata.get_all("Requires-Dist")
    except Exception as error:
        fault = str(error) or type(error).__name__
    else:
        fault = None if stated else "it is missing, cannot be opened, or states no name"
        name, version = stated or name, metadata.get("Version") or version
    name = name or UNKNOWN
    if fault:
        fault = f"METADATA of distribution '{name}' in '{place}' cannot be read: {fault}{_again(name)}"
    return Distribution(canonical(name), version or UNKNOWN, tuple(requires or ()), entry_points), fault


class _DamagedError(Exception):
    """A file of a distribution cannot be read."""


def _entry_points(found: Any) -> Iterator[EntryPoint]:
    """The entry points of a distribution.

    `importlib.metadata` takes a file that it cannot open for one that is not there, so it is opened here first.

    Raises:
        _DamagedError: there is a file, but it cannot be read.
    """
    place = _place(found)
    try:
        text = (place / "entry_points.txt").read_bytes().decode() if place else ""
    except (FileNotFoundError, NotADirectoryError, KeyError):  # KeyError: of a zip file
        return
    except (OSError, ValueError) as error:
        raise _DamagedError(f"'{place / 'entry_points.txt'}' cannot be read: {error}") from error
    try:
        yield from found.entry_points
    except Exception as error:
        where = f"'{place / 'entry_points.txt'}'" if place else "its entry points"
        raise _DamagedError(f"{where} cannot be read: {_first_fault(text) or error}") from error


def _first_fault(text: str) -> str | None:
    """The first line of `entry_points.txt` that is none of its forms."""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if bare and not bare.startswith(("#", "[")) and "=" not in bare:
            return f"line {number}, {bare!r}, is not of the form 'name = module'"
    return None


def _place(found: Any) -> Any:
    """The folder or file with the metadata; None where a finder of somebody else's does not say."""
    return getattr(found, "_path", None)


def _name_in(place: Any) -> str:
    """The name in `name-version.dist-info`; empty if it is not of that form."""
    stem, dot, ending = str(place.name).rpartition(".") if place is not None else ("", "", "")
    return stem.partition("-")[0] or stem if dot and ending.lower() in {"dist-info", "egg-info"} else ""


def _version_in(place: Any) -> str:
    return str(place.name).rpartition(".")[0].partition("-")[2] if _name_in(place) else ""


def _states_a_name(found: Any) -> bool:
    try:
        return bool(found.metadata.get("Name"))
    except Exception:  # it is damaged, not empty
        return True


def _again(name: str) -> str:
    return (
        f"; install it again: pip install --force-reinstall {name}" if VALID.fullmatch(name) else "; install it again"
    )
