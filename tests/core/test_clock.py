"""Clock: conversions between updates, tokens, samples and epochs, against counting the updates one by one."""

from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import optreg
from optreg import SpecError
from optreg.clock import START, Clock, LackingError, OpenError, Point, begun
from optreg.quantities import Quantity, Unit, quantity, size

repeatable = settings(derandomize=True, deadline=None)

UPDATES = 400
"""As far as the tests count."""

amounts = st.fractions(0, 200, max_denominator=7)
ramps = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12)), min_size=1, max_size=4)
"""Stages: samples an update, tokens a sample, updates."""


def clock_of(ramp, **facts):
    """A clock whose batch has the stages of a ramp; the last is open."""
    clock, begin = Clock(), 0
    for samples, tokens, length in ramp:
        clock = begun(clock, size(f"{samples} samples of {tokens} tokens"), begin)
        begin += length
    return replace(clock, **facts)


def counted(ramp, unit):
    """What the updates before t consumed, for every t, by counting."""
    sizes = [
        {Unit.STEPS: 1, Unit.SAMPLES: samples, Unit.TOKENS: samples * tokens}[unit]
        for samples, tokens, length in [*ramp[:-1], (*ramp[-1][:2], UPDATES)]
        for _ in range(length)
    ]
    return [0, *accumulate(sizes)]


def first(consumed, amount):
    """The smallest t before which at least `amount` was consumed."""
    return next(t for t, so_far in enumerate(consumed) if so_far >= amount)


def of(amount, unit):
    return Quantity(Fraction(amount), unit, f"{amount} {unit}")


@repeatable
@given(ramps, amounts, st.sampled_from([Unit.STEPS, Unit.SAMPLES, Unit.TOKENS]))
@example([(2, 3, 4), (1, 1, 1)], Fraction(24), Unit.TOKENS)  # at the joint of two stages
@example([(2, 3, 4), (1, 1, 1)], Fraction(0), Unit.TOKENS)
def test_a_quantity_ends_at_the_first_update_before_which_it_was_consumed(ramp, amount, unit):
    clock, consumed = clock_of(ramp), counted(ramp, unit)
    t = clock.at(of(amount, unit)).update
    assert t == first(consumed, amount)
    assert [clock.consumed(n, unit) for n in range(80)] == consumed[:80]


@repeatable
@given(ramps, st.integers(0, 50), st.lists(amounts, min_size=1, max_size=12), st.sampled_from([*Unit]))
def test_lengths_of_one_unit_add_up_without_rounding(ramp, horizon, lengths, unit):
    """Of shares and epochs too, whose parts of an update are kept."""
    clock = clock_of(ramp, horizon=of(horizon + 1, Unit.STEPS), epoch=of(7, Unit.STEPS))
    lengths = [length / 20 for length in lengths]
    point = START
    for length in lengths:
        point = clock.after(point, of(length, unit))
    assert point.update == clock.at(of(sum(lengths), unit)).update


@repeatable
@given(ramps, st.lists(st.tuples(amounts, st.sampled_from([Unit.STEPS, Unit.SAMPLES, Unit.TOKENS])), max_size=6))
def test_a_length_in_another_unit_begins_at_the_update_that_was_reached(ramp, lengths):
    clock, point, t, exact = clock_of(ramp), START, 0, {}
    for amount, unit in lengths:
        amount /= 10
        consumed = counted(ramp, unit)
        total = exact.get(unit, consumed[t]) + amount
        point, t, exact = clock.after(point, of(amount, unit)), first(consumed, total), {unit: total}
        assert point.update == t


@repeatable
@given(ramps, amounts, amounts, st.sampled_from([Unit.STEPS, Unit.SAMPLES, Unit.TOKENS, Unit.EPOCHS]))
def test_more_takes_at_least_as_long(ramp, one, other, unit):
    clock = clock_of(ramp, epoch=of(3, Unit.SAMPLES))
    less, more = sorted([one, other])
    assert clock.at(of(less, unit)).update <= clock.at(of(more, unit)).update


@repeatable
@given(
    ramps,
    st.fractions(0, 12, max_denominator=7),
    st.integers(1, 40),
    st.sampled_from([Unit.STEPS, Unit.SAMPLES, Unit.TOKENS]),
)
def test_epochs_are_counted_in_the_unit_of_their_length(ramp, epochs, length, unit):
    clock = clock_of(ramp, epoch=of(length, unit))
    consumed = [*counted(ramp, unit), 10**9]
    t = clock.at(of(epochs, Unit.EPOCHS)).update
    assert t == first(consumed[:-1], epochs * length)
    assert clock.consumed(9, Unit.EPOCHS) == Fraction(consumed[9], length)


