"""Lists: a program on many tensors at once gives what it gives on each, a bounded portion at a time."""

import functools
import itertools
import json

import pytest
import torch
from executors import Made, drawn, plain, rotated, transposed
from torch.profiler import ProfilerActivity, profile

from optreg.pointwise import lists
from optreg.pointwise.trace import trace
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

SETTINGS = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1}
ADAMW_SETTINGS = {**SETTINGS, "t": 3, "eps": 1e-8}
LION = trace(Lion.update, 1, SETTINGS)
ADAMW = trace(AdamW.update, 2, ADAMW_SETTINGS)
SHAPES = [(), (3,), (0,), (50,), (4, 5), (1, 30), (30, 1), (2, 3, 4), (), (2, 0), (1,), (120,), (60, 5)]


def tensors(shapes, count=3, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    return [[drawn(shape, random, dtype) for shape in shapes] for _ in range(count)]


def each(rule, lists_of, **hyperparameters):
    """What the rule gives on each tensor alone, computed in float64."""
    results = [rule(*(tensor.double() for tensor in some), **hyperparameters) for some in zip(*lists_of, strict=True)]
    return [list(column) for column in zip(*results, strict=True)]


@pytest.mark.parametrize("memory", [1, 2**10, 7 * 2**10, 2**14, 2**26])
@pytest.mark.parametrize("others", [plain, transposed, rotated], ids=lambda f: f.__name__)
def test_every_tensor_is_updated_as_if_it_were_alone_whatever_its_layout(memory, others, monkeypatch):
    monkeypatch.setattr(lists, "MEMORY", memory)
    params, grads, states = tensors(SHAPES)
    given = [list(map(others, params)), list(map(transposed, grads)), states]
    param, state = each(Lion.update, given, **SETTINGS)
    lists.run(*LION, given, torch.float64)
    torch.testing.assert_close(given, [param, grads, state], rtol=0.0, atol=1e-14)  # below 10, in a few roundings


def many_at_once(p, g, m, v, *, lr):
    several = [torch.where(p > 0.1 * place, p, g) for place in range(12)]
    return sum(several), m + v * g, v


def one_by_one(p, g, m, v, *, lr):
    """Uses functions that torch has for single tensors alone."""
    return p - torch.atan2(g, p).clamp(-1, 1) + torch.copysign(m, p).lerp(g, 0.3) + p % 3.0, torch.addcdiv(m, g, v), v


RULES = {
    "Lion": LION,
    "AdamW": ADAMW,
    "many at once": trace(many_at_once, 2, {"lr": 0.1}),
    "one by one": trace(one_by_one, 2, {"lr": 0.1}),
}


def most_memory(run, tmp_path):
    """The most bytes that are allocated at once while something runs, as torch's profiler sees them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    seen.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    changes = [event["args"]["Bytes"] for event in events if event["name"] == "[memory]"]
    assert sum(changes) == 0
    return max(itertools.accumulate(changes))


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shapes", [[(2**20,)], [(3, 2**18)], [(2**14,)] * 70, [(64,)] * 500], ids=lambda x: str(x[:1]))
@pytest.mark.parametrize("what", RULES)
def test_what_is_computed_in_between_takes_no_more_memory_than_is_allowed(what, shapes, dtype, monkeypatch, tmp_path):
    """A sixteenth of what is allowed, of tensors that are a sixteenth as large."""
    monkeypatch.setattr(lists, "MEMORY", lists.MEMORY // 16)
    program, numbers = RULES[what]
    given = [[torch.ones(shape, dtype=dtype) for shape in shapes] for _ in range(program.inputs)]
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    lists.run(program, numbers, [some[:1] for some in given], wide)  # what is looked at once is looked at
    most = most_memory(functools.partial(lists.run, program, numbers, given, wide), tmp_path)
    assert most <= lists.MEMORY
    if sum(tensor.numel() for tensor in given[0]) >= 2**20:
        assert most > lists.MEMORY / 2, "portions are smaller than they have to be"


@pytest.mark.parametrize("shapes", [[(2**18,)], [(64,)] * 4000], ids=["large", "many"])
def test_accelerators_give_no_tensor_less_than_their_grain(shapes):
    """So many small ones are counted as what they take there."""
    given = [[torch.ones(shape) for shape in shapes] for _ in range(3)]
    portions = list(lists._portions(given, 2**18, 4))
    assert sum(some.numel() for portion in portions for some in portion[0]) == sum(x.numel() for x in given[0])
    assert max(sum(max(4 * some.numel(), 512) for some in portion[0]) for portion in portions) <= 2**18


def test_many_tensors_cost_as_many_calls_as_one():
    def calls(count):
        given = tensors([(4,)] * count)
        with Made() as seen:
            lists.run(*LION, given, torch.float64)
        return seen.calls

    calls(1)  # when functions are looked at
    assert calls(0) == 0
    assert calls(50) == calls(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_computed_in_float32_and_rounded_once(dtype):
    given = tensors([(50,), (4, 5)], count=4, dtype=dtype)
    given[3] = [tensor.float().square() for tensor in given[3]]
    wanted = each(AdamW.update, given, **ADAMW_SETTINGS)
    lists.run(*ADAMW, given, torch.float32)
    for have, want in zip([given[0], given[2], given[3]], wanted, strict=True):
        for a, b in zip(have, want, strict=True):
            # one rounding to the dtype, of a value that float32 has up to a few of its own units
            unit = torch.finfo(a.dtype).eps / 2
            assert ((a.double() - b).abs() <= b.abs() * (unit + 2.0**-20) + 1e-7).all()
