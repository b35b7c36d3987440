"""Descendants: the processes that a process has started, and all that those have started, as Linux tells.

Other systems do not tell; there, a process seems to have none.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER, an option of Linux's `prctl`."""

ROUNDS = 100
"""How often children are looked for and ended, where those that end leave others."""


def adopt_orphans() -> None:
    """Let descendants whose parents end become children of this process, also those that have detached themselves."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def children(pid: int) -> set[int]:
    """The processes that a process has started or adopted, and that have not been waited for."""
    return {int(child) for task in _tasks(pid) for child in _text(task / "children").split()}


def end_children(but: set[int]) -> None:
    """End all children of this process but some, and what they leave to it."""
    for _ in range(ROUNDS):
        left = children(os.getpid()) - but
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)


def activity(pid: int) -> tuple[float, bool] | None:
    """What a process and its descendants do: how many seconds of processor time they have used, and whether one works.

    One works if it runs, or would run if a processor or a disk were free. None if the system does not tell.
    """
    ticks, works, left = 0, False, [pid]
    while left:
        member = left.pop()
        fields = _fields(Path(f"/proc/{member}/stat"))
        if fields:
            ticks += sum(map(int, fields[11:15]))  # its own time and that of children it has waited for, in all threads
            works = works or any(_fields(task / "stat")[:1] in (["R"], ["D"]) for task in _tasks(member))
            left += children(member)
        elif member == pid:
            return None
    return ticks / os.sysconf("SC_CLK_TCK"), works


def _tasks(pid: int) -> list[Path]:
    """The folders of a process's threads."""
    try:
        return [*Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _fields(file: Path) -> list[str]:
    """What a file `stat` tells after the name of the program, beginning with the state; nothing if it is gone."""
    return _text(file).rpartition(")")[2].split()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
