"""Lists: a program on many tensors at once gives what it gives on each, a bounded portion at a time."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from optreg.pointwise import lists
from optreg.pointwise.trace import trace
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

LION = trace(Lion.update, 1, {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1})
SHAPES = [(), (3,), (0,), (50,), (4, 5), (1, 30), (30, 1), (2, 3, 4), (), (2, 0), (1,), (120,), (60, 5)]


def tensors(shapes, count=3, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    return [
        [torch.randn(shape, generator=random, dtype=torch.float64).to(dtype) for shape in shapes] for _ in range(count)
    ]


def each(rule, lists_of, **hyperparameters):
    """What the rule gives on each tensor alone, computed in float64."""
    results = [rule(*(tensor.double() for tensor in some), **hyperparameters) for some in zip(*lists_of, strict=True)]
    return [list(column) for column in zip(*results, strict=True)]


class Sizes(TorchDispatchMode):
    """The elements of every list that a multi-tensor function is given, and how many calls there are."""

    def __init__(self):
        super().__init__()
        self.sizes = []
        self.calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        if "_foreach_" in str(func):
            self.sizes.append(sum(tensor.numel() for tensor in args[0]))
        elif (
            args
            and isinstance(args[0], Tensor)
            and not any(view in str(func) for view in ("split", "view", "as_strided"))
        ):
            self.sizes.append(args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("at_once", [1, 7, 64, 2**21])
def test_every_tensor_is_updated_as_if_it_were_alone(at_once, monkeypatch):
    monkeypatch.setattr(lists, "MEMORY", at_once)
    given = tensors(SHAPES)
    param, state = each(Lion.update, given, lr=0.1, betas=(0.9, 0.99), weight_decay=0.1)
    grads = [grad.clone() for grad in given[1]]
    lists.run(*LION, given, torch.float64)
    for have, want in zip([*given[0], *given[1], *given[2]], [*param, *grads, *state], strict=True):
        torch.testing.assert_close(have, want, rtol=0.0, atol=1e-14)  # of numbers below 10, in a few roundings


@pytest.mark.parametrize("shapes", [SHAPES, [(1000,)], [(1, 1000)], [(3, 500)], [(2, 3, 400)], [()] * 500], ids=str)
def test_no_more_is_worked_on_at_once_than_is_allowed(shapes, monkeypatch):
    monkeypatch.setattr(lists, "AT_ONCE", 100)
    given = tensors(shapes)
    with Sizes() as seen:
        lists.run(*LION, given, torch.float64)
    assert max(seen.sizes) <= 100


def test_tensors_of_any_layout_are_updated(monkeypatch):
    monkeypatch.setattr(lists, "AT_ONCE", 10)
    given = tensors([(6, 7), (3, 4, 5)])
    given = [[some[0].t().contiguous().t(), some[1].movedim(-1, 0).contiguous().movedim(0, -1)] for some in given]
    given[2][0] = given[2][0].contiguous()
    param, state = each(Lion.update, given, lr=0.1, betas=(0.9, 0.99), weight_decay=0.1)
    lists.run(*LION, given, torch.float64)
    for have, want in zip([*given[0], *given[2]], [*param, *state], strict=True):
        torch.testing.assert_close(have, want, rtol=0.0, atol=1e-14)


def test_many_tensors_cost_as_many_calls_as_one():
    def calls(count):
        given = tensors([(4,)] * count)
        with Sizes() as seen:
            lists.run(*LION, given, torch.float64)
        return seen.calls

    assert calls(50) == calls(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_computed_in_float32_and_rounded_once(dtype):
    given = tensors([(50,), (4, 5)], count=4, dtype=dtype)
    given[3] = [tensor.float().square() for tensor in given[3]]
    settings = {"t": 3, "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    wanted = each(AdamW.update, given, **settings)
    program, numbers = trace(AdamW.update, 2, settings)
    lists.run(program, numbers, given, torch.float32)
    for have, want in zip([given[0], given[2], given[3]], wanted, strict=True):
        for a, b in zip(have, want, strict=True):
            # one rounding to the dtype, of a value that float32 has up to a few of its own units
            unit = torch.finfo(a.dtype).eps / 2
            assert ((a.double() - b).abs() <= b.abs() * (unit + 2.0**-20) + 1e-7).all()


def test_functions_that_torch_has_for_single_tensors_alone_are_called_for_each():
    def rule(p, g, *, lr):
        return torch.where(p > 0.5, p.clamp(-1.0, 1.0), torch.copysign(g, p)) + torch.atan2(p, g)

    given = tensors([(5,), (), (2, 3)], count=2)
    wanted = [rule(p, g, lr=0.0) for p, g in zip(*given, strict=True)]
    program, numbers = trace(rule, 0, {"lr": 0.0})
    lists.run(program, numbers, given, torch.float64)
    assert all(map(torch.equal, given[0], wanted))


def test_no_tensors_are_no_work():
    lists.run(*LION, [[], [], []], torch.float64)
