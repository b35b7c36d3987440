"""Phases: lists of schedules, in every unit, against their formulas worked out one phase at a time."""

import copy
import json
import math
import pickle
from fractions import Fraction
from itertools import accumulate

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import optreg
from optreg.multipliers import curve

MP = mpmath.mp.clone()
MP.prec = 200
LR = 0.7
UPDATES = 3000
"""As far as the model of a run counts."""


def formula(name, own):
    """What the reference of a schedule says, in arbitrary precision; no phase is known to it."""
    paper = optreg.default_registry().scheduler(name).plugin.reference(**own)
    return lambda s: paper.multiplier(s, MP)


# A model of a run: lists of phases, written in any unit, with the value of every update by the definition


@st.composite
def quarters(draw, most):
    """A number of quarters, which a text can hold exactly."""
    return Fraction(draw(st.integers(0, 4 * most)), 4)


def written(amount, unit):
    number = str(amount.numerator) if amount.denominator == 1 else str(float(amount))
    return f"{number}{unit}" if unit == "%" else f"{number} {unit}"


class Facts:
    """The batch, the epoch and the horizon of a run, and how to count with them."""

    def __init__(self, draw):
        stages = draw(
            st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 30)), min_size=1, max_size=3)
        )
        lengths = [length for _, _, length in stages[:-1]] + [UPDATES]
        sizes = [(a, b) for (a, b, _), length in zip(stages, lengths, strict=True) for _ in range(length)]
        self.consumed = {
            "steps": list(range(UPDATES)),
            "samples": [0, *accumulate(a for a, _ in sizes[:UPDATES])],
            "tokens": [0, *accumulate(a * b for a, b in sizes[:UPDATES])],
        }
        self.epoch = draw(st.integers(3, 40)), draw(st.sampled_from(["steps", "samples", "tokens"]))
        self.horizon = draw(st.integers(20, 200)), draw(st.sampled_from(["steps", "samples", "tokens"]))
        ends = accumulate(length for _, _, length in stages)
        self.sections = {
            "batch": [
                {"size": f"{a} samples of {b} tokens", **({} if index == len(stages) - 1 else {"until": end})}
                for index, ((a, b, _), end) in enumerate(zip(stages, ends, strict=True))
            ],
            "epoch": "{} {}".format(*self.epoch),
            "horizon": "{} {}".format(*self.horizon),
        }

    def first(self, total, unit):
        """The smallest update before which `total` was consumed."""
        return next(t for t, so_far in enumerate(self.consumed[unit]) if so_far >= total)

    def of(self, unit):
        """What one of a unit is, in updates, samples or tokens."""
        if unit == "epochs":
            return self.epoch
        return (Fraction(self.horizon[0], 100), self.horizon[1]) if unit == "%" else (1, unit)

    def length(self, draw, t, exact):
        """How a phase that begins at t says how long it is, and where it ends; `exact` is where the last one ended."""
        unit = draw(st.sampled_from(["steps", "steps", "samples", "tokens", "epochs", "%"]))
        one, counted = self.of(unit)
        base = exact[0] if exact and exact[1] == counted else self.consumed[counted][t]
        a_dozen = self.consumed[counted][t + 12] - self.consumed[counted][t]
        amount = draw(st.integers(0, 12)) if unit == "steps" else draw(quarters(min(math.ceil(a_dozen / one), 20)))
        amount = Fraction(amount)
        if draw(st.booleans()):
            amount += math.ceil(base / one)
            if unit == "%" and amount > 100:
                return {"for": 3}, t + 3, (self.base(t, exact, "steps") + 3, "steps")
            return {"until": written(amount, unit)}, self.first(amount * one, counted), (amount * one, counted)
        total = base + amount * one
        return {"for": written(amount, unit)}, self.first(total, counted), (total, counted)

    def base(self, t, exact, unit):
        return exact[0] if exact and exact[1] == unit else self.consumed[unit][t]


