"""RMSprop for torch."""

from typing import Any

import optreg
from optreg_plugins.rmsprop.reference import RMSprop as Paper


class RMSprop(optreg.Pointwise):
    """Divide the gradient by the root of its mean square (Tieleman & Hinton 2012, Coursera, lecture 6.5).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        alpha: decay rate of the mean square, in [0, 1).
        eps: added to the root, >= 0, in units of the gradient.
        maximize, execution, stochastic_rounding, state_dtype, seed: how it runs; see `optreg.PointwiseOptions`.

    State: `square_avg`, shaped like the parameter.

    Raises:
        ValueError: a hyperparameter or an option is out of range, or a checkpoint comes from another variant.
    """

    reference = Paper
    state_names = ("square_avg",)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load a checkpoint, unless it comes from a variant of torch.optim.RMSprop that is missing here."""
        for index, group in enumerate(state["param_groups"]):
            for variant in ("centered", "momentum", "weight_decay"):
                if group.get(variant):
                    raise ValueError(
                        f"{type(self).__name__}: group {index} of the checkpoint has {variant}={group[variant]}, which "
                        f"{type(self).__name__} does not support; continue with torch.optim.RMSprop"
                    )
        super().__setstate__(state)

    @staticmethod
    def update(p, g, s, *, lr, alpha, eps):
        """The mean square, then a step by the gradient over its root."""
        s = alpha * s + (1 - alpha) * g**2
        p = p - lr * (g / (s.sqrt() + eps))
        return p, s
