"""Packs: update many small tensors as one vector, since a call to torch costs more than the arithmetic of one.

A pack stays from step to step: state lives in its vectors, and the optimizer sees views of it. Parameters and gradients
live elsewhere, and are copied in and out. Small tensors that are in no pack, or whose pack cannot be updated as a
whole, are joined for one step.

The result of an element depends on its own history alone. Which tensors are updated together depends on much else: on
when the first gradients came, on whether the optimizer was saved or copied. Kernels compute the last few elements of a
vector by other instructions, which round otherwise. So the length of every vector is a multiple of `WHOLE`.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from optreg import torch_internals
from optreg.pointwise.slots import written

SMALL = 2**14
"""Elements of the largest tensor that is packed. For larger ones, the arithmetic outweighs the call."""

FEWEST = 8
"""The fewest tensors that form a pack though each of them fills whole vectors. Also, how many tensors that had no state
must have it for packs to be made anew, unless all have it."""

LARGEST = 2**20
"""Elements of the largest pack. It keeps the copies of parameters and gradients below 16 MiB."""

WHOLE = 64
"""A multiple of the elements that a kernel computes at once."""

State = dict[str, Any]

_ORDINARY = {torch.strided}
_dtype, _is_cpu, _layout = map(attrgetter, ("dtype", "is_cpu", "layout"))  # fast: each step asks thousands of tensors


@dataclass(frozen=True)
class Members:
    """The parameters whose elements stand one after the other in a vector."""

    places: Sequence[int]
    """Their indices in the optimizer."""
    sizes: Sequence[int]
    """Their numbers of elements. The vector may be longer."""


def _vector(like: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """A vector with arbitrary contents, and views of its elements in the shapes of `like`. What is left is zero."""
    sizes = [tensor.numel() for tensor in like]
    elements = sum(sizes)
    vector = torch.empty(-(-elements // WHOLE) * WHOLE, dtype=dtype, device="cpu")
    vector[elements:].zero_()
    parts = torch.split(vector[:elements], sizes)
    return vector, [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


class Joined:
    """Small tensors as vectors, for one step.

    Args:
        columns: for each slot, the tensors of all parameters, of one dtype.
    """

    def __init__(self, columns: Sequence[Sequence[Tensor]]) -> None:
        self._columns = columns
        made = [_vector(column, column[0].dtype) for column in columns]
        self.tensors = tuple(vector for vector, _ in made)
        self._views = [views for _, views in made]
        for views, column in zip(self._views, columns, strict=True):
            torch_internals.copy_each(views, column)

    def scatter(self) -> None:
        """Copy the parameters and their state back."""
        for slot in written(len(self._columns)):
            torch_internals.copy_each(self._columns[slot], self._views[slot])


class Pack:
    """Parameters of one dtype on the CPU, and their state, as vectors.

    Args:
        params: the parameters.
        places: their indices in the optimizer.
        states: their state. Views of the pack's vectors replace its tensors.
        names: the names of the state tensors to pack, besides `step`.
    """

    def __init__(
        self, params: Sequence[Tensor], places: Sequence[int], states: Sequence[State], names: Sequence[str]
    ) -> None:
        self.params = list(params)
        self.members = Members(places, [param.numel() for param in params])
        self._states = list(states)
        self._dtype = params[0].dtype
        self._vectors_alone = all(param.ndim == 1 for param in params)
        self._views: dict[str, list[Tensor]] = {}
        self.param, self._param_views = _vector(params, self._dtype)
        self.grad, self._grad_views = _vector(params, self._dtype)
        self.state = []
        for name in names:
            vector, views = _vector(params, states[0][name].dtype)
            torch_internals.copy_each(views, [state[name] for state in states])
            self.state.append(vector)
            self._views[name] = views
        self.t: int | None = None
        """The number of the update that is gathered, if updates are counted."""
        self.steps: Tensor | None = None
        if "step" in states[0]:
            counts = [float(state["step"]) for state in states]
            self.steps = torch.tensor(counts, dtype=states[0]["step"].dtype, device="cpu")
            self._views["step"] = list(self.steps.unbind())
        for name, views in self._views.items():
            for state, view in zip(self._states, views, strict=True):
                state[name] = view
        self._addresses = {name: [view.data_ptr() for view in views] for name, views in self._views.items()}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The parameters, the gradients and each kind of state, each as one vector."""
        return (self.param, self.grad, *self.state)

    def gather(self, state: Mapping[Tensor, State]) -> bool | None:
        """Copy parameters and gradients in.

        Args:
            state: the optimizer's state.

        Returns:
            True if the pack can be updated. False if it cannot be updated in this step: a parameter has no gradient
            that can be packed, or the numbers of updates differ. None if a parameter or its state was moved or replaced
            from outside.
        """
        params, dtype = self.params, self._dtype
        if not all(map(is_, map(state.get, params), self._states)) or set(map(_dtype, params)) != {dtype}:
            return None
        for name, views in self._views.items():
            if not all(map(is_, map(dict.get, self._states, itertools.repeat(name)), views)):
                return None
            if list(map(Tensor.data_ptr, views)) != self._addresses[name]:  # state.data = state.data.to(...)
                return None
        grads = [grad for param in params if (grad := param.grad) is not None]
        if len(grads) < len(params) or set(map(_dtype, grads)) != {dtype} or set(map(_layout, grads)) != _ORDINARY:
            return False
        if self.steps is not None:
            counts = self.steps.tolist()
            if counts.count(counts[0]) < len(counts):
                return False
            self.t = int(counts[0]) + 1
        if False in map(_is_cpu, params):
            return None
        if True in map(Tensor.is_neg, grads):
            grads = [grad.resolve_neg() for grad in grads]
        if self._vectors_alone:
            elements = sum(self.members.sizes)
            torch.cat(self.params, out=self.param[:elements])
            torch.cat(grads, out=self.grad[:elements])
        else:
            torch_internals.copy_each(self._param_views, self.params)
            torch_internals.copy_each(self._grad_views, grads)
        return True

    def scatter(self) -> None:
        """Copy the parameters back."""
        torch_internals.copy_each(self.params, self._param_views)

    def dissolve(self) -> None:
        """Give every parameter its own state tensors again."""
        for name, views in self._views.items():
            for state, view in zip(self._states, views, strict=True):
                if state.get(name) is view:
                    state[name] = view.clone()


