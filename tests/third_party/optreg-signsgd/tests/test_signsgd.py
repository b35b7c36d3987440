"""The optimizer follows its reference, in float64, after every step."""

import numpy as np
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
        bound = 2.0**-53 * (8 + t) * (abs(expected).max() + 0.1 * (t + 1))
        assert abs(param.detach().numpy() - expected).max() <= bound


def test_a_spec_can_name_it():
    optimizer = optreg.optimizer("signsgd", torch.nn.Linear(2, 2), lr=0.5)
    assert isinstance(optimizer, SignSGD)
