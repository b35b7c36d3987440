"""Checkpoints: saving, copying and restoring an elementwise optimizer."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from optreg.execution import PointwiseOptions
from optreg.pointwise.rule import Group, state_dtype, step_dtype
from optreg.pointwise.step import Stepper


class Checkpointed(Optimizer):
    """An optimizer whose state has declared names, and whose execution options survive loading a checkpoint."""

    state_names: ClassVar[tuple[str, ...]]
    options: ClassVar[type[PointwiseOptions]]
    _stepper: Stepper

    def _begin(self) -> None:
        """Reset everything that is kept only for speed."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The state as in torch. No two tensors in it share memory."""
        self._stepper.unpack()
        return super().state_dict()

    def __getstate__(self) -> dict[str, Any]:
        self._stepper.unpack()
        return super().__getstate__()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a copy of a checkpoint's hyperparameters and state; execution options stay as they are.

        State is converted straight to the dtype in which this optimizer keeps it. torch's optimizers convert it to the
        parameter's dtype.

        Raises:
            ValueError: the checkpoint belongs to another model or another algorithm.
        """
        self._stepper.unpack()
        how = [field.name for field in fields(self.options) if field.name != "maximize"]
        kept = [{name: group[name] for name in how if name in group} for group in self.param_groups]
        seen: list[dict[str, Any]] = []

        def adapt(_: Optimizer) -> None:
            for group, options, was in zip(self.param_groups, kept, seen[-1]["param_groups"], strict=True):
                group.update(options)
                for param, key in zip(group["params"], was["params"], strict=True):
                    self._adapt(param, group, seen[-1]["state"].get(key, {}))

        before = self.register_load_state_dict_pre_hook(lambda _, given: seen.append(given))
        after = self.register_load_state_dict_post_hook(adapt, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _adapt(self, param: Tensor, group: Group, saved: Mapping[str, Any]) -> None:
        """Copy a parameter's state from a checkpoint in this optimizer's dtypes."""
        for name, value in saved.items():
            if name in self.state_names:
                value = torch.as_tensor(value, device=param.device)
                self.state[param][name] = value.to(state_dtype(param, group), copy=True)
            elif name == "step":
                step = torch.as_tensor(value, device=self.state[param][name].device)
                self.state[param][name] = step.to(step_dtype(group), copy=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a copy of a checkpoint. Group keys that it lacks take their defaults."""
        self._begin()
        for param, values in state["state"].items():
            for name in self.state_names:
                if name in values and values[name].shape != param.shape:
                    raise ValueError(
                        f"{type(self).__name__}: the checkpoint's '{name}' has shape {tuple(values[name].shape)}, "
                        f"its parameter {tuple(param.shape)}; the checkpoint belongs to another model"
                    )
        super().__setstate__(state)
        self.defaults.pop("differentiable", None)  # torch adds it; nothing here uses it
        for group in self.param_groups:
            for key, default in self.defaults.items():
                group.setdefault(key, default)
            for param in group["params"]:
                values = self.state.get(param, {})
                for name, value in values.items():
                    if name == "step":  # a plain number in old checkpoints, float64 if the default dtype is
                        values[name] = torch.as_tensor(value, dtype=step_dtype(group)).clone()
                    elif isinstance(value, Tensor):
                        values[name] = value.clone()  # otherwise steps would write to the checkpoint's own tensor
