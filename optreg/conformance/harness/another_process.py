"""Another process: what a function returns where nothing is known of what happens here in the meantime."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def another_process(act: Callable[[bytes], Any]) -> Iterator[Callable[[bytes], Any]]:
    """A process that is forked now, and in which `act` is called with what it is sent.

    What is made here from now on is not there. What is made there is at other addresses, so that no id means the same.

    Args:
        act: its result, or the error that it raises, is sent back.
    """
    (there, given), (returned, back) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(given)
        _answer(act, there, back)
    os.close(there)
    os.close(back)
    try:
        with os.fdopen(given, "wb") as request, os.fdopen(returned, "rb") as reply:

            def ask(data: bytes) -> Any:
                request.write(data)
                request.close()
                answer = reply.read()
                if not answer:
                    raise RuntimeError("another process ends, and says nothing")
                raised, result = torch.load(io.BytesIO(answer), weights_only=False)
                if raised:
                    raise RuntimeError(f"in another process, it raises {result}")
                return result

            yield ask
    finally:
        os.waitpid(child, 0)


def _answer(act: Callable[[bytes], Any], there: int, back: int) -> None:
    """Wait for a request, answer it, and end."""
    try:
        torch.set_num_threads(1)  # a forked process has none of the threads that would share the work
        moved = [object() for _ in range(10_000)]
        with os.fdopen(there, "rb") as request, os.fdopen(back, "wb") as reply:
            try:
                answer = (False, act(request.read()))
            except Exception as error:
                answer = (True, f"{type(error).__name__}: {error}")
            torch.save(answer, reply)
        del moved
    finally:
        os._exit(0)
