"""Schedule references: the formulas by which schedules are judged."""

import math
from functools import partial
from typing import Any

from optreg.conformance.catalogue import check
from optreg.conformance.harness.schedule_corners import BEYOND, corners_for
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.schedule_settings import span
from optreg.conformance.subjects.settings import in_words, perturbed
from optreg.conformance.subjects.subject import ScheduleSubject


@check("Q11", formula=True, still=True, hint="`multiplier` never reads that field")
def check_reference_uses_every_hyperparameter(subject: ScheduleSubject) -> None:
    """Every hyperparameter of the formula affects some multiplier."""
    settings = subject.ordinary()
    steps = range(subject.reach(settings, BEYOND) if subject.fed else span(settings) + BEYOND)

    def curve(**changed: Any) -> list[Any]:
        complete = {**settings, **changed}
        reference = subject.reference(**complete)
        driven = [getattr(reference, key)(t, fifty_digits()) for key in subject.traits.drives for t in steps]
        bases = (1.0, 0.07) if subject.fed else (1.0,)  # limits in units of the rate matter to some rates only
        return [*(subject.rate(complete, base_lr, t) for base_lr in bases for t in steps), *driven]

    plain = curve()
    subject.assert_true(all(map(math.isfinite, plain)), "the formula is not finite")
    for name, value in perturbed(subject.reference, settings):
        differs = curve(**{name: value}) != plain
        subject.assert_true(differs, f"{name}={value!r} makes no difference to the formula")


@check("Q12", formula=True, still=True, hint="the declared traits (`peak`, `end`, `after`) and the formula disagree")
def check_reference_keeps_its_declaration(subject: ScheduleSubject) -> None:
    """The formula is 1 at its declared peak, and constant after its end if it is declared to hold."""
    for settings in corners_for(subject):
        formula, end = partial(subject.formula, settings), subject.last_step(settings)
        peak = settings.get(subject.traits.peak) if subject.traits.peak else None
        if peak is not None and (end is None or peak < end):
            subject.assert_equal(formula(peak), 1.0, f"the formula at its peak under {in_words(settings)}", step=peak)
        if end is not None and subject.traits.after == "hold":
            what = f"the formula after its end under {in_words(settings)}"
            for t in range(end, end + BEYOND):
                subject.assert_equal(formula(t), formula(end), what, step=t)
        subject.assert_true(math.isfinite(formula(0)), "the formula is not finite at 0")
