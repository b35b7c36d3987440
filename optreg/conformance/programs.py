"""Programs: the smallest with nothing but torch and the class that shows a finding. Each is run before it is told."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from optreg.conformance.judge import Judge
from optreg.conformance.record import ANEW, Event, Line, Update, as_array
from optreg.conformance.twin import Twin

if TYPE_CHECKING:
    from optreg.conformance.rig import Rig
    from optreg.conformance.subject import Subject

Array = np.ndarray

LARGEST = 300
"""How many elements of parameters a program may write out."""


@dataclass(frozen=True)
class Shown:
    """What a program prints, as code (`{i}` is the parameter's place), what is expected of it, and how nearly."""

    code: str
    expected: Array
    bound: Array


@dataclass(frozen=True)
class _Part:
    """What of a rig a program keeps: some of its parameters, and of one of them all elements or a single one."""

    members: Sequence[int]
    element: int | None = None

    def of(self, array: Array) -> Array:
        """The kept elements of an array."""
        array = np.asarray(array)
        return array if self.element is None or not array.ndim else array.ravel()[[self.element]]

    @property
    def alone(self) -> bool:
        return len(self.members) == 1


def smallest(rig: "Rig", index: int, shown: Shown, where: tuple[int, ...] | None, twin: Twin | None) -> str | None:
    """The smallest program that shows how one parameter of a rig differs from what is expected; None where none does.

    Args:
        rig: what was done.
        index: the parameter.
        shown: what the program prints.
        where: the element that differs, where it is known.
        twin: the reference that the rig follows, if it does.
    """
    element = None
    if where is not None and len(where) == shown.expected.ndim and rig.subject.traits.elementwise:
        element = int(np.ravel_multi_index(where, shown.expected.shape)) if where else 0
    parts = [_Part([index], element)] if element is not None and rig.layout.code == "x" else []
    parts += [_Part([index]), _Part(range(len(rig.starts)))]
    if parts[0].element is not None and twin is not None:
        simple = _under_one_gradient(rig, index, parts[0], shown, twin)
        if simple:
            return simple
    for part in parts:
        if part.element is None and sum(rig.starts[i].size for i in part.members) > LARGEST:
            continue
        place = 0 if part.alone else index
        code = shown.code.format(i=place)
        program = told([*_setting_up(rig, part), *_events(rig, part)], code, part.of(shown.expected))
        if differs(program, code, part.of(shown.expected), part.of(shown.bound)):
            return program
    return None


def raising(rig: "Rig", error: BaseException) -> str | None:
    """The smallest program in which the optimizer raises an error of the same kind; None where none does."""
    every = range(len(rig.starts))
    for part in (*(_Part([index]) for index in every), _Part(every)):
        if sum(rig.starts[i].size for i in part.members) > LARGEST:
            continue
        program = imported([*_setting_up(rig, part), *_events(rig, part)])
        if raises(program, type(error)):
            return program
    return None


def _constructor(rig: "Rig", part: _Part, made: "Line | None" = None) -> str:
    """The line that makes the rig's optimizer, or one that was made anew."""
    subject = rig.subject
    params, settings = "params", made.settings if made else None
    groups = made.groups if made and made.groups is not None else rig.groups
    if groups is not None and not part.alone:
        texts = []
        for members, changes in groups:
            items = {name: literal(value) for name, value in subject.group_arguments(changes).items()}
            own = "".join(f", {name!r}: {value}" for name, value in items.items())
            texts.append(f"{{'params': [{', '.join(f'params[{i}]' for i in members)}]{own}}}")
        params = f"[{', '.join(texts)}]"
    return f"optimizer = {call(subject, params, rig.settings if settings is None else settings)}"


def call(subject: "Subject", first: str, settings: Mapping[str, Any]) -> str:
    """The call of a subject's class: its first argument as code, the settings under its own names."""
    name = getattr(subject.implementation, "__qualname__", str(subject.implementation))
    arguments = [
        f"{key}={literal(value)}" for key, value in subject.own_arguments(settings).items() if value is not None
    ]
    return f"{name}({', '.join([*([first] if first else []), *arguments])})"


def importing(subject: "Subject") -> str:
    """The line that imports a subject's class."""
    name = getattr(subject.implementation, "__qualname__", str(subject.implementation))
    return f"from {getattr(subject.implementation, '__module__', '')} import {name.partition('.')[0]}"


def _setting_up(rig: "Rig", part: _Part) -> list[str]:
    starts = [literal(part.of(rig.starts[i])) for i in part.members]
    lines = [importing(rig.subject)]
    if part.alone:
        made = _laid(rig.layout.code, f"torch.tensor({starts[0]}, dtype={rig.dtype})")
        lines.append(f"params = [torch.nn.Parameter({made})]")
    else:
        made = _laid(rig.layout.code, f"torch.tensor(x, dtype={rig.dtype})")
        lines += [f"starts = [{', '.join(starts)}]", f"params = [torch.nn.Parameter({made}) for x in starts]"]
    lines += [f"params[{part.members.index(i)}].requires_grad_(False)" for i in rig.frozen if i in part.members]
    return [*lines, _constructor(rig, part)]


def _laid(code: str, tensor: str) -> str:
    return tensor if code == "x" else re.sub(r"\bx\b", tensor, code)


def _under_one_gradient(rig: "Rig", index: int, part: _Part, shown: Shown, twin: Twin) -> str | None:
    """The program in which every update has the same gradient and learning rate, where it shows a difference too."""
    updates = [event for event in rig.events if isinstance(event, Update)]
    plain = all(event.changes.keys() <= {"lr"} for event in updates) and len(updates) == len(rig.events)
    if not plain or not shown.code.startswith("params[{i}]") or rig.grad_layout.code != "x":
        return None
    grads = [part.of(event.grads[index]) for event in updates if event.grads[index] is not None]  # type: ignore[arg-type]
    telling = [grad for grad in grads if np.all(grad != 0)]
    if not telling:
        return None
    start, lr = part.of(rig.starts[index]), updates[0].changes.get("lr", twin.settings["lr"])
    settings = {**rig.settings, "lr": lr}
    same = Twin(rig.subject, [start], rig.dtype, **{**twin.settings, "lr": lr})
    for _ in grads:
        same.step([telling[0]])
    body = [f"params[0].grad = torch.tensor({literal(telling[0])}, dtype={rig.dtype})", "optimizer.step()"]
    lines = [
        importing(rig.subject),
        f"params = [torch.nn.Parameter(torch.tensor({literal(start)}, dtype={rig.dtype}))]",
        f"optimizer = {call(rig.subject, 'params', settings)}",
        *repeated(body, len(grads)),
    ]
    program = told(lines, "params[0]", same.values()[0])
    return program if differs(program, "params[0]", same.values()[0], same.bound(0)) else None


def _events(rig: "Rig", part: _Part) -> list[str]:
    lines: list[str] = []
    current = rig.subject.group_arguments(rig.settings)
    for updates, run in groupby(rig.events, key=lambda event: isinstance(event, Update)):
        events: list[Event] = list(run)
        if updates:
            lines += _updates(rig, part, events, current)  # type: ignore[arg-type]
        else:
            lines += _code(rig, part, events)  # type: ignore[arg-type]
    return lines


def _code(rig: "Rig", part: _Part, events: Sequence["Line"]) -> Iterator[str]:
    for event, run in groupby(events):
        code = event.code.replace(ANEW, _constructor(rig, part, event))
        yield from repeated(code.splitlines(), len(list(run)))


def _updates(rig: "Rig", part: _Part, updates: Sequence["Update"], current: dict[str, Any]) -> list[str]:
    """Updates in a row: one written out, or several from a table of what changes."""
    names = sorted({name for update in updates for name in rig.subject.group_arguments(update.changes)})
    rows = []
    for update in updates:
        current.update(rig.subject.group_arguments(update.changes))
        kept = [update.grads[i] for i in part.members]
        grads = ["None" if grad is None else literal(part.of(grad)) for grad in kept]
        rows.append([*(literal(current[name]) for name in names), grads[0] if part.alone else f"[{', '.join(grads)}]"])
    grad = "grad" if part.alone else "grads"
    if len(rows) == 1:
        head, *body = [f"{', '.join([*names, grad])} = {', '.join(rows[0])}", *_one_update(rig, part, names)]
        return [head, *body]
    table = ["steps = [", *(f"    ({', '.join(row)})," for row in rows), "]"]
    if not names:
        table = ["steps = [", *(f"    {row[0]}," for row in rows), "]"]
    return [*table, f"for {', '.join([*names, grad])} in steps:", *_indented(_one_update(rig, part, names))]


def _one_update(rig: "Rig", part: _Part, names: Sequence[str]) -> list[str]:
    edits = [f"group[{name!r}] = {name}" for name in names]
    edit = [f"optimizer.param_groups[0][{name!r}] = {name}" for name in names]
    made = _laid(rig.grad_layout.code, "torch.tensor(grad, dtype=p.dtype)")
    if part.alone:
        made = made.replace("p.dtype", "params[0].dtype")
        return [*edit, f"params[0].grad = None if grad is None else {made}", "optimizer.step()"]
    loop = ["for group in optimizer.param_groups:", *_indented(edits)] if edits else []
    each = ["for p, grad in zip(params, grads):", f"    p.grad = None if grad is None else {made}"]
    return [*loop, *each, "optimizer.step()"]


def repeated(body: Sequence[str], times: int) -> list[str]:
    """Lines that are run so many times."""
    return list(body) if times == 1 else [f"for _ in range({times}):", *_indented(body)]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def told(lines: Sequence[str], code: str, expected: Array | float) -> str:
    """The program that ends by printing what `code` has come to, and what is expected of it."""
    shown = code
    if code.startswith("params["):
        shown = f"{code}.tolist()"
    elif code.startswith("optimizer.state"):  # a tensor or a number
        shown = f"torch.as_tensor({code}).tolist()"
    return imported([*lines, f"print({shown}, 'expected', {literal(expected)})"])


def imported(lines: Sequence[str]) -> str:
    """The program with the imports that it needs."""
    text = "\n".join(lines)
    needed = [module for module in ("copy", "io", "json", "pickle") if re.search(rf"\b{module}\.", text)]
    return "\n".join([*(f"import {module}" for module in needed), "import torch", text])


def literal(value: Any) -> str:
    """A value as code."""
    if isinstance(value, Tensor):
        return f"torch.tensor({literal(value.tolist())}, dtype={value.dtype})"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return re.sub(r"\b(nan|inf)\b", r"float('\1')", repr(value))


def differs(program: str, code: str, expected: Array | float, bound: Array | float) -> bool:
    """Whether what a program shows is not what is expected: it is run, here and now, silently."""
    judge = Judge()

    def compared(namespace: dict[str, Any]) -> bool:
        value = eval(code, namespace)
        found = as_array(value) if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
        return not judge.within(found, np.asarray(expected, dtype=np.float64), bound)

    return _ran(program, compared, lambda error: False)


def raises(program: str, kind: type[BaseException]) -> bool:
    """Whether a program raises an error of a kind."""
    return _ran(program, lambda namespace: False, lambda error: isinstance(error, kind))


def _ran(program: str, then: Callable[[dict[str, Any]], bool], otherwise: Callable[[BaseException], bool]) -> bool:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(program, "<program>", "exec"), namespace)
            return then(namespace)
    except (Exception, SystemExit) as error:
        return otherwise(error)
