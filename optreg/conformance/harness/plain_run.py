"""PlainRun: a class run as plainly as possible, in the place of the reference that it does not have.

Its parameters are float64 and contiguous, its hyperparameters are the constructor's, its path is the default one. As
far as nothing couples them, each parameter has an optimizer of its own, and elements lie in one row.
"""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.harness.drawing import Drawing
from optreg.conformance.harness.layouts import Array, as_array
from optreg.conformance.subjects.subject import OptimizerSubject

Groups = Sequence[tuple[Sequence[int], Mapping[str, Any]]]


class PlainRun:
    """Optimizers of a class on float64 parameters.

    Args:
        subject: the class.
        starts: the parameters' initial values.
        groups: the parameters of each group, and what the group overrides.
        own: the hyperparameters of each parameter.
    """

    def __init__(
        self, subject: OptimizerSubject, starts: Sequence[Array], groups: Groups, own: Sequence[Mapping[str, Any]]
    ) -> None:
        self.subject, self.coupled = subject, subject.traits.coupled
        flat = subject.traits.elementwise and not subject.traits.ndim
        self.shapes = [np.shape(start) for start in starts]
        self.params = [Parameter(subject.tensor(np.ravel(s) if flat else s, torch.float64)) for s in starts]
        self.drawing = Drawing(subject)
        with _ordinary_dtype():
            self.optimizers = [
                (members, subject.make(self._grouped(members, groups), **own[members[0]]))
                for members in self._together(groups)
            ]

    def _together(self, groups: Groups) -> list[list[int]]:
        """The parameters of each optimizer."""
        every = list(range(len(self.params)))
        if self.coupled is None:
            return [[index] for index in every]
        if self.coupled == "group" and groups:
            return [list(members) for members, _ in groups if members]
        return [every] if every else []

    def _grouped(self, members: list[int], groups: Groups) -> list[Any]:
        if self.coupled == "optimizer" and groups:
            return [{"params": [self.params[i] for i in each], **changes} for each, changes in groups]
        return [self.params[index] for index in members]

    def send(self, grads: Sequence[Array | None], changes: Mapping[str, Any]) -> None:
        """Make one update of every parameter that has a gradient."""
        for members, optimizer in self.optimizers:
            for group in optimizer.param_groups:
                self.subject.edit(group, **changes)
            for index in members:
                grad, param = grads[index], self.params[index]
                param.grad = None if grad is None else self.subject.tensor(grad, torch.float64).reshape(param.shape)
            if any(grads[index] is not None for index in members):
                with _ordinary_dtype(), self.drawing:
                    self.subject.update(optimizer)

    def values(self, index: int) -> Array:
        """A parameter."""
        return as_array(self.params[index]).reshape(self.shapes[index])


@contextmanager
def _ordinary_dtype() -> Any:
    """Under torch's own default dtype, whatever it is at the moment."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
