"""Conditions: why a check does not apply to a subject, for the `needs` of checks in more than one chapter."""

from optreg.conformance.subjects.subject import OptimizerSubject, Subject


def unless_registered(subject: Subject) -> str | None:
    """Only a registered plugin has declared anything that it can be held to."""
    return None if subject.registered else "it is no registered plugin"


def unless_it_can_maximize(subject: OptimizerSubject) -> str | None:
    """Only what takes `maximize=True` can be asked what it does then."""
    return None if subject.can_maximize else "it has no `maximize`"


def unless_several_paths(subject: OptimizerSubject) -> str | None:
    """Only an optimizer with several execution paths can have them disagree."""
    return "it has one execution path" if len(subject.paths) == 1 else None


def unless_compiled(subject: OptimizerSubject) -> str | None:
    """Only an optimizer that can be asked to compile its update has a compiled path."""
    return None if "compiled" in subject.paths else "it has no compiled path"
