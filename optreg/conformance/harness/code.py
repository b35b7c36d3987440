"""Code: values, calls and imports as Python source, for recordings and the programs made from them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from optreg.conformance.subjects.subject import Subject


def literal(value: Any) -> str:
    """A value as source code."""
    if isinstance(value, Tensor):
        device = "" if value.is_cpu else f", device='{value.device}'"
        return f"torch.tensor({literal(value.tolist())}, dtype={value.dtype}{device})"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return re.sub(r"\b(nan|inf)\b", r"float('\1')", repr(value))


def on_device(subject: Subject) -> str:
    """The argument that puts a tensor on a subject's device, with its comma; empty on the CPU."""
    return "" if subject.device == "cpu" else f", device={subject.device!r}"


def call(subject: Subject, first: str, settings: Mapping[str, Any]) -> str:
    """The call of a subject's class, with the first argument as code and the settings under the class's own names."""
    own = {key: literal(value) for key, value in subject.own_arguments(settings).items() if value is not None}
    return f"{_qualified_name(subject)}({', '.join(filter(None, subject.form.code(first, own)))})"


def importing(subject: Subject) -> str:
    """The line that imports a subject's class."""
    module = getattr(subject.implementation, "__module__", "")
    return f"from {module} import {_qualified_name(subject).partition('.')[0]}"


def _qualified_name(subject: Subject) -> str:
    return str(getattr(subject.implementation, "__qualname__", subject.implementation))
