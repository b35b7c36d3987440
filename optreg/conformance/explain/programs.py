"""Programs: source code that reproduces a finding with only torch and the class, and is run before it is reported."""

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
from optreg.conformance.harness.layouts import Array, as_array
from optreg.conformance.results.differences import within


def repeated(body: Sequence[str], times: int) -> list[str]:
    """Lines that are run this many times."""
    return list(body) if times == 1 else [f"for _ in range({times}):", *indented(body)]


def indented(lines: Sequence[str]) -> list[str]:
    """Lines of a block."""
    return [f"    {line}" for line in lines]


def printing(lines: Sequence[str], code: str, expected: Array | float) -> str:
    """The program that ends by printing the value of `code`, and the expected one."""
    shown = code
    if code.startswith("params["):
        shown = f"{code}.tolist()"
    elif code.startswith("optimizer.state"):  # a tensor or a number
        shown = f"torch.as_tensor({code}).tolist()"
    return with_imports([*lines, f"print({shown}, 'expected', {literal(expected)})"])


def with_imports(lines: Sequence[str]) -> str:
    """The program with the imports that it needs."""
    text = "\n".join(lines)
    needed = [module for module in ("copy", "io", "json", "pickle") if re.search(rf"\b{module}\.", text)]
    return "\n".join([*(f"import {module}" for module in needed), "import torch", text])


def differs(program: str, code: str, expected: Array | float, bound: Array | float) -> bool:
    """Whether `code` does not have the expected value at the end of a program, which is run here without output."""

    def compared(namespace: dict[str, Any]) -> bool:
        value = eval(code, namespace)
        found = as_array(value) if isinstance(value, Tensor) else np.asarray(value, dtype=np.float64)
        return not within(found, np.asarray(expected, dtype=np.float64), bound)

    return _ran(program, compared, lambda error: False)


def raises(program: str, kind: type[BaseException]) -> bool:
    """Whether a program raises an error of a type."""
    return _ran(program, lambda namespace: False, lambda error: isinstance(error, kind))


def _ran(program: str, then: Callable[[dict[str, Any]], bool], otherwise: Callable[[BaseException], bool]) -> bool:
    try:
        with silence():
            return then(executed(program))
    except (Exception, SystemExit) as error:
        return otherwise(error)


def executed(program: str) -> dict[str, Any]:
    """The names that a program defines."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program, "<program>", "exec"), namespace)
    return namespace


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress output and warnings inside, and restore the default dtype."""
    dtype = torch.get_default_dtype()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(dtype)
