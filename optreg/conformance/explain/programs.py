"""Programs: source code that shows a finding with nothing but torch and the class, run before it is told."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.harness.code import literal
from optreg.conformance.harness.layouts import as_array
from optreg.conformance.results.differences import within

Array = np.ndarray


def repeated(body: Sequence[str], times: int) -> list[str]:
    """Lines that are run so many times."""
    return list(body) if times == 1 else [f"for _ in range({times}):", *indented(body)]


def indented(lines: Sequence[str]) -> list[str]:
    """Lines that are part of a block."""
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


def differs(program: str, code: str, expected: Array | float, bound: Array | float) -> bool:
    """Whether what a program shows is not what is expected: it is run, here and now, silently."""

    def compared(namespace: dict[str, Any]) -> bool:
        value = eval(code, namespace)
        found = as_array(value) if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
        return not within(found, np.asarray(expected, dtype=np.float64), bound)

    return _ran(program, compared, lambda error: False)


def raises(program: str, kind: type[BaseException]) -> bool:
    """Whether a program raises an error of a kind."""
    return _ran(program, lambda namespace: False, lambda error: isinstance(error, kind))


def _ran(program: str, then: Callable[[dict[str, Any]], bool], otherwise: Callable[[BaseException], bool]) -> bool:
    try:
        with silence():
            return then(executed(program))
    except (Exception, SystemExit) as error:
        return otherwise(error)


def executed(program: str) -> dict[str, Any]:
    """The names that a program leaves behind."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program, "<program>", "exec"), namespace)
    return namespace


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Let nothing be printed or warned of inside, and leave no other default dtype behind."""
    dtype = torch.get_default_dtype()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(dtype)
