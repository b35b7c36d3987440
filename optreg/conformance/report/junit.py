"""JUnit XML: verdicts as test cases, one for each check of each subject, for build servers."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from optreg.conformance.catalogue import Check
from optreg.conformance.results.causes import Cause
from optreg.conformance.results.messages import cause_message
from optreg.conformance.results.verdict import Status, Verdict


def junit_xml(
    checks: Mapping[str, Check], verdicts: Sequence[Verdict], found: Sequence[Cause], refused: Mapping[str, str]
) -> bytes:
    """The file's content, with a test suite for each subject.

    Each finding is one failure, or error. The other checks that fail by the same cause are skipped, and name it.

    Args:
        checks: the catalogue by id.
        verdicts: the verdicts.
        found: the findings, by cause.
        refused: the names of what could not be judged, with the reasons; each has an error.
    """
    xml = JUnitXml("optreg conform")
    for subject in dict.fromkeys([*(verdict.subject for verdict in verdicts), *refused]):
        suite = TestSuite(subject)
        suite.add_testcases([_case(checks[v.check], v, _causes_of(v, found)) for v in verdicts if v.subject == subject])
        if subject in refused:
            case = TestCase("judged", subject)
            case.result = [Error(_clean(f"cannot be judged: {refused[subject]}"))]
            suite.add_testcase(case)
        xml.add_testsuite(suite)
    content = BytesIO()
    xml.write(content)
    return content.getvalue()


def _causes_of(verdict: Verdict, found: Sequence[Cause]) -> list[Cause]:
    """The causes by which a check fails; those that it tells, if it tells any."""
    causes = [c for c in found if c.lead.subject == verdict.subject and verdict.check in c.checks]
    return [cause for cause in causes if cause.lead.check == verdict.check] or causes


def _case(check: Check, verdict: Verdict, causes: Sequence[Cause]) -> TestCase:
    case = TestCase(str(check), verdict.subject, verdict.seconds)
    if causes and causes[0].lead.check == verdict.check:
        kind = Error if verdict.status is Status.CRASHED else Failure
        case.result = [_told(kind, check, cause) for cause in causes]
    elif causes:
        cause = causes[0]
        why = "could not be run because of" if verdict.check in cause.halted else "fails by the cause of"
        case.result = [Skipped(_clean(f"{why} {cause.lead.check}: {cause.finding.reason}"))]
    elif verdict.status is Status.NOT_APPLICABLE:
        case.result = [Skipped(f"not applicable: {verdict.reason}")]
    return case


def _told(kind: type[Error | Failure], check: Check, cause: Cause) -> Error | Failure:
    result = kind(_clean(cause.finding.reason))
    result.text = _clean(cause_message(check, cause))
    return result


def _clean(text: str) -> str:
    """The text with escapes for characters that are not allowed in XML, which subjects may print."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
