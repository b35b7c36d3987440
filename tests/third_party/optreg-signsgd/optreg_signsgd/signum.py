"""Signum for torch, on optreg's engine: the rule alone, as the paper writes it."""

import optreg
from optreg_signsgd.reference import Signum as Paper


class Signum(optreg.Pointwise):
    """Step by the sign of the gradient's moving average (Bernstein et al. 2018, arXiv:1802.04434).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0.
        momentum: decay rate of the average, in [0, 1).
        weight_decay: decoupled decay, >= 0, in units of the learning rate.
        maximize, execution, stochastic_rounding, state_dtype, seed: how it is run, see `optreg.PointwiseOptions`.

    State: `momentum_buffer`, shaped like the parameter.

    Raises:
        ValueError: a hyperparameter or an option is out of its range.
    """

    reference = Paper
    state_names = ("momentum_buffer",)

    @staticmethod
    def update(p, g, m, *, lr, momentum, weight_decay):
        """The average, then a step along its sign."""
        m = momentum * m + (1 - momentum) * g
        p = p - lr * (m.sign() + weight_decay * p)
        return p, m
