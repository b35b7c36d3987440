"""Causes: the findings of a subject, each told once however many checks meet it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from optreg.conformance.results.verdict import Finding, Status, Verdict

BY_FORMULA = ("the reference says", "the closed form says", "decoupled decay says")
"""What findings say that compare with a formula; others compare with another run."""

MISSING = "where gradients are missing"

UNKNOWN = "it differs from the reference, and matches no known mistake"
"""The likely cause if the plainest run differs from the formula, and nothing explains it."""

INTERFACE = "its interface is not that of torch's classes"
"""The cause if a subject lacks something that torch's classes have, or is called otherwise."""

SEEN = "seen in "
"""Begins the circumstance that something other than a parameter differs."""


@dataclass(frozen=True)
class Cause:
    """What is wrong with a subject, once: the verdict that shows it by the smallest program, and those it explains.

    Args:
        lead: the verdict whose finding is told.
        same: the ids of the other checks that fail by it.
        halted: the ids of the other checks that could not be run because of it.
    """

    lead: Verdict
    same: tuple[str, ...] = ()
    halted: tuple[str, ...] = ()

    @property
    def finding(self) -> Finding:
        """The finding that is told."""
        assert self.lead.finding
        return self.lead.finding

    @property
    def checks(self) -> tuple[str, ...]:
        """All the checks that it makes fail."""
        return (self.lead.check, *self.same, *self.halted)

    @property
    def others(self) -> str:
        """The other checks, one line of text for each kind; empty if there are none."""
        kinds = [("the same in", self.same), ("could not be run because of it", self.halted)]
        return "\n".join(f"{kind}: {', '.join(ids)}" for kind, ids in kinds if ids)

    def as_dict(self) -> dict[str, Any]:
        """The cause as plain data."""
        check, subject = self.lead.check, self.lead.subject
        others = {"same": list(self.same), "halted": list(self.halted)}
        return {"subject": subject, "check": check, **others, "finding": asdict(self.finding)}


def causes(verdicts: Sequence[Verdict]) -> list[Cause]:
    """What is wrong with the subjects, by subject and in the order in which checks meet it."""
    subjects = dict.fromkeys(verdict.subject for verdict in verdicts)
    return [cause for name in subjects for cause in _of_one([v for v in verdicts if v.subject == name])]


def _of_one(verdicts: Sequence[Verdict]) -> list[Cause]:
    found = {verdict.check: verdict.finding for verdict in verdicts if verdict.finding}
    groups = _by_sentence(found)
    explaining = [(id, members) for _, members in groups for id in members]
    alone = [id for id in found if id not in dict(explaining)]
    for id in sorted(alone, key=lambda id: len(found[id].circumstances or ())):
        home = next((members for other, members in explaining if _explains(found[other], found[id])), None)
        if home is None:
            groups.append((None, [id]))
            explaining.append((id, groups[-1][1]))
        else:
            home.append(id)
    order = {verdict.check: place for place, verdict in enumerate(verdicts)}
    by_check = {verdict.check: verdict for verdict in verdicts}
    groups = [(sentence, sorted(members, key=order.__getitem__)) for sentence, members in groups]
    groups.sort(key=lambda group: order[group[1][0]])
    return [_cause(sentence, [by_check[id] for id in members]) for sentence, members in groups]


def _sentences(finding: Finding) -> tuple[str, ...]:
    """The causes that explain a finding; if none is known, and nothing was compared, what it says."""
    if finding.causes or finding.circumstances is not None:
        return finding.causes
    return (re.sub(r"-?\d[\d.e+-]*", "#", finding.reason),)


def _by_sentence(found: dict[str, Finding]) -> list[tuple[str | None, list[str]]]:
    """Findings that a sentence explains: as few sentences as explain them all, each with its checks.

    A finding that its causes explain only together is one of each.
    """
    left = {id: sentences for id, finding in found.items() if (sentences := _sentences(finding))}
    groups: list[tuple[str | None, list[str]]] = []
    while left:
        ((sentence, _),) = Counter(each for sentences in left.values() for each in sentences).most_common(1)
        groups.append((sentence, [id for id, sentences in left.items() if sentence in sentences]))
        for id in groups[-1][1]:
            others = tuple(each for each in left.pop(id) if each != sentence)
            if found[id].together and others:
                left[id] = others
    return groups


def _explains(simple: Finding, other: Finding) -> bool:
    """Whether a finding is met under all the circumstances of a simpler one, so that it has the same cause."""
    if simple.circumstances is None or other.circumstances is None:
        return False
    fewer, more = {*simple.circumstances}, {*other.circumstances}
    if not fewer <= more or any(each.startswith(SEEN) for each in more - fewer):
        return False
    if is_by_formula(simple) == is_by_formula(other) or fewer:
        return True
    return more <= {MISSING} and (is_by_formula(simple) or not simple.causes)


def is_by_formula(finding: Finding) -> bool:
    """Whether something was compared with a formula, and not with another run."""
    return any(words in finding.reason for words in BY_FORMULA)


def _cause(sentence: str | None, group: Sequence[Verdict]) -> Cause:
    """The cause that a group of verdicts shares; the one with the smallest program is told."""

    def order(verdict: Verdict) -> tuple[int, float]:
        assert verdict.finding
        special = {*(verdict.finding.circumstances or ())} - {MISSING}
        explained = sentence in _sentences(verdict.finding) and not verdict.finding.together
        return int(not explained) if sentence else len(special), len(verdict.finding.snippet or "") or float("inf")

    lead = min(group, key=order)
    assert lead.finding
    if sentence is None and order(lead)[0] == 0 and is_by_formula(lead.finding):
        sentence = UNKNOWN
    if sentence and not lead.finding.raised and sentence in (UNKNOWN, *lead.finding.causes):
        besides = [each.removeprefix("matches ") for each in lead.finding.causes if each != sentence]
        likely = " together with ".join([sentence, *besides]) if lead.finding.together else sentence
        lead = replace(lead, finding=replace(lead.finding, likely=likely))
    others = [verdict for verdict in group if verdict.check != lead.check]
    halted = [verdict for verdict in others if _halted(verdict)]
    same = [verdict.check for verdict in others if verdict not in halted]
    return Cause(lead, tuple(same), tuple(verdict.check for verdict in halted))


def _halted(verdict: Verdict) -> bool:
    return verdict.status is Status.CRASHED or (verdict.finding is not None and verdict.finding.raised)
