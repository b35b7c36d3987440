"""Messages: findings, and the warning that too few checks apply, as text."""

from optreg.conformance.catalogue import Check, Tier
from optreg.conformance.results.causes import Cause
from optreg.conformance.results.verdict import Verdict


def finding_message(check: Check, verdict: Verdict) -> str:
    """The claim that is false, the finding, and what the subject printed."""
    printed = f"\n\nIt printed:\n{verdict.output}" if verdict.output else ""
    return f"{check} ({check.tier.value}): {check.claim}\n{verdict.finding}{printed}"


def cause_message(check: Check, cause: Cause) -> str:
    """The finding that is told of a cause, and the other checks that fail by it."""
    return "\n\n".join(filter(None, (finding_message(check, cause.lead), cause.others)))


def too_few_message(subject: str, tier: Tier, applying: int, floor: int) -> str:
    """The message about a subject to which so few checks apply that passing them proves little."""
    return f"{subject}: only {applying} checks of tier {tier.value} apply; below {floor} their passing means too little"
