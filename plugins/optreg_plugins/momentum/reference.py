"""Momentum as a moving average states it, in float64."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optreg import Decay, NonNegative

Array = np.ndarray


@dataclass
class Momentum:
    """Step along an exponential moving average of the gradients.

    Polyak 1964, doi:10.1016/0041-5553(64)90137-5, with the velocity written as an average:

        v_t     = beta v_{t-1} + (1 - beta) g_t
        theta_t = theta_{t-1} - eta_t v_t

    with v_0 = 0, eta = lr, beta = momentum. Polyak's own velocity, and torch.optim.SGD's, is 1 / (1 - beta)
    times as long: a learning rate tuned for those is multiplied by 1 / (1 - beta) here. The defaults are the
    usual ones: torch.optim.SGD's lr and Sutskever et al. 2013's lowest momentum, 0.9.
    """

    lr: NonNegative = 1e-3
    momentum: Decay = 0.9

    def trajectory(self, theta: Array) -> Generator[tuple[Array, dict[str, Array]], Array, None]:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        v = np.zeros_like(theta)
        while True:
            g = yield theta, {"momentum_buffer": v}
            beta = self.momentum
            v = beta * v + (1 - beta) * g
            theta = theta - self.lr * v

    def constant_gradient(self, theta: Any, g: Any, t: int, mp: Any) -> Any:
        """theta_t under the same gradient in every update, in closed form: the sum of v_t = (1 - beta^t) g."""
        beta = mp.mpf(self.momentum)
        return theta - self.lr * g * (t - beta * (1 - beta**t) / (1 - beta))
