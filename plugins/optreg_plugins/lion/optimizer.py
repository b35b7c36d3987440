"""Lion for torch."""

import optreg
from optreg_plugins.lion.reference import Lion as Paper


class Lion(optreg.Pointwise):
    """Step by the sign of an interpolation between momentum and gradient (Chen et al. 2023, arXiv:2302.06675).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        lr: learning rate, >= 0; a float or a one-element tensor, which is never written to.
        betas: decay rates of the interpolation and of the momentum, each in [0, 1).
        weight_decay: decoupled decay, >= 0, in units of the learning rate.
        maximize, execution, stochastic_rounding, state_dtype, seed: how it runs; see `optreg.PointwiseOptions`.

    State: `exp_avg`, shaped like the parameter.

    Raises:
        ValueError: a hyperparameter or an option is out of range.
    """

    reference = Paper
    state_names = ("exp_avg",)

    @staticmethod
    def update(p, g, m, *, lr, betas, weight_decay):
        """The three lines of Algorithm 2."""
        beta1, beta2 = betas
        c = beta1 * m + (1 - beta1) * g
        p = p - lr * (c.sign() + weight_decay * p)
        m = beta2 * m + (1 - beta2) * g
        return p, m
