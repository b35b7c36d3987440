"""Conditions: why a check does not apply to a subject, for checks in more than one chapter."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.results.verdict import NEEDS_A_REFERENCE, Failed
from optreg.conformance.subjects.subject import OptimizerSubject


def unless(applies: Callable[[Any], object], reason: str) -> Callable[[Any], str | None]:
    """The condition that something is true of the subject; `reason` says why the check does not apply if it is not."""
    return lambda subject: None if applies(subject) else reason


unless_a_variant = unless(
    lambda subject: subject.reference is subject.registration.plugin.reference,
    "the traits of a variant may decide what a switch of the reference would",
)
unless_registered = unless(lambda subject: subject.registered, "it is not a registered plugin")
unless_it_can_maximize = unless(lambda subject: subject.can_maximize, "it has no `maximize`")
unless_several_paths = unless(lambda subject: len(subject.paths) > 1, "it has only one execution path")
unless_compiled = unless(lambda subject: "compiled" in subject.paths, "it has no compiled path")


def unless_elementwise(subject: OptimizerSubject) -> str | None:
    """The condition that no element's update depends on its neighbours."""
    if subject.traits.elementwise:
        return None
    return unanswered(subject, "whether elements should be coupled") or "its elements are declared to be coupled"


def unless_independent(subject: OptimizerSubject) -> str | None:
    """The condition that no parameter's update depends on others."""
    if subject.traits.coupled is None:
        return None
    return unanswered(subject, "whether parameters should be coupled") or "its parameters are declared to be coupled"


def unless_drawing(subject: OptimizerSubject) -> str | None:
    """The condition that two runs that differ in order, dtype or layout draw the same random numbers, or none."""
    return "it draws random numbers, in another order here" if subject.alone and subject.traits.random else None


def unless_groups_are_independent(subject: OptimizerSubject) -> str | None:
    """The condition that no parameter's update depends on those of other groups."""
    return unless_independent(subject) if subject.traits.coupled == "optimizer" else None


def unless_it_needs_a_closure(subject: OptimizerSubject) -> str | None:
    """The condition that updates can be made without a closure: otherwise it calls one as often as it needs."""
    return "it makes updates only with a closure" if subject.needs_closure else None


def unanswered(subject: OptimizerSubject, question: str) -> str | None:
    """Why a check does not apply to a class that is judged alone, if it asks a question that a reference answers."""
    return f"{NEEDS_A_REFERENCE}: {question}" if subject.alone else None


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
