"""Conditions: why a check does not apply to a subject, for checks in more than one chapter."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.results.verdict import Failed
from optreg.conformance.subjects.subject import OptimizerSubject


def unless(applies: Callable[[Any], object], reason: str) -> Callable[[Any], str | None]:
    """The condition that something is true of the subject; `reason` says why the check does not apply if it is not."""
    return lambda subject: None if applies(subject) else reason


unless_registered = unless(lambda subject: subject.registered, "it is not a registered plugin")
unless_it_can_maximize = unless(lambda subject: subject.can_maximize, "it has no `maximize`")
unless_elementwise = unless(lambda subject: subject.traits.elementwise, "its elements are declared to be coupled")
unless_several_paths = unless(lambda subject: len(subject.paths) > 1, "it has only one execution path")
unless_compiled = unless(lambda subject: "compiled" in subject.paths, "it has no compiled path")


def runs(subject: OptimizerSubject, **options: Any) -> bool:
    """Whether an update can be made here with some execution options; D15 judges whether they may be refused."""
    try:
        OptimizerRun(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
    except Exception:
        return False
    return True


@contextmanager
def refused(subject: OptimizerSubject) -> Iterator[None]:
    """Let the subject refuse, by an error of any kind, what is asked of it inside; what is wrong is still a finding."""
    try:
        yield
    except Failed:
        raise
    except Exception as error:
        subject.assert_true(str(error), f"{type(error).__name__} is raised without a message")


def working_paths(subject: OptimizerSubject) -> Iterator[tuple[str, dict[str, Any]]]:
    """The default path and every other that runs here: its name, for a sentence, and the options that select it."""
    yield "by default", {}
    for name, options in subject.paths.items():
        cannot = name == "capturable" and subject.device == "cpu"
        if options and not cannot and runs(subject.apart(), **options):
            yield f"on the path {name}", options
