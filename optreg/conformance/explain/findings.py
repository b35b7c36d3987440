"""Findings: each with its likely cause and a program that reproduces it."""

from contextlib import suppress
from dataclasses import replace

from optreg.conformance.explain import optimizer_causes, optimizer_programs, scheduler_causes, scheduler_programs
from optreg.conformance.harness.recording import (
    OptimizerEvidence,
    OptimizerRecording,
    SchedulerEvidence,
    SchedulerRecording,
)
from optreg.conformance.results.verdict import Failed, Finding


def explained(failed: Failed) -> Finding:
    """The finding of a failed check, with its likely cause and a program, if they are found."""
    finding, evidence = failed.finding, failed.evidence
    with suppress(Exception):  # a finding counts even without an explanation
        if isinstance(evidence, OptimizerEvidence):
            cause = finding.likely
            if cause is None and evidence.reference is not None:
                cause = optimizer_causes.likely(evidence.recording, evidence.values, evidence.reference)
            return replace(finding, likely=cause, snippet=optimizer_programs.smallest(evidence, failed.where))
        if isinstance(evidence, SchedulerEvidence):
            program, place = scheduler_programs.smallest(evidence), f"group {evidence.index}"
            cause = finding.likely or scheduler_causes.likely(evidence)
            return replace(finding, snippet=program, likely=cause, coordinate=place)
    return finding


def program_that_raises(recording: object, error: BaseException) -> str | None:
    """A program in which the subject raises an error of the same type; None if none is found."""
    with suppress(Exception):
        if isinstance(recording, OptimizerRecording):
            return optimizer_programs.raising(recording, error)
        if isinstance(recording, SchedulerRecording):
            return scheduler_programs.raising(recording, error)
    return None
