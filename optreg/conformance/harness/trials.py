"""Trials: what is found out about a class that is judged alone, before it is judged.

How it makes updates at all, which of its hyperparameters have other values in a group, and how it rightly differs from
other algorithms.
"""

import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optreg.conformance.harness.layouts import Array
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Shape, hostile_problem
from optreg.conformance.harness.scheduler_run import SchedulerRun, make_optimizer
from optreg.conformance.results.tolerance import between_runs
from optreg.conformance.results.verdict import CannotBeJudged
from optreg.conformance.subjects.naming import arguments_of
from optreg.conformance.subjects.own_fields import COMMON, NEEDED
from optreg.conformance.subjects.resolving import resolve
from optreg.conformance.subjects.subject import OptimizerSubject, ScheduleSubject
from optreg.conformance.subjects.target import Target
from optreg.hyperparameters import defaults, names

Found = dict[str, Any]

SUITE = str(Path(__file__).parents[1])
"""Where the suite's own code is; a class's own lines are elsewhere."""

STEPS = 12
"""How many updates a trial makes."""

MANNERS: tuple[Found, ...] = (
    {},
    {"trains": True},
    {"needs_closure": True},
    {"ndim": [2]},
    {"trains": True, "ndim": [2]},
    {"needs_closure": True, "ndim": [2]},
    {"graph": True},
    {"flags": {"use_muon": True}, "ndim": [2]},
    {"distributed": True},
    {"distributed": True, "ndim": [2]},
    {"distributed": True, "flags": {"use_muon": True}, "ndim": [2]},
    {"flags": {"use_muon": False}},
)
"""Ways to make updates: as any other; after a call of `train()`; with a closure; of matrices alone; with gradients that
carry a graph; in groups that say by which of two algorithms they are updated; in a process group.
"""


def settled(target: Target) -> Target:
    """A target with what trials have found out, if it is a class that is judged alone.

    Raises:
        CannotBeJudged: it cannot be found, imported or constructed, or makes no update.
    """
    if not target.alone or target.found is not None:
        return target
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a subject's warnings are not findings
        subject = resolve(target)
        found = _of_a_schedule(target, subject) if isinstance(subject, ScheduleSubject) else _of_an_optimizer(target)
    return replace(target, found=found)


def uncompiled() -> AbstractContextManager[Any]:
    """Runs what is compiled as it is written; a class that compiles its updates would do so in every check."""
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def in_words(found: Mapping[str, Any]) -> list[str]:
    """What trials have found out, as sentences about the class."""
    dtypes = dict.fromkeys(found.get("dtypes", ()), "the parameters' dtype")
    sentences = {
        "it takes matrices alone": "ndim" in found,
        "it makes updates after a call of `train()`": found.get("trains"),
        "it makes updates only with a closure": found.get("needs_closure"),
        "it needs gradients that carry a graph": found.get("graph"),
        "it needs a process group: it was given one of one process": found.get("distributed"),
        "it compiles its updates: it is judged uncompiled": found.get("compiles"),
        **dict.fromkeys(found.get("form", ()), True),
        **{f"its groups say that {name} is {value}": True for name, value in found.get("flags", {}).items()},
        f"its first {found.get('rests')} updates move nothing": found.get("rests"),
        **{f"it refuses groups: {words}": True for words in found.get("refusals", ())},
        "it draws random numbers, and is seeded": found.get("random"),
        "the elements of a parameter are coupled": not (
            found.get("elementwise", True) or found.get("random") or "ndim" in found
        ),
        "parameters are coupled": found.get("coupled") == "optimizer" and not found.get("random"),
        "the parameters of a group are coupled": found.get("coupled") == "group",
        f"updates are counted for the whole {found.get('counter')}": found.get("counter", "parameter") != "parameter",
        f"{', '.join(found.get('left', ()))} keep the class's own values": found.get("left"),
        **{f"{name} is {value}": True for name, value in {**found.get("values", {}), **dtypes}.items()},
    }
    return [sentence for sentence, holds in sentences.items() if holds]


