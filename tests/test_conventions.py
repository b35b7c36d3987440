"""Conventions: the curves that other projects draw, by the one option, against their formulas.

Each formula below was written from the project's published source, which its docstring names.
"""

import math

import pytest
import torch

import optreg
from optreg.conventions import CONVENTIONS
from optreg.multipliers import curve, multiplier

HORIZONS = [(0, 40), (1, 40), (10, 40), (7, 23), (39, 40), (100, 1000)]
"""Updates of the warm-up, and of the whole run."""


def multipliers(count, **scheduler):
    """The multipliers of the first updates, as a spec builds them."""
    spec = optreg.load_spec({"optimizer": {"name": "adamw", "lr": 1.0}, "scheduler": scheduler})
    component = spec.scheduler
    f = multiplier(component.registration.implementation(), component)
    run = optreg.build(spec, torch.nn.Linear(1, 1))
    assert run.scheduler.schedule == f
    return [f(t) for t in range(count)]


def near(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-15)


# transformers: src/transformers/optimization.py, commit 005edac


def transformers_warmup(t, W):
    return t / max(1, W)


def transformers_linear(t, W, T):
    """get_linear_schedule_with_warmup"""
    return transformers_warmup(t, W) if t < W else max(0.0, (T - t) / max(1, T - W))


def transformers_cosine(t, W, T, r=0.0):
    """get_cosine_schedule_with_warmup; with a floor, get_cosine_with_min_lr_schedule_with_warmup"""
    if t < W:
        return transformers_warmup(t, W)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * (t - W) / max(1, T - W))) * (1 - r) + r)


def transformers_polynomial(t, W, T, end, power):
    """get_polynomial_decay_schedule_with_warmup, with a rate of 1"""
    if t < W:
        return transformers_warmup(t, W)
    return end if t > T else (1 - end) * (1 - (t - W) / (T - W)) ** power + end


def transformers_inverse_sqrt(t, W, timescale):
    """get_inverse_sqrt_schedule"""
    return transformers_warmup(t, W) if t < W else 1 / math.sqrt((t + timescale - W) / timescale)


def transformers_wsd(t, W, T, D, r, decay):
    """get_wsd_schedule, whose warm-up is a line and begins at the floor"""
    if t < W:
        return transformers_warmup(t, W) * (1 - r) + r
    if t < T - D:
        return 1.0
    if t >= T:
        return r
    part = (t - (T - D)) / D
    shapes = {"linear": 1 - part, "cosine": 0.5 * (1 + math.cos(math.pi * part)), "1-sqrt": 1 - math.sqrt(part)}
    return shapes[decay] * (1 - r) + r


def transformers_cosine_warmup_with_min_lr(t, W, T, r):
    """get_cosine_with_min_lr_schedule_with_warmup_lr_rate, without a warmup_lr_rate"""
    if t < W:
        return (t + 1) / max(1, W)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * (t - W + 1) / max(1, T - W))) * (1 - r) + r)


@pytest.mark.parametrize(("W", "T"), HORIZONS)
def test_transformers_linear(W, T):
    ours = multipliers(T + 20, name="linear", warmup_steps=W, total_steps=T, convention="transformers")
    assert ours == near([transformers_linear(t, W, T) for t in range(T + 20)])


@pytest.mark.parametrize(("W", "T"), HORIZONS)
@pytest.mark.parametrize("r", [0.0, 0.1])
def test_transformers_cosine_up_to_its_end_where_theirs_rises_again(W, T, r):
    settings = {"warmup_steps": W, "total_steps": T, "min_lr_ratio": r, "convention": "transformers"}
    theirs = [transformers_cosine(t, W, T, r) for t in range(T + 3)]
    for name in ("cosine", "warmup_cosine"):
        ours = multipliers(T + 3, name=name, **settings)
        assert ours[: T + 1] == near(theirs[: T + 1])
        assert ours[T + 1 :] == [r, r]
    assert max(theirs[T + 1 :]) > r


