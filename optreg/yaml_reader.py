"""Strict YAML with positions: text becomes plain data, and every fault is reported by line and column.

Scalars follow YAML 1.2 (`1e-3` is a float, `100_000` an int). Whatever YAML 1.1 and 1.2 read differently is refused,
with a spelling that both agree on. So are tags, anchors, aliases, merge keys, duplicate keys, and input that is too
large or nested too deeply. PyYAML's parser hands over one event at a time, so the limits below bound memory and time.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Final

import yaml

from optreg.errors import Path, Position, Problem, SpecError
from optreg.remedies import for_unreadable

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 16
MAX_DIGITS: Final = 100


class Faulty:
    """The type of `FAULTY`."""

    def __repr__(self) -> str:
        return "FAULTY"


FAULTY: Final = Faulty()
"""Replaces a value that could not be read; the fault has already been reported."""


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dicts, tuples, scalars), the positions of its keys and values, and the faults of the text."""

    data: Any
    values: Mapping[Path, Position] = field(default_factory=dict)
    keys: Mapping[Path, Position] = field(default_factory=dict)
    problems: Sequence[Problem] = ()

    def where(self, path: Path, *, key: bool = False) -> Position | None:
        """The position of a value or of its key; if unknown, the position of what contains it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path)

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """A problem at the value of `path`, or at its key; the message names the path where there is no position."""
        where = self.where(path, key=key)
        return Problem(where, message if where or not path else f"{dotted(path)}: {message}")

    def put(self, path: Path, value: Any, where: Position) -> "Document":
        """The document with `value` at `path`, positioned at `where`; missing mappings on the path are created.

        Raises:
            SpecError: the path goes through something that is neither mapping nor list, or past the end of a list.
        """
        if len(path) > MAX_DEPTH:
            raise _fatal(where, f"is nested deeper than {MAX_DEPTH} levels")
        data = _put(self.data, path, value, where)
        keys, values = (
            {place: position for place, position in places.items() if place[: len(path)] != path} | {path: where}
            for places in (self.keys, self.values)
        )
        return Document(data, values, keys, self.problems)


def read_file(path: str | os.PathLike[str]) -> Document:
    """Read a YAML file.

    Raises:
        SpecError: the file cannot be read, is too large, or is not UTF-8 text; or it is a pipe, a terminal or another
            device, which may never end.
    """
    source = os.fsdecode(path)
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _fatal(Position(source), "is a pipe or a device, which may never end; write the spec to a file")
            raw = file.read(MAX_BYTES + 1) or b""  # None if there is nothing yet
    except SpecError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _fatal(Position(source), f"cannot be read: {reason}") from error
    if len(raw) > MAX_BYTES:
        raise _fatal(Position(source), f"is larger than {MAX_BYTES // 1024} KiB; a spec is about a page of text")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _fatal(Position(source, 1, 1), "is UTF-16 text; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        column = error.start - before.rfind(b"\n")
        where = Position(source, before.count(b"\n") + 1, column)
        raise _fatal(where, f"is not UTF-8 text (byte 0x{raw[error.start]:02x}); save it as UTF-8") from error
    return read_text(text, source)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer too, and a terminal without becoming its process's own."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def read_text(text: str, source: str) -> Document:
    """Read YAML text; positions call it `source`. Faults are collected in the document's `problems`."""
    builder = _Builder(source)
    try:
        return builder.build(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = Position(source, before.count("\n") + 1, error.position - before.rfind("\n"))
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise _fatal(where, f"has a control character (U+{code:04X}), which YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(source, mark.line + 1, mark.column + 1) if mark else Position(source)
        context = f" {error.context}" if error.context else ""
        hint = "; quote a string that begins with '*' or '&'" if "an alias" in context or "an anchor" in context else ""
        raise _fatal(where, f"is not valid YAML: {error.problem}{context}{hint}", builder.problems) from error
    except SpecError:
        raise
    except (ValueError, OverflowError) as error:  # from PyYAML's scanner: an escape or a version is too large
        mark = builder.loader.get_mark()
        where = Position(source, mark.line + 1, mark.column + 1)
        raise _fatal(where, "is not valid YAML: a number here is out of range", builder.problems) from error


def read_mapping(data: Mapping[Any, Any], source: str | None = None) -> Document:
    """Make a document of plain data: mappings, sequences, numbers, strings, booleans, None.

    Anything else is reported in the document's `problems`.

    Raises:
        SpecError: the data is nested too deeply.
    """
    problems: list[Problem] = []
    plain = _plain(data, (), problems)
    return Document(plain, {(): Position(source)} if source else {}, problems=problems)


def dotted(path: Path) -> str:
    """A path as users write it: `groups.0.match`."""
    return ".".join(str(part) for part in path)


def _fatal(where: Position, message: str, earlier: Sequence[Problem] = ()) -> SpecError:
    return SpecError([*earlier, Problem(where, message)])


class _Builder:
    """Builds one document from the parser's events, depth first, no deeper than `MAX_DEPTH`."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.values: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self.problems: list[Problem] = []

    def build(self, text: str) -> Document:
        self.loader = yaml.SafeLoader(text)
        self.events: Iterator[Any] = iter(self.loader.get_event, None)
        next(self.events)  # the stream starts
        start = next(self.events)
        data: Any = FAULTY
        if isinstance(start, yaml.StreamEndEvent):
            self._problem(start, "is empty; a spec has the sections 'optimizer' and 'scheduler'")
        else:
            if start.version or start.tags:
                self._problem(start, "directives (%YAML, %TAG) are not allowed; remove them")
            data = self._value(next(self.events), ())
            next(self.events)  # the document ends
            rest = next(self.events)
            if isinstance(rest, yaml.DocumentStartEvent):
                self._problem(rest, "a second document begins; a spec has only one, so remove '---' or split the file")
        return Document(data, self.values, self.keys, self.problems)

    def _value(self, event: Any, path: Path) -> Any:
        self.values[path] = self._position(event)
        if isinstance(event, yaml.AliasEvent):
            self._problem(event, f"aliases (*{event.anchor}) are not allowed; write the value out")
            return FAULTY
        if event.anchor is not None:
            self._problem(event, f"anchors (&{event.anchor}) are not allowed; write the value where it is used")
        tagged = event.tag is not None
        if tagged:
            self._problem(event, f"tags ({_printable(event.tag)}) are not allowed; write a plain value")
        if isinstance(event, yaml.ScalarEvent):
            return FAULTY if tagged else self._scalar(event)
        if len(path) >= MAX_DEPTH:
            raise _fatal(self._position(event), f"is nested deeper than {MAX_DEPTH} levels", self.problems)
        return self._sequence(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _sequence(self, path: Path) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return tuple(items)

    def _mapping(self, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path)
            value = self._value(next(self.events), (*path, key) if key is not None else (*path, "?"))
            if key is None:
                continue
            here = (*path, key)
            if key in items:
                self._problem(event, f"'{key}' is repeated; it is also on line "
                                     f"{self.keys[here].line}, keep one")  # fmt: skip
                continue
            self.keys[here] = self._position(event)
            items[key] = value
        return items

    def _key(self, event: Any, path: Path) -> str | None:
        """The text of a key; None, after reporting the fault, if it is not one."""
        if not isinstance(event, yaml.ScalarEvent):
            self._value(event, (*path, "?"))
            self._problem(event, "a key must be a plain string")
            return None
        if event.anchor is not None or event.tag is not None:
            self._problem(event, "a key cannot have a tag or an anchor; write a plain string")
        if event.value == "<<" and event.implicit[0]:
            self._problem(event, "merge keys (<<) are not allowed; write the values out")
            return None
        return str(event.value)

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        for pattern, advice in _REFUSED:
            if pattern.fullmatch(text):
                self._problem(event, advice.format(_printable(text)))
                return FAULTY
        for pattern, convert in _SCALARS:
            if pattern.fullmatch(text):
                if len(text) > MAX_DIGITS:
                    self._problem(event, f"a number of {len(text)} digits is out of range")
                    return FAULTY
                return convert(text)
        return text

    def _position(self, event: Any) -> Position:
        return Position(self.source, event.start_mark.line + 1, event.start_mark.column + 1)

    def _problem(self, event: Any, message: str) -> None:
        self.problems.append(Problem(self._position(event), message))


_SCALARS: Final = (
    (re.compile(r"~|null|Null|NULL|"), lambda text: None),
    (re.compile(r"true|True|TRUE"), lambda text: True),
    (re.compile(r"false|False|FALSE"), lambda text: False),
    (re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)
"""Plain scalars of YAML 1.2's core schema, with `_` between digits."""

_REFUSED: Final = (
    (
        re.compile(r"[-+]?0[0-9_]+|[-+]?0[xob][0-9a-fA-F_]+"),
        "'{0}' is read as octal, hexadecimal or decimal, depending on the reader; write it in decimal, or quote it",
    ),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"),
        "'{0}' is a base-60 number to some YAML readers and a string to others; write a decimal number, or quote it",
    ),
    (
        re.compile(r"y|Y|n|N|(?i:yes|no|on|off)"),
        "'{0}' is a boolean to some YAML readers and a string to others; write true or false, or quote it",
    ),
)


def _put(data: Any, path: Path, value: Any, where: Position) -> Any:
    """A copy of `data` with `value` at `path`."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if data is None or data is FAULTY:
        data = {}
    if isinstance(data, dict) and isinstance(head, str):
        return {**data, head: _put(data.get(head), rest, value, where)}
    if isinstance(data, tuple) and isinstance(head, int) and head < len(data):
        return (*data[:head], _put(data[head], rest, value, where), *data[head + 1 :])
    what = (
        f"a list of length {len(data)}"
        if isinstance(data, tuple)
        else "a mapping"
        if isinstance(data, dict)
        else "a value"
    )
    raise _fatal(where, f"'{head}' does not exist in {what}")


def _printable(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _plain(value: Any, path: Path, problems: list[Problem]) -> Any:
    """Copy foreign data into dicts, tuples and Python's own scalars."""
    if len(path) > MAX_DEPTH:
        raise SpecError([Problem(None, f"{dotted(path[:3])}...: is nested deeper than {MAX_DEPTH} levels")])
    if value is None or value is FAULTY or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass, the text alone
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        problems += [Problem(None, f"{dotted(path)}: the key {key!r} must be a string") for key in wrong]
        named = [key for key in value if isinstance(key, str)]
        return {str.__str__(key): _plain_item(value, key, (*path, key), problems) for key in named}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return tuple(_plain_item(value, place, (*path, place), problems) for place in range(len(value)))
    if isinstance(value, Integral):
        if abs(int(value)) < 10**MAX_DIGITS:
            return int(value)
        fault = f"a number of more than {MAX_DIGITS} digits is out of range"
    elif isinstance(value, Real):
        try:
            return float(value)
        except OverflowError:
            fault = "the number is out of range"
    else:
        fault = f"{type(value).__name__} is not a plain value"
    problems.append(Problem(None, f"{dotted(path)}: {fault}"))
    return FAULTY


def _plain_item(container: Any, key: Any, path: Path, problems: list[Problem]) -> Any:
    """The copy of one item of foreign data, which may fail to give it, as OmegaConf does if a value is missing."""
    try:
        item = container[key]
    except Exception as error:
        problems.append(Problem(None, f"{dotted(path)}: {for_unreadable(error)}"))
        return FAULTY
    return _plain(item, path, problems)
