"""Quantities: lengths of a run in updates, tokens, samples, epochs or shares of the whole, as specs write them."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

from optreg.errors import did_you_mean, shown

TRAINER: Final = "trainer"
"""What a spec writes for a fact that only the trainer knows."""


class Unit(StrEnum):
    """What a quantity counts; the value is its word in specs."""

    STEPS = "steps"
    TOKENS = "tokens"
    SAMPLES = "samples"
    EPOCHS = "epochs"
    SHARE = "%"


_WORDS: Final = {
    "step": Unit.STEPS, "steps": Unit.STEPS, "update": Unit.STEPS, "updates": Unit.STEPS,
    "token": Unit.TOKENS, "tokens": Unit.TOKENS, "sample": Unit.SAMPLES, "samples": Unit.SAMPLES,
    "epoch": Unit.EPOCHS, "epochs": Unit.EPOCHS, "%": Unit.SHARE,
}  # fmt: skip

_OTHER_WORDS: Final = {
    "sequences": Unit.SAMPLES, "sequence": Unit.SAMPLES, "examples": Unit.SAMPLES, "images": Unit.SAMPLES,
    "iterations": Unit.STEPS, "iters": Unit.STEPS, "it": Unit.STEPS, "st": Unit.STEPS, "batches": Unit.STEPS,
    "tok": Unit.TOKENS, "ep": Unit.EPOCHS, "percent": Unit.SHARE,
}  # fmt: skip
"""What others call the units, for remedies."""

_SUFFIXES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}

_PLAIN: Final = r"(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?"
_NUMBER: Final = rf"(?P<number>[-+]?{_PLAIN})"
_QUANTITY: Final = re.compile(rf"\s*{_NUMBER}(?P<suffix>[A-Za-z]?)(?:\s*(?P<share>%)|\s+(?P<unit>[A-Za-z]+))?\s*")
_BLANKS_ELSEWHERE: Final = re.compile(rf"\s*{_NUMBER}\s*(?P<suffix>[kKMBT]?)\s*(?P<unit>[A-Za-z]+)\s*")
_SHARE: Final = re.compile(rf"\s*{_NUMBER}\s*%\s*")
_COUNT: Final = rf"\+?{_PLAIN}[{''.join(_SUFFIXES)}]?\s+"


def form(*units: Unit) -> str:
    """A regular expression of the texts that are quantities in one of the units.

    It knows their form alone: that a number is too large, or is no whole number of updates, it cannot tell.
    """
    words = "|".join(word for word, unit in _WORDS.items() if unit in units and unit is not Unit.SHARE)
    choices = [f"{_COUNT}({words})"] if words else []
    choices += [rf"\+?{_PLAIN}\s*%"] if Unit.SHARE in units else []
    return rf"^\s*({'|'.join(choices)})\s*$"


def size_form() -> str:
    """A regular expression of the texts that say what one update consumes, as `form` of quantities."""
    return rf"^\s*{_COUNT}(tokens?|samples?(\s+of\s+{_COUNT}tokens?)?)\s*$"


LARGEST: Final = Fraction(10**24)
"""No run is longer, in any unit."""

MOST_UPDATES: Final = 2**53
"""No run has more updates: up to here, every number of them is exact in a float."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A length of a run, or a point of it counted from its beginning.

    Args:
        amount: how much, exactly; of shares, in percent.
        unit: of what.
        text: as it was written.
    """

    amount: Fraction
    unit: Unit
    text: Any = field(compare=False)

    def __str__(self) -> str:
        return str(self.text) if isinstance(self.text, str) else f"{self.text} steps"


EXAMPLES: Final = "100_000, '10T tokens', '4_096_000 samples', '40 epochs' or '3%'"


def quantity(value: Any) -> Quantity:
    """Read a quantity: a whole number counts updates; a text has a number and a unit.

    Raises:
        ValueError: the value is not a quantity; the message, which has no subject, says what to write.
    """
    if isinstance(value, Quantity):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a quantity, such as {EXAMPLES}, not {shown(value)}")
    if isinstance(value, str):
        return _read(value)
    if value < 0:
        raise ValueError(f"must not be negative, as {shown(value)} is")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"must be a whole number of updates, not {value!r}")
    if value > MOST_UPDATES:
        raise ValueError(f"must be at most 2^53 updates, not {shown(value)}")
    return Quantity(Fraction(int(value)), Unit.STEPS, int(value))


def share(text: str) -> Fraction | None:
    """The number of percent that a text such as `10%` states, which may be negative; None if it is none."""
    found = _SHARE.fullmatch(text)
    return Fraction(found["number"].replace("_", "")) if found else None


def is_meant(value: Any) -> bool:
    """Whether a value is a quantity, or a text that begins like one and so is meant as one."""
    return isinstance(value, Quantity) or (isinstance(value, str) and re.match(r"\s*[-+]?\.?[0-9]", value) is not None)


def _read(text: str) -> Quantity:
    found = _QUANTITY.fullmatch(text)
    if not found:
        raise ValueError(f"must be a quantity, such as {EXAMPLES}, not {shown(text)}{_with_blanks_right(text)}")
    number, suffix, word = found["number"], found["suffix"], found["share"] or found["unit"]
    if suffix not in _SUFFIXES:
        meant = {"G": "B"}.get(suffix.upper(), suffix.upper())
        remedy = f"; write '{number}{meant} {word or Unit.TOKENS}'" if meant in _SUFFIXES else ""
        raise ValueError(f"ends its number with '{suffix}' in {shown(text)}; a suffix is k, M, B or T{remedy}")
    plain = f"{number}{suffix}"
    if word is None and not number.startswith("-"):
        whole = Fraction(number.replace("_", "")) * _SUFFIXES[suffix]
        updates = f"{int(whole):_}" if whole.denominator == 1 else "2_000"
        raise ValueError(f"has no unit in {shown(text)}; write {updates} for updates, or '{plain} tokens'")
    if word is not None and word not in _WORDS:
        other = _OTHER_WORDS.get(word.lower())
        near = (
            f"; write '{plain} {other}'"
            if other
            else did_you_mean(word, [unit.value for unit in (Unit.STEPS, Unit.TOKENS, Unit.SAMPLES, Unit.EPOCHS)])
        )
        raise ValueError(f"has the unknown unit '{word}' in {shown(text)}{near}")
    if word is None or number.startswith("-"):
        raise ValueError(f"must not be negative, as '{text}' is")
    unit = _WORDS[word]
    if suffix and unit is Unit.SHARE:
        raise ValueError(f"has the suffix '{suffix}' before '%' in {shown(text)}; write the number out")
    amount = Fraction(number.replace("_", "")) * _SUFFIXES[suffix]
    if amount > LARGEST:
        raise ValueError(f"is out of range: {shown(text)}")
    if unit is Unit.STEPS and amount.denominator != 1:
        raise ValueError(f"must be a whole number of updates, not '{text}'")
    if unit is Unit.STEPS and amount > MOST_UPDATES:
        raise ValueError(f"must be at most 2^53 updates, not '{text}'")
    if unit is Unit.SHARE and amount > 100:
        raise ValueError(f"must be at most 100% of the run, not '{text}'")
    return Quantity(amount, unit, text.strip())


def _with_blanks_right(text: str) -> str:
    """What to write for a quantity whose blanks are elsewhere, such as `10 T tokens` or `10tokens`."""
    found = _BLANKS_ELSEWHERE.fullmatch(text)
    return f"; write '{found['number']}{found['suffix']} {found['unit']}'" if found and found["unit"] in _WORDS else ""


@dataclass(frozen=True, slots=True)
class Size:
    """What one update consumes, as far as it is stated.

    Args:
        tokens: how many tokens, >= 1.
        samples: how many samples, >= 1.
        text: as it was written.
    """

    tokens: int | None
    samples: int | None
    text: str = field(compare=False)

    def of(self, unit: Unit) -> int | None:
        """How much of a unit one update consumes; None if the size does not say."""
        return {Unit.STEPS: 1, Unit.TOKENS: self.tokens, Unit.SAMPLES: self.samples}.get(unit)


_SIZE: Final = re.compile(r"(?P<first>.+?)(?:\s+of\s+(?P<each>.+))?\s*", re.DOTALL)

SIZES: Final = "'4M tokens', '1024 samples' or '2048 samples of 4096 tokens'"


def size(value: Any) -> Size:
    """Read what one update consumes: `4M tokens`, `1024 samples`, `2048 samples of 4096 tokens`.

    Raises:
        ValueError: it is something else; the message, which has no subject, says what to write.
    """
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    parts = [part for part in (found["first"], found["each"]) if part] if found else []
    if not found or not re.search(size_form(), value):
        for part in parts:
            if re.fullmatch(rf"\s*{_NUMBER}[A-Za-z]?\s*", part):
                raise ValueError(f"has no unit in {shown(part)}; write '{part} tokens' or '{part} samples'")
            known = _QUANTITY.fullmatch(part)
            if known and not (known["share"] or known["unit"]):
                raise ValueError(f"has no unit in {shown(part)}; write '{part} tokens' or '{part} samples'")
            if not known:
                remedy = _with_blanks_right(part)
                raise ValueError(f"must be what one update consumes, such as {SIZES}, not {shown(value)}{remedy}")
            if (known["share"] or known["unit"]) not in _WORDS:
                _read(part)  # says what is wrong with it
        raise ValueError(f"must be what one update consumes, such as {SIZES}, not {shown(value)}")
    first, each = _read(found["first"]), _read(found["each"]) if found["each"] else None
    counts = [amount.amount for amount in (first, each) if amount]
    if any(count.denominator != 1 or count < 1 for count in counts):
        raise ValueError(f"must be made of whole numbers above zero, not {shown(value)}")
    if first.unit is Unit.TOKENS:
        return Size(int(counts[0]), None, value)
    return Size(int(counts[0] * counts[1]) if each else None, int(counts[0]), value)
