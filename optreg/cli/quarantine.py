"""Quarantine: each plugin is loaded in a process of its own, with a time limit, so that it can harm nobody.

This process starts a helper, which imports what plugins need anyway and forks a child for every entry. What a plugin
prints goes nowhere. The helper ends its children and itself as soon as this process has ended, in whatever way.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any, NoReturn

import click

from optreg.cli.output import plugins_print_to_stderr
from optreg.entries import Entry, Kind
from optreg.errors import PluginError, raised
from optreg.registry import Registry, default_registry

Task = Callable[[Registry, Entry], Any]
"""What is done with an entry in quarantine: a function at the top of its module, whose result is plain data."""

LIMIT = 60.0
"""Seconds that a plugin may take."""

GRACE = 1.0
"""Seconds that the helper has to end its children when this process is interrupted."""

limit_option = click.option(
    "--limit", type=click.FloatRange(min=0.1), default=LIMIT, show_default=True, help="Seconds allowed for each plugin."
)


class Failure(str):
    """Why a task failed, in words."""

    __slots__ = ()


def in_quarantine(
    task: Task, entries: Sequence[Entry], *, limit: float = LIMIT, imports: Sequence[str] = ()
) -> list[Any]:
    """What `task` returns for each entry, or the `Failure`; modules in `imports` are imported for all of them before.

    A system that cannot fork does the task in this process, without a limit.
    """
    if not hasattr(os, "fork"):
        with plugins_print_to_stderr():
            return [_result(_reply(task, default_registry(), entry)) for entry in entries]
    replies = _replies(task, entries, limit, imports) if entries else {}
    lost = ": the process that loads plugins has ended"
    return [_result(replies.get(index) or _failure(entry, lost)) for index, entry in enumerate(entries)]


def _reply(task: Task, registry: Registry, entry: Entry) -> str:
    """What a task returns, or how it fails, in JSON."""
    try:
        return json.dumps({"value": task(registry, entry)})
    except PluginError as error:
        return json.dumps({"failure": str(error)})
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _failure(entry, f" fails: {raised(error)}")


def _failure(entry: Entry, how: str) -> str:
    return json.dumps({"failure": f"{entry.kind} '{entry.name}' of {entry.origin}{how}"})


def _result(reply: str) -> Any:
    result = json.loads(reply)
    return Failure(result["failure"]) if "failure" in result else result["value"]


def _replies(task: Task, entries: Sequence[Entry], limit: float, imports: Sequence[str]) -> dict[int, str]:
    """The replies of the helper, by the index of the entry."""
    request = {
        "task": (task.__module__, task.__name__),
        "entries": [asdict(entry) for entry in entries],
        "limit": limit,
        "imports": list(imports),
    }
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONOPTIMIZE": "",  # descriptions are docstrings
    }
    replies: dict[int, str] = {}
    helper = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert helper.stdin
    assert helper.stdout
    try:
        with contextlib.suppress(BrokenPipeError):  # there will be no reply
            helper.stdin.write(json.dumps(request) + "\n")
            helper.stdin.flush()  # and stays open: its end tells the helper that this process has ended
        for line in helper.stdout:
            index, reply = json.loads(line)
            replies[index] = reply
    finally:
        with contextlib.suppress(BrokenPipeError):
            helper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            helper.wait(GRACE)
        helper.kill()  # it is importing, and has no children yet
        helper.wait()
        helper.stdout.close()
    return replies


def main() -> None:
    """The helper: read one request, and write a line for each entry."""
    from optreg.execution import PointwiseOptions
    from optreg.hyperparameters import json_schema

    replies = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    request = json.loads(sys.stdin.readline())
    for module in request["imports"]:
        with contextlib.suppress(Exception):  # whoever needs it will tell
            import_module(module)
    module, name = request["task"]
    task: Task = getattr(import_module(module), name)
    entries = [Entry(**{**entry, "kind": Kind(entry["kind"])}) for entry in request["entries"]]
    default_registry()
    json_schema(PointwiseOptions)  # pydantic imports half of itself when it makes its first schema
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())
    for index, reply in _forked(task, entries, request["limit"], silence):
        replies.write(json.dumps((index, reply)) + "\n")
        replies.flush()


def _forked(task: Task, entries: Sequence[Entry], limit: float, silence: int) -> Any:
    """The index of each entry and its reply, as children end; as many run at once as there are processors."""
    waiting = list(enumerate(entries))[::-1]
    running: dict[int, _Child] = {}  # by the pipe that it writes to
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    child = _Child(task, *waiting.pop(), limit, silence)
                    running[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                soonest = min(child.deadline for child in running.values())
                ready = {key.fd for key, _ in selector.select(max(0.0, soonest - time.monotonic()))}
                if 0 in ready:  # the process that asked has ended
                    return
                for child in [*running.values()]:
                    if (child.pipe in ready and child.read()) or time.monotonic() >= child.deadline:
                        selector.unregister(child.pipe)
                        del running[child.pipe]
                        yield child.index, child.end()
    finally:
        for child in running.values():
            child.end()


class _Child:
    """A forked process that does a task with one entry."""

    def __init__(self, task: Task, index: int, entry: Entry, limit: float, silence: int) -> None:
        self.index, self.entry, self.limit = index, entry, limit
        self.pipe, written = os.pipe()
        self.reply = b""
        self.deadline = time.monotonic() + limit
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_child(task, entry, limit, written, silence)
        os.close(written)
        with contextlib.suppress(OSError):  # the child has done it, or has ended
            os.setpgid(self.pid, self.pid)

    def read(self) -> bool:
        """Read what has come; whether it is all."""
        piece = os.read(self.pipe, 65536)
        self.reply += piece
        return not piece or piece.endswith(b"\n")

    def end(self) -> str:
        """End the child and what it has started, and return its reply."""
        late = time.monotonic() >= self.deadline
        os.close(self.pipe)
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        if self.reply.endswith(b"\n"):
            return self.reply.decode()
        if late:
            how = f"it was not loaded within {self.limit:g} s"
        elif os.WIFSIGNALED(status):
            how = f"the process died of {signal.Signals(os.WTERMSIG(status)).name} while it was loaded"
        else:
            how = f"the process ended with exit code {os.WEXITSTATUS(status)} while it was loaded"
        return _failure(self.entry, f": {how}")


def _be_the_child(task: Task, entry: Entry, limit: float, written: int, silence: int) -> NoReturn:
    """Do the task, write the reply, and exit."""
    import resource  # there is one where there is fork

    try:
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(silence, 0)
        seconds = int(limit + 1) * (os.cpu_count() or 1)  # of work: a child that nobody can end any more ends itself
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        try:
            reply = _reply(task, default_registry(), entry)
        except KeyboardInterrupt as error:  # the plugin's own, as Ctrl-C does not reach this process
            reply = _failure(entry, f" fails: {raised(error)}")
        left = reply.encode() + b"\n"
        while left:
            left = left[os.write(written, left) :]
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
