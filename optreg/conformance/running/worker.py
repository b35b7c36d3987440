"""The worker: a process that has imported torch, and forks a child for every check, to isolate them from each other.

It reads requests and writes replies, one JSON object per line. However a child ends, the worker continues.
"""

import contextlib
import functools
import gc
import json
import os
import signal
import sys
from typing import Any

from optreg.conformance.results.verdict import CannotBeJudged, Finding, Status, Verdict
from optreg.conformance.running.guard import Guard
from optreg.errors import OptregError
from optreg.forked import Outcome, outcomes

KILLED = "the process was killed (SIGKILL) during the check, as systems do when memory is short"
"""How a child ended that somebody else killed, so that nothing is known of the subject."""


def main() -> None:
    """Serve requests until standard input ends."""
    replies = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    guard = Guard(sys.stdin.fileno(), replies)  # before torch is imported, so that it stays small
    with contextlib.suppress(BrokenPipeError):  # the command is gone
        _write(replies, _prepare())
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which ends the child
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
    """The reply to a request about a target: the verdict of its `check`, or a description of the target.

    It has the request's `id`, and tells how much of its limit the child has `spent`, and whether that was too much.
    """
    from optreg.conformance.subjects.target import Target

    target, check = Target.from_dict(request["target"]), request["check"]
    memory = request["memory"] if target.device == "cpu" else None  # drivers map far more addresses than they use
    call = functools.partial(_answer, target, check)
    if (target.found or {}).get("compiles"):
        _call_what_is_compiled()  # before the fork, so that not every child has to
    ((_, outcome),) = outcomes([call], request["limit"], memory=memory, begin=guard.take_over)
    guard.release()
    reply = outcome.answer or _without_answer(target, check, outcome)
    if reply.pop("compiled", False):
        _start_compiler()  # before further forks, so that not every child has to
    if "verdict" in reply:
        reply["verdict"]["output"] = outcome.output
    return {"id": request["id"], "spent": outcome.spent, "late": outcome.late, **reply}


def _without_answer(target: Any, check: str | None, outcome: Outcome) -> dict[str, Any]:
    """The reply where a child has given none."""
    subject = "the check" if outcome.late else "the process"
    ending = f"{subject} {outcome.ending}{', and was stopped' if outcome.late else ' during the check'}"
    if not check:
        return {"error": f"{target} cannot be described: {ending}"}
    if outcome.killed:
        return {"error": f"{target}, {check}: {KILLED}"}
    finding = Finding(reason=ending)
    verdict = Verdict(subject=target.name, check=check, status=Status.CRASHED, finding=finding, seconds=outcome.seconds)
    return {"verdict": verdict.as_dict()}


def _start_compiler() -> None:
    """Start the compiler; checks will find if it is broken."""
    with contextlib.suppress(Exception):
        from optreg.torch_internals import compiler_has_started, start_compiler

        if not compiler_has_started():
            start_compiler()
            gc.freeze()


@functools.cache
def _call_what_is_compiled() -> None:
    """Import what torch does where the first compiled function is called, even if it is run as it is written."""
    import torch

    with contextlib.suppress(Exception), torch.compiler.set_stance("force_eager"):  # as classes are judged that compile
        torch.compile(torch.square)(torch.zeros(1))
    gc.freeze()


def _answer(target: Any, check: str | None) -> dict[str, Any]:
    """The reply, computed in a child."""
    from optreg.conformance.chapters import find
    from optreg.conformance.running.check import describe, judge
    from optreg.torch_internals import compiler_has_started

    if ":" in target.name:
        sys.path.append(os.getcwd())  # a class may be in the working folder; nothing else is imported from there
    try:
        answer = {"verdict": judge(target, find(check)).as_dict()} if check else {"description": describe(target)}
    except CannotBeJudged as error:
        return {"error": str(error)}
    return {**answer, "compiled": compiler_has_started()}


if __name__ == "__main__":
    main()
