"""Identity: which variant of an algorithm a class is, found out by running it beside each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations, product
from typing import Any, TypeVar

import numpy as np

from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Step, hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.harness.scheduler_run import BASE_LRS, SchedulerRun
from optreg.conformance.results.differences import within
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL, rounding
from optreg.conformance.subjects.family import Changes, Rule, trajectory
from optreg.conformance.subjects.mistakes import MISTAKES, in_rule, of_the_formula
from optreg.conformance.subjects.resolving import resolve
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject
from optreg.conformance.subjects.variants import SWITCHES, changed, rule_of, variant

T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """What a class is.

    Args:
        traits: those by which it is another variant than was asked for; None if it is none that is known.
        mistakes: those in its formula.
    """

    traits: dict[str, Any] | None = None
    mistakes: tuple[str, ...] = ()


def found_out(subject: OptimizerSubject | ScheduleSubject) -> Identity:
    """What a class is: a variant of what was asked for, with mistakes in its formula if some are known."""
    if subject.target.found is not None:
        return Identity(dict(subject.target.found), subject.target.mistakes)
    return _schedule(subject) if isinstance(subject, ScheduleSubject) else _optimizer(subject)


def as_asked(subject: OptimizerSubject | ScheduleSubject) -> OptimizerSubject | ScheduleSubject:
    """The subject as the variant that was asked for, whatever has been found out."""
    return subject if subject.target.found is None else resolve(replace(subject.target, found=None))


def _optimizer(subject: OptimizerSubject) -> Identity:
    seen: dict[str, tuple[OptimizerSubject, Problem, list[list[Array]]]] = {}
    for arithmetic in ("parameter", "float32"):
        asked = subject.apart(traits=replace(subject.traits, arithmetic=arithmetic))
        problem = hostile_problem(asked, missing=False)
        values = _of_the_subject(partial(_values, asked, problem))
        if values is None:
            return Identity()
        seen[arithmetic] = (asked, problem, values)
    for candidates in (_variants, _with_mistakes):
        for asked, problem, values in seen.values():
            for traits, mistakes, candidate in candidates(asked, problem, values):
                if _leads_to(candidate, problem, values):
                    found = traits | {"arithmetic": asked.traits.arithmetic} | _counter(candidate)
                    asked_for = asdict(subject.traits)
                    return Identity({n: value for n, value in found.items() if value != asked_for[n]}, mistakes)
    return Identity()


def _values(subject: OptimizerSubject, problem: Problem, **settings: Any) -> list[list[Array]]:
    """The parameters of a subject after each update of a problem."""
    run = OptimizerRun(subject, problem.starts, **settings)
    return [run.run(problem, t, t + 1).values() for t in range(len(problem.steps))]


def _of_the_subject(made: Callable[[], T]) -> T | None:
    """What a subject's own code makes; None if it raises, which checks will find."""
    try:
        return made()
    except (Exception, SystemExit):
        return None


def _traits_of_the_formula(number: int) -> Iterator[dict[str, Any]]:
    """Every choice of so many traits that change the formula."""
    for names in combinations(SWITCHES, number):
        for values in product(*(SWITCHES[name] for name in names)):
            yield dict(zip(names, values, strict=True))


Candidate = tuple[dict[str, Any], tuple[str, ...], OptimizerSubject]


def _variants(subject: OptimizerSubject, problem: Problem, values: Sequence[list[Array]]) -> Iterator[Candidate]:
    """The subject as it was asked for, and as every variant that differs by one trait of the formula, or by two."""
    for number in (0, 1, 2):
        for traits in _traits_of_the_formula(number):
            reference = _reference(subject, traits)
            if reference is not None:
                yield traits, (), subject.apart(reference=reference, traits=replace(subject.traits, **traits))


FEWEST = ((1, 0), (1, 1), (2, 0), (1, 2), (2, 1))
"""How many mistakes, and traits besides, a formula may have, the likeliest first."""


def _with_mistakes(subject: OptimizerSubject, problem: Problem, values: Sequence[list[Array]]) -> Iterator[Candidate]:
    """The subject as every variant with one mistake, or with two, that leads to the values of the first parameter."""
    assert subject.registration
    known = of_the_formula(subject.registration.plugin.reference, subject.hostile)
    first = [value[0] for value in values]
    for many, number in FEWEST:
        for traits in _traits_of_the_formula(number):
            reference = _reference(subject, traits)
            rule = reference and rule_of(reference, subject.hostile)
            if not reference or not rule:
                continue
            plain = _first_parameter(rule, Changes(), subject, problem)
            meant = {sentence for sentence in known if sentence not in MISTAKES or sentence in in_rule(rule)}
            wrong = {sentence: _first_parameter(rule, known[sentence], subject, problem) for sentence in meant}
            effective = [sentence for sentence in known if sentence in meant and not _equal(wrong[sentence], plain)]
            for sentences in combinations(effective, many):
                changes = Changes.together(known[sentence] for sentence in sentences)
                apart = len(changes) == sum(len(known[sentence]) for sentence in sentences)
                if apart and _leads_the_first_to(first, _first_parameter(rule, changes, subject, problem), subject):
                    traits_of = replace(subject.traits, **traits)
                    yield traits, sentences, subject.apart(reference=changed(reference, changes), traits=traits_of)


def _reference(subject: OptimizerSubject, traits: Mapping[str, str]) -> type | None:
    """The reference with some traits in place of those that were asked for; None if there is none."""
    assert subject.registration
    plain = subject.registration.plugin
    asked = {name: getattr(subject.traits, name) for name in SWITCHES}
    asked = {name: value for name, value in asked.items() if value != getattr(plain.traits, name)}
    return variant(plain.reference, asked | dict(traits))


