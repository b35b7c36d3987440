"""Goals for the figures that `steps.py` writes, and whether they are met."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from works import GPT2_LIKE, MANY_SMALL, ONE_LARGE

Figures = dict[str, Any]


class Goal(NamedTuple):
    """An upper or lower bound for one figure."""

    claim: str
    limit: float
    unit: str
    measure: Callable[[Figures], float | None]
    """None if the figure was not measured."""
    at_least: bool = False


def judge(figures: Figures) -> list[dict[str, Any]]:
    """Every goal beside its figure, as plain data; `reached` is None if the figure was not measured."""
    return [_judged(goal, goal.measure(figures)) for goal in GOALS]


def _judged(goal: Goal, value: float | None) -> dict[str, Any]:
    limit = f"{'>=' if goal.at_least else '<='} {goal.limit:g}{goal.unit}"
    measured, reached = "not measured", None
    if value is not None:
        measured = f"{value:.3g}{goal.unit}"
        reached = value >= goal.limit if goal.at_least else value <= goal.limit
    return {"claim": goal.claim, "limit": limit, "measured": measured, "reached": reached}


def _race(figures: Figures, work: str, algorithm: str) -> dict[str, Any] | None:
    races = figures.get("races", ())
    return next((race for race in races if (race["work"], race["algorithm"]) == (work, algorithm)), None)


def _ratio(work: str, algorithm: str, *names: str) -> Callable[[Figures], float | None]:
    """The smallest ratio of some contestants to the race's baseline, which must be a peer."""

    def measure(figures: Figures) -> float | None:
        race = _race(figures, work, algorithm)
        if race is None:
            return None
        ours = {entry["name"] for entry in race["entries"] if entry["ours"]}
        against_peer = race["baseline"] == "torch fused" if algorithm == "adamw" else race["baseline"] not in ours
        ratios = [entry["ratio"] for entry in race["entries"] if entry["name"] in names]
        return min(ratios, default=None) if against_peer else None

    return measure


def _of_copy(work: str, algorithm: str, name: str) -> Callable[[Figures], float | None]:
    def measure(figures: Figures) -> float | None:
        race = _race(figures, work, algorithm) or {"entries": ()}
        return next((entry["of_copy"] * 100 for entry in race["entries"] if entry["name"] == name), None)

    return measure


def _first_step(algorithm: str, key: str) -> Callable[[Figures], float | None]:
    def measure(figures: Figures) -> float | None:
        found = [case.get(key) for case in figures.get("compilation", ()) if case["algorithm"] == algorithm]
        return found[0] if found else None

    return measure


def _scheduler(groups: int) -> Callable[[Figures], float | None]:
    def measure(figures: Figures) -> float | None:
        for case in figures.get("schedules", ()):
            if case["groups"] == groups:
                return float(next(one["ratio"] for one in case["schedulers"] if one["ours"]))
        return None

    return measure


def _most_memory(figures: Figures) -> float | None:
    """The maximum over all paths; None if one of them failed."""
    cases = figures.get("memory", [])
    if not all("extra_mib" in case for case in cases):
        return None
    return max((case["extra_mib"] for case in cases), default=None)


def _goals() -> Iterable[Goal]:
    large = (ONE_LARGE.name, GPT2_LIKE.name)
    small = MANY_SMALL.name
    for work in large:
        yield Goal(f"AdamW auto, time of torch fused, {work}", 1.0, " x", _ratio(work, "adamw", "optreg auto"))
    yield Goal(f"AdamW auto, time of torch fused, {small}", 0.5, " x", _ratio(small, "adamw", "optreg auto"))
    for work in large:
        yield Goal(f"Lion auto, time of the fastest peer, {work}", 0.4, " x", _ratio(work, "lion", "optreg auto"))
    for work in large:
        compiled = "optreg compiled"
        yield Goal(f"Lion compiled, time of the fastest peer, {work}", 0.25, " x", _ratio(work, "lion", compiled))
        yield Goal(f"Lion compiled, copy bandwidth, {work}", 85, " %", _of_copy(work, "lion", compiled), at_least=True)
    yield Goal(f"Lion auto, time of the fastest peer, {small}", 0.5, " x", _ratio(small, "lion", "optreg auto"))
    yield Goal(
        f"AdamW with bfloat16 state, auto or compiled, time of torch fused in float32, {GPT2_LIKE.name}",
        0.8,
        " x",
        _ratio(GPT2_LIKE.name, "adamw", "optreg auto, bfloat16 state", "optreg compiled, bfloat16 state"),
    )
    for algorithm, title in (("adamw", "AdamW"), ("lion", "Lion")):
        yield Goal(f"{title} compiled, first step, nothing cached", 10, " s", _first_step(algorithm, "cold_seconds"))
        yield Goal(f"{title} compiled, first step, cached", 3, " s", _first_step(algorithm, "warm_seconds"))
    for groups in (1, 100):
        claim = f"scheduler.step, time of LambdaLR, {groups} group{'s' if groups > 1 else ''}"
        yield Goal(claim, 0.5, " x", _scheduler(groups))
    yield Goal("memory beyond parameters, gradients and state, any path", 64, " MiB", _most_memory)


GOALS = tuple(_goals())
