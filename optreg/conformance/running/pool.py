"""The pool: worker processes that run checks in parallel, each driven by a thread."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from optreg.conformance.catalogue import Check
from optreg.conformance.results.verdict import CannotBeJudged, Verdict
from optreg.conformance.running.allowance import Allowance
from optreg.conformance.running.sandbox import Sandbox
from optreg.conformance.subjects.target import Target


class Pool:
    """Several worker processes.

    Raises:
        CannotBeJudged: this system cannot fork.
    """

    def __init__(self, size: int) -> None:
        allowance = Allowance()
        self._workers = [Sandbox(allowance) for _ in range(size)]
        self._threads = ThreadPoolExecutor(size)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind:  # Ctrl-C, for one: a thread may be waiting for the verdict of a check that hangs
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    @property
    def checks(self) -> tuple[Check, ...]:
        """The catalogue."""
        return self._workers[0].checks

    def describe(self, target: Target, *, limit: float) -> dict[str, Any]:
        """Describe a target: its kind, origin and settings.

        Raises:
            CannotBeJudged: it cannot be found, imported or constructed.
        """
        return self._workers[0].describe(target, limit=limit)

    def judge(self, cases: Iterable[tuple[Target, Check]], *, limit: float) -> Iterator[Verdict | CannotBeJudged]:
        """The verdict of each check of a target, in the given order, or the error why there is none."""
        free: SimpleQueue[Sandbox] = SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        def judged(case: tuple[Target, Check]) -> Verdict | CannotBeJudged:
            target, check = case
            worker = free.get()
            try:
                return worker.judge(target, check.id, limit=limit)
            except CannotBeJudged as error:
                return error
            finally:
                free.put(worker)

        return self._threads.map(judged, cases)