def _first_parameter(
    rule: Rule, changes: Changes, subject: OptimizerSubject, problem: Problem
) -> list[tuple[Array, float]]:
    """The first parameter after each update by a rule with some changes, and the sum of the learning rates."""
    own, total = {**subject.hostile, **changes.settings}, 0.0
    run = trajectory(replace(rule, **changes.switches), own, problem.starts[0])
    next(run)
    values = []
    for step in problem.steps:
        own["lr"], total = step.lr, total + step.lr
        values.append((run.send(np.asarray(step.grads[0]))[0], total))
    return values


def _equal(one: Sequence[tuple[Array, float]], other: Sequence[tuple[Array, float]]) -> bool:
    return all(np.array_equal(a, b) for (a, _), (b, _) in zip(one, other, strict=True))


def _leads_the_first_to(
    seen: Sequence[Array], values: Sequence[tuple[Array, float]], subject: OptimizerSubject
) -> bool:
    """Whether these are the values of the first parameter."""
    pairs = enumerate(zip(seen, values, strict=True), 1)
    return all(
        within(a, b, 4 * rounding(subject.precise, t) * (1.0 + np.abs(a) + total)) for t, (a, (b, total)) in pairs
    )


def _leads_to(
    subject: OptimizerSubject, problem: Problem, seen: Sequence[list[Array]], only: int | None = None, **settings: Any
) -> bool:
    """Whether the reference has these values after each update: those of all parameters, or of one `only`."""
    reference = ReferenceRun(subject, problem.starts, **settings)
    for step, values in zip(problem.steps, seen, strict=False):
        reference.take(step)
        pairs = enumerate(zip(values, reference.values(), strict=True))
        if not all(_near(a, b, reference, i) for i, (a, b) in pairs if only in (None, i)):
            return False
    return True


def _near(value: Array, expected: Array, reference: ReferenceRun, index: int) -> bool:
    bound = reference.bound(index)
    if not np.all(np.isfinite(expected)):
        return False
    return within(value, expected, bound) or within(value, expected, bound + reference.amplified(index))


LATE, GAP = 7, 10
"""In a run that shows what is counted: the update that brings a late gradient, and the first two that lack it again."""


def _counter(subject: OptimizerSubject) -> dict[str, Any]:
    """What is counted, if that is seen: a count of the group is advanced while a parameter waits for its gradient.

    Without decay, a parameter then is where gradients of zero, that move nothing, would have brought its own count.
    """
    if subject.fixed.get("weight_decay"):
        return {}
    whole = hostile_problem(subject, [(6,), (4, 3)], missing=False, steps=GAP + 4)
    plain: dict[str, Any] = {"weight_decay": 0.0} if "weight_decay" in subject.editable else {}
    late = _with_second(whole, lambda t, grad: None if t < LATE or GAP <= t < GAP + 2 else grad)
    seen = _of_the_subject(partial(_values, subject, late, **plain))
    if seen is None:
        return {}
    padded = _with_second(whole, lambda t, grad: 0.0 * grad if t < LATE else grad)
    own, together = (_leads_to(subject, each, seen[:GAP], 1, **plain) for each in (late, padded))
    if own == together or not np.array_equal(seen[GAP - 1][1], seen[GAP + 1][1]):
        return {}  # nothing is counted, or something else is wrong
    if own:
        return {"counter": "parameter"}

    def added() -> list[list[Array]]:
        run = OptimizerRun(subject, late.starts, groups=[([0], {})], **plain)
        run.run(late, 0, LATE).add_group([1])
        return [run.run(late, t, t + 1).values() for t in range(LATE, GAP)]

    seen = _of_the_subject(added)
    if seen is None:
        return {}
    fresh = Problem(late.starts, late.steps[LATE:GAP])
    return {"counter": "group" if _leads_to(subject, fresh, seen, 1, **plain) else "optimizer"}


def _with_second(problem: Problem, change: Callable[[int, Any], Any]) -> Problem:
    """The problem with the gradients of its second parameter changed."""
    steps = [Step(step.lr, [step.grads[0], change(t, step.grads[1])]) for t, step in enumerate(problem.steps)]
    return Problem(problem.starts, steps)


def _schedule(subject: ScheduleSubject) -> Identity:
    """What a schedule does after its last step; up to there it has to be right."""
    subject = subject.apart()
    settings, seen = subject.ordinary(), []
    end = subject.last_step(settings)
    last = subject.reach(settings) if end is None else end
    with suppress(Exception, SystemExit):  # of the schedule, which may end with an error
        run = SchedulerRun(subject, settings)
        seen.append(run.rates)
        for _ in range(last + 2 * (end or 0)):
            run.step()
            seen.append(run.rates)
    formula = [[subject.rate(settings, base, t) for base in BASE_LRS] for t in range(len(seen))]
    right = [np.allclose(*pair, rtol=SCHEDULE_RTOL, atol=SCHEDULE_ATOL) for pair in zip(seen, formula, strict=True)]
    if len(seen) <= last or not all(right[: last + 1]):
        return Identity()
    if end is None:
        return Identity({})
    possible = {
        "raise": len(seen) <= last + 2 * end,
        "hold": all(np.allclose(rates, seen[end], rtol=0, atol=SCHEDULE_ATOL) for rates in seen[end:]),
        "formula": all(right),
    }
    possible["cycle"] = not possible["hold"] and not possible["raise"]
    after = next(name for name, holds in possible.items() if holds)
    return Identity({} if possible[subject.traits.after] else {"after": after})