def own_settings(draw, name, n, *, begins_at_zero):
    """Settings of a schedule that takes n updates."""
    ratio = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    w = draw(st.integers(0, n)) if begins_at_zero else 0
    d = max(n - w, 1)
    shape = {"decay": draw(st.sampled_from(["linear", "cosine", "1-sqrt", "exponential", "inverse"]))}
    return {
        "polynomial": lambda: {"power": draw(st.sampled_from([0.5, 1.0, 2.0, 3.7]))},
        "exponential": lambda: {"gamma": draw(st.sampled_from([0.3, 0.9, 1.0]))},
        "cosine_restarts": lambda: {"period": draw(st.integers(1, 5)), "growth": draw(st.integers(1, 2)), "peak_decay": 0.8},
        "step": lambda: {"step_size": draw(st.integers(1, 4)), "gamma": 0.5},
        "multistep": lambda: {"milestones": [draw(st.integers(1, 5)), 7], "gamma": 0.5},
        "linear_warmup": lambda: {"warmup_steps": w},
        "inverse_sqrt": lambda: {"timescale": 3, "warmup_steps": min(w, 1), "cooldown_steps": max(n - 2, 0), "min_lr_ratio": ratio},
        "power": lambda: {"timescale": 3, "warmup_steps": min(w, 1), "decay_steps": max(n - 2, 0), **shape, "min_lr_ratio": 0.2},
        "warmup_cosine": lambda: {"warmup_steps": w, "min_lr_ratio": ratio},
        "one_cycle": lambda: {"warmup_steps": draw(st.integers(0, n)), "curve": draw(st.sampled_from(["cosine", "linear"]))},
        "tri_stage": lambda: {"warmup_steps": min(w, n - 1), "decay_steps": min(d, n - min(w, n - 1)), "min_lr_ratio": 0.05},
        "wsd": lambda: {"warmup_steps": min(w, n - 1), "decay_steps": 1, **shape, "min_lr_ratio": 0.1},
        "wsd_s": lambda: {"restarts": [1], "decay_steps": 1, **shape, "min_lr_ratio": 0.1},
    }.get(name, dict)()  # fmt: skip


WITH_A_WARMUP = ("linear_warmup", "inverse_sqrt", "power", "warmup_cosine", "one_cycle", "tri_stage", "wsd", "wsd_s")
GO_TO_LEVELS = ("cosine", "linear", "one_minus_sqrt", "polynomial")
OTHERS_WITH_AN_END = ("inverse_sqrt", "power", "warmup_cosine", "one_cycle", "tri_stage", "wsd", "wsd_s")
ENDLESS = ("constant", "exponential", "cosine_restarts", "step", "multistep", "linear_warmup")
SHARES = {0: Fraction(0), "0%": Fraction(0), "10%": Fraction(1, 10), "100%": Fraction(1), "140%": Fraction(14, 10)}
LEVELS = (*SHARES, 0.35, 0.7, 2.1e-3)
"""Levels as they are written."""


def mapped(f, level, goal, s, whole):
    """The value after s updates of a curve: scaled, so that it begins at level; or mapped, so that it goes to a goal."""
    if goal is None:
        return level * f(s) / f(0) if f(0) else f(s)
    return goal + (level - goal) * (f(s) - f(whole)) / (f(0) - f(whole))


def share(said, base):
    """The share of the base that a level is, in arbitrary precision."""
    part = SHARES[said] if said in SHARES else Fraction(said) / Fraction(base)
    return MP.mpf(part.numerator) / part.denominator


