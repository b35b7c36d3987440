"""The report: verdicts as a single self-contained HTML page."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from optreg.conformance.catalogue import Check
from optreg.conformance.results.causes import Cause
from optreg.conformance.results.verdict import Curve, Verdict

MARKS = {"passed": "✓", "failed": "✗", "crashed": "!", "not applicable": "–"}


def html_page(
    subjects: Sequence[dict[str, Any]],
    checks: Sequence[Check],
    verdicts: Sequence[Verdict],
    causes: Sequence[Cause],
    tier: str,
    refused: Mapping[str, str],
) -> str:
    """The page: a matrix of checks by subjects, each cell of which opens its finding.

    Args:
        subjects: what was judged, as described by `Sandbox.describe`.
        checks: the catalogue.
        verdicts: the verdicts.
        causes: what is wrong, each told once.
        tier: the tier that was run.
        refused: the names of what could not be judged, with the reasons.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("optreg.conformance.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    found = {(verdict.subject, verdict.check): verdict for verdict in verdicts}
    run = {verdict.check for verdict in verdicts}
    listed = [check for check in checks if check.id in run]
    data = {f"{v.subject}|{v.check}": v.as_dict() | {"curve": None, "told": None} for v in verdicts}
    for cause in causes:
        for id in cause.checks[1:]:
            data[f"{cause.lead.subject}|{id}"]["told"] = f"with {cause.lead.check}, whose cause it shares"
    return environment.get_template("page.html").render(
        subjects=[subject | {"counts": _counts(subject["name"], verdicts)} for subject in subjects],
        chapters=_by_chapter(listed),
        found=found,
        causes=causes,
        marks=MARKS,
        curves={verdict.subject: polylines(verdict.curve) for verdict in verdicts if verdict.curve},
        data=json.dumps(data).replace("<", "\\u003c"),
        claims=json.dumps({check.id: check.claim for check in listed}).replace("<", "\\u003c"),
        tier=tier,
        refused=refused,
        total=_counts(None, verdicts),
        version=version("optreg"),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _counts(subject: str | None, verdicts: Sequence[Verdict]) -> dict[str, int]:
    counted = Counter(verdict.status.value for verdict in verdicts if subject in (None, verdict.subject))
    return {status: counted[status] for status in MARKS}


def _by_chapter(listed: Sequence[Check]) -> dict[str, list[Check]]:
    chapters: dict[str, list[Check]] = {}
    for check in listed:
        chapters.setdefault(check.chapter, []).append(check)
    return chapters


WIDTH, HEIGHT = 320.0, 120.0


def polylines(curve: Curve) -> dict[str, str]:
    """Two curves as the points of two lines in a picture of WIDTH by HEIGHT, with a margin of one pixel."""
    top = max([*curve.actual, *curve.expected, 1e-300])
    last = max(curve.steps[-1], 1)

    def points(values: Sequence[float]) -> str:
        places = (
            (t / last * WIDTH, HEIGHT - value / top * (HEIGHT - 2) - 1)
            for t, value in zip(curve.steps, values, strict=True)
        )
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)

    return {"actual": points(curve.actual), "expected": points(curve.expected), "top": f"{top:.4g}", "last": str(last)}
