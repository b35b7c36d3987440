"""Every first-party schedule against its formula at 50 digits, and against values worked out by hand."""

import dataclasses
import itertools
import math
import subprocess
import sys

import mpmath
import pytest

import optreg

MP = mpmath.mp.clone()
MP.dps = 50

CORNERS = {
    "constant": [{}, {"factor": 0.0}, {"factor": 0.3}],
    "linear": [
        {"total_steps": T, "start_factor": a, "end_factor": b}
        for T in (1, 2, 7, 100_000)
        for a, b in ((1.0, 0.0), (0.1, 1.0), (0.3, 0.3), (0.0, 2.0))
    ],
    "linear_warmup": [{"warmup_steps": W} for W in (0, 1, 2, 7, 1000)],
    "cosine": [{"total_steps": T, "min_lr_ratio": r} for T in (1, 2, 7, 100_000, 10**7) for r in (0.0, 0.1, 1.0)],
    "warmup_cosine": [
        {"warmup_steps": W, "total_steps": T, "min_lr_ratio": r}
        for W, T in ((0, 1), (1, 1), (0, 7), (1, 7), (6, 7), (7, 7), (2000, 100_000), (0, 100_000), (2000, 10**7))
        for r in (0.0, 0.1, 1.0)
    ],
    "polynomial": [
        {"total_steps": T, "power": p, "min_lr_ratio": r}
        for T in (1, 2, 7, 100_000)
        for p in (0.5, 1.0, 2.0, 3.7)
        for r in (0.0, 0.1, 1.0)
    ],
    "exponential": [{"gamma": 0.5}, {"gamma": 0.999}, {"gamma": 1.0}],
}
CASES = [(name, settings) for name, corners in CORNERS.items() for settings in corners]


def make(name, settings):
    """The schedule and its reference, as the registry gives them."""
    registration = optreg.default_registry().scheduler(name)
    return registration.implementation()(**settings), registration.plugin.reference(**settings)


