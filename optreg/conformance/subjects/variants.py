"""Variants: a reference with what traits declare in place of what it states itself."""

import functools
from collections import ChainMap
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from optreg.conformance.subjects.family import FAMILY, NO_CORRECTION, Array, Changes, Rule, State, trajectory
from optreg.conformance.subjects.settings import hostile_settings, reachable
from optreg.hyperparameters import defaults
from optreg.traits import OptimizerTraits, ScheduleTraits

SWITCHES: dict[str, dict[str, dict[str, Any]]] = {
    "decay": {kind: {"decay": kind} for kind in ("coupled", "decoupled")},
    "eps": {place: {"eps": place} for place in ("outside", "inside", "uncorrected", "clamped")},
    "correction": {"both": {"correct_mean": True, "correct_square": True}, "none": NO_CORRECTION},
    "unrectified": {"mean": {"rectified": "mean"}, "skip": {"rectified": "skip"}},
}
"""The traits that change the formula: for each value, the switches of the family."""

WORDS = {
    ("decay", "coupled"): (
        "with its decay in the gradient",
        "weight_decay * p is added to the gradient",
    ),
    ("decay", "decoupled"): (
        "with decoupled decay",
        "p is multiplied by 1 - lr * weight_decay",
    ),
    ("eps", "outside"): (
        "with eps outside the root",
        "eps is added to the root of the corrected mean of squares",
    ),
    ("eps", "inside"): (
        "with eps inside the root",
        "eps is added to the mean of squares before its root is taken",
    ),
    ("eps", "uncorrected"): (
        "with eps added before the bias correction",
        "eps is added to the root before its bias is corrected",
    ),
    ("eps", "clamped"): (
        "with eps as a lower bound of the denominator",
        "the root is clamped to at least eps",
    ),
    ("correction", "both"): (
        "with bias correction",
        "both means are divided by 1 - beta**step",
    ),
    ("correction", "none"): (
        "without bias correction",
        "no mean is divided by 1 - beta**step",
    ),
    ("unrectified", "mean"): (
        "following the mean where it is not rectified",
        "the mean is the whole update where rho_t is at most 5",
    ),
    ("unrectified", "skip"): (
        "without the updates that are not rectified",
        "updates where rho_t is at most 5 are left out",
    ),
    ("counter", "parameter"): (
        "counted by parameter",
        "each parameter has a step count",
    ),
    ("counter", "group"): (
        "counted by group",
        "each group has one step count",
    ),
    ("counter", "optimizer"): (
        "counted for all groups together",
        "there is one step count",
    ),
    ("arithmetic", "parameter"): (
        "in the parameters' dtype",
        "nothing is cast to another dtype",
    ),
    ("arithmetic", "float32"): (
        "in float32",
        "parameters, gradients or state are cast to float32",
    ),
    ("after", "hold"): (
        "holding its last rate",
        "the step is limited to the last one",
    ),
    ("after", "cycle"): (
        "that goes on after its last step",
        "the formula is evaluated beyond the last step",
    ),
    ("after", "formula"): (
        "that follows its formula after its last step",
        "the formula is evaluated beyond the last step",
    ),
    ("after", "raise"): (
        "that ends with an error",
        "steps beyond the last one are refused",
    ),
}
"""For each trait and value, how a sentence calls the variant, and what the code does that makes it one."""


def in_code(traits: Mapping[str, Any]) -> str:
    """What the code of a variant does."""
    return "; ".join(WORDS[pair][1] if pair in WORDS else f"{pair[0]} is {pair[1]}" for pair in traits.items())


def in_words(like: str, traits: Mapping[str, Any]) -> str:
    """What a subject is: `adamw, counted by group, in float32`."""
    return ", ".join([like, *(WORDS[pair][0] if pair in WORDS else f"{pair[0]}={pair[1]}" for pair in traits.items())])