def _of_an_optimizer(target: Target) -> Found:
    with torch.random.fork_rng(devices=[]), uncompiled():
        found = _manner(target)
        for trial in (_form, _compiles, _rests, _held, _random, _elementwise, _refuses, _coupled, _counter):
            with suppress(Exception):  # checks will tell what is wrong
                found |= trial(_subject(target, found))
    return found


def _subject(target: Target, found: Found) -> OptimizerSubject:
    subject = resolve(replace(target, found=found))
    assert isinstance(subject, OptimizerSubject)
    return subject


def _manner(target: Target) -> Found:
    """The first way in which it makes updates that move its parameters, or, if there is none, makes updates at all."""
    first: Exception | None = None
    resting: Found | None = None
    for values in _values(_subject(target, {})):
        for manner in MANNERS:
            found = {**values, **manner}
            subject = _subject(target, found)
            try:
                problem = _problem(subject)
                run = _run(subject, problem)
            except Exception as error:
                first = first or error
                continue
            ends = list(zip(run.values(), problem.starts, strict=True))
            if all(np.all(np.isfinite(end)) and np.any(end != start) for end, start in ends):
                return found
            resting = found if resting is None else resting
    if resting is None:
        raise CannotBeJudged(
            f"{target} cannot be judged alone: it makes no update in any of the {len(MANNERS)} ways that were tried; "
            f"with parameters and its defaults alone, {_raised(first)}"
        ) from first
    return resting


def _raised(error: Exception | None) -> str:
    """What an exception says, and the class's own line that raised it."""
    assert error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if frame.filename.startswith(SUITE) else f" at {frame.filename}:{frame.lineno}: {frame.line}"
    return f"it raises {type(error).__name__}: {error}{where}"


def _values(subject: OptimizerSubject) -> Iterator[Found]:
    """Hyperparameters to try: those that reveal most, then fewer of them, other switches, and none."""
    given = defaults(subject.reference)
    common = [name for name in names(subject.reference) if name in COMMON]
    lacking = {name: NEEDED[name] for name, value in given.items() if value is None and name in NEEDED}
    dtypes = [name for name, value in given.items() if value == "float32"]
    yield {}
    if lacking:
        yield {"values": lacking}
    if dtypes:
        yield {"values": dict.fromkeys(dtypes, "float64"), "dtypes": dtypes}
    yield from ({"left": [name]} for name in common if name != "lr")
    yield {"left": [name for name in common if name != "lr"]}
    yield from ({"values": {name: not value}} for name, value in given.items() if isinstance(value, bool))
    yield {"left": common}


def _form(subject: OptimizerSubject) -> Found:
    """How it takes its parameters, in words."""
    return {"form": [*subject.form.words]} if subject.form.words else {}


def _compiles(subject: OptimizerSubject) -> Found:
    """Whether its updates are compiled, which would take seconds in every check."""
    traced = []

    def backend(graph: Any, _: object) -> Any:
        traced.append(graph)
        return graph.forward

    torch.compiler.reset()  # what was compiled before would not be compiled again
    try:
        with torch.compiler.set_stance("default", force_backend=backend):
            _run(subject, _problem(subject, steps=2))
    except Exception:  # it cannot be compiled as it asks to be
        return {"compiles": True}
    return {"compiles": True} if traced else {}


def _rests(subject: OptimizerSubject) -> Found:
    """How many of its first updates move nothing, as in a warm-up from zero."""
    problem = _problem(subject)
    run = OptimizerRun(subject, problem.starts)
    for rested, step in enumerate(problem.steps):
        run.take(step)
        if any(np.any(value != start) for value, start in zip(run.values(), problem.starts, strict=True)):
            return {"rests": rested} if rested else {}
    return {}  # it never moves, which is no warm-up


