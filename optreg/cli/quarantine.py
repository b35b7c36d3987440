"""Quarantine: each plugin is loaded in a process of its own, with a time limit, so that it can harm nobody.

This process starts a helper, which imports what plugins need anyway and forks a child for every entry. What a plugin
prints goes nowhere. The helper ends its children and itself as soon as this process has ended, in whatever way.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

import click

from optreg.cli.output import plugins_print_to_stderr
from optreg.entries import Entry, Kind
from optreg.errors import PluginError, raised
from optreg.forked import Outcome, helper, outcomes
from optreg.registry import Registry, default_registry

Task = Callable[[Registry, Entry], Any]
"""What is done with an entry in quarantine: a function at the top of its module, whose result is plain data."""

Reply = dict[str, Any]
"""What a task returned, as `value`, or how it failed, as `failure`."""

LIMIT = 60.0
"""Seconds of processor time that a plugin may use, and also the seconds in which it may stand still."""

GRACE = 1.0
"""Seconds that the helper has to end its children when this process is interrupted."""

limit_option = click.option(
    "--limit",
    type=click.FloatRange(min=0.1),
    default=LIMIT,
    show_default=True,
    help="Seconds of processor time allowed for each plugin.",
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


def _reply(task: Task, registry: Registry, entry: Entry) -> Reply:
    try:
        return {"value": task(registry, entry)}
    except PluginError as error:
        return {"failure": str(error)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _failure(entry, f" fails: {raised(error)}")


def _failure(entry: Entry, how: str) -> Reply:
    return {"failure": f"{entry.kind} '{entry.name}' of {entry.origin}{how}"}


def _result(reply: Reply) -> Any:
    return Failure(reply["failure"]) if "failure" in reply else reply["value"]


def _replies(task: Task, entries: Sequence[Entry], limit: float, imports: Sequence[str]) -> dict[int, Reply]:
    """The replies of the helper, by the index of the entry."""
    request = {
        "task": (task.__module__, task.__name__),
        "entries": [asdict(entry) for entry in entries],
        "limit": limit,
        "imports": list(imports),
    }
    replies: dict[int, Reply] = {}
    process = helper(__name__)
    assert process.stdin
    assert process.stdout
    try:
        with contextlib.suppress(BrokenPipeError):  # there will be no reply
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()  # and stays open: its end tells the helper that this process has ended
        for line in process.stdout:
            index, reply = json.loads(line)
            replies[index] = reply
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        process.kill()  # it is importing, and has no children yet
        process.wait()
        process.stdout.close()
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
    calls = [partial(_in_a_child, task, entry) for entry in entries]
    for index, outcome in outcomes(calls, request["limit"], at_once=os.cpu_count() or 1, until=0):
        reply = outcome.answer or _unanswered(entries[index], outcome, request["limit"])
        replies.write(json.dumps((index, reply)) + "\n")
        replies.flush()


def _in_a_child(task: Task, entry: Entry) -> Reply:
    """A reply in which KeyboardInterrupt is the plugin's own, as Ctrl-C does not reach a child."""
    try:
        return _reply(task, default_registry(), entry)
    except KeyboardInterrupt as error:
        return _failure(entry, f" fails: {raised(error)}")


def _unanswered(entry: Entry, outcome: Outcome, limit: float) -> Reply:
    """The reply where a child has given none."""
    if outcome.late:
        return _failure(entry, f": it was not loaded within {limit:g} s")
    return _failure(entry, f": the process {outcome.ending} while it was loaded")


if __name__ == "__main__":
    main()
