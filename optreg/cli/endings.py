"""Endings: what a command says, and with which code it exits, when a signal or its own output stops it."""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import click

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""Why a stream takes no more."""


READER_LEFT = 141
"""The exit code of a command that SIGPIPE ends, as shells report it."""


class Stopped(KeyboardInterrupt):
    """A signal that ends a command arrived; it passes wherever Ctrl-C passes."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Whatever stops the command from outside becomes one line and an exit code, after everything was cleaned up.

    Raises:
        click.exceptions.Exit: with 128 + the number of the signal (Ctrl-C: 130), or 2 if standard output takes no more.
            If the reader of a pipe has left, as `head` does, nothing is said, and the code is READER_LEFT.
    """
    try:
        with _signals_raised():
            yield
            sys.stdout.flush()
    except KeyboardInterrupt as error:
        number = signal.Signals(error.number if isinstance(error, Stopped) else signal.SIGINT)
        _say(": ".join([f"stopped by {number.name}", *getattr(error, "__notes__", ())[:1]]))
        raise click.exceptions.Exit(128 + number) from error
    except BrokenPipeError as error:
        _discard_output()
        raise click.exceptions.Exit(READER_LEFT) from error
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        _discard_output()
        _say(f"error: standard output cannot be written: {error.strerror}")
        raise click.exceptions.Exit(2) from error


def open_closed_streams() -> None:
    """Let nothing that a command opens take the place of a standard stream that was closed (`>&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped`, as Ctrl-C raises KeyboardInterrupt, unless they are ignored (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    replaced = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


def _discard_output() -> None:
    """Let Python's own flush at the end find a stream that takes everything."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
