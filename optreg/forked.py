"""Forked: a helper process, and calls that each run in a child of it, so that whatever one does, no other notices.

A child has one descriptor for its answer, a file for what it prints, and no other. The answer is sealed with a key that
is new for every child, so whatever else is written there, the answer becomes unreadable, and no other is taken for it.
Limits are in processor time, which a loaded machine does not change.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from os import _exit, write  # these, and not what a call may have put in their place
from typing import Any, NoReturn

from optreg import descendants

TICK = 0.2
"""Seconds between two looks at what a child has used."""

SHORT_TICK = 0.01
"""The same, where a child seems about to end."""

STANDING = 0.1
"""Which part of the passing time counts as standing still, on systems that do not tell whether a child works."""

KEPT = 2000
"""How many bytes of what a child prints are kept."""

LARGEST = 2**26
"""How many bytes an answer may have."""

NAMES = {number.value: number.name for number in signal.Signals}

SEAL = 32
"""How many bytes of the line of an answer are its seal."""

encoded = json.JSONEncoder().encode
"""An answer in JSON, whatever a call may have done to `json.dumps`."""


def helper(module: str, **options: Any) -> subprocess.Popen[str]:
    """Start a Python process that runs a module, to which lines are written and which writes lines.

    It finds the modules that this process finds, and no other in the working folder, where a file `random.py` would
    take the place of Python's own.
    """
    own = {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONOPTIMIZE": "",  # claims and descriptions are docstrings
    }
    command, pipe = [sys.executable, "-m", module], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **own}, **options)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended.

    Args:
        answer: what it returned; None if it returned nothing that can be read.
        ending: what the process did instead: "died of SIGSEGV"; empty if there is an answer.
        late: it was stopped because of its limit.
        killed: somebody else killed the process, so that nothing is known of the call.
        output: the beginning of what it printed.
        spent: seconds of its limit that it used.
        seconds: its duration.
    """

    answer: Any
    ending: str
    late: bool
    killed: bool
    output: str
    spent: float
    seconds: float


