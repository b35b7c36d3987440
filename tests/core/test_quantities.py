"""Quantities: what is read, what is refused, and what a refusal says."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optreg.quantities import Quantity, Unit, is_meant, quantity, size

repeatable = settings(derandomize=True, deadline=None)

READ = {
    2000: (2000, Unit.STEPS),
    1e4: (10_000, Unit.STEPS),
    "2000 steps": (2000, Unit.STEPS),
    "1 update": (1, Unit.STEPS),
    "1e3 updates": (1000, Unit.STEPS),
    "2.5k steps": (2500, Unit.STEPS),
    "10T tokens": (10**13, Unit.TOKENS),
    "333B tokens": (333 * 10**9, Unit.TOKENS),
    "15.56T tokens": (15_560 * 10**9, Unit.TOKENS),
    "1 token": (1, Unit.TOKENS),
    "4_096_000 samples": (4_096_000, Unit.SAMPLES),
    "1.5M samples": (1_500_000, Unit.SAMPLES),
    "40 epochs": (40, Unit.EPOCHS),
    ".1 epoch": (Fraction(1, 10), Unit.EPOCHS),
    "0.3 epochs": (Fraction(3, 10), Unit.EPOCHS),
    "3%": (3, Unit.SHARE),
    " 0.25 % ": (Fraction(1, 4), Unit.SHARE),
    "0%": (0, Unit.SHARE),
    "100%": (100, Unit.SHARE),
    f"{2**53} steps": (2**53, Unit.STEPS),
}


@pytest.mark.parametrize("value", READ)
def test_a_quantity_is_read_exactly(value):
    amount, unit = READ[value]
    found = quantity(value)
    assert (found.amount, found.unit) == (amount, unit)
    assert quantity(found) is found
    assert quantity(found.text) == found


REFUSED = {
    "10k": "has no unit in '10k'; write 10_000 for updates, or '10k tokens'",
    "2.5": "has no unit in '2.5'; write 2_000 for updates, or '2.5 tokens'",
    "10 T tokens": "must be a quantity, such as 100_000, '10T tokens', '4_096_000 samples', '40 epochs' or '3%', not "
    "'10 T tokens'; write '10T tokens'",
    "10tokens": "'10tokens'; write '10 tokens'",
    "10Ttokens": "'10Ttokens'; write '10T tokens'",
    "10kB tokens": "must be a quantity",
    "10m tokens": "ends its number with 'm' in '10m tokens'; a suffix is k, M, B or T; write '10M tokens'",
    "10G tokens": "ends its number with 'G' in '10G tokens'; a suffix is k, M, B or T; write '10B tokens'",
    "5t": "a suffix is k, M, B or T; write '5T tokens'",
    "10x tokens": "ends its number with 'x' in '10x tokens'; a suffix is k, M, B or T",
    "10 iterations": "has the unknown unit 'iterations' in '10 iterations'; write '10 steps'",
    "5M sequences": "has the unknown unit 'sequences' in '5M sequences'; write '5M samples'",
    "3 percent": "write '3 %'",
    "10 Tokens": "has the unknown unit 'Tokens' in '10 Tokens'; did you mean 'tokens'?",
    "10 furlongs": "has the unknown unit 'furlongs' in '10 furlongs'; choose from: steps, tokens, samples, epochs",
    "-3 epochs": "must not be negative, as '-3 epochs' is",
    "-3": "must not be negative, as '-3' is",
    "-0 tokens": "must not be negative, as '-0 tokens' is",
    "1k%": "has the suffix 'k' before '%' in '1k%'; write the number out",
    "3333": "has no unit in '3333'; write 3_333 for updates, or '3333 tokens'",
    -3: "must not be negative, as -3 is",
    -0.5: "must not be negative, as -0.5 is",
    "2.5 steps": "must be a whole number of updates, not '2.5 steps'",
    2.5: "must be a whole number of updates, not 2.5",
    float("nan"): "must be a whole number of updates, not nan",
    float("inf"): "must be a whole number of updates, not inf",
    "101%": "must be at most 100% of the run, not '101%'",
    "1e25 tokens": "is out of range: '1e25 tokens'",
    2**53 + 1: "must be at most 2^53 updates, not 9007199254740993",
    f"{2**53 + 1} steps": "must be at most 2^53 updates",
    10**5000: "must be at most 2^53 updates, not a number of 16610 bits",
    True: "not true",
    None: "not null",
    (1, 2): "not a list",
    "": "must be a quantity",
    "tokens": "must be a quantity",
    "1__0 steps": "must be a quantity",
    "1,000 steps": "must be a quantity",
    "٣ steps": "must be a quantity",
    "x" * 300: "...",
}


@pytest.mark.parametrize("value", REFUSED, ids=[f"{n}" for n in range(len(REFUSED))])  # Python prints no long number
def test_what_is_no_quantity_is_refused_with_what_to_write(value):
    with pytest.raises(ValueError, match=r".") as caught:
        quantity(value)
    assert REFUSED[value] in str(caught.value)
    assert len(str(caught.value)) < 200


@repeatable
@given(
    st.integers(0, 10**9), st.sampled_from(["", "k", "M", "B", "T"]), st.sampled_from([*"_."]), st.integers(1, 999),
    st.sampled_from(["tokens", "samples", "epochs"]),
)  # fmt: skip
def test_a_number_means_what_its_digits_say(whole, suffix, mark, part, unit):
    text = f"{whole}{mark}{part:03}{suffix} {unit}"
    digits = Fraction(whole * 1000 + part, 1 if mark == "_" else 1000)
    scale = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[suffix]
    if digits * scale <= 10**24:
        assert quantity(text) == Quantity(digits * scale, Unit(unit), None)


@repeatable
@given(st.text(max_size=30) | st.floats() | st.integers() | st.binary(max_size=3) | st.lists(st.integers(), max_size=2))
def test_anything_else_is_refused_in_words(value):
    for read in (quantity, size):
        try:
            found = read(value)
        except ValueError as error:
            assert str(error)
        else:
            assert read(found.text) == found
    assert is_meant(value) in {True, False}


def test_a_text_that_begins_with_a_number_is_meant_as_a_quantity():
    assert [is_meant(value) for value in ("10k", " -3 epochs", ".5%", "1-sqrt")] == [True] * 4
    assert not any(is_meant(value) for value in ("linear", "", 5, None, True))


@pytest.mark.parametrize(
    ("text", "tokens", "samples"),
    [
        ("4M tokens", 4_000_000, None),
        ("1024 samples", None, 1024),
        ("2048 samples of 4096 tokens", 2048 * 4096, 2048),
        ("1 sample  of  1 token", 1, 1),
        ("4_194_304 tokens", 4_194_304, None),
    ],
)
def test_a_batch_says_what_one_update_consumes(text, tokens, samples):
    found = size(text)
    assert (found.tokens, found.samples) == (tokens, samples)
    assert [found.of(unit) for unit in Unit] == [1, tokens, samples, None, None]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("4M", "has no unit in '4M'; write '4M tokens' or '4M samples'"),
        ("1024 samples of 4096", "has no unit in '4096'; write '4096 tokens' or '4096 samples'"),
        ("4096 tokens of 2048 samples", "must be what one update consumes, such as '4M tokens', '1024 samples' or '2048 "),
        ("2 epochs", "must be what one update consumes"),
        ("3%", "must be what one update consumes"),
        (1024, "must be what one update consumes"),
        (None, "not null"),
        ({"samples": 3}, "not a mapping"),
        ("0 tokens", "must be made of whole numbers above zero, not '0 tokens'"),
        ("0.5 samples", "must be made of whole numbers above zero"),
        ("4M toks", "has the unknown unit 'toks' in '4M toks'"),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_refused_with_what_to_write(value, message):
    with pytest.raises(ValueError, match=r".") as caught:
        size(value)
    assert message in str(caught.value)
