"""Writes docs/checks.md, every check and its claim, and docs/faults.md, every broken plugin and the checks that catch it.

Run by `make tables`; with `--checks` it writes only the first, which takes no time.
"""

import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from broken.zoo import FAULTS
from tqdm import tqdm

from optreg.conformance import Status, Tier, checks
from optreg.conformance.running.check import judge_subject

DOCS = Path(__file__).parents[2] / "docs"

CHECKS = """\
# The checks

Every check of the suite, by chapter, with its claim about the subject. `optreg conform --list` prints the same. Written by
`make tables`, from {number} checks. {must} of them are MUST; the others are marked. An id is never reused for another check.

Not checked yet: sharded and multi-process training (chapter `N`); more than 2^31 elements, which take 32 GB; CUDA graphs and
`capturable`, which need a GPU.
"""

FAULTY = """\
# What the suite catches

Every plugin below is broken in one way (`tests/conformance/broken/`), and is judged by the whole suite. *Meant* is the check
that must catch it, as tests verify. Written by `make tables`, from {faults} faults and {checks} checks. {alone} faults are
caught by a single check, which the last column names: without it, they would go unnoticed.

Findings that the plain implementations under the faults have anyway are not counted: they share the tensors of a checkpoint
(P04), check no ranges (K02), overflow in float16 (D04), and so on.

| fault | what is wrong | meant | seen by | alone |
|---|---|---|---|---|
"""

PLAIN = {"P04", "K02", "D04", "D10", "X02", "X09"}
"""Checks that plain implementations fail anyway."""


def checks_page():
    """The text of docs/checks.md."""
    listed = checks()
    lines = [CHECKS.format(number=len(listed), must=sum(check.tier is Tier.MUST for check in listed))]
    chapter = None
    for check in listed:
        if check.chapter != chapter:
            chapter = check.chapter
            lines.append(f"\n## {chapter}\n\n| check | | claim |\n|---|---|---|\n")
        tier = "" if check.tier is Tier.MUST else check.tier.value
        claim = check.claim.replace("|", "\\|")
        lines.append(f"| {check.id} {check.name.replace('_', ' ')} | {tier} | {claim} |\n")
    return "".join(lines)


def seen_by(number):
    """The ids of the checks that catch a fault."""
    torch.set_num_threads(1)
    fault = FAULTS[number]
    found = []
    for check in checks(fault.subject().kind.value):
        verdict = judge_subject(fault.subject(), check)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        if verdict.status is Status.FAILED and (check.id == fault.meant or check.id not in PLAIN):
            found.append(check.id)
    return found


def faults_page():
    """The text of docs/faults.md."""
    musts = {check.id for check in checks() if check.tier is Tier.MUST}
    rows, alone = [], Counter()
    with multiprocessing.get_context("spawn").Pool() as pool:
        seen = list(tqdm(pool.imap(seen_by, range(len(FAULTS))), total=len(FAULTS)))
    for fault, found in zip(FAULTS, seen, strict=True):
        if len(found) == 1:
            alone[found[0]] += 1
        listed = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        tier = "" if fault.meant in musts else " (should)"
        only = found[0] if len(found) == 1 else ""
        rows.append(f"| {fault.name} | {fault.sentence} | {fault.meant}{tier} | {listed} | {only} |\n")
    return FAULTY.format(faults=len(FAULTS), checks=len(checks()), alone=sum(alone.values())) + "".join(rows)


if __name__ == "__main__":
    (DOCS / "checks.md").write_text(checks_page(), encoding="utf-8")
    if "--checks" not in sys.argv:
        (DOCS / "faults.md").write_text(faults_page(), encoding="utf-8")
