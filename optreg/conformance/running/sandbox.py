"""The sandbox: runs checks in a worker process."""

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
"""After this many checks of a subject that did not end, the others get IMPATIENT seconds each."""

IMPATIENT = 5.0

MEMORY = 2 * 2**30
"""Bytes that a check may allocate."""


class Sandbox:
    """A worker process, and the communication with it."""

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
                "PYTHONSAFEPATH": "1",  # else a file `random.py` in the working folder would replace Python's own
                "PYTHONWARNINGS": "ignore",
            },
        )
        self._known: dict[tuple[str, str], Verdict] = {}
        self._hangs: Counter[str] = Counter()
        self._checks: tuple[Check, ...] | None = None  # the worker's first message, when it has imported torch

    @property
    def checks(self) -> tuple[Check, ...]:
        """The catalogue, from the worker, so that this process need not import torch."""
        if self._checks is None:
            listed = self._read()["checks"]
            self._checks = tuple(Check(**{**check, "tier": Tier(check["tier"])}) for check in listed)
        return self._checks

    def judge(self, target: Target, check: str, *, limit: float = LIMIT) -> Verdict:
        """The verdict of one check.

        Raises:
            CannotBeJudged: the subject cannot be found or imported.
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

    def describe(self, target: Target, *, limit: float = LIMIT) -> dict[str, Any]:
        """Describe a target: its kind, origin and settings.

        Raises:
            CannotBeJudged: it cannot be found, imported or constructed.
        """
        return self._request(target, limit)

    def close(self) -> None:
        """End the worker."""
        self._process.communicate(timeout=30)

    def _request(self, target: Target, limit: float, **more: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self.checks
        request = {"target": target.as_dict(), "limit": limit, "memory": MEMORY, **more}
        with contextlib.suppress(BrokenPipeError):  # reading the reply will report that the worker has ended
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise CannotBeJudged(f"the worker process ended, with exit code {self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise CannotBeJudged(reply["error"])
        return reply


@functools.cache
def sandbox() -> Sandbox:
    """The sandbox of this process, started once."""
    started = Sandbox()
    atexit.register(started.close)
    return started