@pytest.mark.parametrize(("W", "T", "cycles"), [(0, 40, 1), (10, 40, 3), (7, 23, 4)])
def test_transformers_cosine_with_restarts_before_its_end(W, T, cycles):
    """get_cosine_with_hard_restarts_schedule_with_warmup"""

    def theirs(t):
        if t < W:
            return transformers_warmup(t, W)
        return 0.5 * (1 + math.cos(math.pi * (cycles * (t - W) / (T - W) % 1.0)))

    ours = multipliers(T, name="cosine_restarts", warmup_steps=W, period=(T - W) // cycles, convention="transformers")
    assert ours == near([theirs(t) for t in range(T)])


@pytest.mark.parametrize(("W", "T"), HORIZONS)
@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_transformers_polynomial(W, T, power):
    ours = multipliers(
        T + 20,
        name="polynomial",
        warmup_steps=W,
        total_steps=T,
        power=power,
        min_lr_ratio=1e-3,
        convention="transformers",
    )
    assert ours == near([transformers_polynomial(t, W, T, 1e-3, power) for t in range(T + 20)])


@pytest.mark.parametrize("W", [0, 1, 10])
def test_transformers_constant_with_warmup(W):
    ours = multipliers(30, name="constant", warmup_steps=W, convention="transformers")
    assert ours == near([min(1.0, t / W) if W else 1.0 for t in range(30)])


@pytest.mark.parametrize(("W", "timescale"), [(10, 10), (7, 100), (0, 10_000)])
def test_transformers_inverse_sqrt(W, timescale):
    ours = multipliers(200, name="inverse_sqrt", warmup_steps=W, timescale=timescale, convention="transformers")
    assert ours == near([transformers_inverse_sqrt(t, W, timescale) for t in range(200)])


@pytest.mark.parametrize("decay", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize(("W", "T", "D"), [(0, 40, 10), (10, 40, 30), (10, 40, 5), (7, 23, 1)])
def test_transformers_wsd_whose_warmup_begins_at_the_floor(W, T, D, decay):
    lengths = {"warmup_steps": W, "total_steps": T, "decay_steps": D}
    for r, way in ((0.0, {}), (0.1, {"warmup_from": "10%"}), (0.1, {"warmup_from": 0.1, "convention": "transformers"})):
        ours = multipliers(T + 20, name="wsd", decay=decay, min_lr_ratio=r, **lengths, **way)
        assert ours == near([transformers_wsd(t, W, T, D, r, decay) for t in range(T + 20)])


@pytest.mark.parametrize(("W", "T"), HORIZONS)
def test_transformers_cosine_warmup_with_min_lr_is_everything_one_update_earlier(W, T):
    ours = multipliers(T, name="cosine", warmup_steps=W, total_steps=T, min_lr_ratio=0.1, convention="olmo")
    assert ours == near([transformers_cosine_warmup_with_min_lr(t, W, T, 0.1) for t in range(T)])


# torchtitan: torchtitan/components/lr_scheduler.py, with the virtual last step that its version 0.2 has


def torchtitan(t, W, T, D, r, decay):
    """linear_warmup_stable_decay"""
    stable = T + 1 - W - D
    if t < W:
        return (t + 1) / W
    if t < W + stable:
        return 1.0
    part = (t + 1 - W - stable) / D
    shapes = {"linear": 1 - part, "cosine": 0.5 * (1 + math.cos(math.pi * part)), "1-sqrt": 1 - math.sqrt(part)}
    return r + (1 - r) * shapes[decay]


@pytest.mark.parametrize("decay", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize(("W", "T", "D"), [(0, 40, 10), (10, 40, 30), (10, 40, 5), (1, 23, 22)])
@pytest.mark.parametrize("r", [0.0, 0.1])
def test_torchtitan(W, T, D, r, decay):
    theirs = [torchtitan(t, W, T, D, r, decay) for t in range(T)]  # they make no update number T
    ours = {"warmup_steps": W, "total_steps": T, "min_lr_ratio": r, "convention": "torchtitan"}
    assert multipliers(T, name="wsd", decay=decay, decay_steps=D, **ours) == near(theirs)
    if W + D == T:  # they decay all the rest, as without a decay_ratio
        names = {"linear": "polynomial", "cosine": "cosine", "1-sqrt": "one_minus_sqrt"}
        assert multipliers(T, name=names[decay], **ours) == near(theirs)


# timm: timm/scheduler/cosine_lr.py, commit 16664ea


def timm(t, W, T, low, r, *, prefix):
    """CosineLRScheduler with one cycle and a rate of 1, once an update"""
    if t < W:
        return low + t * (1 - low) / W
    t = t - W if prefix else t
    return r + 0.5 * (1 - r) * (1 + math.cos(math.pi * t / T)) if t < T else r


@pytest.mark.parametrize(("W", "T"), HORIZONS)
@pytest.mark.parametrize(("low", "r"), [(0.0, 0.0), (1e-3, 0.1)])
def test_timm_cosine(W, T, low, r):
    settings = {"name": "cosine", "warmup_steps": W, "warmup_from": low, "min_lr_ratio": r}
    ours = multipliers(T + 20, **settings, total_steps=T, convention="timm")
    assert ours == near([timm(t, W, T, low, r, prefix=False) for t in range(T + 20)])
    ours = multipliers(W + T + 20, **settings, total_steps=W + T)  # with warmup_prefix, T is what follows the warm-up
    assert ours == near([timm(t, W, T, low, r, prefix=True) for t in range(W + T + 20)])


# nanoGPT: train.py; nanochat: scripts/base_train.py, commit 00255c1


def nanogpt(t, W, T, r):
    """get_lr, with a rate of 1"""
    if t < W:
        return (t + 1) / (W + 1)
    return r if t > T else r + 0.5 * (1 + math.cos(math.pi * (t - W) / (T - W))) * (1 - r)


@pytest.mark.parametrize(("W", "T"), HORIZONS)
def test_nanogpt(W, T):
    theirs = near([nanogpt(t, W, T, 0.1) for t in range(T + 20)])
    for name in ("cosine", "warmup_cosine"):
        ours = {"warmup_steps": W, "total_steps": T, "min_lr_ratio": 0.1, "convention": "nanogpt"}
        assert multipliers(T + 20, name=name, **ours) == theirs


def nanochat(t, W, T, D, r):
    """get_lr_multiplier"""
    if t < W:
        return (t + 1) / W
    if t <= T - D:
        return 1.0
    left = (T - t) / D
    return left + (1 - left) * r


@pytest.mark.parametrize(("W", "T", "D"), [(0, 40, 10), (10, 40, 30), (10, 40, 5)])
def test_nanochat(W, T, D):
    ours = {"warmup_steps": W, "total_steps": T, "decay_steps": D, "min_lr_ratio": 0.05, "convention": "nanochat"}
    assert multipliers(T + 1, name="wsd", decay="linear", **ours) == near(
        [nanochat(t, W, T, D, 0.05) for t in range(T + 1)]
    )


# optax: optax/schedules/_schedule.py, commit 006cebd


def optax_line(t, low, high, steps):
    """linear_schedule"""
    return high + (low - high) * (1 - min(t, steps) / steps) if steps > 0 else low


def optax_warmup_cosine(t, low, W, T, end):
    """warmup_cosine_decay_schedule with a peak of 1"""
    if t < W:
        return optax_line(t, low, 1.0, W)
    return (1 - end) * 0.5 * (1 + math.cos(math.pi * min(t - W, T - W) / (T - W))) + end


def optax_warmup_exponential(t, low, W, n, rate, *, staircase):
    """warmup_exponential_decay_schedule with a peak of 1"""
    if t < W:
        return optax_line(t, low, 1.0, W)
    return rate ** ((t - W) // n if staircase else (t - W) / n)


@pytest.mark.parametrize(("W", "T"), HORIZONS)
@pytest.mark.parametrize(("low", "end"), [(0.0, 0.0), (1e-3, 0.1)])
def test_optax_warmup_cosine(W, T, low, end):
    ours = {"warmup_steps": W, "warmup_from": low, "total_steps": T, "min_lr_ratio": end, "convention": "optax"}
    theirs = near([optax_warmup_cosine(t, low, W, T, end) for t in range(T + 20)])
    for name in ("cosine", "warmup_cosine"):
        assert multipliers(T + 20, name=name, **ours) == theirs


@pytest.mark.parametrize("W", [0, 10])
def test_optax_warmup_constant_and_exponential(W):
    ours = {"warmup_steps": W, "warmup_from": 0.2, "convention": "optax"}
    constant = [optax_line(t, 0.2, 1.0, W) if W else 1.0 for t in range(60)]
    assert multipliers(60, name="constant", **ours) == near(constant)
    smooth = [optax_warmup_exponential(t, 0.2, W, 7, 0.5, staircase=False) for t in range(60)]
    assert multipliers(60, name="exponential", gamma=0.5 ** (1 / 7), **ours) == near(smooth)
    stairs = [optax_warmup_exponential(t, 0.2, W, 7, 0.5, staircase=True) for t in range(60)]
    assert multipliers(60, name="step", step_size=7, gamma=0.5, **ours) == near(stairs)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_optax_polynomial_is_a_phase(power):
    """polynomial_schedule from 0.9 to 0.2 after 5 updates"""
    phases = [{"name": "constant", "from": 0.9, "for": 5}, {"name": "polynomial", "power": power, "for": 20, "to": 0.2}]
    spec = optreg.load_spec({"optimizer": {"name": "adamw", "lr": 1.0}, "scheduler": phases})
    f = curve(spec.scheduler)
    theirs = [(0.9 - 0.2) * (1 - min(max(t - 5, 0), 20) / 20) ** power + 0.2 for t in range(40)]
    assert [f(t) for t in range(40)] == near(theirs)


# What holds of all


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("W", [0, 1, 2, 13, 40])
def test_a_schedule_with_a_warmup_of_its_own_counts_as_one_without(W, convention):
    ways = {"warmup_steps": W, "total_steps": 40, "convention": convention, "min_lr_ratio": 0.1}
    own, before = (multipliers(60, name=name, **ways) for name in ("warmup_cosine", "cosine"))
    assert own == near(before)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_convention_changes_only_how_the_line_is_counted(convention):
    """The line of tri_stage begins at its own level, and that of `power` leads to the law's value."""
    stages = {"name": "tri_stage", "total_steps": 40, "warmup_steps": 10, "decay_steps": 5, "init_lr_ratio": 0.25}
    plain, counted = multipliers(40, **stages), multipliers(40, **stages, convention=convention)
    if convention != "timm":  # the curve that it covers has no line
        low = {"nanogpt": 0.25 + 0.75 / 11, "nanochat": 0.325, "torchtitan": 0.325, "olmo": 0.325}.get(convention, 0.25)
        assert counted[0] == near(low)
    assert counted[12:30] == plain[12:30]
    law = multipliers(40, name="power", timescale=4, warmup_steps=10, convention=convention)
    if convention != "timm":
        rising = CONVENTIONS[convention].rising(5 + CONVENTIONS[convention].early, 10)
        assert law[5] == near((10 / 4) ** -0.51 * rising)


def test_a_rise_along_another_curve_is_refused(file):
    text = "optimizer: {name: adamw, lr: 1.0}\nscheduler: {name: one_cycle, warmup_steps: 9, total_steps: 40, convention: %s}\n"
    with pytest.raises(optreg.SpecError) as caught:
        optreg.load_spec(file(text % "nanogpt"))
    assert str(caught.value) == (
        "run.yaml:2:64: one_cycle rises along a curve of its own, not along a line; leave convention out"
    )
    optreg.load_spec(file(text.replace("40,", "40, curve: linear,") % "nanogpt"))


def test_an_unknown_convention_is_told(file):
    with pytest.raises(optreg.SpecError) as caught:
        optreg.load_spec(
            file(
                "optimizer: {name: lion}\nscheduler: {name: cosine, warmup_steps: 9, total_steps: 40, convention: nanoGPT}\n"
            )
        )
    assert str(caught.value).startswith("run.yaml:2:73: there is no convention 'nanoGPT'; ")


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_run_resumes_and_another_convention_is_refused(convention):
    def built(**changes):
        scheduler = {
            "name": "wsd",
            "warmup_steps": 5,
            "total_steps": 30,
            "decay_steps": 9,
            "decay": "linear",
            **changes,
        }
        return optreg.build({"optimizer": {"name": "adamw", "lr": 1.0}, "scheduler": scheduler}, torch.nn.Linear(1, 1))

    whole, resumed = (built(convention=convention, warmup_from="10%") for _ in range(2))
    whole.scheduler.step(3)
    resumed.scheduler.load_state_dict(whole.scheduler.state_dict())
    assert resumed.scheduler.get_last_lr() == whole.scheduler.get_last_lr()
    for changes in ({"convention": convention}, {"warmup_from": "10%"}):
        with pytest.raises(optreg.ResumeError, match="differ"):
            built(**changes).scheduler.load_state_dict(whole.scheduler.state_dict())
