"""Straight-line code: no tensor of its own, and as little scratch as can be."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from executors import DEVICE, Made, plainly

from optreg.pointwise.straight import straight
from optreg.pointwise.trace import trace
from optreg_plugins.adam.optimizer import Adam
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion
from optreg_plugins.momentum.optimizer import Momentum
from optreg_plugins.rmsprop.optimizer import RMSprop

LION = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1}
ADAM = {**LION, "t": 3, "eps": 1e-8}


def crossing(p, g, m, v, *, lr):
    """No place may be written to before all have read it."""
    new = p - lr * g
    m = m * new + p
    return new, v + p * m, m + v


def choosing(p, g, *, lr):
    both = torch.logical_and(p > 1.0, torch.logical_not(g <= 1.0))
    return torch.where(both, p, g)


class Case(NamedTuple):
    """A rule, how many tensors its state has, its hyperparameters, the scratch that it needs at most, and its rounding."""

    rule: Callable[..., Any]
    states: int
    hyperparameters: dict[str, Any]
    scratch: int
    scratch_maximizing: int
    truths: int = 0
    copies: int = 0
    rtol: float = 1e-14


CASES = {
    "Momentum": Case(Momentum.update, 1, {"lr": 0.1, "momentum": 0.9}, 0, 1),
    "Lion": Case(Lion.update, 1, LION, 1, 2),
    "RMSprop": Case(RMSprop.update, 1, {"lr": 0.1, "alpha": 0.9, "eps": 1e-8}, 1, 2),
    "AdamW": Case(AdamW.update, 2, ADAM, 2, 3),
    "Adam": Case(Adam.update, 2, ADAM, 2, 2),  # the gradient with its decay is read by both means
    "crossing": Case(crossing, 2, {"lr": 0.5}, 3, 3, copies=1, rtol=1e-15),
    "truth values": Case(choosing, 0, {"lr": 0.0}, 0, 1, truths=2, rtol=0.0),
    "nothing": Case(lambda p, g, m, *, lr: (p, m), 1, {"lr": 0.0}, 0, 0, rtol=0.0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("maximize", [False, True])
def test_no_tensor_is_made_scratch_is_as_little_as_can_be_and_the_values_are_the_rules(name, maximize):
    """In scratch that is NaN at first, under the eye of a counter."""
    case = CASES[name]
    program, numbers = trace(case.rule, case.states, case.hyperparameters, maximize=maximize)
    code = straight(program)
    assert code.scratch <= (case.scratch_maximizing if maximize else case.scratch), code.source
    assert code.truths == case.truths
    random = torch.Generator().manual_seed(0)
    tensors = [torch.rand(100, generator=random).double().to(DEVICE) + 0.5 for _ in range(program.inputs)]
    turned = [-tensor if maximize and slot == 1 else tensor for slot, tensor in enumerate(tensors)]
    wanted = plainly(case.rule, turned, **case.hyperparameters)
    wanted[1] = tensors[1].clone()
    scratch = [torch.full_like(tensors[0], torch.nan) for _ in range(code.scratch)]
    truths = [torch.ones_like(tensors[0], dtype=torch.bool) for _ in range(code.truths)]
    body = code.bind(scratch, truths, numbers)
    with Made([*tensors, *scratch, *truths]) as made:
        body(*tensors)
    assert made.made == []
    assert made.calls == len(program.operations) + case.copies
    torch.testing.assert_close(tensors, wanted, rtol=case.rtol, atol=0.0)


def test_code_is_written_once_for_programs_of_one_structure():
    first, _ = trace(Lion.update, 1, LION)
    other, _ = trace(Lion.update, 1, {**LION, "lr": 0.7, "betas": (0.1, 0.2)})
    assert straight(first) is straight(other)
