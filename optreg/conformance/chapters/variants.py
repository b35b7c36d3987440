"""Variants: whether a class is the variant of the algorithm that was asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optreg.conformance.catalogue import check
from optreg.conformance.chapters.conditions import unless
from optreg.conformance.harness.following import follow
from optreg.conformance.harness.identity import as_asked, found_out
from optreg.conformance.harness.problems import hostile_problem
from optreg.conformance.results.verdict import Failed, NotApplicable
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.conformance.subjects.variants import in_code, in_words

unless_only_the_plugin_declares = unless(
    lambda subject: subject.target.like and not subject.target.strict,
    "what a plugin declares is checked by itself, and --strict asks for nothing else",
)


@check(
    "V01",
    formula=True,
    needs=unless_only_the_plugin_declares,
    still=True,
    hint="the algorithm has variants, and this is another",
)
def check_it_is_the_variant_that_was_asked_for(subject: OptimizerSubject) -> None:
    """A class is the variant of the algorithm that was asked for."""
    assert_asked_for(subject, lambda asked: follow(asked, hostile_problem(asked, missing=True)))


def assert_asked_for(subject: Any, show: Callable[[Any], object]) -> None:
    """Assert that a class is the variant that was asked for; `show` fails where that one and the class differ."""
    found, like = found_out(subject).traits, subject.target.like
    if found is None:
        raise NotApplicable(f"it is neither {like} nor a variant of it that is known")
    declare = " ".join(f"--trait {name}={value}" for name, value in found.items())
    reason = f"it is {in_words(like, found)}; if that is intended, declare it: {declare}"
    try:
        if found:
            show(as_asked(subject))
    except Failed as failed:
        failed.finding = replace(failed.finding, reason=reason, likely=in_code(found))
        raise
    subject.assert_true(not found, reason)