def portions(sizes: Sequence[int], kinds: Sequence[object]) -> Iterator[list[int]]:
    """Divide tensors among vectors of at most `LARGEST` elements. Only tensors of equal kinds share one.

    Args:
        sizes: the tensors' numbers of elements.
        kinds: the tensors' kinds.

    Yields:
        the indices of the tensors of one vector.
    """
    by_kind: dict[object, list[int]] = {}
    for index, kind in enumerate(kinds):
        by_kind.setdefault(kind, []).append(index)
    for places in by_kind.values():
        portion: list[int] = []
        elements = 0
        for place in places:
            if portion and elements + sizes[place] > LARGEST:
                yield portion
                portion, elements = [], 0
            portion.append(place)
            elements += sizes[place]
        yield portion


class Plan:
    """Divides a group's parameters into packs, other small ones, and the rest.

    It is dropped when the group, the options or the state change from outside, or when more packs are possible.

    Args:
        group: the group.
        state: the optimizer's state.
        names: the names of its tensors, besides `step`.
        first: the index in the optimizer of the group's first parameter.
        counted: whether updates are counted.
        steady: whether an element's result does not depend on its place in a tensor. Otherwise there are no packs.
        lasting: whether to make packs, which last longer than this step.
    """

    def __init__(
        self, group: Mapping[str, Any], state: Mapping[Tensor, dict[str, Any]], names: tuple[str, ...], first: int,
        *, counted: bool, steady: bool, lasting: bool,
    ) -> None:  # fmt: skip
        self._params = list(group["params"])
        self._first = first
        self._options = self._options_of(group)
        packable = [(position, param) for position, param in enumerate(self._params) if _can_be_packed(param)]
        apart = _apart(packable) if steady else []
        self.small = frozenset(position for position, _ in apart)
        """The positions of parameters that are updated in vectors, in a pack or not."""
        needed = {*names, "step"} if counted else set(names)
        stated = [(position, param) for position, param in apart if needed <= state.get(param, {}).keys()]
        self._waiting = [param for _, param in apart if param not in state] if lasting else []
        named = ["step", *names]
        kinds = [
            (param.dtype, *(state[param][name].dtype if name in state[param] else None for name in named))
            for _, param in stated
        ]
        self.packs = []
        sizes = [param.numel() for _, param in stated]
        for portion in portions(sizes, kinds) if lasting else ():
            if len(portion) < FEWEST:
                portion = [place for place in portion if sizes[place] % WHOLE]
            if portion:
                params = [stated[place][1] for place in portion]
                places = [first + stated[place][0] for place in portion]
                self.packs.append(Pack(params, places, [state[param] for param in params], names))
        packed = {id(param) for pack in self.packs for param in pack.params}
        self.rest = [(p, param) for p, param in enumerate(self._params) if id(param) not in packed]

    @staticmethod
    def _options_of(group: Mapping[str, Any]) -> tuple[object, ...]:
        return group["execution"], group["state_dtype"], group["stochastic_rounding"]

    def is_current(self, group: Mapping[str, Any], state: Mapping[Tensor, dict[str, Any]], first: int) -> bool:
        """Whether the plan still describes the group, and no new pack is possible."""
        return (
            self._first == first
            and not self._has_waited(state)
            and len(group["params"]) == len(self._params)
            and all(map(is_, group["params"], self._params))
            and self._options == self._options_of(group)
        )

    def _has_waited(self, state: Mapping[Tensor, dict[str, Any]]) -> bool:
        """Whether enough parameters that had no state now have it to make packs anew."""
        waiting = self._waiting
        return bool(waiting) and sum(param in state for param in waiting) >= min(FEWEST, len(waiting))

    def dissolve(self) -> None:
        """Dissolve every pack."""
        for pack in self.packs:
            pack.dissolve()


def _can_be_packed(param: Tensor) -> bool:
    """Whether a parameter is an ordinary, small, dense tensor on the CPU."""
    return (
        0 < param.numel() <= SMALL
        and param.is_cpu
        and type(param) in {Tensor, Parameter}
        and not param.is_complex()
        and not param.is_neg()
        and param.is_contiguous()
    )


def _apart(params: list[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """The parameters that share memory with no other. Those that do must be updated one after the other."""
    spans = sorted(
        (param.data_ptr(), param.data_ptr() + param.numel() * param.element_size(), position)
        for position, param in params
    )
    shared = set()
    for (_, end, before), (start, _, after) in itertools.pairwise(spans):
        if start < end:
            shared |= {before, after}
    return [(position, param) for position, param in params if position not in shared]
