"""Activity: what a check has done with its subject, so that a check that did nothing does not pass."""

from dataclasses import dataclass

from optreg.conformance.results.verdict import Curve


@dataclass
class Activity:
    """The number of comparisons and updates of one check, and what else is known about it."""

    comparisons: int = 0
    updates: int = 0
    moved: bool = False
    """An update has changed a parameter, or a step has changed a learning rate."""
    constant: bool | None = None
    """Nothing should have moved, as under a schedule whose formula is constant over the steps that were made."""
    curve: Curve | None = None
    recording: object | None = None
    """The last recording, from which a program is made if the subject raises."""