class Run:
    """Random phases as a spec writes them, and what they must give.

    Attributes:
        phases: the list.
        sections: the facts.
        segments: where each curve begins and ends, None if it is open, and its value s updates after its beginning.
        starts: where curves begin whose phase says `from`, and the level as it is written.
        ends: where phases end that say `to`, if nothing begins anew there, and the level as it is written.
        joints: for each phase that goes on from the one before, its number, and where it begins.
    """

    def __init__(self, draw, base, begins_at_base):
        self.facts, self.base, self.begins_at_base = Facts(draw), base, begins_at_base
        self.sections, self.phases, self.segments = self.facts.sections, [], []
        self.starts, self.ends, self.joints = {}, {}, {}
        self.t, self.exact, self.level = 0, None, None
        count = draw(st.integers(1, 6))
        for index in range(count):
            self.add(draw, index, last=index == count - 1)

    def add(self, draw, index, *, last):
        name = draw(st.sampled_from([*GO_TO_LEVELS, *GO_TO_LEVELS, *OTHERS_WITH_AN_END, *ENDLESS]))
        begin, before = self.t, self.level
        length, end, exact = self.length(draw, name, last=last)
        n = 9 if end is None else end - begin
        start = draw(st.none() | st.sampled_from(LEVELS))
        start = self.base if self.begins_at_base and index == 0 else start
        may_rise = n > 0 and name not in WITH_A_WARMUP and (start is not None or index == 0)
        w = draw(st.integers(1, n)) if may_rise and draw(st.booleans()) else 0
        curve = max(n - w, 1)
        whole = curve + (draw(st.sampled_from([0, 0, 1, 7])) if name in GO_TO_LEVELS and length else 0)
        if name == "wsd_s" and curve == 1:
            name = "wsd"
        own = own_settings(draw, name, curve, begins_at_zero=index == 0 and start is None)
        f = formula(name, own | ({} if name in ENDLESS else {"total_steps": whole}))
        to = draw(st.none() | st.sampled_from(LEVELS)) if name in GO_TO_LEVELS else None
        self.level = self.first_level(f, start, w, before)
        self.phases.append({
            "name": name, **({} if start is None else {"from": start}), **length, **({} if to is None else {"to": to}),
            **({"warmup_steps": draw(st.sampled_from([w, f"{w} updates"]))} if w else {}), **own,
            **({"total_steps": w + whole} if whole > curve else {}),
        })  # fmt: skip
        if index and start is None and n:
            self.joints[index] = begin
        if start is not None or w:
            self.ends.pop(begin, None)
        if w:
            self.segments.append((begin, begin + w, self.line(before or MP.mpf(0), self.level, w)))
        if n > w or end is None:
            self.follow(begin + w, None if end is None else end, f, to, whole)
            if start is not None:
                self.starts[begin + w] = start
        elif to is not None and whole == curve:
            self.level = share(to, self.base)
        if to is not None and whole == curve:
            self.ends[end] = to
        self.t, self.exact = end, exact

    def length(self, draw, name, *, last):
        """How a phase says how long it is, and where it ends: None if it is open and its schedule has no end."""
        if last and draw(st.booleans()):
            if name in ENDLESS:
                return {}, None, None
            end = self.facts.first(*self.facts.horizon)
            if end >= self.t:
                return {}, end, None
        return self.facts.length(draw, self.t, self.exact)

    def first_level(self, f, start, w, before):
        """The level at which the curve of a phase begins."""
        if start is not None:
            return share(start, self.base)
        if before is None:
            return MP.mpf(1) if w else f(0)
        return before

    @staticmethod
    def line(low, high, w):
        return lambda s: low + (high - low) * s / w

    def follow(self, begin, end, f, to, whole):
        """Add the curve of a phase."""
        level, goal = self.level, None if to is None else share(to, self.base)
        self.segments.append((begin, end, lambda s: mapped(f, level, goal, s, whole)))
        if end is not None:
            self.level = mapped(f, level, goal, end - begin, whole)

    def value(self, t):
        """The multiplier of an update, in arbitrary precision."""
        if not self.segments:
            return self.level
        begin, end, f = [segment for segment in self.segments if segment[0] <= t][-1]
        return f(t - begin) if end is None or t < end else self.level

    def __repr__(self):
        return repr(self.spec())

    def spec(self, phases=None):
        return {"optimizer": {"name": "adamw", "lr": LR}, "scheduler": phases or self.phases, **self.sections}


@st.composite
def runs(draw, base=LR, *, begins_at_base=False):
    return Run(draw, base, begins_at_base)


repeatable = settings(derandomize=True, deadline=None)


@pytest.mark.no_cover
@settings(repeatable, max_examples=100)
@given(runs())
def test_every_update_has_the_value_of_its_phases_formula(run):
    f = curve(optreg.load_spec(run.spec()).scheduler)
    last = run.segments[-1][0] if run.t is None else run.t
    for t in range(last + 20):
        value, expected = f(t), run.value(t)
        assert math.isfinite(value)
        assert value >= 0
        assert abs(value - expected) <= 1e-12 * max(1, expected), f"update {t}: {value} instead of {float(expected)}"


@pytest.mark.no_cover
@settings(repeatable, max_examples=100)
@given(runs())
def test_the_levels_that_are_stated_are_met_to_the_last_bit(run):
    f = curve(optreg.load_spec(run.spec()).scheduler)
    for t, said in [*run.starts.items(), *run.ends.items()]:
        meant = LR * float(SHARES[said]) if said in SHARES else said
        assert abs(LR * f(t) - meant) <= math.ulp(meant), f"update {t}, {said}"


