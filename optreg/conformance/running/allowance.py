"""The allowance: how much of the processor the checks of a subject may use together."""

from collections import defaultdict

from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.target import Target

PATIENCE = 3
"""After this many checks of a subject that did not end, the others get IMPATIENT seconds each."""

IMPATIENT = 5.0

BUDGET = 300.0
"""Seconds that all checks of a subject may take together, and not less than SHARE times what one of them may."""

SHARE = 5


class Allowance:
    """What the checks of each subject have used, in whichever worker. Threads may share it."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = defaultdict(list)
        self._late: dict[str, list[bool]] = defaultdict(list)

    def limit(self, target: Target, limit: float) -> float:
        """The seconds that the next check of a target gets, if a check may take `limit`.

        Raises:
            CannotBeJudged: all its seconds are used.
        """
        budget = max(BUDGET, SHARE * limit)
        if sum(self._spent[repr(target)]) >= budget:
            raise CannotBeJudged(
                f"{target}: its checks have used {budget:g} s together, and the others were not run; "
                f"to allow more, set the limit of a check to more than {budget / SHARE:g} s"
            )
        return min(limit, IMPATIENT) if sum(self._late[repr(target)]) >= PATIENCE else limit

    def charge(self, target: Target, spent: float, late: bool) -> None:
        """A check has taken so many seconds, and was stopped because of its limit or not."""
        self._spent[repr(target)].append(spent)
        self._late[repr(target)].append(late)
