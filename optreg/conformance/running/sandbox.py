"""The sandbox: runs checks in a worker process."""

import atexit
import contextlib
import functools
import json
import os
import secrets
import signal
import subprocess
from typing import Any

from optreg.conformance.catalogue import Check, Tier
from optreg.conformance.results.verdict import CannotBeJudged, Verdict
from optreg.conformance.running.allowance import Allowance
from optreg.conformance.subjects.target import Target
from optreg.forked import helper

LIMIT = 60.0
"""Seconds of processor time that a check may use, and also the seconds in which it may stand still."""

LOSSES = 3
"""After this many workers that ended unasked, no other takes their place."""

MEMORY = 2 * 2**30
"""Bytes that a check may allocate."""


class Sandbox:
    """A worker process, and the communication with it. Several may share an allowance."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        if not hasattr(os, "fork"):
            raise CannotBeJudged("checks run in forked processes, which this system does not have")
        self._process = _start()
        self._lost = 0
        self._known: dict[tuple[str, str], Verdict] = {}
        self._allowance = allowance or Allowance()

    @functools.cached_property
    def checks(self) -> tuple[Check, ...]:
        """The catalogue, from the worker, so that this process need not import torch."""
        listed = _found(self._greeting, "checks")
        return tuple(Check(**{**check, "tier": Tier(check["tier"])}) for check in listed)

    @functools.cached_property
    def _greeting(self) -> dict[str, Any]:
        """The worker's first message, when it has imported torch: the catalogue, or why there is none."""
        return self._read()

    def judge(self, target: Target, check: str, *, limit: float = LIMIT) -> Verdict:
        """The verdict of one check.

        Raises:
            CannotBeJudged: the subject cannot be found or imported, its checks have used too much of the processor, or
                the check or the worker was killed.
        """
        reply = self._request(target, self._allowance.limit(target, limit), check)
        self._allowance.charge(target, reply["spent"], reply["late"])
        verdict = Verdict.from_dict(_found(reply, "verdict"))
        if (verdict.subject, verdict.check) != (target.name, check):
            raise CannotBeJudged(f"{target}, {check}: the verdict is of {verdict.subject}, {verdict.check}")
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
        description: dict[str, Any] = _found(self._request(target, limit), "description")
        return description

    def kill(self) -> None:
        """End the worker at once, whatever it is doing; whoever waits for a reply is told that it has ended."""
        self._lost = LOSSES
        self._process.terminate()

    def close(self) -> None:
        """End the worker, and the check that it is running."""
        _close(self._process)

    def _request(self, target: Target, limit: float, check: str | None = None) -> dict[str, Any]:
        """The worker's reply, which has the id of this request."""
        _found(self._greeting, "checks")  # read before any reply
        if self._process.poll() is not None and self._lost < LOSSES:
            self.close()
            self._process = _start()
            self._read()  # the catalogue again
        assert self._process.stdin
        id = secrets.token_hex()
        request = {"id": id, "target": target.as_dict(), "check": check, "limit": limit, "memory": MEMORY}
        with contextlib.suppress(BrokenPipeError):  # reading the reply will report that the worker has ended
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        try:
            reply = self._read()
        except CannotBeJudged:
            raise
        except BaseException:  # Ctrl-C, or a time limit of pytest: the next request must not get this one's reply
            self._abandon()
            raise
        if reply.get("id") != id:
            self._abandon()
            raise CannotBeJudged(f"{target}: the worker replied to something that it was not asked")
        return reply

    def _abandon(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        """The next message of the worker."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.endswith("\n"):  # the end of the pipe, perhaps within a reply
            self._lost += 1
            raise CannotBeJudged(_ending(self._process.wait()))
        reply: dict[str, Any] = json.loads(line)
        return reply


def _found(reply: dict[str, Any], key: str) -> Any:
    """What a reply has under a key, unless it says why it has not."""
    if "error" in reply:
        raise CannotBeJudged(reply["error"])
    return reply[key]


def _start() -> subprocess.Popen[str]:
    """A new worker, in a session of its own: Ctrl-C is for the command, which then ends the worker."""
    return helper("optreg.conformance.running.worker", start_new_session=True)


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
