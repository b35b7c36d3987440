"""The sandbox: runs checks in a worker process."""

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from optreg.conformance.catalogue import Check, Tier
from optreg.conformance.results.verdict import CannotBeJudged, Status, Verdict
from optreg.conformance.subjects.target import Target

LIMIT = 60.0
"""Seconds that a check may take."""

PATIENCE = 3
"""After this many checks of a subject that did not end, the others get IMPATIENT seconds each."""

IMPATIENT = 5.0

LOSSES = 3
"""After this many workers that ended unasked, no other takes their place."""

MEMORY = 2 * 2**30
"""Bytes that a check may allocate."""


class Sandbox:
    """A worker process, and the communication with it."""

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise CannotBeJudged("checks run in forked processes, which this system does not have")
        self._process = _start()
        self._lost = 0
        self._known: dict[tuple[str, str], Verdict] = {}
        self._hangs: Counter[str] = Counter()
        self._checks: tuple[Check, ...] | None = None  # the worker's first message, when it has imported torch

    @property
    def checks(self) -> tuple[Check, ...]:
        """The catalogue, from the worker, so that this process need not import torch."""
        return self._listed()

    def judge(self, target: Target, check: str, *, limit: float = LIMIT) -> Verdict:
        """The verdict of one check.

        Raises:
            CannotBeJudged: the subject cannot be found or imported, or the check or the worker was killed.
        """
        if self._hangs[target.name] >= PATIENCE:
            limit = min(limit, IMPATIENT)
        began = time.monotonic()
        verdict = Verdict.from_dict(self._request(target, limit, check=check))
        if verdict.status is Status.CRASHED and time.monotonic() - began >= limit:
            self._hangs[target.name] += 1
        self._known[repr(target), check] = verdict
        return verdict

    def known(self, target: Target, check: str) -> Verdict | None:
        """The verdict of a check that this sandbox has run already."""
        return self._known.get((repr(target), check))

    def describe(self, target: Target, *, limit: float = LIMIT, ahead: bool = False) -> dict[str, Any]:
        """Describe a target: its kind, origin and settings.

        Args:
            target: what is to be judged.
            limit: seconds that it may take.
            ahead: the worker judges nothing else, and so may import the class once for all checks.

        Raises:
            CannotBeJudged: it cannot be found, imported or constructed.
        """
        return self._request(target, limit, ahead=ahead)

    def kill(self) -> None:
        """End the worker at once, whatever it is doing; whoever waits for a reply is told that it has ended."""
        self._lost = LOSSES
        self._process.kill()

    def close(self) -> None:
        """End the worker, and the check that it is running."""
        _close(self._process)

    def _request(self, target: Target, limit: float, **more: Any) -> dict[str, Any]:
        self._listed()
        if self._process.poll() is not None and self._lost < LOSSES:
            self.close()
            self._process = _start()
            self._read()  # the catalogue again
        assert self._process.stdin
        request = {"target": target.as_dict(), "limit": limit, "memory": MEMORY, **more}
        with contextlib.suppress(BrokenPipeError):  # reading the reply will report that the worker has ended
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        try:
            return self._read()
        except CannotBeJudged:
            raise
        except BaseException:  # Ctrl-C, or a time limit of pytest: the next request must not get this one's reply
            self._process.kill()
            self._process.wait()
            raise

    def _listed(self) -> tuple[Check, ...]:
        if self._checks is None:
            listed = self._read()["checks"]
            self._checks = tuple(Check(**{**check, "tier": Tier(check["tier"])}) for check in listed)
        return self._checks

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):  # the end of the pipe, perhaps within a reply
            self._lost += 1
            raise CannotBeJudged(_ending(self._process.wait()))
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise CannotBeJudged(reply["error"])
        return reply


def _start() -> subprocess.Popen[str]:
    """A new worker, in a session of its own: Ctrl-C is for the command, which then ends the worker."""
    paths = [path or os.getcwd() for path in sys.path]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONOPTIMIZE"}  # claims are docstrings
    return subprocess.Popen(
        [sys.executable, "-m", "optreg.conformance.running.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={
            **environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONSAFEPATH": "1",  # else a file `random.py` in the working folder would replace Python's own
            "PYTHONWARNINGS": "ignore",
        },
    )


def _close(process: subprocess.Popen[str]) -> None:
    """Close the pipes of a worker, which ends it, and wait for its end."""
    assert process.stdin
    assert process.stdout
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def _ending(code: int) -> str:
    if code < 0:
        why = ", as systems do when memory is short" if -code == signal.SIGKILL else ""
        return f"the worker process was killed ({signal.Signals(-code).name}){why}"
    return f"the worker process ended, with exit code {code}"


@functools.cache
def sandbox() -> Sandbox:
    """The sandbox of this process, started once."""
    started = Sandbox()
    atexit.register(started.close)
    return started