def telling_steps(settings):
    """t = 0 ... T + 20; of a long horizon the start, both sides of each joint and a sample of the rest."""
    horizon = max(settings.get("total_steps", 0), settings.get("warmup_steps", 0))
    if horizon <= 1000:
        return range(horizon + 21)
    joints = [0, settings.get("warmup_steps", 0), horizon]
    near = {t for joint in joints for t in range(max(joint - 20, 0), joint + 21)}
    return sorted(near | set(range(0, horizon, max(horizon // 100, 1))))


def bounds(settings):
    """The least and the greatest value that the schedule may take, exactly."""
    if "factor" in settings:
        return settings["factor"], settings["factor"]
    if "start_factor" in settings:
        return tuple(sorted((settings["start_factor"], settings["end_factor"])))
    return (0.0 if "warmup_steps" in settings else settings.get("min_lr_ratio", 0.0)), 1.0


def test_every_installed_first_party_schedule_is_tested_here():
    installed = [
        entry.name
        for entry in optreg.default_registry().entries("scheduler")
        if entry.distribution == "optreg" and not entry.name.startswith("torch.")  # judged in test_torch_optim
    ]
    assert sorted(CORNERS) == sorted(installed)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_schedule_follows_its_formula_to_twelve_digits(name, settings):
    schedule, reference = make(name, settings)
    for t in telling_steps(settings):
        expected = reference.multiplier(t, MP)
        assert abs(MP.mpf(schedule(t)) - expected) <= MP.mpf("1e-12") * abs(expected), f"{name} {settings} at t = {t}"


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_schedule_stays_within_its_bounds_and_stays_put_after_its_end(name, settings):
    schedule, _ = make(name, settings)
    lowest, highest = bounds(settings)
    assert lowest >= 0
    for t in telling_steps(settings):
        assert lowest <= schedule(t) <= highest, f"{name} {settings} at t = {t}"
    if "total_steps" in settings:
        end = settings["total_steps"]
        assert {schedule(end + k) for k in (0, 1, 20, 10**6)} == {schedule(end)}


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("constant", {}, [1, 1, 1]),
        ("constant", {"factor": 0.25}, [0.25, 0.25]),
        ("linear", {"total_steps": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ("linear", {"total_steps": 2, "start_factor": 0.5, "end_factor": 2.0}, [0.5, 1.25, 2, 2]),
        ("linear_warmup", {"warmup_steps": 4}, [0, 0.25, 0.5, 0.75, 1, 1]),
        ("linear_warmup", {"warmup_steps": 0}, [1, 1]),
        ("cosine", {"total_steps": 2, "min_lr_ratio": 0.5}, [1, 0.75, 0.5, 0.5]),
        ("cosine", {"total_steps": 1}, [1, 0, 0]),
        (
            "warmup_cosine",
            {"warmup_steps": 2, "total_steps": 6, "min_lr_ratio": 0.0},
            [0, 0.5, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0],
        ),
        ("warmup_cosine", {"warmup_steps": 0, "total_steps": 1}, [1, 0.1, 0.1]),
        ("warmup_cosine", {"warmup_steps": 2, "total_steps": 2}, [0, 0.5, 0.1, 0.1]),
        ("polynomial", {"total_steps": 4, "power": 2.0}, [1, 0.5625, 0.25, 0.0625, 0, 0]),
        ("polynomial", {"total_steps": 2, "min_lr_ratio": 0.5}, [1, 0.75, 0.5, 0.5]),
        ("exponential", {"gamma": 0.5}, [1, 0.5, 0.25, 0.125]),
    ],
)
def test_a_schedule_has_the_values_worked_out_by_hand(name, settings, expected):
    schedule, _ = make(name, settings)
    assert [schedule(t) for t in range(len(expected))] == pytest.approx(expected, rel=1e-15, abs=1e-16)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.1, 1 / 3, 0.7, 1.0])
def test_peak_and_end_are_exact(ratio):
    warmup, _ = make("warmup_cosine", {"warmup_steps": 3, "total_steps": 10, "min_lr_ratio": ratio})
    assert (warmup(3), warmup(10)) == (1.0, ratio)
    for name in ("cosine", "polynomial"):
        schedule, _ = make(name, {"total_steps": 10, "min_lr_ratio": ratio})
        assert (schedule(0), schedule(10)) == (1.0, ratio)


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.3, 1 / 3, 0.4049341374504143, 1.0, 1e308])
@pytest.mark.parametrize("steps", [1, 3, 7, 20, 49])
def test_a_line_starts_and_ends_exactly_at_its_factors_and_never_leaves_them(steps, factor):
    for start, end in ((factor, 0.7837985890347726), (0.7837985890347726, factor), (factor, factor)):
        line, _ = make("linear", {"total_steps": steps, "start_factor": start, "end_factor": end})
        values = [line(t) for t in range(steps + 21)]
        assert values[0] == start
        assert set(values[steps:]) == {end}
        assert (min(values), max(values)) == (min(start, end), max(start, end))


@pytest.mark.parametrize("W", [0, 1, 2, 3, 49, 1000])
def test_a_warm_up_starts_at_zero_and_is_exactly_one_from_its_joint_on(W):
    level, _ = make("linear_warmup", {"warmup_steps": W})
    assert level(0) == (0.0 if W else 1.0)
    assert all(level(t) < 1.0 for t in range(W))
    assert {level(W + k) for k in (0, 1, 20, 10**6)} == {1.0}
    peaked, _ = make("warmup_cosine", {"warmup_steps": W, "total_steps": W + 5, "min_lr_ratio": 0.1})
    assert (peaked(0), peaked(W)) == (0.0 if W else 1.0, 1.0)
    assert all(peaked(t) < 1.0 for t in range(W + 26) if t != W)


def test_a_warm_up_as_long_as_the_run_ends_at_the_floor():
    schedule, _ = make("warmup_cosine", {"warmup_steps": 4, "total_steps": 4, "min_lr_ratio": 0.1})
    assert [schedule(t) for t in (0, 3, 4, 5, 24)] == [0.0, 0.75, 0.1, 0.1, 0.1]


