"""Drawing: the random numbers of one run, the same for every run of a class that draws some."""

import random
from typing import Any

import torch

from optreg.conformance.subjects.subject import OptimizerSubject

SEED = 1


class Drawing:
    """A stream of random numbers that a run draws from, inside `with`; other runs draw from their own.

    It does nothing for a class that has a reference, or that draws no random numbers.
    """

    def __init__(self, subject: OptimizerSubject) -> None:
        self.draws = subject.alone and subject.traits.random
        with torch.random.fork_rng(devices=[], enabled=self.draws):
            self.ahead = self._seeded() if self.draws else None

    @staticmethod
    def _seeded() -> tuple[Any, Any]:
        torch.manual_seed(SEED)
        return torch.get_rng_state(), random.Random(SEED).getstate()

    def __enter__(self) -> None:
        if self.draws:
            self.outside = torch.get_rng_state(), random.getstate()
            self._set(self.ahead)

    def __exit__(self, *error: object) -> None:
        if self.draws:
            self.ahead = torch.get_rng_state(), random.getstate()
            self._set(self.outside)

    @staticmethod
    def _set(states: Any) -> None:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