def declared(traits: OptimizerTraits | ScheduleTraits, plain: OptimizerTraits | ScheduleTraits) -> dict[str, Any]:
    """The traits by which a variant differs from the plain algorithm, if a sentence has words for them."""
    values = {trait.name: getattr(traits, trait.name) for trait in fields(traits)}
    return {name: value for name, value in values.items() if value != getattr(plain, name) and (name, value) in WORDS}


def variant(reference: type, traits: Mapping[str, str]) -> type | None:
    """The reference of a variant of the algorithm; itself if it is that variant, None if there is none."""
    changes = {name: value for name, value in traits.items() if value in SWITCHES.get(name, {})}
    return _variant(reference, tuple(changes.items())) if changes else reference


@functools.cache
def _variant(reference: type, traits: tuple[tuple[str, str], ...]) -> type | None:
    rule, settings = rule_of(reference), hostile_settings(reference)
    if rule is not None:
        if not all(_means_something(name, rule, settings) for name, _ in traits):
            return None
        switches = {switch: value for name, chosen in traits for switch, value in SWITCHES[name][chosen].items()}
        return reference if replace(rule, **switches) == rule else changed(reference, Changes(switches))
    kind = decay_of(reference, settings, ndim=2)
    wanted = dict(traits)
    if wanted.pop("decay", kind) == kind:
        return None if wanted else reference
    if wanted or kind == "none" or not _moves_alike_from_anywhere(reference):
        return None
    return _decoupled(reference) if kind == "coupled" else _coupled(reference)


def _means_something(trait: str, rule: Rule, settings: Mapping[str, Any]) -> bool:
    """Whether a rule has what a trait is about."""
    return {
        "decay": "weight_decay" in settings,
        "eps": rule.square != "none",
        "correction": rule.square != "none" or (rule.mean != "none" and not rule.interpolates),
        "unrectified": rule.rectified != "no",
    }[trait]


def rule_of(reference: type, settings: Mapping[str, Any] = MappingProxyType({})) -> Rule | None:
    """The rule of the family that a reference equals with its switches as in some settings; None if none does."""
    switches = {name: value for name, value in defaults(reference).items() if isinstance(value, bool | str)}
    positions = tuple((name, settings.get(name, value)) for name, value in switches.items())
    found: Rule | None = getattr(reference, "rule_at", functools.partial(_rule, reference))(positions)
    return found


@functools.cache
def _rule(reference: type, positions: tuple[tuple[str, Any], ...]) -> Rule | None:
    settings = reachable(reference, hostile_settings(reference), dict(positions))
    if settings is None:
        return None
    random = np.random.default_rng(2)
    start, grads = random.normal(size=5), [10 ** random.uniform(-3, 1, 5) * random.normal(size=5) for _ in range(9)]
    grads[3] = grads[7] = 0.0 * start

    def end(run: Generator[tuple[Array, State], Array, None]) -> Array:
        next(run)
        return [run.send(grad)[0] for grad in grads][-1]

    try:
        expected = end(reference(**settings).trajectory(start))
    except Exception:  # it takes no vectors
        return None
    for rule in (each for plain in FAMILY for each in (plain, replace(plain, largest_square=True))):
        if np.allclose(end(trajectory(rule, settings, start)), expected, rtol=1e-12, atol=1e-13):
            return rule
    return None


def changed(reference: type, changes: Changes) -> type:
    """The reference of the same hyperparameters, computed by a rule of the family, with some changes."""

    def rule_at(positions: tuple[tuple[str, Any], ...]) -> Rule | None:
        rule = rule_of(reference, dict(positions))
        return rule and replace(rule, **changes.switches)

    def check(self: Any) -> None:
        getattr(super(made, self), "__post_init__", lambda: None)()
        if rule_of(made, vars(self)) is None:
            raise ValueError("the variant is not known with its switches in these positions")

    def run(self: Any, theta: Array) -> Generator[tuple[Array, State], Array, None]:
        rule = rule_of(made, vars(self))
        assert rule is not None
        return trajectory(rule, ChainMap(dict(changes.settings), vars(self)), theta)

    made = _derived(reference, trajectory=run, __post_init__=check, rule_at=staticmethod(rule_at))
    return made