def _held(subject: OptimizerSubject) -> Found:
    """The hyperparameters that no group has, that it takes at one value alone, or that only the constructor reads.

    The last are left out if their names are not common: they may rightly belong to the construction.
    """
    problem = _problem(subject)
    group = _run(subject, problem).optimizer.param_groups[0]
    keys = {name: subject.group_arguments({name: value}) for name, value in subject.hostile.items()}
    held = {name for name, places in keys.items() if not places.keys() <= group.keys()}
    for name, value in subject.perturbed:
        try:
            made = _run(subject, problem, **{name: value}).values()
            if name not in COMMON:
                edited, overridden = (OptimizerRun(subject, problem.starts, groups=groups)
                                      for groups in (None, [([0, 1], {name: value})]))  # fmt: skip
                edited.edit(**{name: value})
                if not all(_same(run.run(problem).values(), made) for run in (edited, overridden)):
                    held.add(name)
        except Exception:
            held.add(name)
    return {"held": sorted(held)}


def _refuses(subject: OptimizerSubject) -> Found:
    """With which words it refuses several groups, or rates by group."""
    problem, words = _problem(subject), []
    for own in ({}, {"lr": 0.05}):
        try:
            OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1], own)]).run(problem)
        except (ValueError, RuntimeError) as error:
            words.append(str(error))
    return {"refusals": words} if all(words) and words else {}


def _random(subject: OptimizerSubject) -> Found:
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        ends.append(_run(subject, _problem(subject)).values())
    return {"random": not _same(*ends)}


def _elementwise(subject: OptimizerSubject) -> Found:
    """Whether other elements stay the same where the gradient of one is another."""
    if subject.traits.random:
        return {"elementwise": False}  # the number drawn for an element depends on its place
    problem = hostile_problem(
        subject, [(4, 3), (6,), (24, 16)], missing=False, steps=STEPS, exponents=(-1.0, 0.5)
    ).mapped(np.abs)

    def other(grad: Array) -> Array:
        changed = np.array(grad)
        changed.ravel()[-1] *= 3.0
        return changed

    plain, changed = (_run(subject, each).values() for each in (problem, problem.mapped(other)))
    return {"elementwise": _same(*([value.ravel()[:-1] for value in values] for values in (plain, changed)))}


def _coupled(subject: OptimizerSubject) -> Found:
    """What a parameter's update depends on besides itself, where all have gradients."""
    if subject.traits.random:
        return {"coupled": "optimizer"}  # the numbers drawn for one depend on those drawn for others
    problem = _problem(subject, steps=3 * STEPS, lr=0.5).mapped(np.abs)  # what is estimated from all gradients moves
    alone = [_run(subject, problem.only([index])).values()[0] for index in (0, 1)]
    if _same(_run(subject, problem).values(), alone):
        return {"coupled": None}
    try:
        groups = OptimizerRun(subject, problem.starts, groups=[([0], {}), ([1], {})]).run(problem).values()
    except (ValueError, RuntimeError):  # it refuses several groups
        return {"coupled": "optimizer"}
    return {"coupled": "group" if _same(groups, alone) else "optimizer"}


def _counter(subject: OptimizerSubject) -> Found:
    """How updates are counted: whether a gap in a parameter's gradients, in which it rests, counts."""
    if subject.traits.coupled:
        return {"counter": "parameter"}
    problem, gap = _problem(subject), (2, 3)
    present = Problem(problem.starts, [step for t, step in enumerate(problem.steps) if t not in gap])
    plain = _run(subject, present.only([1])).values()[0]

    def run(absent: int, groups: Any = None) -> tuple[Array, bool]:
        """Parameter 1 at the end, and whether it rested in the gap."""
        run, rested = OptimizerRun(subject, problem.starts, groups=groups), True
        for t, step in enumerate(problem.steps):
            before = run.values()[1]
            run.step([None if t in gap and i == absent else g for i, g in enumerate(step.grads)], lr=step.lr)
            rested &= t not in gap or bool(np.all(run.values()[1] == before))
        return run.values()[1], rested

    late, rested = run(1)
    whole = _run(subject, problem.only([1])).values()[0]
    if _same([late], [plain]) or not rested or not _same([run(0)[0]], [whole]):
        return {"counter": "parameter"}
    added = OptimizerRun(subject, problem.starts, groups=[([0], {})])
    for t, step in enumerate(problem.steps):
        if t == gap[0]:
            added.add_group([1])
        added.step([step.grads[0], step.grads[1] if t >= gap[0] else None], lr=step.lr)
    fresh = _run(subject, Problem(problem.starts, problem.steps[gap[0] :]).only([1])).values()[0]
    return {"counter": "group" if _same([added.values()[1]], [fresh]) else "optimizer"}


