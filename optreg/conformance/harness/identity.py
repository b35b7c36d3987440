"""Identity: which variant of an algorithm a class is, found out by running it beside each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Step, hostile_problem
from optreg.conformance.harness.reference_run import ReferenceRun
from optreg.conformance.harness.scheduler_run import SchedulerRun
from optreg.conformance.results.differences import within
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.conformance.subjects.resolving import resolve
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject
from optreg.conformance.subjects.variants import SWITCHES, variant


def found_out(subject: OptimizerSubject | ScheduleSubject) -> dict[str, Any] | None:
    """The traits by which a class is another variant than was asked for; None if it is none that is known."""
    if subject.target.found is not None:
        return dict(subject.target.found)
    with suppress(Exception, SystemExit):  # of a class that is at fault, which checks will find
        return _schedule(subject) if isinstance(subject, ScheduleSubject) else _optimizer(subject)
    return None


def as_asked(subject: OptimizerSubject | ScheduleSubject) -> OptimizerSubject | ScheduleSubject:
    """The subject as the variant that was asked for, whatever has been found out."""
    return subject if subject.target.found is None else resolve(replace(subject.target, found=None))


def _optimizer(subject: OptimizerSubject) -> dict[str, Any] | None:
    for arithmetic in ("parameter", "float32"):
        asked = subject.apart(traits=replace(subject.traits, arithmetic=arithmetic))
        problem = hostile_problem(asked, missing=False)
        run = OptimizerRun(asked, problem.starts)
        seen = [run.run(problem, t, t + 1).values() for t in range(len(problem.steps))]
        for changed, variant_of in _variants(asked):
            if _leads_to(variant_of, problem, seen):
                found = changed | {"arithmetic": arithmetic} | _counter(variant_of)
                return {name: value for name, value in found.items() if value != getattr(subject.traits, name)}
    return None


def _variants(subject: OptimizerSubject) -> Iterator[tuple[dict[str, Any], OptimizerSubject]]:
    """The subject as it was asked for, and as every variant that differs by one trait of the formula, or by two."""
    assert subject.registration
    plain = subject.registration.plugin
    asked = {name: getattr(subject.traits, name) for name in SWITCHES}
    asked = {name: value for name, value in asked.items() if value != getattr(plain.traits, name)}
    yield {}, subject
    choices = [[None, *((name, value) for value in values)] for name, values in SWITCHES.items()]
    for chosen in sorted(product(*choices), key=_number):
        changed: dict[str, Any] = dict(filter(None, chosen))
        reference = variant(plain.reference, asked | changed) if len(changed) in (1, 2) else None
        if reference is not None:
            yield changed, subject.apart(reference=reference, traits=replace(subject.traits, **changed))


def _number(chosen: tuple[object, ...]) -> int:
    return sum(each is not None for each in chosen)


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
    run = OptimizerRun(subject, late.starts, **plain)
    seen = [run.run(late, t, t + 1).values() for t in range(len(late.steps))]
    padded = _with_second(whole, lambda t, grad: 0.0 * grad if t < LATE else grad)
    own, together = (_leads_to(subject, each, seen[:GAP], 1, **plain) for each in (late, padded))
    if own == together or not np.array_equal(seen[GAP - 1][1], seen[GAP + 1][1]):
        return {}  # nothing is counted, or something else is wrong
    if own:
        return {"counter": "parameter"}
    run = OptimizerRun(subject, late.starts, groups=[([0], {})], **plain)
    run.run(late, 0, LATE).add_group([1])
    seen = [run.run(late, t, t + 1).values() for t in range(LATE, GAP)]
    fresh = Problem(late.starts, late.steps[LATE:GAP])
    return {"counter": "group" if _leads_to(subject, fresh, seen, 1, **plain) else "optimizer"}


def _with_second(problem: Problem, change: Callable[[int, Any], Any]) -> Problem:
    """The problem with the gradients of its second parameter changed."""
    steps = [Step(step.lr, [step.grads[0], change(t, step.grads[1])]) for t, step in enumerate(problem.steps)]
    return Problem(problem.starts, steps)


def _schedule(subject: ScheduleSubject) -> dict[str, Any]:
    """What a schedule does after its last step; up to there it has to be right."""
    subject = subject.apart()
    settings = subject.ordinary()
    run, end = SchedulerRun(subject, settings), subject.last_step(settings)
    for _ in range(subject.reach(settings) if end is None else end):
        run.assert_rates()
        run.step()
    run.assert_rates()
    if end is None:
        return {}
    held, rates = run.rates, []
    with suppress(Exception):  # it may end with an error
        for _ in range(2 * end):
            run.step()
            rates.append((run.rates, [run.expected(index) for index in range(len(held))]))
    possible = {
        "raise": len(rates) < 2 * end,
        "hold": all(np.allclose(rate, held, rtol=0, atol=SCHEDULE_ATOL) for rate, _ in rates),
        "formula": all(np.allclose(rate, formula, rtol=SCHEDULE_RTOL, atol=SCHEDULE_ATOL) for rate, formula in rates),
    }
    possible["cycle"] = not possible["hold"] and not possible["raise"]
    after = next(name for name, holds in possible.items() if holds)
    return {} if possible[subject.traits.after] else {"after": after}
