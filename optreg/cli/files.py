"""Files that commands write: whole, or not at all."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn

import click


class CannotBeWritten(click.ClickException):
    """A file cannot be written; the exit code is not the one of findings."""

    exit_code = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: cannot be written: {reason}")


class OutputFile:
    """A file to be written, and the type of options that name one: what is wrong is told before the work begins.

    Args:
        path: as the user gave it.

    Raises:
        CannotBeWritten: it is a folder, or it or its folder is missing or read-only.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._check()
        except OSError as error:
            raise CannotBeWritten(path, error.strerror or str(error)) from error

    def write(self, content: str | bytes) -> None:
        """Write the content; text as UTF-8. A file that is there is replaced at once, when the new one is complete.

        Raises:
            CannotBeWritten: the file is as it was before.
        """
        data = content.encode() if isinstance(content, str) else content
        try:
            if self._in_place():
                with open(self.path, "ab" if self._is_special() else "wb", buffering=0) as file:
                    _write_all(file.fileno(), data)
            else:
                self._replace(data)
        except OSError as error:
            raise CannotBeWritten(self.path, error.strerror or str(error)) from error

    def _check(self) -> None:
        target = Path(os.path.realpath(self.path))
        if target.is_dir():
            self._refuse("it is a folder")
        if target.exists():
            if not os.access(target, os.W_OK):
                self._refuse("it is read-only")
        elif not target.parent.is_dir():
            self._refuse(f"there is no folder '{target.parent}'")
        elif not os.access(target.parent, os.W_OK | os.X_OK):
            self._refuse(f"the folder '{target.parent}' is read-only")

    def _refuse(self, reason: str) -> NoReturn:
        raise CannotBeWritten(self.path, reason)

    def _is_special(self) -> bool:
        """A device, a FIFO, or a stream that is open already, as `/dev/stdout`."""
        absolute = os.path.abspath(self.path)
        return absolute.startswith(("/dev/", "/proc/")) or not Path(absolute).is_file()

    def _in_place(self) -> bool:
        """Whether it must be written where it is: it is not an ordinary file, or its folder allows no other."""
        if not os.path.exists(self.path):
            return False
        return self._is_special() or not os.access(Path(os.path.realpath(self.path)).parent, os.W_OK | os.X_OK)

    def _replace(self, data: bytes) -> None:
        """Write a file beside it, and rename that."""
        target = Path(os.path.realpath(self.path))  # a link stays a link
        beside = target.with_name(f".optreg-{secrets.token_hex(8)}")
        try:
            number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                if target.exists():
                    os.chmod(beside, stat.S_IMODE(target.stat().st_mode))
                _write_all(number, data)
            finally:
                os.close(number)
            beside.replace(target)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


def output_or_dash(path: str) -> OutputFile | None:
    """The file, or None for `-`, which means standard output."""
    return None if path == "-" else OutputFile(path)


def _write_all(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]
