"""Sandbox: checks run in a worker process, from here."""

import atexit
import contextlib
import functools
import json
import os
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
"""After so many checks that did not end, a subject's others get IMPATIENT seconds each."""

IMPATIENT = 5.0

MEMORY = 2 * 2**30
"""Bytes that a check may allocate."""


class Sandbox:
    """A worker process, and the conversation with it."""

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise CannotBeJudged("checks run in forked processes, which this system does not have")
        paths = [path or os.getcwd() for path in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "optreg.conformance.running.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONSAFEPATH": "1",  # or else a file `random.py` in the working folder is imported for Python's own
                "PYTHONWARNINGS": "ignore",
            },
        )
        self._known: dict[tuple[str, str], Verdict] = {}
        self._hangs: Counter[str] = Counter()
        self._checks: tuple[Check, ...] | None = None  # what it says first, when it has imported torch

    @property
    def checks(self) -> tuple[Check, ...]:
        """The catalogue, as the worker lists it: here, torch need not be imported for it."""
        if self._checks is None:
            said = self._read()
            if "error" in said:
                raise CannotBeJudged(said["error"])
            self._checks = tuple(Check(**{**check, "tier": Tier(check["tier"])}) for check in said["checks"])
        return self._checks

    def judge(self, target: Target, check: str, *, limit: float = LIMIT, memory: int = MEMORY) -> Verdict:
        """The verdict of one check.

        Raises:
            CannotBeJudged: the subject cannot be found, imported or made.
        """
        if self._hangs[target.name] >= PATIENCE:
            limit = min(limit, IMPATIENT)
        began = time.monotonic()
        verdict = Verdict.from_dict(self._asked(target, limit, memory, check=check))
        if verdict.status is Status.CRASHED and time.monotonic() - began >= limit:
            self._hangs[target.name] += 1
        self._known[repr(target), check] = verdict
        return verdict

    def known(self, target: Target, check: str) -> Verdict | None:
        """The verdict of a check that was judged before."""
        return self._known.get((repr(target), check))

    def describe(self, target: Target, *, limit: float = LIMIT, memory: int = MEMORY) -> dict[str, Any]:
        """What is to be judged: its kind, origin and settings.

        Raises:
            CannotBeJudged: it cannot be found, imported or made.
        """
        return self._asked(target, limit, memory)

    def close(self) -> None:
        """End the worker."""
        self._process.communicate(timeout=30)

    def _asked(self, target: Target, limit: float, memory: int, **more: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self.checks
        request = {"target": target.as_dict(), "limit": limit, "memory": memory, **more}
        with contextlib.suppress(BrokenPipeError):  # of a worker that has ended, the reply tells
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        reply = self._read()
        if "error" in reply:
            raise CannotBeJudged(reply["error"])
        return reply

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise CannotBeJudged(f"the worker process ended, with exit code {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        return reply


@functools.cache
def sandbox() -> Sandbox:
    """The worker of this process, started once."""
    started = Sandbox()
    atexit.register(started.close)
    return started
