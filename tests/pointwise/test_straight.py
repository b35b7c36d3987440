"""Straight-line code: no tensor of its own, and as little scratch as can be."""

from typing import Any

import pytest
import torch
from executors import DEVICE, Made
from torch import Tensor

from optreg.pointwise.straight import Straight, straight
from optreg.pointwise.trace import Program, trace
from optreg_plugins.adam.optimizer import Adam
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion
from optreg_plugins.momentum.optimizer import Momentum
from optreg_plugins.rmsprop.optimizer import RMSprop

SETTINGS: dict[Any, dict[str, Any]] = {
    Lion: {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1},
    AdamW: {"t": 3, "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1},
    Adam: {"t": 3, "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1},
    RMSprop: {"lr": 0.1, "alpha": 0.9, "eps": 1e-8},
    Momentum: {"lr": 0.1, "momentum": 0.9},
}
every_rule = pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)


def run(program: Program, numbers: tuple[float, ...], tensors: list[Tensor]) -> tuple[Straight, Made]:
    """Update in place, in scratch that is NaN at first, under the eye of a counter."""
    code = straight(program)
    scratch = [torch.full_like(tensors[0], torch.nan) for _ in range(code.scratch)]
    truths = [torch.ones_like(tensors[0], dtype=torch.bool) for _ in range(code.truths)]
    body = code.bind(scratch, truths, numbers)
    with Made([*tensors, *scratch, *truths]) as made:
        body(*tensors)
    return code, made


def inputs(count: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.rand(100, generator=random, dtype=torch.float64).to(DEVICE) + 0.5 for _ in range(count)]


@every_rule
def test_no_tensor_is_made_and_the_values_are_the_rules(cls):
    tensors = inputs(2 + len(cls.state_names))
    param, *state = cls.update(*[tensor.clone() for tensor in tensors], **SETTINGS[cls])
    grad = tensors[1].clone()
    program, numbers = trace(cls.update, len(cls.state_names), SETTINGS[cls])
    _, made = run(program, numbers, tensors)
    assert made.made == []
    assert made.calls == len(program.operations)
    for have, want in zip(tensors, [param, grad, *state], strict=True):
        torch.testing.assert_close(have, want, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(
    ("cls", "scratch"), [(Momentum, 0), (Lion, 1), (RMSprop, 1), (AdamW, 2), (Adam, 2)], ids=lambda x: str(x)
)
@pytest.mark.parametrize("maximize", [False, True])
def test_scratch_is_as_little_as_can_be(cls, scratch, maximize):
    program, _ = trace(cls.update, len(cls.state_names), SETTINGS[cls], maximize=maximize)
    code = straight(program)
    assert code.truths == 0
    coupled = cls is Adam  # the gradient with its decay is read by both means
    assert code.scratch <= scratch + (maximize and not coupled), code.source


def test_code_is_written_once_for_programs_of_one_structure():
    first, _ = trace(Lion.update, 1, SETTINGS[Lion])
    other, _ = trace(Lion.update, 1, {**SETTINGS[Lion], "lr": 0.7, "betas": (0.1, 0.2)})
    assert straight(first) is straight(other)


def test_a_place_is_not_written_to_before_all_have_read_it():
    def rule(p, g, m, v, *, lr):
        new = p - lr * g
        m = m * new + p
        return new, v + p * m, m + v

    tensors = inputs(4)
    param, *state = rule(*[tensor.clone() for tensor in tensors], lr=0.5)
    program, numbers = trace(rule, 2, {"lr": 0.5})
    _, made = run(program, numbers, tensors)
    assert made.made == []
    for have, want in zip([tensors[0], *tensors[2:]], [param, *state], strict=True):
        torch.testing.assert_close(have, want, rtol=1e-15, atol=0.0)


def test_truth_values_have_scratch_of_their_own():
    def rule(p, g, *, lr):
        both = torch.logical_and(p > 1.0, torch.logical_not(g <= 1.0))
        return torch.where(both, p, g)

    tensors = inputs(2)
    wanted = rule(*tensors, lr=0.0)
    program, numbers = trace(rule, 0, {"lr": 0.0})
    code, made = run(program, numbers, tensors)
    assert made.made == []
    assert (code.scratch, code.truths) == (0, 2)
    assert torch.equal(tensors[0], wanted)


def test_no_operation_leaves_the_parameter_alone():
    tensors = inputs(3)
    before = [tensor.clone() for tensor in tensors]
    program, numbers = trace(lambda p, g, m, *, lr: (p, m), 1, {"lr": 0.0})
    code, made = run(program, numbers, tensors)
    assert (made.calls, code.scratch) == (0, 0)
    assert all(map(torch.equal, tensors, before))