@repeatable
@given(
    ramps,
    st.fractions(0, 100, max_denominator=9),
    st.integers(1, 150),
    st.sampled_from([Unit.STEPS, Unit.SAMPLES, Unit.TOKENS]),
)
def test_a_share_is_a_share_of_the_horizon_in_its_own_unit(ramp, share, length, unit):
    clock, consumed = clock_of(ramp, horizon=of(length, unit)), counted(ramp, unit)
    t = clock.at(of(share, Unit.SHARE)).update
    assert t == first(consumed, share * length / 100)
    assert clock.at(of(100, Unit.SHARE)).update == clock.end == first(consumed, length)
    assert clock.consumed(t, Unit.SHARE) >= share
    assert t == 0 or clock.consumed(t - 1, Unit.SHARE) < share


@repeatable
@given(ramps, st.integers(1, 100), st.fractions(0, 1, max_denominator=9), st.sampled_from([Unit.SAMPLES, Unit.TOKENS]))
def test_a_length_before_the_end_begins_where_the_rest_was_consumed(ramp, length, part, unit):
    clock, consumed = clock_of(ramp), counted(ramp, unit)
    end = clock.at(of(length, unit))
    assert end.update - clock.back_from(end, of(part * length, unit)) == first(consumed, (1 - part) * length)


@repeatable
@given(st.integers(0, 10**24), st.integers(1, 10**15), st.integers(0, 10**15))
def test_no_size_is_too_large_to_be_exact(amount, each, ramped):
    clock = begun(begun(Clock(), size("7 tokens")), size(f"{each} tokens"), ramped)
    t = clock.at(of(amount, Unit.TOKENS)).update

    def consumed(n):
        return 7 * min(n, ramped) + each * max(0, n - ramped)

    assert consumed(t) >= amount
    assert t == 0 or consumed(t - 1) < amount


def test_three_thirds_of_a_run_are_the_run():
    clock, point = Clock(horizon=quantity(10)), START
    third = Quantity(Fraction(100, 3), Unit.SHARE, "a third")
    ends = []
    for _ in range(3):
        point = clock.after(point, third)
        ends.append(point.update)
    assert ends == [4, 7, 10]


@pytest.mark.parametrize(
    ("clock", "text", "message"),
    [
        (Clock(), "3%", "'3%' is a share of the whole run, whose length is not stated; add 'horizon: 100_000', or "),
        (Clock(), "3 epochs", "'3 epochs' needs the length of an epoch; add 'epoch: 1_281_167 samples', 'epoch: 312 "),
        (Clock(), "3 tokens", "needs the tokens of an update, but the batch is not stated; add 'batch: 4M tokens', or "),
        (Clock(), "3 samples", "the batch is not stated; add 'batch: 1024 samples', or 'batch: trainer' if only the "),
        (
            begun(Clock(), size("4M tokens")),
            "3 samples",
            "but 'batch' says '4M tokens'; write '1024 samples of 4096 tokens' there, or 'batch: trainer' if only the ",
        ),
        (begun(begun(Clock(), size("4 tokens")), size("1 sample"), 5), "21 tokens", "'batch' says '1 sample'"),
        (replace(begun(Clock(), size("4 tokens")), epoch=quantity("5 samples")), "1 epoch", "needs the samples of an"),
        (Clock(horizon=quantity("2 epochs")), "3%", "'2 epochs' needs the length of an epoch"),
    ],
)  # fmt: skip
def test_what_a_conversion_lacks_is_told_with_what_to_add(clock, text, message):
    with pytest.raises(LackingError) as caught:
        clock.at(quantity(text))
    assert message in str(caught.value)
    assert clock.lacks(quantity("3 steps")) == ""


def test_a_ramp_whose_last_stage_lacks_a_unit_converts_it_before_that_stage():
    clock = begun(begun(Clock(), size("4 tokens")), size("1 sample"), 5)
    assert clock.at(quantity("20 tokens")).update == 5
    assert clock.consumed(5, Unit.TOKENS) == 20
    assert clock.consumed(6, Unit.TOKENS) is None
    with pytest.raises(LackingError):
        clock.after(Point(6), quantity("1 token"))


@pytest.mark.parametrize(
    ("open", "text", "fact"),
    [({"batch"}, "3 tokens", "batch"), ({"horizon"}, "3%", "horizon"), ({"epoch", "batch"}, "3 epochs", "epoch")],
)
def test_a_fact_that_is_left_to_the_trainer_is_named(open, text, fact):
    clock = Clock(open=frozenset(open))
    assert clock.lacks(quantity(text)) == fact
    with pytest.raises(OpenError, match=fact):
        clock.at(quantity(text))
    assert clock.lacks(quantity("3 steps")) == ""
    assert clock.consumed(3, quantity(text).unit) is None


# From outside: the sections of a spec


