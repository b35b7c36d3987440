"""Promises: what every plugin, an optimizer or a schedule, declares about itself."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from optreg.conformance.subjects.settings import out_of_range
from optreg.conformance.subjects.subject import Subject
from optreg.entries import normalised
from optreg.hyperparameters import defaults, names


def assert_refusals(subject: Subject, make: Callable[..., object], settings: Mapping[str, Any]) -> None:
    """Assert that `make` raises a ValueError where one of the settings is beyond an end of its declared range."""
    for name, value in out_of_range(subject.reference):
        if name not in subject.fixed:
            subject.assert_raises(partial(make, **{**settings, name: value}), ValueError, f"{name}={value!r}")


def assert_signature(subject: Subject, sign: str, lacks: str) -> None:
    """Assert that the constructor accepts the reference's hyperparameters by name, with the reference's defaults.

    The reference must be documented: more than a few words, with a `sign` of formulas; `lacks` says what it is without.
    """
    arguments, given = inspect.signature(subject.implementation).parameters, defaults(subject.reference)
    for name in names(subject.reference):
        subject.assert_true(name in arguments, f"the constructor has no argument '{name}'")
        if name in given:
            what = f"the constructor's default of '{name}'"
            subject.assert_equal(plain(arguments[name].default), given[name], what, of="the reference's is")
    text = inspect.getdoc(subject.reference) or ""
    subject.assert_true(len(text) > 40 and sign in text, f"the reference's docstring {lacks}")


def plain(value: object) -> object:
    """A list as a tuple, and a tensor of one element as a number."""
    if hasattr(value, "numel") and value.numel() == 1:
        return value.item()  # type: ignore[attr-defined]
    return tuple(value) if isinstance(value, list) else value


def assert_lazy(subject: Subject, module: str | None = None) -> None:
    """Assert that importing a module, or the plugin's, in a process of its own does not import torch or print."""
    assert subject.registration
    module = module or subject.registration.entry.module
    code = f"import sys, importlib; importlib.import_module({module!r}); print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = run.stderr.strip().splitlines()[-1:]
    subject.assert_true(run.returncode == 0, f"importing '{module}' alone fails: {last}")
    subject.assert_equal(run.stdout.strip(), "False", f"whether importing '{module}' prints anything or imports torch")


def assert_one_name(subject: Subject) -> None:
    """Assert that the entry point and the record have the same name, up to spelling."""
    assert subject.registration
    name, entry = normalised(subject.registration.plugin.name), subject.registration.entry
    subject.assert_equal(name, entry.name, "the record's name", of="the entry point's is")
