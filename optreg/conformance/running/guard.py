"""The guard: a small process that ends a worker and its child once the command, or the worker itself, is gone."""

import contextlib
import os
import select
import signal

GRACE = 1.0
"""Seconds that a worker has to end by itself when the command is gone."""

IDLE = b"0\n"


class Guard:
    """The guard of this process, which is a worker.

    A worker that was killed can no longer end the child that it has forked, and a worker that is importing torch does
    not notice that the command was killed. The guard does both. It waits for the end of two pipes, so it works whatever
    ended the other processes.

    Args:
        requests: the pipe from which the worker reads, and whose only writer is the command.
        replies: the pipe to which the worker writes; the worker alone holds it, so that the command sees its end.
    """

    def __init__(self, requests: int, replies: int) -> None:
        watched, self._end = os.pipe()
        worker = os.getpid()
        if os.fork() == 0:
            os.close(self._end)
            os.close(replies)
            _be_the_guard(worker, requests, watched)
        os.close(watched)

    def take_over(self) -> None:
        """Guard this process, a new child, and its process group; the child calls this, and then closes both pipes."""
        os.write(self._end, b"%d\n" % os.getpid())

    def release(self) -> None:
        """The child has ended."""
        os.write(self._end, IDLE)

    def dismiss(self) -> None:
        """The worker ends by itself."""
        os.close(self._end)


def _be_the_guard(worker: int, requests: int, watched: int) -> None:
    """Wait until the worker has ended; end it when the command is gone, and the child when either is."""
    os.setsid()  # Ctrl-C and the end of the terminal are sent to groups
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(1)
    os.close(2)
    poll = select.poll()
    poll.register(requests, 0)  # only whether it was closed
    poll.register(watched, select.POLLIN)
    group, deserted = 0, False
    while True:
        ready = dict(poll.poll(1000 * GRACE if deserted else None))
        if watched in ready:
            told = os.read(watched, 4096)
            if not told:
                _kill(group)
                os._exit(0)
            group = int(told.split()[-1])
        if requests in ready:
            poll.unregister(requests)
            deserted = True
        if deserted:
            _kill(group)
            if not ready:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


def _kill(group: int) -> None:
    if group:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
