"""Activity: how much one check has done with its subject, so that a check that did nothing is not taken for a pass."""

from dataclasses import dataclass

from optreg.conformance.results.verdict import Curve


@dataclass
class Activity:
    """The tally of one check.

    Args:
        comparisons: how many values were compared.
        updates: how many updates were made.
        moved: whether any update has changed any parameter, or any step a learning rate.
        constant: whether all that was judged has to stay as it is, as a schedule does whose formula is a constant.
        curve: what a schedule did, for the report to draw.
        recording: what was done to the subject last; where the subject raises, a program is made of it.
    """

    comparisons: int = 0
    updates: int = 0
    moved: bool = False
    constant: bool | None = None
    curve: Curve | None = None
    recording: object | None = None
