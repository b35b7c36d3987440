"""Variants: whether a schedule is the variant of its curve that was asked for."""

from optreg.conformance.catalogue import check
from optreg.conformance.chapters.schedule_mathematics import check_after_the_end
from optreg.conformance.chapters.variants import assert_asked_for, unless_only_the_plugin_declares
from optreg.conformance.subjects.subject import ScheduleSubject


@check(
    "V02",
    formula=True,
    needs=unless_only_the_plugin_declares,
    still=True,
    hint="after its last step it is another variant",
)
def check_it_is_the_variant_that_was_asked_for(subject: ScheduleSubject) -> None:
    """A schedule does after its last step what was asked for."""
    assert_asked_for(subject, check_after_the_end)
