"""Formulas in Python and in JavaScript: the same values, or a refusal that says why."""

import json
import math
from dataclasses import dataclass, field
from importlib.resources import files

import mpmath
import pytest

from optreg.cli.page.translation import FUNCTIONS, UntranslatableError, translated

HALF = 0.5


def fraction(t, T):
    return min(t, T) / T


def falling(t, T, power):
    left = 1 - fraction(t, T)
    return left**power


def thirds(T):
    begin = 0
    for end in (T // 3, 2 * T // 3):
        yield begin, end, "a third"
        begin = end
    yield begin, T, "the rest"


def refuse_short(lengths):
    last = list(lengths)[-1]
    if sum(lengths.values()) < 3 or lengths[last] < 1:
        raise ValueError(" and ".join(f"{name} ({n})" for name, n in lengths.items()))


def itself(t):
    return 1.0 if t <= 0 else HALF * itself(t - 3)


@dataclass
class Arithmetic:
    a: float = 0.3
    n: int = 7

    def multiplier(self, t, mp):
        x = mp.mpf("0.25") + self.a * t - (-t) / 3 + +t
        x += t // self.n + (-t) // self.n + t % self.n + (-t) % self.n
        x -= 2**-1
        return x * abs(-1.5) / (1 + t) ** 2


@dataclass
class Branches:
    n: int = 7
    none: float = 0.0

    def multiplier(self, t, mp):
        """What a formula is."""
        if not t:
            return 0.5
        x = 0.25
        if 2 < t <= self.n and t != 5:
            x = mp.mpf(t) / self.n
        elif t == 5 or t > 40:
            pass
        else:
            return (1 if t % 2 else 2) + int(t / 3.5) + float(True)
        return (t and HALF) + (self.none or x)


@dataclass
class Loops:
    steps: tuple[int, ...] = (3, 9, 27)
    mode: str = "up"
    names: tuple[str, ...] = ("up", "down")

    def multiplier(self, t, mp):
        total, k = 0.0, 0
        for place, step in enumerate(self.steps):
            if step > t:
                break
            if place == 1:
                continue
            total += 1 / (1 + step)
        while k < 5:
            k += 2
        for low, high in zip(self.steps, [1, 2, 3], strict=True):
            total += low * high / 100
        down = sum(1 for step in self.steps if step <= t and step not in (9, 11)) + len([s for s in self.steps if s])
        later = max(s for s in self.steps) + min(self.steps[0], self.steps[-1]) + sum(range(2, 11, 3))
        return total + k + down / 7 + later / (1 if self.mode in self.names and self.mode is not None else 3)


@dataclass
class Helpers:
    T: int = 40
    power: float = 1.5

    RATE = 0.1

    @property
    def half(self):
        return self.T / 2

    @staticmethod
    def twice(x):
        return 2 * x

    def _at(self, t, ctx):
        return ctx.cos(ctx.pi * fraction(t, self.T))

    def multiplier(self, t, mp):
        var, new = falling(t, self.T, self.power), itself(t)
        return var + new + self._at(t, mp) + self.half + self.twice(t) * self.RATE + math.sqrt(math.pi * t)


@dataclass
class Dicts:
    T: int = 40
    more: int | None = None
    shape: str = "b"

    def __post_init__(self):
        refuse_short({name: getattr(self, name) for name in ("T", "T")})

    def multiplier(self, t, mp):
        times, rest = divmod(t, 7)
        shapes = {"a": t, "b": mp.sqrt(t), "c": 0}
        if self.more is None and self.shape in shapes and self.shape in {"b", "c"} and "d" not in shapes:
            t = min(t, self.T - 1)
        end = next(end for _, end, _ in thirds(self.T) if t < end)
        return shapes[self.shape] + end + times / (1 + rest) + len(shapes) + len(list(shapes.keys()))


@dataclass
class Rates:
    high: float = 0.2
    derived: float = field(init=False)

    def __post_init__(self):
        if self.high > 1:
            raise ValueError(f"high ({self.high}) must not be more than {1}")
        self.derived = 3 * self.high

    def rate(self, base_lr, t, mp):
        return mp.mpf(base_lr) * self.derived / (1 + t)


@dataclass
class EveryFunction:
    x: float = 0.7

    def multiplier(self, t, mp):
        x = self.x / (1 + t)
        angles = mp.acos(x) + mp.asin(x) + mp.atan(x) + mp.atan2(x, 2) + mp.cos(x) + mp.sin(x) + mp.tan(x)
        growth = mp.cosh(x) + mp.sinh(x) + mp.tanh(x) + mp.exp(x) + mp.expm1(x) + mp.e**x + mp.power(x, 3)
        logs = mp.ln(x) + mp.log(x) + mp.log(x, 2) + mp.log10(x) + mp.log1p(x) + mp.sqrt(x)
        whole = mp.ceil(10 * x) + mp.floor(10 * x) + mp.fabs(-x) + mp.sign(-x) + mp.mpf(x) + min(mp.inf, mp.pi)
        return angles + growth + logs + whole


@pytest.fixture(scope="module")
def page(browser):
    """A page that has the model alone."""
    page = browser.new_page()
    page.add_script_tag(content=(files("optreg.cli.page") / "model.js").read_text("utf-8"))
    yield page
    page.close()


@pytest.mark.no_cover
@pytest.mark.parametrize("reference", [Arithmetic, Branches, Loops, Helpers, Dicts, Rates, EveryFunction])
def test_a_formula_has_the_same_values_in_javascript(page, reference):
    one = reference()
    settings = {key: value for key, value in vars(one).items() if key != "derived"}
    ours = [
        float(one.multiplier(t, mpmath.fp) if hasattr(one, "multiplier") else one.rate(0.5, t, mpmath.fp))
        for t in range(60)
    ]
    theirs = page.evaluate(
        """([formula, settings]) => {
            const value = bound(formulaOf(formula), JSON.parse(settings));
            return Array.from({length: 60}, (_, t) => value(t, formulaOf(formula).rate ? 0.5 : 1));
        }""",
        [translated(reference), json.dumps(settings)],
    )
    assert theirs == pytest.approx(ours, rel=1e-12, abs=1e-12)


@pytest.mark.no_cover
def test_hyperparameters_that_the_reference_refuses_are_refused(page):
    told = page.evaluate(
        """(formula) => { try { bound(formulaOf(formula), {high: 2}); return null; } catch (error) { return error.message; } }""",
        translated(Rates),
    )
    assert told == "high (2) must not be more than 1"


@pytest.mark.no_cover
def test_what_the_page_has_of_mpmath_is_what_is_translated(page):
    assert {*page.evaluate("Object.keys(mp)")} == FUNCTIONS


@dataclass
class NoFormula:
    n: int = 3


@dataclass
class Unknown:
    n: int = 3

    def multiplier(self, t, mp):
        return mp.besselj(0, t)


@dataclass
class Prints:
    n: int = 3

    def multiplier(self, t, mp):
        print(t)
        return 1.0


@dataclass
class Slices:
    n: tuple[int, ...] = (3,)

    def multiplier(self, t, mp):
        return sum(self.n[1:])


@dataclass
class Imports:
    n: int = 3

    def multiplier(self, t, mp):
        import random

        return random.random()


@dataclass
class Elsewhere:
    n: int = 3

    def multiplier(self, t, mp):
        return json.loads("1")


@dataclass
class Strange:
    n: int = 3

    def multiplier(self, t, mp):
        return self.other


@dataclass
class Optional:
    n: int = 3

    def multiplier(self, t, mp, more=1):
        return more


@dataclass
class Tries:
    n: int = 3

    def multiplier(self, t, mp):
        try:
            return 1 / t
        except ZeroDivisionError:
            return 0


@dataclass
class Formats:
    n: int = 3

    def multiplier(self, t, mp):
        return float(f"{t:.3f}")


@dataclass
class Huge:
    n: int = 3

    def multiplier(self, t, mp):
        return 1e999 * t


@dataclass
class Borrowed:
    n: int = 3

    multiplier = dict.get


Made = dataclass(type("Made", (), {"multiplier": eval("lambda self, t, mp: 1.0"), "__annotations__": {}}))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        (NoFormula, "it has no formula"),
        (Unknown, "multiplier calls 'mp.besselj'"),
        (Prints, "multiplier calls 'print'"),
        (Slices, "multiplier has 'self.n[1:]'"),
        (Imports, "multiplier has a statement 'import random'"),
        (Elsewhere, "multiplier calls 'json.loads'"),
        (Strange, "multiplier has 'self.other'"),
        (Optional, "multiplier has optional arguments"),
        (Tries, "multiplier has a statement 'try:'"),
        (Formats, "multiplier has '"),
        (Huge, "a number is inf"),
        (Borrowed, "multiplier is not a function"),
        (Made, "the source of multiplier is not there"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
def test_what_is_not_translated_is_refused_with_the_reason(reference, reason):
    with pytest.raises(UntranslatableError) as caught:
        translated(reference)
    assert str(caught.value).startswith(reason)
