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
        ("wsd", {"total_steps": 6, "decay_steps": 2, "decay": "linear"}, [1, 1, 1, 1, 1, 0.5, 0, 0]),
        (
            "wsd",
            {"warmup_steps": 2, "total_steps": 7, "decay_steps": 4, "decay": "exponential", "min_lr_ratio": 1 / 16},
            [0, 0.5, 1, 1, 0.5, 0.25, 0.125, 1 / 16, 1 / 16],
        ),
        (
            "wsd",
            {"total_steps": 4, "decay_steps": 4, "decay": "1-sqrt"},
            [1, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0],
        ),
        ("wsd", {"total_steps": 2, "decay_steps": 2, "decay": "cosine", "min_lr_ratio": 0.5}, [1, 0.75, 0.5]),
        ("wsd", {"total_steps": 2, "decay_steps": 2, "decay": "inverse", "min_lr_ratio": 0.25}, [1, 0.4, 0.25]),
        ("wsd", {"total_steps": 1, "decay_steps": 1, "decay": "linear"}, [1, 0, 0]),
        (
            "wsd_s",
            {"warmup_steps": 2, "total_steps": 9, "restarts": [5], "decay_steps": 2, "decay": "linear"},
            [0, 0.5, 1, 1, 0.5, 1, 1, 1, 0.5, 0, 0],
        ),
        (
            "tri_stage",
            {"warmup_steps": 2, "total_steps": 6, "decay_steps": 2, "init_lr_ratio": 0.5, "min_lr_ratio": 0.25},
            [0.5, 0.75, 1, 1, 1, 0.5, 0.25, 0.25],
        ),
        ("tri_stage", {"warmup_steps": 0, "total_steps": 1, "decay_steps": 1}, [1, 0.01, 0.01]),
        (
            "one_cycle",
            {"warmup_steps": 2, "total_steps": 4, "div_factor": 4.0, "final_div_factor": 2.0},
            [0.25, 0.625, 1, 0.5625, 0.125, 0.125],
        ),
        (
            "one_cycle",
            {"warmup_steps": 4, "total_steps": 8, "curve": "linear", "div_factor": 2.0, "final_div_factor": 1.0},
            [0.5, 0.625, 0.75, 0.875, 1, 0.875, 0.75, 0.625, 0.5, 0.5],
        ),
        (
            "one_cycle",
            {"warmup_steps": 1, "total_steps": 1, "div_factor": 2.0, "final_div_factor": 5.0},
            [0.5, 0.1, 0.1],
        ),
        ("inverse_sqrt", {"timescale": 4, "warmup_steps": 2}, [0, 0.5, 1, math.sqrt(4 / 5), math.sqrt(4 / 6)]),
        ("inverse_sqrt", {"timescale": 3, "hold_steps": 2}, [1, 1, 1, math.sqrt(3 / 4)]),
        (
            "inverse_sqrt",
            {"timescale": 1, "cooldown_steps": 2, "total_steps": 5, "min_lr_ratio": 0.1},
            [1, math.sqrt(1 / 2), math.sqrt(1 / 3), 0.5, 0.3, 0.1, 0.1],
        ),
        ("inverse_sqrt", {"timescale": 1, "total_steps": 3}, [1, math.sqrt(1 / 2), math.sqrt(1 / 3), 0.5, 0.5]),
        ("inverse_sqrt", {"timescale": 1, "min_lr_ratio": 0.75}, [1, 0.75, 0.75]),
        ("power", {"timescale": 2, "exponent": 2.0}, [1, 1, 1, 4 / 9, 0.25]),
        ("power", {"timescale": 1, "exponent": 1.0, "warmup_steps": 4}, [0, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 1 / 5]),
        (
            "power",
            {"timescale": 1, "exponent": 1.0, "total_steps": 4, "decay_steps": 2},
            [1, 1, 0.5, 0.25, 0, 0],
        ),
        (
            "power",
            {
                "timescale": 1,
                "exponent": 1.0,
                "total_steps": 4,
                "decay_steps": 2,
                "decay": "exponential",
                "min_lr_ratio": 0.125,
            },
            [1, 1, 0.5, 0.25, 0.125, 0.125],
        ),
        ("power", {"timescale": 1, "exponent": 1.0, "total_steps": 2}, [1, 1, 0.5, 0.5]),
        ("cosine_restarts", {"period": 2}, [1, 0.5, 1, 0.5, 1]),
        (
            "cosine_restarts",
            {"period": 2, "growth": 2, "peak_decay": 0.5, "min_lr_ratio": 0.1},
            [1, 0.55, 0.5, 0.1 + 0.4 * (1 + math.sqrt(0.5)) / 2, 0.3, 0.1 + 0.4 * (1 - math.sqrt(0.5)) / 2, 0.25],
        ),
        ("cosine_restarts", {"period": 1, "peak_decay": 0.5, "min_lr_ratio": 0.25}, [1, 0.5, 0.25, 0.25]),
        ("multistep", {"milestones": [2, 4], "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("multistep", {"milestones": [3, 1, 1], "gamma": 0.5}, [1, 0.25, 0.25, 0.125]),
        ("step", {"step_size": 2, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25]),
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
        *(("wsd", {"decay_steps": 6, "decay": decay}) for decay in ("linear", "cosine", "1-sqrt")),
        *(("wsd", {"decay_steps": 7, "decay": decay, "min_lr_ratio": 1e-9}) for decay in ("exponential", "inverse")),
        ("wsd_s", {"restarts": [3], "decay_steps": 3, "decay": "1-sqrt"}),
        ("tri_stage", {"warmup_steps": 2, "decay_steps": 5, "min_lr_ratio": 1e-12}),
        ("one_cycle", {"warmup_steps": 3, "final_div_factor": 1e12}),
        ("inverse_sqrt", {"timescale": 2, "hold_steps": 2, "cooldown_steps": 3}),
        ("power", {"timescale": 2, "decay_steps": 3, "decay": "cosine"}),
        ("power", {"timescale": 2, "decay_steps": 3, "decay": "inverse", "min_lr_ratio": 1e-9}),
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
        (
            "wsd",
            {"warmup_steps": 3, "total_steps": 10, "decay_steps": 4, "decay": decay, "min_lr_ratio": r},
            {0: 0.0, 3: 1.0, 6: 1.0, 10: r},
        )
        for r in RATIOS
        for decay in ("linear", "cosine", "1-sqrt", *(("exponential", "inverse") if r else ()))
    ),
    *(
        (
            "tri_stage",
            {"warmup_steps": 3, "total_steps": 10, "decay_steps": 4, "init_lr_ratio": r, "min_lr_ratio": r or 0.2},
            {0: r, 3: 1.0, 6: 1.0, 10: r or 0.2},
        )
        for r in RATIOS
    ),
    *(
        (
            "one_cycle",
            {"warmup_steps": 3, "total_steps": 10, "curve": curve, "div_factor": d, "final_div_factor": d},
            {0: 1 / d, 3: 1.0, 10: 1 / d / d},
        )
        for curve in ("cosine", "linear")
        for d in (1.0, 2.0, 3.0, 25.0, 1e4)
    ),
    *(
        (
            "inverse_sqrt",
            {
                "timescale": 5,
                "warmup_steps": 2,
                "hold_steps": 3,
                "cooldown_steps": 3,
                "total_steps": 12,
                "min_lr_ratio": r,
            },
            {0: 0.0, 2: 1.0, 5: 1.0, 12: r},
        )
        for r in RATIOS
    ),
    *(
        (
            "power",
            {"timescale": 4, "warmup_steps": 2, "decay_steps": 3, "decay": decay, "total_steps": 12, "min_lr_ratio": r},
            {0: 0.0, 2: 1.0, 4: 1.0, 12: r},
        )
        for r in RATIOS
        for decay in ("linear", "cosine", "1-sqrt", *(("exponential", "inverse") if r else ()))
    ),
    ("multistep", {"milestones": [2, 5], "gamma": 0.5}, {0: 1.0, 1: 1.0, 2: 0.5, 5: 0.25}),
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
        (
            "wsd",
            {"total_steps": 5, "decay_steps": 0, "decay": "linear"},
            "decay_steps must be greater than or equal to 1",
        ),
        ("wsd", {"total_steps": 5, "decay_steps": 5, "decay": "sqrt"}, "decay must be 'linear', 'cosine', '1-sqrt'"),
        (
            "wsd",
            {"warmup_steps": 3, "total_steps": 5, "decay_steps": 3, "decay": "linear"},
            r"warmup_steps \(3\) and decay_steps \(3\) must not be more than total_steps \(5\) together",
        ),
        *(
            (
                "wsd",
                {"total_steps": 5, "decay_steps": 2, "decay": decay},
                f"'{decay}' never reaches 0; set min_lr_ratio",
            )
            for decay in ("exponential", "inverse")
        ),
        ("power", {"timescale": 5, "decay": "inverse"}, "'inverse' never reaches 0; set min_lr_ratio"),
        (
            "wsd_s",
            {"total_steps": 9, "restarts": [5, 4], "decay_steps": 2, "decay": "linear"},
            r"the cycle from update 5 to 4 must have room for decay_steps \(2\)",
        ),
        (
            "wsd_s",
            {"total_steps": 9, "restarts": [8], "decay_steps": 2, "decay": "linear"},
            r"the cycle from update 8 to 9 must have room",
        ),
        ("wsd_s", {"total_steps": 9, "restarts": [], "decay_steps": 2, "decay": "linear"}, "restarts must"),
        (
            "tri_stage",
            {"warmup_steps": 4, "total_steps": 5, "decay_steps": 2},
            r"must not be more than total_steps \(5\)",
        ),
        (
            "tri_stage",
            {"warmup_steps": 1, "total_steps": 5, "decay_steps": 2, "min_lr_ratio": 0.0},
            "min_lr_ratio must be greater than 0",
        ),
        ("one_cycle", {"warmup_steps": 6, "total_steps": 5}, r"warmup_steps \(6\) must not be more than total_steps"),
        (
            "one_cycle",
            {"warmup_steps": 1, "total_steps": 5, "div_factor": 0.5},
            "div_factor must be greater than or equal",
        ),
        ("inverse_sqrt", {"timescale": 0}, "timescale must be greater than or equal to 1"),
        (
            "inverse_sqrt",
            {"timescale": 5, "cooldown_steps": 2},
            r"cooldown_steps \(2\) lead to the end.*add total_steps",
        ),
        (
            "inverse_sqrt",
            {"timescale": 5, "warmup_steps": 2, "hold_steps": 2, "cooldown_steps": 2, "total_steps": 5},
            r"warmup_steps \(2\), hold_steps \(2\) and cooldown_steps \(2\) must not be more than total_steps \(5\)",
        ),
        ("power", {"timescale": 5, "decay_steps": 2}, r"decay_steps \(2\) lead to the end.*add total_steps"),
        ("power", {"timescale": 5, "exponent": 0.0}, "exponent must be greater than 0"),
        ("cosine_restarts", {"period": 0}, "period must be greater than or equal to 1"),
        ("cosine_restarts", {"period": 3, "growth": 1.5}, "growth must be"),
        ("cosine_restarts", {"period": 3, "peak_decay": 0.0}, "peak_decay must be greater than 0"),
        ("multistep", {"milestones": []}, "milestones must"),
        ("multistep", {"milestones": [0]}, r"milestones\[0\] must be greater than or equal to 1"),
        ("step", {"step_size": 0}, "step_size must be greater than or equal to 1"),
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
        "    if entry.name.startswith('torch.'): continue\n"
        "    found = registry.scheduler(entry.qualified)\n"
        "    if found.plugin.traits.driven_by == 'step': found.implementation()\n"
        "registry.scheduler('cosine').implementation()(total_steps=5)(3)\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
