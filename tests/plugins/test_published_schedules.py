"""Schedules that others have by the same name: ours have the values of theirs, run for real or by their formula."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

import optreg

STEPS = 60


def make(name, **settings):
    """The schedule, as the registry gives it."""
    return optreg.default_registry().scheduler(name).implementation()(**settings)


def values(name, **settings):
    schedule = make(name, **settings)
    return [schedule(t) for t in range(STEPS)]


def rates(implementation, steps=STEPS, **settings):
    """The rates of a scheduler of torch on an optimizer of rate 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler, found = implementation(optimizer, **settings), []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(found) < steps:
            scheduler.step()
    return found


def near(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("milestones", [[7, 20, 45], [20, 7, 7]])
def test_multistep_is_torchs(milestones):
    assert values("multistep", milestones=milestones) == near(rates(lr_scheduler.MultiStepLR, milestones=milestones))


def test_step_is_torchs():
    theirs = rates(lr_scheduler.StepLR, step_size=7, gamma=0.3)
    assert values("step", step_size=7, gamma=0.3) == near(theirs)


@pytest.mark.parametrize("growth", [1, 2, 3])
def test_cosine_restarts_is_torchs_where_the_peaks_do_not_decay(growth):
    theirs = rates(lr_scheduler.CosineAnnealingWarmRestarts, T_0=7, T_mult=growth, eta_min=0.05)
    assert values("cosine_restarts", period=7, growth=growth, min_lr_ratio=0.05) == near(theirs)


@pytest.mark.parametrize("growth", [1, 2])
def test_cosine_restarts_is_timms(growth):
    """timm's CosineLRScheduler with cycle_mul, cycle_decay, lr_min and without a limit of cycles."""

    def theirs(t, initial=7, decay=0.8, floor=0.05):
        if growth == 1:
            i, length, current = t // initial, initial, t % initial
        else:
            i = math.floor(math.log(1 - t / initial * (1 - growth), growth))
            length = growth**i * initial
            current = t - (1 - growth**i) / (1 - growth) * initial
        return floor + 0.5 * (decay**i - floor) * (1 + math.cos(math.pi * current / length))

    ours = values("cosine_restarts", period=7, growth=growth, peak_decay=0.8, min_lr_ratio=0.05)
    assert ours == near([theirs(t) for t in range(STEPS)])


@pytest.mark.parametrize(("curve", "theirs"), [("cosine", "cos"), ("linear", "linear")])
def test_one_cycle_is_torchs_with_its_peak_and_its_end_an_update_earlier(curve, theirs):
    settings = {"div_factor": 10.0, "final_div_factor": 100.0}
    of_torch = rates(
        lr_scheduler.OneCycleLR, 40, max_lr=1.0, total_steps=40, pct_start=0.25, anneal_strategy=theirs, **settings
    )
    ours = make("one_cycle", total_steps=39, warmup_steps=9, curve=curve, **settings)
    assert [ours(t) for t in range(40)] == near(of_torch)


@pytest.mark.parametrize("decay", ["linear", "cosine", "1-sqrt"])
def test_wsd_is_that_of_transformers(decay):
    """get_wsd_schedule(num_warmup_steps=6, num_decay_steps=14, num_training_steps=50, decay_type=decay)."""

    def theirs(t, warmup=6, stable=30, steps=14):
        if t < warmup:
            return t / warmup
        if t < warmup + stable:
            return 1.0
        if t >= warmup + stable + steps:
            return 0.0
        progress = (t - warmup - stable) / steps
        cosine = 0.5 * (1 + math.cos(math.pi * 0.5 * 2 * progress))
        return {"linear": 1 - progress, "cosine": cosine, "1-sqrt": 1 - math.sqrt(progress)}[decay]

    ours = values("wsd", warmup_steps=6, total_steps=50, decay_steps=14, decay=decay)
    assert ours == near([theirs(t) for t in range(STEPS)])


def test_wsd_has_the_exponential_decay_of_minicpm():
    """Half the rate every 5 updates of the decay."""
    ours = make("wsd", total_steps=40, decay_steps=15, decay="exponential", min_lr_ratio=0.5**3)
    assert [ours(t) for t in range(25, 41)] == near([0.5 ** (n / 5) for n in range(16)])


def test_wsd_s_decays_as_levanter_does():
    """lr_schedule: inv, with pit stops at 20 and 40: 1 / ((lr / min_lr - 1) n / decay_steps + 1)."""
    ours = make("wsd_s", total_steps=60, restarts=[20, 40], decay_steps=8, decay="inverse", min_lr_ratio=0.1)
    decay = [1 / ((1 / 0.1 - 1) * n / 8 + 1) for n in range(8)]
    assert [ours(t) for t in range(61)] == near([*([1.0] * 12 + decay) * 3, 0.1])


@pytest.mark.parametrize(("warmup", "timescale"), [(6, 6), (6, 15), (0, 10)])
def test_inverse_sqrt_is_that_of_transformers(warmup, timescale):
    """get_inverse_sqrt_schedule(num_warmup_steps=warmup, timescale=timescale)."""

    def theirs(t):
        return t / warmup if t < warmup else 1.0 / math.sqrt((t + timescale - warmup) / timescale)

    assert values("inverse_sqrt", warmup_steps=warmup, timescale=timescale) == near([theirs(t) for t in range(STEPS)])


def test_inverse_sqrt_is_that_of_the_transformer_and_of_fairseq():
    """min(n^-0.5, n warmup^-1.5), divided by its peak, warmup^-0.5."""
    theirs = [min(max(n, 1) ** -0.5, n * 12**-1.5) / 12**-0.5 for n in range(STEPS)]
    assert values("inverse_sqrt", warmup_steps=12, timescale=12) == near(theirs)


def test_inverse_sqrt_is_that_of_t5():
    """1 / sqrt(max(n, k)), divided by its first value."""
    theirs = [math.sqrt(20) / math.sqrt(max(n, 20)) for n in range(STEPS)]
    assert values("inverse_sqrt", hold_steps=20, timescale=20) == near(theirs)


def test_power_is_the_law_of_the_paper_in_tokens():
    """min(eta_max, beta a n^b) with a = 4.6, b = -0.51 and eta_max = 0.02: the time scale is where both are equal."""
    a, b, beta, tokens, peak = 4.6, -0.51, 4.0, 30_000.0, 0.02
    timescale = (peak / (beta * a)) ** (1 / b) / tokens
    exact = beta * a * (round(timescale) * tokens) ** b  # the peak that a whole number of updates leads to
    ours = make("power", timescale=round(timescale), exponent=-b)
    theirs = [min(exact, beta * a * (t * tokens) ** b) for t in range(1, STEPS)]
    assert 3 < timescale < STEPS
    assert [exact * ours(t) for t in range(1, STEPS)] == near(theirs)


def test_tri_stage_is_that_of_fairseq():
    """warmup_steps=5, hold_steps=20, decay_steps=25, init_lr_scale=0.02, final_lr_scale=0.05."""

    def theirs(n):
        if n < 5:
            return 0.02 + (1 - 0.02) / 5 * n
        if n < 25:
            return 1.0
        return math.exp(math.log(0.05) / 25 * (n - 25)) if n <= 50 else 0.05

    ours = values("tri_stage", warmup_steps=5, total_steps=50, decay_steps=25, init_lr_ratio=0.02, min_lr_ratio=0.05)
    assert ours == near([theirs(n) for n in range(STEPS)])


ratios = st.floats(0.0, 1.0)
above_zero = st.floats(1e-6, 1.0)
lengths = st.integers(0, 30)
decays = st.sampled_from(["linear", "cosine", "1-sqrt", "exponential", "inverse"])


@st.composite
def curves(draw):
    """A schedule that ends, with its settings, its last step, its floor, and the updates at which it may jump."""
    name = draw(st.sampled_from(["wsd", "wsd_s", "tri_stage", "one_cycle", "inverse_sqrt", "power"]))
    warmup, hold, last = draw(lengths), draw(lengths), draw(lengths) + 1
    floor = draw(above_zero)
    own = {"warmup_steps": warmup, "total_steps": warmup + hold + last, "min_lr_ratio": floor}
    if name == "wsd":
        own |= {"decay_steps": last, "decay": draw(decays)}
    elif name == "wsd_s":
        more = draw(st.lists(lengths, min_size=1, max_size=3))
        restarts = [warmup + sum(more[:n]) + last * n for n in range(1, len(more) + 1)]
        own |= {
            "restarts": restarts,
            "decay_steps": last,
            "decay": draw(decays),
            "total_steps": restarts[-1] + hold + last,
        }
        return name, own, own["total_steps"], floor, restarts
    elif name == "tri_stage":
        own |= {"decay_steps": last, "init_lr_ratio": draw(ratios)}
    elif name == "one_cycle":
        del own["min_lr_ratio"]
        own |= {
            "div_factor": 1 / draw(above_zero),
            "final_div_factor": 1 / floor,
            "curve": draw(st.sampled_from(["cosine", "linear"])),
        }
        floor = 1 / own["div_factor"] / own["final_div_factor"]
    elif name == "inverse_sqrt":
        own |= {"timescale": draw(lengths) + 1, "hold_steps": hold, "cooldown_steps": last}
    else:
        own |= {
            "timescale": draw(lengths) + 1,
            "exponent": draw(st.floats(0.1, 3.0)),
            "decay_steps": last,
            "decay": draw(decays),
        }
    return name, own, own["total_steps"], floor, []


@given(curves())
def test_a_schedule_is_finite_never_negative_and_ends_exactly_at_its_floor(drawn):
    name, settings, end, floor, _ = drawn
    schedule = make(name, **settings)
    found = [schedule(t) for t in range(end + 3)]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in found)
    assert found[end:] == [floor] * 3


@given(curves())
def test_a_schedule_does_not_jump_but_at_restarts(drawn):
    """With every number of steps 2000 times as large, values are where they were, and no update makes a large step."""
    name, settings, end, floor, restarts = drawn
    assume(floor > 0.01 or settings.get("decay") != "inverse")  # which begins with a slope of 1 / floor

    def longer(value):
        if isinstance(value, list):
            return [item * 2000 for item in value]
        return value * 2000 if type(value) is int else value

    schedule, long = make(name, **settings), make(name, **{key: longer(value) for key, value in settings.items()})
    for t in range(end + 1):
        before, now, after = (long(max(t * 2000 + n, 0)) for n in (-1, 0, 1))
        assert now == pytest.approx(schedule(t), rel=1e-9, abs=1e-12)
        assert abs(after - now) < 0.06
        assert abs(now - before) < 0.06 or t in restarts
