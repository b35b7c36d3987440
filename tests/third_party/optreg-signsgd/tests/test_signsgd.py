"""The optimizer follows its reference, in float64, after every step."""

import numpy as np
import pytest
import torch
from optreg_signsgd.optimizer import SignSGD
from optreg_signsgd.reference import SignSGD as Paper

import optreg


def test_signsgd_follows_its_paper():
    random = np.random.default_rng(0)
    start = random.standard_normal(8)
    param = torch.nn.Parameter(torch.tensor(start))
    optimizer = SignSGD([param], lr=0.1, weight_decay=0.1)
    paper = Paper(lr=0.1, weight_decay=0.1).trajectory(start)
    next(paper)
    for t in range(12):
        g = random.standard_normal(8) * 10.0 ** np.arange(-6, 2)
        param.grad = torch.tensor(g)
        optimizer.step()
        expected, _ = paper.send(g)
        # u (8 + t) S: float64's unit roundoff, a few roundings a step, the largest number in play
        bound = 2.0**-53 * (8 + t) * (abs(expected).max() + 0.1 * (t + 1))
        assert abs(param.detach().numpy() - expected).max() <= bound


def test_a_parameter_without_a_gradient_stays_as_it_is():
    param = torch.nn.Parameter(torch.ones(3))
    SignSGD([param], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(param, torch.ones(3))


def test_values_out_of_range_are_refused():
    for wrong in ({"lr": -1.0}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match="must not be negative"):
            SignSGD([torch.nn.Parameter(torch.ones(1))], **wrong)


def test_a_spec_can_name_it():
    optimizer = optreg.optimizer("signsgd", torch.nn.Linear(2, 2), lr=0.5)
    assert isinstance(optimizer, SignSGD)
    assert optimizer.param_groups[0]["lr"] == 0.5
