"""The worker: a process that has imported torch, and forks a child for every check, to isolate them from each other.

It reads requests and writes replies, one JSON object per line. A child has limits of time and memory; the beginning of
its output is kept; however it ends, the worker continues.
"""

import contextlib
import gc
import json
import os
import resource
import selectors
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged, Finding, Status, Verdict
from optreg.conformance.running.guard import Guard
from optreg.errors import OptregError

KEPT = 2000
"""How many characters of a subject's output are kept."""

KILLED = "the process was killed (SIGKILL) during the check, as systems do when memory is short"
"""How a child ended that somebody else killed, so that nothing is known of the subject."""


def main() -> None:
    """Serve requests until standard input ends."""
    replies = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    guard = Guard(sys.stdin.fileno(), replies)  # before torch is imported, so that it stays small
    with contextlib.suppress(BrokenPipeError):  # the command is gone
        _write(replies, _prepare())
        for line in sys.stdin:
            _write(replies, serve(json.loads(line), guard))
    guard.dismiss()


def _write(pipe: int, reply: dict[str, Any]) -> None:
    """Write a line of JSON."""
    text = json.dumps(reply).encode() + b"\n"
    while text:
        text = text[os.write(pipe, text) :]


def _prepare() -> dict[str, Any]:
    """Import what children need, before any fork, and list the checks.

    torch imports half of itself only in the first step of the first optimizer, and pydantic when it makes a schema.
    """
    import mpmath  # noqa: F401
    import torch

    import optreg.conformance.running.check
    import optreg.pointwise  # noqa: F401
    from optreg.conformance.chapters import checks
    from optreg.execution import PointwiseOptions
    from optreg.hyperparameters import json_schema
    from optreg.registry import default_registry

    class SGD(torch.optim.SGD):
        """torch patches the `step` of a class in its first instance; subjects may derive from torch's own classes."""

    class AdamW(torch.optim.AdamW):
        """Likewise."""

    torch.set_num_threads(1)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a child compiles only a few kernels
    param = torch.nn.Parameter(torch.zeros(1))
    optimizer = SGD([param], lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, float)
    param.grad = torch.zeros(1)
    optimizer.step()
    scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
    AdamW([param]).step()
    json_schema(PointwiseOptions)
    default_registry()
    gc.freeze()  # a collection in a child would write to every object, and so copy all memory
    try:
        return {"checks": [check.listed() for check in checks()]}
    except OptregError as error:  # an ambient plugin with more checks is broken
        return {"error": str(error)}


def serve(request: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """The reply to a request about a target: the verdict of its `check`, or a description of the target."""
    from optreg.conformance.subjects.target import Target

    target = Target.from_dict(request["target"])
    check = request.get("check")
    memory = request["memory"] if target.device == "cpu" else None  # drivers map far more addresses than they use
    result, ending, output, seconds = _forked(lambda: _answer(target, check), request["limit"], memory, guard)
    if result is not None:
        if result.pop("compiled", False):
            _import_compiler()
        if request.get("ahead") and ":" in target.name and "error" not in result:
            _import_module(target.name)
        return {**result, "output": output} if check and "error" not in result else result
    if not check:
        return {"error": f"{target} cannot be described: {ending}"}
    if ending == KILLED:
        return {"error": f"{target}, {check}: {ending}"}
    finding = Finding(reason=ending)
    return Verdict(
        subject=target.name, check=check, status=Status.CRASHED, finding=finding, output=output, seconds=seconds
    ).as_dict()


def _import_compiler() -> None:
    """Import the compiler before further forks, so that not every child has to; checks will find if it is broken."""
    with contextlib.suppress(Exception):
        from optreg.torch_internals import import_compiler

        import_compiler()
    gc.freeze()


def _import_module(name: str) -> None:
    """Import the module of the only class that is judged, as a child could, before further forks: some take seconds."""
    before, kept = list(sys.path), os.dup(2)
    os.dup2(1, 2)  # nobody reads what it prints
    sys.path.append(os.getcwd())
    with contextlib.suppress(Exception, SystemExit):
        import_module(name.partition(":")[0])
    sys.path[:] = before
    os.dup2(kept, 2)
    os.close(kept)
    gc.freeze()


def _answer(target: Any, check: str | None) -> dict[str, Any]:
    """The reply, computed in a child."""
    from optreg.conformance.chapters import find
    from optreg.conformance.running.check import describe, judge

    if ":" in target.name:
        sys.path.append(os.getcwd())  # a class may be in the working folder; nothing else is imported from there
    try:
        return judge(target, find(check)).as_dict() if check else describe(target)
    except CannotBeJudged as error:
        return {"error": str(error)}


def _forked(
    act: Callable[[], dict[str, Any]], limit: float, memory: int | None, guard: Guard
) -> tuple[dict[str, Any] | None, str, str, float]:
    """What `act` returns in a new child or None, how the child ended, its output, and its duration."""
    result_end, result_start = os.pipe()
    output_end, output_start = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(result_end)
        os.close(output_end)
        _be_the_child(act, result_start, output_start, memory, guard)
    os.close(result_start)
    os.close(output_start)
    written, printed, in_time = _drain(result_end, output_end, began + limit)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # whatever it has started, or it itself when it hangs
    _, status = os.waitpid(child, 0)
    guard.release()
    seconds = time.monotonic() - began
    output = printed.decode("utf-8", "replace")
    try:
        return json.loads(written), "", output, seconds
    except ValueError:
        return None, _ending(status, in_time, limit), output, seconds


def _be_the_child(
    act: Callable[[], dict[str, Any]], result: int, output: int, memory: int | None, guard: Guard
) -> None:
    """Run `act`, write what it returns, and exit."""
    try:
        guard.take_over()
        os.dup2(output, 1)
        os.dup2(output, 2)
        if memory is not None:
            _limit_memory(memory)
        _write(result, act())
        os._exit(0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(70)


def _limit_memory(memory: int) -> None:
    """Allow this many bytes beyond the memory that is mapped already; without `/proc` there is no limit."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))


def _drain(result: int, output: int, deadline: float) -> tuple[bytes, bytes, bool]:
    """Read both pipes until the end of the result or the deadline; keep only the beginning of the output."""
    written, printed = b"", b""
    with selectors.DefaultSelector() as selector:
        for pipe in (result, output):
            selector.register(pipe, selectors.EVENT_READ)
        in_time, done = True, False
        while not done:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                in_time = False
                break
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                if key.fd == result:
                    written += piece
                    done = not piece
                elif piece:
                    printed = (printed + piece)[:KEPT]
                else:
                    selector.unregister(output)
    os.close(result)
    os.close(output)
    return written, printed, in_time


def _ending(status: int, in_time: bool, limit: float) -> str:
    if not in_time:
        return f"the check did not end within {limit:g} s, and was stopped"
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) == signal.SIGKILL:
            return KILLED
        return f"the process died of {signal.Signals(os.WTERMSIG(status)).name} during the check"
    code = os.WEXITSTATUS(status)
    return f"the process ended during the check, with exit code {code}"


if __name__ == "__main__":
    main()
