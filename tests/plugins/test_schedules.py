"""The first-party schedules, beyond what the conformance suite asks of every one: hand-worked and exact values."""

import math
import subprocess
import sys

import mpmath
import pytest

import optreg

MP = mpmath.mp.clone()
MP.dps = 50


def make(name, settings):
    """The schedule, as the registry gives it."""
    return optreg.default_registry().scheduler(name).implementation()(**settings)


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
    schedule = make(name, settings)
    assert [schedule(t) for t in range(len(expected))] == pytest.approx(expected, rel=1e-15, abs=1e-16)


@pytest.mark.parametrize("total_steps", [7, 100_000, 10**7])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("warmup_cosine", {"warmup_steps": 3, "min_lr_ratio": 0.0}),
        ("polynomial", {"power": 0.5}),
        ("polynomial", {"power": 3.7}),
    ],
)
def test_a_curve_that_ends_at_zero_has_twelve_digits_up_to_its_end(name, settings, total_steps):
    settings = {**settings, "total_steps": total_steps}
    schedule, formula = make(name, settings), optreg.default_registry().scheduler(name).plugin.reference(**settings)
    for t in sorted({*range(total_steps)[:20], *range(total_steps)[-20:], *range(0, total_steps, total_steps // 7)}):
        expected = formula.multiplier(t, MP)
        assert abs(MP.mpf(schedule(t)) - expected) <= MP.mpf("1e-12") * abs(expected), f"t = {t}"


RATIOS = [0.0, 0.05, 0.1, 1 / 3, 0.7, 1.0]
FACTORS = [0.0, 0.1, 0.3, 1 / 3, 0.4049341374504143, 1.0, 1e308]
EXACT = [
    ("constant", {"factor": 0.3}, {0: 0.3}),
    *(("cosine", {"total_steps": 10, "min_lr_ratio": r}, {0: 1.0, 10: r}) for r in RATIOS),
    *(("polynomial", {"total_steps": 10, "min_lr_ratio": r}, {0: 1.0, 10: r}) for r in RATIOS),
    *(
        ("warmup_cosine", {"warmup_steps": 3, "total_steps": 10, "min_lr_ratio": r}, {0: 0.0, 3: 1.0, 10: r})
        for r in RATIOS
    ),
    ("warmup_cosine", {"warmup_steps": 0, "total_steps": 10, "min_lr_ratio": 0.1}, {0: 1.0, 10: 0.1}),
    *(("linear_warmup", {"warmup_steps": W}, {0: 0.0, W: 1.0}) for W in (0, 1, 2, 3, 49, 1000)),
    *(
        ("linear", {"total_steps": T, "start_factor": a, "end_factor": b}, {0: a, T: b})
        for T in (1, 3, 7, 20, 49)
        for factor in FACTORS
        for a, b in ((factor, 0.7837985890347726), (0.7837985890347726, factor), (factor, factor))
    ),
]


@pytest.mark.parametrize(("name", "settings", "joints"), EXACT)
def test_a_curve_is_exact_at_its_joints_never_leaves_them_and_stays_at_the_last(name, settings, joints):
    schedule, end = make(name, settings), max(joints)
    assert {t: schedule(t) for t in joints} == joints
    assert all(min(joints.values()) <= schedule(t) <= max(joints.values()) for t in range(end))
    assert {schedule(end + k) for k in (0, 1, 20, 10**6)} == {joints[end]}


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
        make(name, settings)


def test_evaluating_schedules_imports_neither_torch_nor_numpy():
    code = (
        "import sys, optreg\n"
        "registry = optreg.default_registry()\n"
        "for entry in registry.entries('scheduler'):\n"
        "    if not entry.name.startswith('torch.'): registry.scheduler(entry.qualified).implementation()\n"
        "registry.scheduler('cosine').implementation()(total_steps=5)(3)\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
