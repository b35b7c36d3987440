"""History: what an element becomes depends on its own gradients, whatever else is done to the optimizer in between."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from executors import assert_same, through_a_file
from torch import Tensor
from torch.nn import Parameter

import optreg
from optreg.pointwise import packs

pytestmark = [pytest.mark.cpu, pytest.mark.no_cover]

SIZES = [
    (1,),
    (3,),
    (7,),
    (5, 3),
    (64,),
    (2, 2, 2),
    (33,),
    (100,),
    (),
    (0,),
    (16, 8),
    (129,),
    (packs.SMALL + 3,),
    (70, 300),
]
UPDATES = 10


class Story:
    """One random run: which parameters exist and have gradients at which update, and when it is looked at."""

    def __init__(self, seed: int) -> None:
        self.random = random = np.random.default_rng(seed)
        self.name = str(random.choice(["adamw", "adam", "lion", "momentum", "rmsprop"], p=[0.4, 0.3, 0.1, 0.1, 0.1]))
        self.dtype = [torch.float32, torch.float64, torch.bfloat16, torch.float16][
            random.choice(4, p=[0.5, 0.2, 0.2, 0.1])
        ]
        self.options: dict[str, Any] = {"execution": str(random.choice(["auto", "foreach", "loop"], p=[0.7, 0.2, 0.1]))}
        if self.dtype is torch.bfloat16 and random.random() < 0.7:
            self.options |= {"stochastic_rounding": True, "state_dtype": str(random.choice(["bfloat16", "float32"]))}
        count = int(random.integers(1, 25))
        self.shapes = [SIZES[index] for index in random.choice(len(SIZES), count)]
        self.first = random.choice([0, 0, 0, 2, 6], count)
        self.first[0] = 0
        self.added = int(random.choice([0, 0, 1, 9]))
        self.when_added = int(random.integers(2, UPDATES))
        self.gaps = random.random((UPDATES, count + self.added)) < random.choice([0.0, 0.05, 0.4])
        self.strided = random.random(count + self.added) < 0.1
        self.looks = [str(look) for look in random.choice(["", "save", "copy", "pickle", "resume"], UPDATES)]

    def run(self, looked_at: bool) -> dict[str, Any]:
        """The state dict at the end, with the parameters among the state."""
        params = [self.param(place, shape) for place, shape in enumerate(self.shapes)]
        optimizer = optreg.optimizer(self.name, params, lr=1e-2, **self.options)
        for t in range(UPDATES):
            if t == self.when_added and self.added:
                late = [self.param(len(params) + place, (3,)) for place in range(self.added)]
                optimizer.add_param_group({"params": late, "lr": 3e-3})
                params += late
            for place, param in enumerate(params):
                absent = self.gaps[t, place] or (place < len(self.first) and t < self.first[place])
                param.grad = None if absent else self.grad(t, place, param)
            optimizer.step()
            if looked_at:
                optimizer, params = self._look(self.looks[t], optimizer, params)
        saved: dict[str, Any] = optimizer.state_dict()
        saved["state"]["params"] = [param.detach().clone() for param in params]
        return saved

    def param(self, place: int, shape: tuple[int, ...]) -> Parameter:
        random = torch.Generator().manual_seed(place)
        return Parameter(torch.randn(shape, generator=random).to(self.dtype))

    def grad(self, t: int, place: int, param: Parameter) -> Tensor:
        random = torch.Generator().manual_seed(1000 * t + place)
        grad = torch.randn(param.shape, generator=random).to(self.dtype)
        return torch.stack([grad, grad], -1)[..., 0] if self.strided[place] else grad

    def _look(self, look: str, optimizer: Any, params: list[Parameter]) -> tuple[Any, list[Parameter]]:
        if look == "save":
            optimizer.state_dict()
        elif look == "copy":
            return copy.deepcopy((optimizer, params))
        elif look == "pickle":
            return pickle.loads(pickle.dumps((optimizer, params)))
        elif look == "resume":
            params = [Parameter(param.detach().clone()) for param in params]
            other = optreg.optimizer(self.name, params[: len(self.shapes)], **self.options)
            if len(optimizer.param_groups) > 1:
                other.add_param_group({"params": params[len(self.shapes) :]})
            other.load_state_dict(through_a_file(optimizer.state_dict()))
            return other, params
        return optimizer, params


@pytest.mark.parametrize("seed", range(100))
def test_a_run_is_the_same_however_often_it_is_saved_copied_or_resumed(seed):
    story = Story(seed)
    assert_same(story.run(looked_at=True), story.run(looked_at=False))


@pytest.mark.parametrize("seed", range(3))
def test_a_compiled_run_is_the_same_too(seed):
    story = Story(seed)
    story.name, story.dtype, story.options = "adamw", torch.float32, {"execution": "compiled"}
    assert_same(story.run(looked_at=True), story.run(looked_at=False))


def test_a_compiled_run_that_is_rounded_at_random_is_the_same_too():
    """With so many elements that some lie where kernels' last bits decide how they are rounded."""
    story = Story(0)
    story.name, story.dtype, story.added = "adamw", torch.bfloat16, 0
    story.options = {"execution": "compiled", "stochastic_rounding": True, "state_dtype": "bfloat16"}
    story.shapes, story.first = [(10_000,)] * 12, np.array([0] * 11 + [5])
    story.gaps, story.strided = np.zeros((UPDATES, 12), dtype=bool), np.zeros(12, dtype=bool)
    story.looks = [""] * 8 + ["save"] * 6
    assert_same(story.run(looked_at=True), story.run(looked_at=False))


@pytest.mark.parametrize("name", ["adamw", "lion", "rmsprop"])
@pytest.mark.parametrize("execution", ["auto", "foreach", "compiled"])
def test_a_parameter_becomes_what_it_becomes_alone(name, execution):
    """Whoever else is updated, in packs or not: kernels must round an element alike wherever it stands."""
    story = Story(0)
    story.name, story.options, story.dtype, story.added = name, {"execution": execution}, torch.float32, 0
    story.shapes, story.first = [*SIZES, *SIZES], np.zeros(2 * len(SIZES))
    random = np.random.default_rng(1)
    story.gaps = random.random((UPDATES, len(story.shapes))) < 0.1
    story.gaps[:4] = False
    story.strided = random.random(len(story.shapes)) < 0.1
    together = story.run(looked_at=False)["state"]["params"]
    for place in range(len(story.shapes)):
        param = story.param(place, story.shapes[place])
        optimizer = optreg.optimizer(name, [param], lr=1e-2, execution=execution)
        for t in range(UPDATES):
            param.grad = None if story.gaps[t, place] else story.grad(t, place, param)
            optimizer.step()
        assert_same(param.detach(), together[place])