@pytest.mark.no_cover
@settings(repeatable, max_examples=100)
@given(runs())
def test_a_phase_without_from_begins_at_the_very_value_where_the_one_before_ended(run):
    f = curve(optreg.load_spec(run.spec()).scheduler)
    for index, t in run.joints.items():
        before = curve(optreg.load_spec(run.spec(run.phases[:index])).scheduler)
        assert before(t + 5) == before(t) == f(t)


def built(spec):
    """A run on one parameter, whose gradient is always 1."""
    run = optreg.build(spec, torch.nn.Linear(1, 1, bias=False))
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    return run


def step(run, count=1):
    for _ in range(count):
        run.optimizer.step()
        run.scheduler.step()


def driven(run):
    """What the groups hold of what is scheduled."""
    return [(group["lr"], group["weight_decay"], group["betas"]) for group in run.optimizer.param_groups]


@pytest.mark.no_cover
@settings(repeatable, max_examples=30)
@given(runs(), st.integers(0, 40))
def test_a_run_goes_on_after_any_resume_as_if_nothing_had_happened(run, k):
    spec = run.spec()
    whole = built(spec)
    step(whole, k)
    state = json.loads(json.dumps(whole.scheduler.state_dict()))
    resumed, jumped = built(spec), built(spec)
    resumed.optimizer.load_state_dict(whole.optimizer.state_dict())
    resumed.scheduler.load_state_dict(state)
    jumped.scheduler.step(k)
    again = curve(pickle.loads(pickle.dumps(optreg.load_spec(spec))).scheduler)
    others = [resumed, jumped, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))]
    for t in range(k, k + 4):
        assert [driven(other) for other in others] == [driven(whole)] * 4
        assert whole.optimizer.param_groups[0]["lr"] == LR * again(t)
        for each in (whole, *others):
            step(each)
    jumped.scheduler.step(0)
    assert driven(jumped) == driven(built(spec))


@pytest.mark.no_cover
@settings(repeatable, max_examples=100)
@given(runs(base=0.35, begins_at_base=True))
def test_a_hyperparameter_has_the_values_of_the_schedule_in_its_place(run):
    """Its first level is what 100% is; the rates are not touched."""
    spec = {**run.spec(), "optimizer": {"name": "adamw", "lr": LR, "weight_decay": run.phases}}
    del spec["scheduler"]
    whole = built(spec)
    last = run.segments[-1][0] if run.t is None else run.t
    for t in range(last + 3):
        value, expected = whole.optimizer.param_groups[0]["weight_decay"], 0.35 * run.value(t)
        assert abs(value - expected) <= 1e-12 * max(1, expected), f"update {t}: {value} instead of {float(expected)}"
        assert whole.optimizer.param_groups[0]["lr"] == LR
        step(whole)


SEVERAL = {
    "optimizer": {
        "name": "adamw",
        "lr": LR,
        "betas": [{"name": "linear", "from": 0.85, "to": 0.95, "for": 10}, 0.95],
        "weight_decay": {"name": "cosine", "from": 0.04, "to": 0.2},
    },
    "groups": [
        {"match": "*bias", "lr": [{"name": "linear", "from": 0, "to": 0.3, "for": 5}, {"name": "constant"}]},
        {
            "match": "1.*",
            "betas": [0.9, {"name": "linear", "from": 0.9, "to": 0.99, "until": "50%"}],
            "weight_decay": 0.1,
        },
    ],
    "scheduler": [{"name": "cosine", "warmup_steps": 4, "for": 16, "to": "10%"}, {"name": "linear", "to": 0}],
    "horizon": 24,
}


def several():
    run = optreg.build(SEVERAL, torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)))
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    return run


def test_schedules_of_several_hyperparameters_in_several_groups_have_the_values_worked_out_by_hand():
    run = several()
    groups = {tuple(group["param_names"]): group for group in run.optimizer.param_groups}
    plain, biases, second = groups["0.weight",], groups["0.bias",], groups["1.weight",]
    assert groups["1.bias",]["lr"] == biases["lr"] == 0

    def near(value):
        return pytest.approx(value, rel=1e-12, abs=1e-15)

    for t in range(30):
        half = 0.5 * (1 + math.cos(math.pi * (min(t, 16) - 4) / 12))
        rate = LR * (t / 4 if t < 4 else 0.1 + 0.9 * half if t < 16 else 0.1 * max(24 - t, 0) / 8)
        decay = 0.2 + (0.04 - 0.2) * 0.5 * (1 + math.cos(math.pi * min(t, 24) / 24))
        assert (plain["lr"], second["lr"]) == (near(rate), near(rate))
        assert biases["lr"] == groups["1.bias",]["lr"] == near(0.3 * min(t, 5) / 5)
        assert plain["betas"] == biases["betas"] == (near(0.85 + 0.1 * min(t, 10) / 10), 0.95)
        assert second["betas"] == groups["1.bias",]["betas"] == (0.9, near(0.9 + 0.09 * min(t, 12) / 12))
        assert plain["weight_decay"] == biases["weight_decay"] == near(decay)
        assert second["weight_decay"] == 0.1
        step(run)