def test_a_constant_is_its_factor_and_an_exponential_starts_at_one_and_falls_for_ever():
    constant, _ = make("constant", {"factor": 0.3})
    assert {constant(t) for t in (0, 1, 10**6)} == {0.3}
    exponential, _ = make("exponential", {"gamma": 0.9})
    values = [exponential(t) for t in range(200)]
    assert values[0] == 1.0
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    assert exponential(10**6) == 0.0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("constant", {"factor": 0.3}),
        ("linear", {"total_steps": 20}),
        ("linear_warmup", {"warmup_steps": 20}),
        ("cosine", {"total_steps": 20}),
        ("warmup_cosine", {"warmup_steps": 5, "total_steps": 20}),
        ("polynomial", {"total_steps": 20, "power": 2.0}),
        ("exponential", {"gamma": 0.9}),
    ],
)
def test_a_schedule_remembers_nothing(name, settings):
    schedule, _ = make(name, settings)
    steps = range(30)
    first = [schedule(t) for t in steps]
    assert [schedule(t) for t in reversed(steps)] == first[::-1]
    assert [make(name, settings)[0](t) for t in steps] == first


@pytest.mark.parametrize(("name", "settings"), [(name, corners[0]) for name, corners in CORNERS.items()])
def test_a_schedule_has_the_fields_and_defaults_of_its_reference_and_cannot_be_changed(name, settings):
    schedule, reference = make(name, settings)
    ours, theirs = dataclasses.fields(schedule), dataclasses.fields(reference)
    assert [(field.name, field.default) for field in ours] == [(field.name, field.default) for field in theirs]
    for field in ours:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(schedule, field.name, 1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("constant", {"factor": -1.0}, "factor must be greater than or equal to 0"),
        ("linear", {"total_steps": 0}, "total_steps must be greater than or equal to 1"),
        ("constant", {"factor": math.inf}, "factor must be"),
        ("constant", {"factor": math.nan}, "factor must be"),
        ("linear", {"total_steps": 2.5}, "total_steps must be"),
        ("linear", {"total_steps": 5, "start_factor": -0.1}, "start_factor must be greater than or equal to 0"),
        ("linear", {"total_steps": 5, "end_factor": -0.1}, "end_factor must be greater than or equal to 0"),
        ("linear_warmup", {"warmup_steps": True}, "warmup_steps must be"),
        ("cosine", {"total_steps": 0}, "total_steps must be greater than or equal to 1"),
        ("cosine", {"total_steps": 5, "min_lr_ratio": -0.1}, "min_lr_ratio must be greater than or equal to 0"),
        ("warmup_cosine", {"warmup_steps": -1, "total_steps": 5}, "warmup_steps must be greater than or equal to 0"),
        ("warmup_cosine", {"warmup_steps": 0, "total_steps": 0}, "total_steps must be greater than or equal to 1"),
        ("polynomial", {"total_steps": 0}, "total_steps must be greater than or equal to 1"),
        ("polynomial", {"total_steps": 5, "min_lr_ratio": 1.1}, "min_lr_ratio must be less than or equal to 1"),
        ("exponential", {"gamma": 0.0}, "gamma must be greater than 0"),
        ("linear_warmup", {"warmup_steps": -1}, "warmup_steps must be greater than or equal to 0"),
        ("cosine", {"total_steps": 5, "min_lr_ratio": 1.5}, "min_lr_ratio must be less than or equal to 1"),
        ("warmup_cosine", {"warmup_steps": 6, "total_steps": 5}, r"warmup_steps \(6\) must not be more than"),
        ("polynomial", {"total_steps": 5, "power": 0.0}, "power must be greater than 0"),
        ("exponential", {"gamma": 1.1}, "gamma must be less than or equal to 1"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        optreg.default_registry().scheduler(name).implementation()(**settings)


def test_evaluating_schedules_imports_no_torch():
    code = (
        "import sys, optreg\n"
        "registry = optreg.default_registry()\n"
        f"assert len(registry.entries('scheduler')) >= {len(CORNERS)}\n"
        "for entry in registry.entries('scheduler'):\n"
        "    if entry.name.startswith('torch.'): continue\n"
        "    registry.scheduler(entry.qualified).implementation()\n"
        "registry.scheduler('cosine').implementation()(total_steps=5)(3)\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
