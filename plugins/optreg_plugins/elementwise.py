"""Elementwise: what every elementwise optimizer needs around its update, so that a plugin holds the update alone."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from optreg import check
from optreg_plugins.options import ForeachOptions


class Kind(NamedTuple):
    """What must be equal for parameters to be updated together."""

    device: torch.device
    dtype: torch.dtype
    plain: bool
    """Ordinary tensors, no subclass (a sharded one, say) that lacks multi-tensor kernels."""
    flat: bool
    """Parameter, gradient and state lie densely in memory, in the same order, as the fused kernels assume."""


@dataclass
class Batch:
    """Parameters of one group that are updated together, all of one kind; the lists are in the same order.

    `moments` holds one list for each state name of the rule; `states` the parameters' whole state.
    """

    kind: "Kind"
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    moments: list[list[Tensor]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)


class Elementwise(Optimizer):
    """An optimizer whose update treats every element of every parameter alike.

    A subclass states its `reference`, the names of its state, and the rule: `update` for one tensor and
    `update_foreach` for a list of them, both in place, both given the group's hyperparameters by name; where
    torch has a fused kernel for the rule, `update_fused` calls it. The rest is here: closures, `maximize`,
    missing gradients, complex parameters (as pairs of reals), float or tensor `lr`, a step count for each
    parameter, checked groups and checkpoints.
    """

    reference: ClassVar[type]
    """The dataclass whose typed, bounded fields every group's hyperparameters are checked against."""

    options: ClassVar[type] = ForeachOptions
    """The dataclass of the execution options, which every group may set too."""

    state_names: ClassVar[tuple[str, ...]]
    """The state tensors, each shaped like its parameter and zero at first, in the order the rule takes them."""

    counts_steps: ClassVar[bool] = False
    """Whether the rule takes `t`, the number of updates of the parameter, this one included."""

    update: ClassVar[Callable[..., None]]
    """`update(param, grad, *state, [t], **hyperparameters)`, all tensors of one shape."""

    update_foreach: ClassVar[Callable[..., None]]
    """`update_foreach(params, grads, *states, [t], **hyperparameters)`, lists of equal length."""

    update_fused: ClassVar[Callable[..., None] | None] = None
    """`update_fused(params, grads, *states, steps, **hyperparameters)`; `steps` are 0-d tensors on the device."""

    def __init__(self, params: ParamsT, **settings: Any) -> None:
        super().__init__(params, settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not set takes the optimizer's defaults.

        Raises:
            ValueError: a hyperparameter is out of its range, options exclude each other, or a parameter is already
                in a group.
        """
        merged = {**self.defaults, **param_group}
        for part in (self.reference, self.options):
            check(part, {f.name: merged[f.name] for f in fields(part)}, type(self).__name__)
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a copy of a checkpoint; a key that it does not have yet means the default."""
        for param, values in state["state"].items():
            for name in self.state_names:
                if name in values and values[name].shape != param.shape:
                    raise ValueError(
                        f"{type(self).__name__}: the checkpoint's '{name}' has shape {tuple(values[name].shape)}, "
                        f"its parameter {tuple(param.shape)}; the checkpoint belongs to another model"
                    )
        super().__setstate__(state)
        self.defaults.pop("differentiable", None)  # torch adds it, to nobody's use here
        for group in self.param_groups:
            for key, default in self.defaults.items():
                group.setdefault(key, default)
        for values in self.state.values():
            for name, value in values.items():
                if name == "step":  # a number in old checkpoints, float64 under a changed default
                    values[name] = torch.as_tensor(value, dtype=torch.float32).clone()
                elif isinstance(value, Tensor):
                    values[name] = value.clone()  # torch would go on writing to the checkpoint's own tensor

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one update; parameters without a gradient stay as they are, and so does their state.

        Args:
            closure: reevaluates the model with gradients enabled and returns the loss, which is returned.

        Raises:
            RuntimeError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            hyperparameters = {f.name: group[f.name] for f in fields(self.reference)}
            hyperparameters["lr"] = float(group["lr"])
            for batch in self._batches(index, group):
                self._update(batch, group, hyperparameters)
        return loss

    def _batches(self, index: int, group: dict[str, Any]) -> list[Batch]:
        """The group's parameters that have a gradient, with gradient and state, sorted into batches."""
        batches: dict[Kind, Batch] = {}
        for position, param in enumerate(group["params"]):
            if param.grad is None:
                continue
            if param.grad.layout is not torch.strided:
                name = group["param_names"][position] if "param_names" in group else f"number {position}"
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients: parameter {name} of group {index} "
                    "has one; build its layer with sparse=False, or give it to torch.optim.SparseAdam"
                )
            state = self.state[param]
            if not state:
                if self.counts_steps:
                    state["step"] = torch.zeros((), dtype=torch.float32)
                for name in self.state_names:
                    state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
            tensors = [param, param.grad, *(state[name] for name in self.state_names)]
            if param.is_complex():
                tensors = [torch.view_as_real(tensor.resolve_conj()) for tensor in tensors]
            real, grad, *moments = tensors
            kind = Kind(real.device, real.dtype, type(param) in {Tensor, Parameter}, _is_flat(tensors))
            if kind not in batches:
                batches[kind] = Batch(kind, moments=[[] for _ in moments])
            batch = batches[kind]
            batch.params.append(real)
            batch.grads.append(-grad if group["maximize"] else grad)
            for tensors_of_name, tensor in zip(batch.moments, moments, strict=True):
                tensors_of_name.append(tensor)
            batch.states.append(state)
        return list(batches.values())

    def _update(self, batch: Batch, group: dict[str, Any], hyperparameters: dict[str, Any]) -> None:
        """Take the path that the group asks for, or the best one that fits the batch."""
        foreach, fused = group["foreach"], group.get("fused")
        if self.update_fused is not None and batch.kind.flat and _fused_is_wanted(batch.kind, foreach, fused):
            steps = self._count(batch, batch.kind.device)
            self.update_fused(batch.params, batch.grads, *batch.moments, steps, **hyperparameters)
            return
        if self.counts_steps:
            hyperparameters = {**hyperparameters, "t": [int(step) for step in self._count(batch, torch.device("cpu"))]}
        if batch.kind.dtype is torch.float16:  # whose smallest number is above the usual eps
            half = [batch.params, batch.grads, *batch.moments]
            wide = [[tensor.float() for tensor in tensors] for tensors in half]
            kind = batch.kind._replace(dtype=torch.float32)
            self._run(Batch(kind, wide[0], wide[1], wide[2:]), foreach, hyperparameters)
            for targets, results in zip([half[0], *half[2:]], [wide[0], *wide[2:]], strict=True):
                torch._foreach_copy_(targets, results)
        else:
            self._run(batch, foreach, hyperparameters)

    def _run(self, batch: Batch, foreach: bool | None, hyperparameters: dict[str, Any]) -> None:
        """Apply the rule to lists where that pays or is asked for, else to one tensor after the other."""
        if foreach or (foreach is None and batch.kind.plain and batch.kind.device.type != "cpu"):
            self.update_foreach(batch.params, batch.grads, *batch.moments, **hyperparameters)
            return
        hyperparameters = dict(hyperparameters)
        counts = hyperparameters.pop("t", None)
        for i, tensors in enumerate(zip(batch.params, batch.grads, *batch.moments, strict=True)):
            count = {} if counts is None else {"t": counts[i]}
            self.update(*tensors, **count, **hyperparameters)

    def _count(self, batch: Batch, device: torch.device) -> list[Tensor]:
        """Count one more update of every parameter, on the device where the path wants to read the counts."""
        for state in batch.states:
            state["step"] = state["step"].to(device)
        steps = [state["step"] for state in batch.states]
        torch._foreach_add_(steps, 1)
        return steps


def _is_flat(tensors: list[Tensor]) -> bool:
    first = tensors[0]
    if not (first.is_contiguous() or (first.ndim == 4 and first.is_contiguous(memory_format=torch.channels_last))):
        return False
    return all(tensor.stride() == first.stride() for tensor in tensors)


_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def _fused_is_wanted(kind: Kind, foreach: bool | None, fused: bool | None) -> bool:
    if fused is None:
        return not foreach and kind.plain and kind.device.type in _FUSED_DEVICES
    return fused
