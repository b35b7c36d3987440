"""One check of one subject, run in this process; whatever happens becomes a verdict."""

import re
import time
import traceback
import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from optreg.conformance.catalogue import LiveCheck
from optreg.conformance.explain.findings import causes_of, explained, program_that_raises
from optreg.conformance.harness import trials
from optreg.conformance.harness.identity import Identity, found_out
from optreg.conformance.harness.problems import a_parameter
from optreg.conformance.harness.scheduler_run import make_optimizer
from optreg.conformance.results.causes import INTERFACE
from optreg.conformance.results.verdict import (
    NEEDS_A_REFERENCE,
    CannotBeJudged,
    Failed,
    Finding,
    NotApplicable,
    Status,
    Verdict,
)
from optreg.conformance.subjects.resolving import resolve, unmapped
from optreg.conformance.subjects.schedule_settings import typical
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject, Subject
from optreg.conformance.subjects.target import Target
from optreg.conformance.subjects.variants import declared, in_words
from optreg.entries import Entry

WRAPPERS = ("decorate_context", "profile_hook_step", "wrapper")
"""Functions of torch around `step`, in which a call with other arguments than `step` takes fails."""

REFUSED = "the constructor refuses values that the reference takes"


def judge(target: Target, check: LiveCheck) -> Verdict:
    """Run a check. Exceptions of the subject are findings, and so is a check that compared or moved nothing.

    Raises:
        CannotBeJudged: the subject cannot be found or imported.
    """
    return judge_subject(resolve(trials.settled(target)), check)


def judge_subject(subject: Subject, check: LiveCheck) -> Verdict:
    """Run a check of a subject that is resolved already."""
    began = time.perf_counter()
    with trials.uncompiled() if (subject.target.found or {}).get("compiles") else nullcontext():
        status, finding, reason = _outcome(subject, check)
    return Verdict(
        subject=subject.name,
        check=check.id,
        status=status,
        finding=finding,
        reason=reason,
        steps=subject.activity.updates,
        comparisons=subject.activity.comparisons,
        seconds=time.perf_counter() - began,
        curve=subject.activity.curve,
    )


def describe(target: Target) -> dict[str, Any]:
    """Describe what is to be judged, after constructing it once with the settings that checks use.

    Raises:
        CannotBeJudged: it cannot be found, imported or constructed.
    """
    target = trials.settled(target)
    subject = resolve(target)
    try:
        settings = _construct(subject)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CannotBeJudged(f"{target} cannot be constructed with the settings that checks use: {reason}") from error
    identity = found_out(subject) if target.like and not target.strict else None
    entry = subject.registration.entry if subject.registered and subject.registration else None
    return {
        "name": target.name,
        "kind": subject.kind.value,
        "alone": target.alone,
        "is": identity and _what_it_is(subject, identity),
        "like": target.like,
        "reference": target.reference,
        "by": _by(target, entry),
        "found": target.found if target.alone else identity and identity.traits,
        "mistakes": list(identity.mistakes) if identity else [],
        "notes": trials.in_words(target.found or {}) if target.alone else [],
        "device": target.device,
        "distribution": entry and entry.distribution,
        "version": entry and entry.version,
        "settings": {name: repr(value) for name, value in settings.items()},
        "taken": {name: repr(value) for name, value in subject.fixed.items() if name not in dict(target.settings)},
        "extra": {name: repr(value) for name, value in subject.extra.items() if name not in dict(target.settings)},
        "left": unmapped(subject) if subject.fixed else [],
    }


def _by(target: Target, entry: Entry | None) -> str:
    """By what a target is judged, in a few words."""
    if target.alone:
        return "alone"
    if target.reference:
        return f"by {target.reference}"
    return f"{entry.distribution} {entry.version}" if entry else f"as {target.like}"


def _what_it_is(subject: OptimizerSubject | ScheduleSubject, identity: Identity) -> str:
    """What a class is, in words: the algorithm, what is particular about its variant, and what is wrong with it."""
    assert subject.registration
    like = subject.target.like or ""
    if identity.traits is None:
        return f"not {like}, nor a variant of it that is known"
    variant = in_words(like, {**declared(subject.traits, subject.registration.plugin.traits), **identity.traits})
    return ", but for ".join(filter(None, [variant, " and ".join(identity.mistakes)]))


def _construct(subject: Subject) -> dict[str, Any]:
    """Construct the subject, and return the settings."""
    if isinstance(subject, OptimizerSubject):
        subject.make([a_parameter(subject)], **subject.hostile)
        return subject.hostile
    assert isinstance(subject, ScheduleSubject)
    settings = {**typical(subject.reference), **subject.fixed}
    subject.make(make_optimizer(subject), **settings)
    return settings


def _outcome(subject: Subject, check: LiveCheck) -> tuple[Status, Finding | None, str | None]:
    found = subject.target.found or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a subject's warnings are not findings
        try:
            reason = NEEDS_A_REFERENCE if check.formula and subject.alone else check.needs(subject)
            if reason:
                return Status.NOT_APPLICABLE, None, reason
            check.function(subject)
        except Failed as failed:
            finding = explained(failed)
            return Status.FAILED, replace(finding, likely=finding.likely or failed.hint or check.hint), None
        except NotApplicable as error:
            return Status.NOT_APPLICABLE, None, str(error)
        except (Exception, SystemExit) as error:
            if str(error) in found.get("refusals", ()):
                return Status.NOT_APPLICABLE, None, f"it refuses groups: {error}"
            return Status.FAILED, _raised(subject, error, check.hint), None
    if not subject.activity.comparisons:
        finding = Finding(reason="the check compared nothing: it would pass whatever the subject does")
        return Status.FAILED, finding, None
    if not check.still and not subject.activity.moved and not subject.activity.constant:
        if isinstance(subject, OptimizerSubject) and subject.traits.unrectified == "skip":
            return Status.NOT_APPLICABLE, None, "its first updates, which cannot be rectified, change nothing"
        if found.get("rests"):
            return Status.NOT_APPLICABLE, None, f"its first {found['rests']} updates move nothing, and no more are made"
        return Status.FAILED, Finding(reason="no update has changed any parameter: there was nothing to judge"), None
    return Status.PASSED, None, None


def _raised(subject: Subject, error: BaseException, hint: str | None) -> Finding:
    """The finding that the subject raises an exception: its type, its message, and where it was raised."""
    trace = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in trace if not frame.filename.startswith(trials.SUITE) and frame.name not in WRAPPERS]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    where = f" at {own[-1].filename}:{own[-1].lineno}: {own[-1].line}" if own else ""
    text = re.sub(r"\b0x[0-9a-f]{6,}\b", "0x...", str(error)[:500])  # addresses, which differ from run to run
    causes, program = causes_of(error, where), program_that_raises(subject.activity.recording, error)
    reason = f"it raises {type(error).__name__}: {text}{where}"
    made = any(frame.name == "make" and frame.filename.startswith(trials.SUITE) for frame in trace)
    likely = REFUSED if made else INTERFACE if INTERFACE in causes else hint
    return Finding(reason=reason, likely=likely, snippet=program, causes=causes, raised=True)