def load(text, tmp_path, **facts):
    path = tmp_path / "run.yaml"
    path.write_text(f"optimizer: {{name: adamw, lr: 1.0}}\n{text}")
    return optreg.load_spec(path, facts=facts)


@repeatable
@given(
    ramps, st.integers(1, 300), st.sampled_from(["samples", "tokens", "epochs", "steps"]),
    st.fractions(0, 100, max_denominator=4), st.integers(1, 40), st.booleans(),
)  # fmt: skip
def test_the_sections_of_a_spec_convert_as_counting_does(ramp, horizon, unit, warmup, epoch, trainers):
    stages, t = [], 0
    for index, (samples, tokens, length) in enumerate(ramp):
        t += length
        ends = {} if index == len(ramp) - 1 else {"until": t} if index % 2 else {"for": f"{length} updates"}
        stages.append({"size": f"{samples} samples of {tokens} tokens", **ends})
    facts = {"batch": stages, "horizon": f"{horizon} {unit}", "epoch": f"{epoch} samples"}
    scheduler = {"name": "cosine", "warmup_steps": f"{float(warmup)}%"}
    spec = {"optimizer": {"name": "adamw"}, "scheduler": scheduler}
    if trainers:
        waiting = optreg.load_spec({**spec, **dict.fromkeys(facts, "trainer")})
        assert waiting.open == {"horizon"}
        loaded = optreg.load_spec(waiting, facts=facts)
    else:
        loaded = optreg.load_spec({**spec, **facts})
    own = {"epochs": Unit.SAMPLES}.get(unit, Unit(unit))
    whole = horizon * (epoch if unit == "epochs" else 1)
    consumed = counted(ramp, own)
    consumed += [consumed[-1] + n * (consumed[-1] - consumed[-2]) for n in range(1, 12_001)]
    assert loaded.scheduler.settings["total_steps"] == first(consumed, whole)
    assert loaded.scheduler.warmup_steps == first(consumed, whole * warmup / 100)
    assert optreg.load_spec(loaded.as_dict()) == loaded


FAULTS = {
    "horizon: 0": "2:10: 'horizon' must be more than nothing",
    "horizon: 10k": "2:10: 'horizon' has no unit in '10k'; write 10_000 for updates, or '10k tokens'",
    "horizon: later": "2:10: 'horizon' must be a quantity, such as 100_000, '10T tokens', '4_096_000 samples', '40 epochs' or '3%', not 'later'; write 'horizon: trainer' if only the trainer knows it",
    "horizon: 50%": "2:10: 'horizon' must be a length of its own, such as 100_000 or '10T tokens', not '50%'",
    "horizon: [1]": "2:10: 'horizon' must be a quantity, such as 100_000, '10T tokens', '4_096_000 samples', '40 epochs' or '3%', not a list",
    "horizon: 5 epochs": "2:10: '5 epochs' needs the length of an epoch; add 'epoch: 1_281_167 samples'",
    "horizon: 5 tokens": "2:10: '5 tokens' needs the tokens of an update, but the batch is not stated",
    "epoch: 3 epochs": "2:8: 'epoch' must be a length of its own, such as '312 steps' or '1_281_167 samples', not '3 epochs'",
    "epoch: 3%": "2:8: 'epoch' must be a length of its own, such as '312 steps' or '1_281_167 samples', not '3%'",
    "epoch: 0 samples": "2:8: 'epoch' must be more than nothing",
    "epoch: trainers": "2:8: 'epoch' must be a quantity",
    "batch: 4 M tokens": "2:8: 'batch' must be what one update consumes, such as '4M tokens', '1024 samples' or '2048 samples of 4096 tokens', not '4 M tokens'; write '4M tokens'",
    "batch: 4M": "2:8: 'batch' has no unit in '4M'; write '4M tokens' or '4M samples'",
    "batch: 0 tokens": "2:8: 'batch' must be made of whole numbers above zero, not '0 tokens'",
    "batch: []": "2:8: the ramp has no stage; begin with '- size: 4M tokens'",
    "batch: {size: 4M tokens}": "2:8: 'batch' must be what one update consumes, such as '4M tokens', '1024 samples' or '2048 samples of 4096 tokens', not a mapping",
    "batch: [4M tokens]": "2:9: a stage is a mapping: 'size: 4M tokens' and 'until: 252M tokens'",
    "batch: [{size: 4M}]": "2:16: 'size' has no unit in '4M'",
    "batch: [{until: 5}]": "2:9: 'size' must be what one update consumes, such as '4M tokens', '1024 samples' or '2048 samples of 4096 tokens', not null",
    "batch: [{size: 4M tokens, til: 5}]": "2:27: a stage has no 'til'; did you mean 'until'?",
    "batch: [{size: 4M tokens}, {size: 8M tokens}]": "2:9: only the last stage of a ramp is open; add 'until: 252M tokens' or 'for: 1000 steps'",
    "batch: [{size: 4M tokens, for: 3, until: 5}, {size: 8M tokens}]": "2:35: a stage has 'for' or 'until', not both",
    "batch: [{size: 4M tokens, until: 5}, {size: 8M tokens, until: 3}, {size: 9M tokens}]": "2:63: 'until' leads to update 3, but the stage begins at update 5; 'until' is counted from the beginning of the run",
    "batch: [{size: 4M tokens, for: 0 steps}, {size: 8M tokens}]": "2:32: 'for' leads to update 0, but the stage begins at update 0; make it longer, or leave the stage out",
    "batch: [{size: 4M tokens, until: 5 samples}, {size: 8M tokens}]": "2:34: '5 samples' needs the samples of an update, but 'batch' says '4M tokens'",
    "batch: [{size: 4M tokens, until: 10k}, {size: 8M tokens}]": "2:34: 'until' has no unit in '10k'",
    "batch: [{size: 4M tokens, until: 9}]": "2:27: the ramp ends at update 9, before the run does; leave 'until' out of its last stage",
    "horizon: 10\nbatch: [{size: 4M tokens, until: 9}]": "3:27: the ramp ends at update 9, before the run does",
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS)
def test_each_fault_of_a_section_is_told_once_with_its_place(tmp_path, text):
    with pytest.raises(SpecError) as caught:
        load(f"{text}\nscheduler: {{name: cosine, warmup_steps: 3, total_steps: 9}}\n", tmp_path)
    assert len(caught.value.problems) == 1
    assert f"run.yaml:{FAULTS[text]}" in str(caught.value)


