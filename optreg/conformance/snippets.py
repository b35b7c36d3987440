"""Snippets: a short program, with nothing but torch and the plugin, that shows a finding."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optreg.conformance.rig import Rig

Array = np.ndarray


def of(rig: "Rig", index: int, expected: Array, element: int | None) -> str:
    """The program that does to one parameter what the rig did, and prints where it came to.

    Args:
        rig: what was done.
        index: the parameter.
        expected: where the reference says it comes to.
        element: the one element that the program keeps, where each goes its own way; None keeps all.
    """
    subject = rig.subject
    constructor = ", ".join(
        f"{name}={value!r}" for name, value in subject.own_arguments(rig.settings).items() if value is not None
    )
    module = getattr(subject.implementation, "__module__", "")
    name = getattr(subject.implementation, "__qualname__", str(subject.implementation))
    lines = [
        "import torch",
        f"from {module} import {name.partition('.')[0]}",
        f"p = torch.nn.Parameter(torch.tensor({_numbers(rig.starts[index], element)}, dtype={rig.dtype}))",
        f"optimizer = {name}([p], {constructor})",
    ]
    pending: list[tuple[dict[str, Any], Any]] = []
    for event in rig.events:
        if event.grads is None:
            lines += [*_loop(subject, pending, rig.dtype), event.code]
            pending = []
        else:
            grad = event.grads[index]
            pending.append((subject.own_arguments(event.changes), None if grad is None else _numbers(grad, element)))
    lines += _loop(subject, pending, rig.dtype)
    lines.append(f"print(p.tolist(), 'expected', {_numbers(expected, element)})")
    return "\n".join(lines)


def _loop(subject: Any, pending: list[tuple[dict[str, Any], Any]], dtype: Any) -> list[str]:
    if not pending:
        return []
    names = sorted({name for changes, _ in pending for name in changes})
    rows = [f"({', '.join([*(repr(changes.get(name)) for name in names), str(grad)])})," for changes, grad in pending]
    head = ", ".join([*names, "grad"])
    return [
        "steps = [",
        *(f"    {row}" for row in rows),
        "]",
        f"for {head} in steps:",
        *(f"    optimizer.param_groups[0][{name!r}] = {name}" for name in names),
        f"    p.grad = None if grad is None else torch.tensor(grad, dtype={dtype})",
        "    optimizer.step()",
    ]


def _numbers(array: Array, element: int | None) -> str:
    array = np.asarray(array)
    return repr(array.tolist() if element is None else [float(array.ravel()[element])])
