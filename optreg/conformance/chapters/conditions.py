"""Conditions: why a check does not apply to a subject, for checks in more than one chapter."""

from typing import Any

import numpy as np

from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.subjects.subject import OptimizerSubject, Subject


def unless_registered(subject: Subject) -> str | None:
    """Only a registered plugin has declared anything."""
    return None if subject.registered else "it is not a registered plugin"


def unless_it_can_maximize(subject: OptimizerSubject) -> str | None:
    """Only an optimizer that accepts `maximize=True` can be judged with it."""
    return None if subject.can_maximize else "it has no `maximize`"


def unless_several_paths(subject: OptimizerSubject) -> str | None:
    """Only several execution paths can disagree."""
    return "it has only one execution path" if len(subject.paths) == 1 else None


def unless_compiled(subject: OptimizerSubject) -> str | None:
    """Only an optimizer with the option to compile its update has a compiled path."""
    return None if "compiled" in subject.paths else "it has no compiled path"


def runs(subject: OptimizerSubject, **options: Any) -> bool:
    """Whether an update can be made here with some execution options; D15 judges whether they may be refused."""
    try:
        OptimizerRun(subject, [np.ones((2, 2))], **options).step([np.ones((2, 2))])
    except Exception:
        return False
    return True
