"""signSGD and Signum as their paper states them, in float64."""

from dataclasses import dataclass

import numpy as np

from optreg import Decay, NonNegative


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
        while True:
            g = yield theta, {}
            theta = theta - self.lr * (np.sign(g) + self.weight_decay * theta)


@dataclass
class Signum:
    """Step by the sign of the gradient's moving average; decay weights apart from it.

    Bernstein et al. 2018, arXiv:1802.04434, Algorithm 2, with decoupled weight decay:

        m_t     = beta m_{t-1} + (1 - beta) g_t
        theta_t = theta_{t-1} - eta_t (sign(m_t) + lambda theta_{t-1})

    with m_0 = 0, eta = lr, beta = momentum, lambda = weight_decay.
    """

    lr: NonNegative = 1e-4
    momentum: Decay = 0.9
    weight_decay: NonNegative = 0.0

    def trajectory(self, theta):
        """Send a gradient, receive the next parameters and the average."""
        m = np.zeros_like(theta)
        while True:
            g = yield theta, {"momentum_buffer": m}
            m = self.momentum * m + (1 - self.momentum) * g
            theta = theta - self.lr * (np.sign(m) + self.weight_decay * theta)
