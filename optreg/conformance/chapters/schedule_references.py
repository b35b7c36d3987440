"""Schedule references: the formulas that schedules are judged by, judged themselves."""

import math
from typing import Any

from optreg.conformance.catalogue import check
from optreg.conformance.harness.schedule_corners import BEYOND, corners_for
from optreg.conformance.subjects.digits import fifty_digits
from optreg.conformance.subjects.schedule_settings import span
from optreg.conformance.subjects.settings import in_words, perturbed
from optreg.conformance.subjects.subject import ScheduleSubject


@check("Q11", still=True, hint="`multiplier` never reads that field")
def check_reference_uses_every_hyperparameter(subject: ScheduleSubject) -> None:
    """Every hyperparameter of the formula changes some multiplier."""
    settings = subject.ordinary()
    steps = range(span(settings) + BEYOND)

    def told(**changed: Any) -> list[Any]:
        complete = {**settings, **changed}
        reference = subject.reference(**complete)
        driven = [getattr(reference, key)(t, fifty_digits()) for key in subject.traits.drives for t in steps]
        return [*(subject.formula(complete, t) for t in steps), *driven]

    plain = told()
    subject.assert_true(all(map(math.isfinite, plain)), "the formula is not finite")
    for name, value in perturbed(subject.reference, settings):
        changed = told(**{name: value})
        subject.assert_true(changed != plain, f"the formula gives the same with {name}={value!r}")


@check("Q12", still=True, hint="the declared traits (`peak`, `end`, `after`) and the formula disagree")
def check_reference_keeps_its_declaration(subject: ScheduleSubject) -> None:
    """The formula is 1 at its declared peak, and does after its end what is declared."""
    for settings in corners_for(subject):
        end = subject.last_step(settings)
        peak = settings.get(subject.traits.peak) if subject.traits.peak else None
        if peak is not None and (end is None or peak < end):
            subject.assert_equal(
                subject.formula(settings, peak), 1.0, f"the formula at its peak under {in_words(settings)}", step=peak
            )
        if end is not None and subject.traits.after == "hold":
            for t in range(end, end + BEYOND):
                held = subject.formula(settings, end)
                subject.assert_equal(
                    subject.formula(settings, t), held, f"the formula after its end under {in_words(settings)}", step=t
                )
        subject.assert_true(math.isfinite(subject.formula(settings, 0)), "the formula is not finite at 0")
