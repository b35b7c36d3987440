"""Schedule corners: the settings of a schedule at which it is judged, as far as the class takes them."""

from typing import Any

from optreg.conformance.harness.scheduler_run import make_optimizer
from optreg.conformance.subjects.schedule_settings import corners
from optreg.conformance.subjects.subject import ScheduleSubject

BEYOND = 20
"""How many steps after a schedule's end are looked at."""


def corners_for(subject: ScheduleSubject) -> list[dict[str, Any]]:
    """Settings at every corner that the class takes; one that no plugin declares may have narrower ranges."""
    found: list[dict[str, Any]] = []
    for settings in corners(subject.reference):
        fixed = {**settings, **subject.fixed}
        if fixed not in found and not (found and subject.target.like and _refused(subject, fixed)):
            found.append(fixed)
    return found


def _refused(subject: ScheduleSubject, settings: dict[str, Any]) -> bool:
    """Whether the class says, by a ValueError, that it does not take the settings."""
    try:
        subject.make(make_optimizer(subject), **settings)
    except ValueError as error:
        return bool(str(error))
    except Exception:  # that is not a refusal, and checks will find it
        return False
    return False
