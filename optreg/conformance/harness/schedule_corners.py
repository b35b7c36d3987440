"""Schedule corners: the settings at which a schedule is judged, as far as the class accepts them."""

from typing import Any

from optreg.conformance.harness.scheduler_run import make_optimizer
from optreg.conformance.subjects.schedule_settings import corners
from optreg.conformance.subjects.subject import ScheduleSubject

BEYOND = 20
"""How many steps after a schedule's end are checked."""


def corners_for(subject: ScheduleSubject) -> list[dict[str, Any]]:
    """Settings at every corner that the class accepts; the ranges of a class judged `like` a plugin may be narrower."""
    found: list[dict[str, Any]] = []
    for settings in corners(subject.reference):
        fixed = {**settings, **subject.fixed}
        if fixed not in found and not (found and not subject.registered and _refused(subject, fixed)):
            found.append(fixed)
    return found


def _refused(subject: ScheduleSubject, settings: dict[str, Any]) -> bool:
    """Whether the class refuses the settings by a ValueError with a message. Other errors are left to the checks."""
    try:
        subject.make(make_optimizer(subject), **settings)
    except Exception as error:
        return isinstance(error, ValueError) and bool(str(error))
    return False