@pytest.mark.parametrize("k", range(0, 30, 4))
def test_schedules_of_several_hyperparameters_resume_from_one_integer(k):
    whole = several()
    step(whole, k)
    state = copy.deepcopy(whole.state_dict())
    state["scheduler"] = json.loads(json.dumps(state["scheduler"]))
    resumed, turned, jumped = several(), several(), several()
    step(resumed, 3)
    resumed.load_state_dict(state)
    turned.scheduler.load_state_dict(state["scheduler"])
    turned.optimizer.load_state_dict(state["optimizer"])
    jumped.scheduler.step(k)
    others = [resumed, turned, jumped, copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))]
    for _ in range(3):
        assert [driven(other) for other in others] == [driven(whole)] * 5
        for each in (whole, *others):
            step(each)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("scheduler", 0, "to"), "20%", "scheduler.phases"),
        (("scheduler", 1, "name"), "cosine", "scheduler.phases"),
        (("optimizer", "weight_decay", "to"), 0.3, "the schedule of weight_decay"),
        (("groups", 1, "betas", 1, "until"), "60%", r"the schedule of betas\[1\]"),
        (("horizon",), 25, "the schedule of weight_decay"),
    ],
)
def test_the_checkpoint_of_other_phases_is_refused_in_words(place, value, words):
    other = copy.deepcopy(SEVERAL)
    holder = other
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    run = optreg.build(other, torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)))
    with pytest.raises(optreg.ResumeError, match=words):
        run.load_state_dict(several().state_dict())
    followed = optreg.build(
        other, torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)), on_resume={"schedule": "follow"}
    )
    whole = several()
    step(whole, 9)
    followed.load_state_dict(whole.state_dict())
    run = optreg.build(other, torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)))
    run.scheduler.step(9)
    assert driven(followed) == driven(run)


@pytest.mark.no_cover
@settings(repeatable, max_examples=50)
@given(runs())
def test_what_the_trainer_gives_is_as_good_as_what_the_spec_states(run):
    stated = optreg.load_spec(run.spec())
    left = optreg.load_spec({**run.spec(), **dict.fromkeys(run.sections, "trainer")})
    assert optreg.load_spec(left.as_dict()) == left
    given_at_build = optreg.load_spec(left, facts=run.sections)
    assert given_at_build.open == set()
    assert curve(given_at_build.scheduler) == curve(stated.scheduler)


THIRD_PARTY = """
    from dataclasses import dataclass
    from optreg import Fraction, Positive, PositiveSteps, PureSchedule, SchedulePlugin, ScheduleTraits, hookimpl

    @dataclass
    class Reference:
        'One sentence.'
        horizon: PositiveSteps
        high: Fraction
        low: Positive

    class Parabola(PureSchedule):
        reference = Reference

        @staticmethod
        def multiplier(t, *, horizon, high, low):
            return low + (high - low) * (1 - min(t / horizon, 1)) ** 2

    @hookimpl
    def optreg_schedulers():
        return [SchedulePlugin(name="parabola", implementation="parabola:Parabola", reference=Reference,
                               traits=ScheduleTraits(end="horizon", levels=("high", "low")))]
"""