def outcomes(
    calls: Iterable[Callable[[], Any]],
    limit: float,
    *,
    memory: int | None = None,
    at_once: int = 1,
    begin: Callable[[], object] = lambda: None,
    until: int | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Make calls whose results are plain data; yields the place of each, and its outcome, as soon as it has ended.

    When no call runs any more, whatever they have started is ended too: on Linux all of it, elsewhere what has not left
    the process group.

    Args:
        calls: the calls.
        limit: seconds of processor time that a call may use together with the processes that it starts, and also the
            seconds in which it may stand still.
        memory: bytes that a call may allocate; Linux alone keeps this.
        at_once: how many calls run at the same time.
        begin: called in each child first, in a session of its own and while it has all descriptors.
        until: a descriptor; once it can be read, all calls are ended.
    """
    descendants.adopt_orphans()
    others = descendants.children(os.getpid())
    waiting, running = enumerate(calls), dict[int, _Child]()
    with selectors.DefaultSelector() as selector:
        if until is not None:
            selector.register(until, selectors.EVENT_READ)
        try:
            while True:
                for place, call in islice(waiting, at_once - len(running)):
                    child = running[place] = _Child(call, limit, memory, begin)
                    for pipe in (child.answers, child.prints):
                        selector.register(pipe, selectors.EVENT_READ, child)
                if not running:
                    return
                soon = any(child.silent for child in running.values())
                for key, _ in selector.select(SHORT_TICK if soon else TICK):
                    if key.fd == until:
                        return
                    if not key.data.read(key.fd):
                        selector.unregister(key.fd)
                for place, child in [*running.items()]:
                    if child.is_over():
                        for pipe in {child.answers, child.prints} & {*selector.get_map()}:
                            selector.unregister(pipe)
                        del running[place]
                        outcome = child.end()
                        if not running:
                            descendants.end_children(others)
                        yield place, outcome
        finally:
            for child in running.values():
                child.end()
            descendants.end_children(others)


class _Child:
    """A forked process that makes a call."""

    def __init__(self, call: Callable[[], Any], limit: float, memory: int | None, begin: Callable[[], object]) -> None:
        self._limit = limit
        self.silent = False
        """No more of its answer will come."""
        self._answer, self._output = b"", b""
        self._used = self._still = 0.0
        self._ended: tuple[int, float] | None = None
        self._key = os.urandom(32)
        self._began = self._looked = time.monotonic()
        self.answers, answer = os.pipe()
        self.prints, output = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _be_the_child(call, self._key, answer, output, limit, memory, begin)
        os.close(answer)
        os.close(output)
        for pipe in (self.answers, self.prints):
            os.set_blocking(pipe, False)

    def read(self, pipe: int) -> bool:
        """Take in what has come, and return whether more may come."""
        piece = os.read(pipe, 65536)
        if pipe == self.prints:
            self._output = (self._output + piece)[:KEPT]
        else:
            self._answer += piece
            self.silent = not piece
        return bool(piece)

    def is_over(self) -> bool:
        """Whether it has answered, has ended, or has to be ended."""
        if self._ended is None:  # what it has started may still hold its pipes
            self._wait(os.WNOHANG)
        if time.monotonic() - self._looked >= TICK:
            self._look()
        return self._is_answered() or self._ended is not None or self._is_late()

    def _is_answered(self) -> bool:
        return self._answer.endswith(b"\n") or len(self._answer) > LARGEST

    def _is_late(self) -> bool:
        return max(self._used, self._still) >= self._limit

    def _look(self) -> None:
        """Count what it has used since the last look, and whether it stood still."""
        passed, self._looked = time.monotonic() - self._looked, time.monotonic()
        seen = descendants.activity(self._pid)
        if seen is None:
            self._still += STANDING * passed
        else:
            used, works = seen
            self._used = max(self._used, used)
            self._still += 0.0 if works else TICK  # and not more: this process may have been stopped too

    def _wait(self, options: int) -> None:
        pid, status, usage = os.wait4(self._pid, options)
        if pid:
            self._ended = status, usage.ru_utime + usage.ru_stime

    def end(self) -> Outcome:
        """End it with all of its group, and tell how it ended."""
        stopped = self._is_answered() or self._is_late()
        if self._ended is None:
            os.kill(self._pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        if self._ended is None:
            self._wait(0)
        self._read_the_rest()
        assert self._ended
        status, used = self._ended
        answer, number = _unsealed(self._answer, self._key), os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        killed = number == signal.SIGKILL and not stopped
        late = answer is None and (self._is_late() or number == signal.SIGXCPU)
        if answer is not None:
            ending = ""
        elif late and self._still >= self._limit:
            ending = f"stood still for {self._limit:g} s"
        elif late:
            ending = f"did not end within {self._limit:g} s of processor time"
        elif self._answer and not killed:
            ending = "wrote something else where its answer belongs"
        elif number:
            ending = f"died of {NAMES.get(number, f'signal {number}')}"
        else:
            ending = f"ended with exit code {os.WEXITSTATUS(status)}"
        return Outcome(
            answer=answer, ending=ending, late=late, killed=killed, output=self._output.decode("utf-8", "replace"),
            spent=max(self._used, self._still, used), seconds=time.monotonic() - self._began,
        )  # fmt: skip

    def _read_the_rest(self) -> None:
        """Read what lies in the pipes, which what it has detached may still hold, and close them."""
        with contextlib.suppress(BlockingIOError):
            while not self._is_answered() and self.read(self.answers):
                pass
        with contextlib.suppress(BlockingIOError):
            while len(self._output) < KEPT and self.read(self.prints):
                pass
        os.close(self.answers)
        os.close(self.prints)


def _be_the_child(
    call: Callable[[], Any],
    key: bytes,
    answer: int,
    output: int,
    limit: float,
    memory: int | None,
    begin: Callable[[], object],
) -> NoReturn:
    """Make the call, write the answer, and exit."""
    code = 70
    try:
        os.setsid()
        begin()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name in os.listdir("/dev/fd"):
            if int(name) > 2 and int(name) != answer:
                with contextlib.suppress(OSError):  # the folder itself, which is closed already
                    os.close(int(name))
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _limit(limit, memory)
        line = _sealed(call(), key)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        while line:
            line = line[write(answer, line) :]
        code = 0
    except BaseException as error:
        write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        _exit(code)


def _limit(seconds: float, memory: int | None) -> None:
    """Limit this process: where nobody watches it, it ends itself; `memory` is beyond what is mapped already."""
    import resource  # there is one where there is fork

    most = int(min(seconds, 1e9)) + 1
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
    if memory is not None:
        with contextlib.suppress(FileNotFoundError), open("/proc/self/statm", encoding="ascii") as file:
            memory += int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _sealed(answer: Any, key: bytes) -> bytes:
    """An answer as a line that nobody can write who does not have the key."""
    text = encoded(answer).encode()
    return _seal(text, key) + text + b"\n"


def _unsealed(line: bytes, key: bytes) -> Any:
    """The answer of a line; None if it was not sealed with this key."""
    seal, text = line[:SEAL], line[SEAL:-1]
    return json.loads(text) if seal == _seal(text, key) else None


def _seal(text: bytes, key: bytes) -> bytes:
    return blake2b(text, key=key, digest_size=SEAL // 2).hexdigest().encode()
