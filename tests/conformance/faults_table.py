"""Writes docs/faults.md: every broken plugin of the zoo, and which checks see it. Run by `make faults`."""

import sys
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from broken.zoo import FAULTS

from optreg.conformance import Status, Tier, checks
from optreg.conformance.engine import judge_subject

HEAD = """\
# What the suite catches

Every plugin below is broken in one way (`tests/conformance/broken/`), and is judged by the whole suite. *Meant* is the check
that has to catch it; tests hold it to that. Written by `make faults`, from {faults} faults and {checks} checks. {alone} faults
are seen by one check alone, which the last column names: without it, nobody would see them.

Not counted are findings that the textbook implementations, which the faults are made of, have whatever else is wrong with
them: they share the tensors of a checkpoint (P04), check no ranges (K02), overflow in float16 (D04), and so on.

| fault | what is wrong | meant | seen by | alone |
|---|---|---|---|---|
"""

PLAIN = {"P04", "K02", "D04", "D10", "X02", "X04"}
"""What plain implementations do not do, whatever else is wrong with them."""


def seen_by(fault):
    """The ids of the checks that find something."""
    found = []
    for check in checks(fault.subject().kind.value):
        verdict = judge_subject(fault.subject(), check)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
        if verdict.status is Status.FAILED and (check.id == fault.meant or check.id not in PLAIN):
            found.append(check.id)
    return found


def main():
    """Write the table."""
    torch.set_num_threads(1)
    rows, alone, musts = [], Counter(), {check.id for check in checks() if check.tier is Tier.MUST}
    for number, fault in enumerate(FAULTS, start=1):
        print(f"\r{number}/{len(FAULTS)} {fault.name:40}", end="", file=sys.stderr)
        found = seen_by(fault)
        if len(found) == 1:
            alone[found[0]] += 1
        listed = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        tier = "" if fault.meant in musts else " (should)"
        only = found[0] if len(found) == 1 else ""
        rows.append(f"| {fault.name} | {fault.sentence} | {fault.meant}{tier} | {listed} | {only} |")
    head = HEAD.format(faults=len(FAULTS), checks=len(checks()), alone=sum(alone.values()))
    target = Path(__file__).parents[2] / "docs" / "faults.md"
    target.write_text(head + "\n".join(rows) + "\n")
    print(f"\nwrote {target}", file=sys.stderr)


if __name__ == "__main__":
    main()