def _problem(
    subject: OptimizerSubject, shapes: Sequence[Shape] = ((6,), (4, 3)), *, steps: int = STEPS, lr: float = 0.01
) -> Problem:
    """Parameters under ordinary gradients."""
    return hostile_problem(subject, shapes, missing=False, steps=steps, exponents=(-1.0, 0.5), lr=lr)


def _run(subject: OptimizerSubject, problem: Problem, **settings: Any) -> OptimizerRun:
    return OptimizerRun(subject, problem.starts, **settings).run(problem)


def _same(left: list[Array], right: list[Array]) -> bool:
    """Whether the parameters of two runs are equal, but for rounding."""
    bound = between_runs(STEPS, torch.float64)
    return all(bool(np.all(np.abs(a - b) <= bound * (1 + np.abs(b)))) for a, b in zip(left, right, strict=True))


def _of_a_schedule(target: Target, subject: ScheduleSubject) -> Found:
    """Whether it takes common values of all its arguments, or only of those that have no default or a number."""
    arguments = arguments_of(subject.implementation)
    optional = [argument.name for argument in arguments if argument.default is None]
    first: Exception | None = None
    for found in ({}, {"left": optional}):
        trial = resolve(replace(target, found=found))
        assert isinstance(trial, ScheduleSubject)
        try:
            trial.make(make_optimizer(trial), **trial.ordinary())
            run = SchedulerRun(trial)
            run.run(trial.reach(run.settings))
        except TypeError as error:  # it needs other arguments
            first = first or error
            continue
        except Exception as error:  # checks will tell what is wrong
            if trial.plain or trial.activity.updates:
                return {**found, **_last_step(trial), **_drives(trial)}
            first = first or error
            continue
        if not trial.activity.moved:
            raise CannotBeJudged(f"{target} cannot be judged alone: its rate never changes")
        return {**found, **_last_step(trial), **_drives(trial)}
    raise CannotBeJudged(f"{target} cannot be judged alone: {type(first).__name__}: {first}") from first


def _last_step(subject: ScheduleSubject) -> Found:
    """The hyperparameter that names the last step, if a step beyond it is refused."""
    run = SchedulerRun(subject)
    try:
        run.run(subject.reach(run.settings))
    except ValueError:
        names = [name for name, value in run.settings.items() if type(value) is int and value == run.t]
        return {"end": names[0], "after": "raise"} if names else {}
    except Exception:  # checks will tell what is wrong
        return {}
    return {}


def _drives(subject: ScheduleSubject) -> Found:
    """The keys of groups that it sets besides the rate, if its arguments speak of them: `momentum`, `max_momentum`."""
    with suppress(Exception):  # checks will tell what is wrong
        run = SchedulerRun(subject)
        before = [dict(group) for group in make_optimizer(subject).param_groups]
        run.run(3)
        pairs = list(zip(run.optimizer.param_groups, before, strict=True))
        keys = [key for key in ("momentum", "betas") if any(new.get(key) != old.get(key) for new, old in pairs)]
        return {"drives": [key for key in keys if any(key in argument for argument in run.settings)]}
    return {}
