"""RMSprop as its lecture states it, in float64."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optreg import Decay, NonNegative

Array = np.ndarray


@dataclass
class RMSprop:
    """Divide the gradient by the root of an exponential moving average of its square.

    Tieleman & Hinton 2012, Neural Networks for Machine Learning (Coursera), lecture 6.5:

        s_t     = alpha s_{t-1} + (1 - alpha) g_t^2
        theta_t = theta_{t-1} - eta_t g_t / (sqrt(s_t) + eps)

    with s_0 = 0, eta = lr, and no correction for that start: the first step is up to 1 / sqrt(1 - alpha) times
    lr. The lecture has alpha = 0.9 and no eps; the defaults, and eps outside the root, are torch.optim.RMSprop's.
    """

    lr: NonNegative = 1e-2
    alpha: Decay = 0.99
    eps: NonNegative = 1e-8

    def trajectory(self, theta: Array) -> Generator[tuple[Array, dict[str, Array]], Array, None]:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        s = np.zeros_like(theta)
        while True:
            g = yield theta, {"square_avg": s}
            s = self.alpha * s + (1 - self.alpha) * g**2
            theta = theta - self.lr * g / (np.sqrt(s) + self.eps)

    def constant_gradient(self, theta: Any, g: Any, t: int, mp: Any) -> Any:
        """theta_t under the same gradient in every update:
        s_t = (1 - alpha^t) g^2, so that theta_t is a sum over the updates."""
        alpha, eps = mp.mpf(self.alpha), mp.mpf(self.eps)
        return theta - self.lr * mp.fsum(g / (mp.sqrt(1 - alpha**k) * abs(g) + eps) for k in range(1, t + 1))
