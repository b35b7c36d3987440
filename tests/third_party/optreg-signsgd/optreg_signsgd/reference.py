"""signSGD as its paper states it, in float64."""

from dataclasses import dataclass

import numpy as np

from optreg import NonNegative


@dataclass
class SignSGD:
    """Step by the sign of the gradient; decay weights apart from it.

    Bernstein et al. 2018, arXiv:1802.04434, Algorithm 1, with decoupled weight decay:

        theta_t = theta_{t-1} - eta_t (sign(g_t) + lambda theta_{t-1})

    with eta = lr, lambda = weight_decay.
    """

    lr: NonNegative = 1e-3
    weight_decay: NonNegative = 0.0

    def trajectory(self, theta):
        """Send a gradient, receive the next parameters and the state, of which there is none."""
        g = yield theta, {}
        while True:
            theta = theta - self.lr * (np.sign(g) + self.weight_decay * theta)
            g = yield theta, {}
