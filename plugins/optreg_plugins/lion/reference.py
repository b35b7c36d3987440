"""Lion as its paper states it, in float64."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optreg import Decay, NonNegative

Array = np.ndarray


@dataclass
class Lion:
    """Step by the sign of an interpolation between momentum and gradient; decay the weights separately.

    Chen et al. 2023, arXiv:2302.06675, Algorithm 2:

        c_t     = beta1 m_{t-1} + (1 - beta1) g_t
        theta_t = theta_{t-1} - eta_t (sign(c_t) + lambda theta_{t-1})
        m_t     = beta2 m_{t-1} + (1 - beta2) g_t

    with m_0 = 0, eta = lr, (beta1, beta2) = betas, lambda = weight_decay. The defaults are the paper's; it
    advises a learning rate 3 to 10 times smaller than AdamW's, and a weight decay as much larger.
    """

    lr: NonNegative = 1e-4
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: NonNegative = 0.0

    def trajectory(self, theta: Array) -> Generator[tuple[Array, dict[str, Array]], Array, None]:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        m = np.zeros_like(theta)
        while True:
            g = yield theta, {"exp_avg": m}
            beta1, beta2 = self.betas
            c = beta1 * m + (1 - beta1) * g
            theta = theta - self.lr * (np.sign(c) + self.weight_decay * theta)
            m = beta2 * m + (1 - beta2) * g

    def constant_gradient(self, theta: Any, g: Any, t: int, mp: Any) -> Any:
        """theta_t under the same gradient in every update:
        the sign never changes: a^t theta_0 - eta sign(g) sum of a^k for k < t, with a = 1 - eta lambda."""
        a = 1 - mp.mpf(self.lr) * mp.mpf(self.weight_decay)
        return a**t * theta - self.lr * mp.sign(g) * mp.fsum(a**k for k in range(t))