def test_a_third_partys_schedule_is_a_phase_between_any_levels_whatever_the_ranges_of_its_own(site):
    site.install("parabola", THIRD_PARTY, group="optreg.schedulers", names=["parabola"])
    phases = [
        {"name": "parabola", "for": 4, "to": "150%"},
        {"name": "parabola", "horizon": 4, "to": 0},
        {"name": "parabola", "from": 3 * LR, "for": 2, "horizon": 4, "to": "100%"},
    ]
    f = curve(optreg.load_spec({"optimizer": {"name": "adamw", "lr": LR}, "scheduler": phases}).scheduler)
    rise = [1 + 0.5 * (1 - (1 - s / 4) ** 2) for s in range(4)]
    fall = [1.5 * (1 - s / 4) ** 2 for s in range(4)]
    cut = [1 + 2 * (1 - s / 4) ** 2 for s in range(3)]
    assert [f(t) for t in range(12)] == pytest.approx([*rise, *fall, *cut, cut[-1]], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([{"name": "linear", "for": 0, "to": "50%"}, {"name": "linear", "for": 2, "to": 0}], [0.5, 0.25, 0, 0]),
        ([{"name": "linear", "for": 2, "to": "50%"}, {"name": "cosine", "for": 0, "to": "20%"}], [1, 0.75, 0.2, 0.2]),
        ([{"name": "linear", "for": 2, "to": "50%"}, {"name": "constant", "from": "30%", "for": 0}], [1, 0.75, 0.3, 0.3]),
        ([{"name": "linear", "for": 0, "to": "50%"}], [0.5, 0.5]),
        ([{"name": "cosine", "for": 2, "to": 0, "warmup_steps": 2}], [0, 0.5, 0, 0]),
        ([{"name": "linear", "for": 0, "total_steps": 4, "to": 0}, {"name": "constant"}], [1, 1]),
        ([{"name": "linear", "for": 3, "total_steps": 2}, {"name": "constant"}], [1, 0.5, 0, 0]),
    ],
)  # fmt: skip
def test_a_phase_of_no_updates_jumps_to_where_it_would_end(phases, expected):
    f = curve(optreg.load_spec({"optimizer": {"name": "adamw", "lr": LR}, "scheduler": phases}).scheduler)
    assert [f(t) for t in range(len(expected))] == pytest.approx(expected, rel=1e-12)


def test_lengths_among_the_settings_of_a_phase_count_from_its_beginning_or_back_from_its_end():
    """The batch grows from 1 token to 2 at update 10: 50 tokens end at update 30, and the last 10 begin at update 25."""
    spec = {
        "optimizer": {"name": "adamw", "lr": LR},
        "batch": [{"size": "1 token", "until": 10}, {"size": "2 tokens"}],
        "horizon": "70 tokens",
        "scheduler": [
            {"name": "multistep", "milestones": ["4 tokens", 9], "gamma": 0.5, "for": "10 tokens"},
            {"name": "multistep", "milestones": ["4 tokens", 9], "gamma": 0.5, "from": "100%", "until": 20},
            {"name": "wsd", "decay_steps": "10 tokens", "decay": "linear", "from": "100%", "until": "50 tokens"},
            {"name": "wsd", "decay_steps": "10%", "decay": "linear", "from": "100%"},
        ],
    }
    f = curve(optreg.load_spec(spec).scheduler)
    steps = [1] * 4 + [0.5] * 5 + [0.25] + [1] * 2 + [0.5] * 7 + [0.25]
    first = [1] * 5 + [1 - s / 5 for s in range(5)]
    last = [1] * 7 + [1 - s / 3 for s in range(3)] + [0, 0]  # 7 tokens before the end lie within update 36
    assert [f(t) for t in range(42)] == pytest.approx([*steps, *first, *last], rel=1e-12, abs=1e-15)
    alone = {
        **spec,
        "scheduler": {"name": "wsd", "decay_steps": "20 tokens", "decay": "linear", "warmup_steps": "12 tokens"},
    }
    assert dict(optreg.load_spec(alone).scheduler.pairs) | {"decay": 0, "min_lr_ratio": 0} == {
        "total_steps": 40, "decay_steps": 10, "warmup_steps": 11, "decay": 0, "min_lr_ratio": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SEVERAL, "a list of phases cannot be stretched, because hyperparameters follow schedules of their own"),
        (
            {"optimizer": {"name": "adamw", "weight_decay": {"name": "cosine", "from": 0.1, "for": 3}}},
            "the run cannot be stretched, because hyperparameters follow schedules of their own; choose follow or branch",
        ),
        ({"optimizer": {"name": "adamw"}}, "a run without a schedule cannot be stretched, because it has no end"),
        (
            {"optimizer": {"name": "adamw"}, "scheduler": [{"name": "cosine", "for": 3}]},
            "a list of phases cannot be stretched, because each has its own end",
        ),
    ],
)
def test_what_has_no_single_end_is_not_stretched(spec, message):
    model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Linear(2, 1))
    with pytest.raises(optreg.SpecError) as caught:
        optreg.build(spec, model, on_resume={"schedule": "stretch"})
    assert message in str(caught.value)