def test_all_faults_of_the_sections_are_told_at_once_and_nothing_else_because_of_them(tmp_path):
    with pytest.raises(SpecError) as caught:
        load("horizon: 10k\nbatch: 4M\nepoch: 0\nscheduler: {name: cosine, warmup_steps: 3%}\n", tmp_path)
    assert [problem.where.line for problem in caught.value.problems] == [2, 3, 4]


def test_a_ramp_may_end_with_the_run(tmp_path):
    spec = load("horizon: 9\nbatch: [{size: 4M tokens, until: 9}]\n", tmp_path)
    assert spec.clock.consumed(9, Unit.TOKENS) == 36_000_000


FACTS = "horizon: 100\nbatch: trainer\nscheduler: {name: cosine, total_steps: 40 epochs}\nepoch: trainer\n"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"horizont": 3}, "facts: there is no fact 'horizont'; did you mean 'horizon'?"),
        ({"horizon": 101}, "run.yaml:2:10: the spec says '100', but the trainer says '101'; write 'horizon: trainer', or "),
        ({"horizon": "3 epochs"}, "run.yaml:2:10: the spec says '100', but the trainer says '3 epochs'"),
        ({"horizon": [1]}, "run.yaml:2:10: the spec says '100', but the trainer says something else"),
        ({"epoch": 0}, "facts: 'epoch' must be more than nothing"),
        ({"epoch": "later"}, "facts: 'epoch' must be a quantity"),
        ({"epoch": "10k"}, "facts: 'epoch' has no unit in '10k'; write 10_000 for updates, or '10k tokens'"),
        ({"batch": 5}, "facts: 'batch' must be what one update consumes"),
        ({"epoch": "3 samples"}, None),
        ({"epoch": "3 samples", "batch": "3 tokens"}, "run.yaml:4:40: cosine: '40 epochs' needs the samples of an update"),
        ({"epoch": object()}, "facts: "),
    ],
)  # fmt: skip
def test_a_fact_is_checked_as_if_the_spec_said_it(tmp_path, facts, message):
    if message is None:
        assert load(FACTS, tmp_path, **facts).open == {"batch"}
        return
    with pytest.raises(SpecError) as caught:
        load(FACTS, tmp_path, **facts)
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)
    assert "if only the trainer knows it" not in str(caught.value).partition("facts: ")[2]


def test_the_trainer_may_say_what_the_spec_says_in_other_words(tmp_path):
    given = {"horizon": "100 updates", "batch": None}
    assert load(FACTS, tmp_path, **given).open == {"epoch"}


def test_what_stays_open_is_told_when_it_is_built(tmp_path):
    spec = load(FACTS, tmp_path)
    assert spec.open == {"epoch"}
    import torch

    model = torch.nn.Linear(1, 1)
    with pytest.raises(SpecError) as caught:
        optreg.build(spec, model)
    assert str(caught.value) == (
        "the spec leaves the epoch to the trainer, who has not given it; pass facts={'epoch': '312 steps'} to "
        "optreg.build, or set 'epoch' in the spec or by an override"
    )
    run = optreg.build(spec, model, facts={"epoch": 3})
    assert run.spec.scheduler.settings["total_steps"] == 120