def _decoupled(reference: type) -> type:
    """The reference with decoupled decay: its own updates without decay, which do not depend on the parameter."""

    def run(self: Any, theta: Array) -> Generator[tuple[Array, State], Array, None]:
        plain = reference(**{**vars(self), "weight_decay": 0.0})
        updates = plain.trajectory(np.zeros_like(theta))
        before, state = next(updates)
        while True:
            g = yield theta, state
            vars(plain).update({**vars(self), "weight_decay": 0.0})
            after, state = updates.send(g)
            theta = theta - self.lr * self.weight_decay * theta + (after - before)
            before = after

    return _derived(reference, trajectory=run)


def _coupled(reference: type) -> type:
    """The reference with its decay in the gradient."""

    def run(self: Any, theta: Array) -> Generator[tuple[Array, State], Array, None]:
        plain = reference(**{**vars(self), "weight_decay": 0.0})
        updates = plain.trajectory(theta)
        theta, state = next(updates)
        while True:
            g = yield theta, state
            vars(plain).update({**vars(self), "weight_decay": 0.0})
            theta, state = updates.send(g + self.weight_decay * theta)

    return _derived(reference, trajectory=run)


def _derived(reference: type, **members: Any) -> type:
    """A reference of the same fields; closed forms are not inherited, since they are of another formula."""
    members |= {"__module__": reference.__module__, "constant_gradient": lambda self, *arguments: None}
    return dataclass(type(reference.__name__, (reference,), members))


def _moves_alike_from_anywhere(reference: type) -> bool:
    """Whether the updates without decay do not depend on the parameter."""
    settings = {**hostile_settings(reference), "weight_decay": 0.0}
    grads = [np.array([[0.5, -2.0], [1e-3, 1.0]]), np.array([[-1.0, 0.25], [0.3, 2.0]])]

    def moved(start: Array) -> Array:
        run = reference(**settings).trajectory(start)
        next(run)
        return np.asarray([run.send(grad)[0] for grad in grads][-1] - start)

    return bool(np.allclose(moved(np.zeros((2, 2))), moved(np.full((2, 2), 3.0)), rtol=1e-9, atol=1e-12))


UPDATES = 8
"""How many updates show how weights decay: some algorithms leave out the first ones."""


def decay_of(reference: type, settings: Mapping[str, Any], ndim: int = 1) -> str:
    """How a reference decays weights: `"none"`, `"decoupled"` or `"coupled"`.

    Coupled decay is part of the gradient and reaches the state; decoupled decay does not. Without state, updates
    under a gradient of zero decide: in each, decoupled decay removes lr * weight_decay of the parameter.
    """
    if "weight_decay" not in settings:
        return "none"
    start = np.array([[1.0, -3.0, 0.5], [2.0, 0.25, -1.0]])
    start = start if ndim == 2 else start.ravel()

    def last(gradient: Array, decay: float) -> tuple[Array, State]:
        run = reference(**{**settings, "weight_decay": decay, "lr": 0.01}).trajectory(start)
        next(run)
        theta, state = [run.send(gradient) for _ in range(UPDATES)][-1]
        return theta, state

    (with_decay, state), (without, plain) = last(0.5 * start, 0.1), last(0.5 * start, 0.0)
    if np.array_equal(with_decay, without):
        return "none"
    if any(np.ndim(value) for value in state.values()):
        same = all(np.array_equal(state[name], plain[name]) for name in state)
    else:
        theta, _ = last(np.zeros_like(start), 0.1)
        same = np.allclose(theta, start * (1 - 0.001) ** UPDATES, rtol=1e-12, atol=0)
    return "decoupled" if same else "coupled"
