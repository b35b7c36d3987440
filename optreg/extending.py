"""Extending: what a document takes over from the files that `extends:` names, each inside the project of the first."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as File
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Final

from optreg.entries import normalised
from optreg.errors import Path, Problem, SpecError, closest
from optreg.requirements import canonical
from optreg.yaml_reader import FAULTY, MAX_BYTES, MAX_DEPTH, Document, read_file

KEY: Final = "extends"

COMPONENTS: Final = ("optimizer", "scheduler")
"""The sections in which another `name` means another algorithm, to which the inherited parameters do not belong."""

MARKS: Final = ("pyproject.toml", ".git", "setup.py")
"""What marks the folder of a project."""

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""How a URL begins; a drive of Windows has one letter."""


def extended(document: Document, path: str | os.PathLike[str] | None = None) -> Document:
    """The document with all that it inherits. Its own values win; what it inherits keeps its position.

    Mappings merge key by key. Everything else replaces what is inherited. So does a component of another name.

    Args:
        document: what was read.
        path: the file that it was read from; None for plain data, which can extend nothing.

    Raises:
        SpecError: a file that is to be extended cannot be, or cannot be read; the problems of all texts are in it.
    """
    if path is None:
        if not _extends(document):
            return document
        remedy = "pass the path of the spec, and not its content"
        raise _stopped([document], f"'{KEY}' needs a file, from whose folder its path starts; {remedy}")
    chain, files = [document], [File(os.fsdecode(path)).resolve()]
    project = _project(files[0])
    while _extends(chain[-1]):
        file = _base(chain, files, project)
        shown = _shown(chain[-1], file)
        try:
            chain.append(read_file(shown))
        except SpecError as error:
            raise SpecError([*_problems(chain), *error.problems]) from error
        if chain[-1].data is FAULTY:
            raise SpecError([*_problems(chain)])
        if not isinstance(chain[-1].data, dict):
            raise SpecError([*_problems(chain), chain[-1].problem((), "must be a mapping of sections to be extended")])
        files.append(file)
    whole = _without_key(chain.pop())
    while chain:
        whole = _merged(_without_key(chain.pop()), whole)
    return whole


def _extends(document: Document) -> bool:
    return isinstance(document.data, dict) and KEY in document.data


def _base(chain: list[Document], files: list[File], project: File) -> File:
    """The file that the last document extends, with all links resolved."""
    said = chain[-1].data[KEY]
    if said is FAULTY:
        raise SpecError([*_problems(chain)])
    if not isinstance(said, str) or not said.strip():
        raise _stopped(chain, f"'{KEY}' must be the path of one file, which may extend another")
    if _URL.match(said):
        raise _stopped(chain, f"'{said}' is a URL; copy the file into the project, and write its path")
    folder = files[-1].parent
    if PurePosixPath(said).is_absolute() or PureWindowsPath(said).anchor or PureWindowsPath(said).drive:
        inside = File(said).is_relative_to(project)
        remedy = f"write '{os.path.relpath(said, folder)}'" if inside else "write the path from this file's folder"
        raise _stopped(chain, f"'{said}' is an absolute path, which leads nowhere on another machine; {remedy}")
    try:
        file = (folder / said).resolve()
        there, is_folder = file.exists(), file.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long, a NUL, links in a circle
        reason = error.strerror if isinstance(error, OSError) else error
        raise _stopped(chain, f"'{said}' cannot be a path: {reason}") from error
    if not file.is_relative_to(project):
        remedy = "copy the file into it"
        raise _stopped(chain, f"'{said}' leads out of the project, which is the folder '{project}'; {remedy}")
    if not there:
        raise _stopped(chain, f"there is no file '{said}'{_similar(said, file)}")
    if is_folder:
        raise _stopped(chain, f"'{said}' is a folder; write the path of a file in it")
    if file in files:
        circle = " -> ".join(each.name for each in [*files[files.index(file) :], file])
        raise _stopped(chain, f"'{KEY}' goes in a circle: {circle}; remove one of them")
    if len(files) >= MAX_DEPTH:
        raise _stopped(chain, f"more than {MAX_DEPTH} files extend one another; join some of them")
    if sum(each.stat().st_size for each in (*files, file)) > MAX_BYTES:
        raise _stopped(chain, f"'{said}' and what extends it are together larger than {MAX_BYTES // 1024} KiB")
    return file


def _similar(said: str, file: File) -> str:
    """A file beside the missing one that may be meant, as a question."""
    names = [found.name for found in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
    close = closest(file.name, names)
    return f"; did you mean '{os.path.join(os.path.dirname(said), close)}'?" if close else ""


def _project(file: File) -> File:
    """The folder that a spec may take files from: the project's, or its own if it is in none."""
    return next((folder for folder in file.parents if any((folder / mark).exists() for mark in MARKS)), file.parent)


def _shown(document: Document, file: File) -> str:
    """A path that leads to the file, as short as the user would write it."""
    where = document.where(())
    beside = os.path.normpath(os.path.join(os.path.dirname(where.source if where else ""), document.data[KEY]))
    return beside if File(beside).resolve() == file else str(file)


def _without_key(document: Document) -> Document:
    if not isinstance(document.data, dict):
        return document
    return replace(document, data={key: value for key, value in document.data.items() if key != KEY})


def _merged(document: Document, base: Document) -> Document:
    """The document over its base, which keeps the positions of what is left of it."""
    replaced: set[Path] = set()
    data = _over(document.data, base.data, (), replaced)
    values, keys = (
        {path: where for path, where in theirs.items() if not any(path[:n] in replaced for n in range(len(path) + 1))}
        | dict(ours)
        for theirs, ours in ((base.values, document.values), (base.keys, document.keys))
    )
    return Document(data, values, keys, [*document.problems, *base.problems])


def _over(ours: Any, theirs: Any, path: Path, replaced: set[Path]) -> Any:
    """Our value over theirs; the paths of theirs that are replaced as a whole are added to `replaced`."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)) or _are_two(ours, theirs, path):
        replaced.add(path)
        return ours
    own = {
        key: _over(value, theirs[key], (*path, key), replaced) if key in theirs else value
        for key, value in ours.items()
    }
    return {**theirs, **own}


def _are_two(ours: dict[str, Any], theirs: dict[str, Any], path: Path) -> bool:
    """Whether two mappings name two algorithms."""
    names = [mapping.get("name") for mapping in (ours, theirs)]
    if path[:1] not in [(section,) for section in COMPONENTS] or not all(isinstance(name, str) for name in names):
        return False
    (ours_from, ours_name), (theirs_from, theirs_name) = (_named(str(name)) for name in names)
    return ours_name != theirs_name or (ours_from != theirs_from and bool(ours_from and theirs_from))


def _named(name: str) -> tuple[str, str]:
    """The distribution that a name gives, empty if it gives none, and the name itself, in their one spelling."""
    distribution, _, bare = name.rpartition("/")
    return canonical(distribution), normalised(bare)


def _problems(chain: list[Document]) -> Iterator[Problem]:
    return (problem for document in chain for problem in document.problems)


def _stopped(chain: list[Document], message: str) -> SpecError:
    """The error that ends the chain, at the key of its last document, after what is wrong with the texts."""
    return SpecError([*_problems(chain), chain[-1].problem((KEY,), message)])
