"""The engine: one check of one subject, run here and now, with whatever comes of it made a verdict."""

import time
import traceback
import warnings
from pathlib import Path

from optreg.conformance.catalogue import Check
from optreg.conformance.subject import Subject, Target, resolve
from optreg.conformance.verdict import Failed, Finding, NotApplicable, Status, Verdict

HERE = str(Path(__file__).parent)


def judge(target: Target, check: Check) -> Verdict:
    """Run a check. Exceptions that the subject raises are findings; so is a check that compared or moved nothing.

    Raises:
        CannotBeJudged: the subject cannot be found, imported or made.
    """
    subject = resolve(target)
    began = time.perf_counter()
    status, finding, reason = _outcome(subject, check)
    return Verdict(
        subject=target.name,
        check=check.id,
        status=status,
        finding=finding,
        reason=reason,
        steps=subject.judge.steps,
        comparisons=subject.judge.comparisons,
        seconds=time.perf_counter() - began,
        curve=subject.judge.curve,
    )


def _outcome(subject: Subject, check: Check) -> tuple[Status, Finding | None, str | None]:
    reason = check.needs(subject)
    if reason:
        return Status.NOT_APPLICABLE, None, reason
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a subject warns of is no finding
            check.function(subject)
    except Failed as failed:
        return Status.FAILED, failed.finding, None
    except NotApplicable as error:
        return Status.NOT_APPLICABLE, None, str(error)
    except (Exception, SystemExit) as error:
        return Status.FAILED, _raised(error), None
    return _substance(subject, check)


def _substance(subject: Subject, check: Check) -> tuple[Status, Finding | None, str | None]:
    """A check that has compared nothing, or whose subject never moved, has shown nothing."""
    if not subject.judge.comparisons:
        return (
            Status.FAILED,
            Finding(reason="the check compared nothing: it would pass whatever the subject does"),
            None,
        )
    if not check.still and not subject.judge.moved:
        return Status.FAILED, Finding(reason="no update has changed any parameter: there was nothing to judge"), None
    return Status.PASSED, None, None


def _raised(error: BaseException) -> Finding:
    """An exception that came out of the subject: its type, its message, and where the subject raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(HERE)]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    where = f" at {own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else ""
    return Finding(reason=f"it raises {type(error).__name__}: {str(error)[:500]}{where}")
