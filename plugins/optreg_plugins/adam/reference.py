"""Adam as its paper states it, in float64."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optreg import Decay, NonNegative

Array = np.ndarray


@dataclass
class Adam:
    """Step by the mean of the gradients over the root of their mean square, both corrected for starting at zero.

    Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1 (whose m and v are v and s here):

        g_t     = g_t + lambda theta_{t-1}
        v_t     = beta1 v_{t-1} + (1 - beta1) g_t
        s_t     = beta2 s_{t-1} + (1 - beta2) g_t^2
        v^_t    = v_t / (1 - beta1^t)
        s^_t    = s_t / (1 - beta2^t)
        theta_t = theta_{t-1} - eta_t v^_t / (sqrt(s^_t) + eps)

    with v_0 = s_0 = 0, eta = lr, (beta1, beta2) = betas, lambda = weight_decay, and t counting the parameter's own
    updates. The defaults are the paper's, which has no weight decay: with lambda > 0 it is an L2 penalty, part of
    the gradient, as in torch.optim.Adam. For decoupled decay, see `adamw`.
    """

    lr: NonNegative = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    def trajectory(self, theta: Array) -> Generator[tuple[Array, dict[str, Array]], Array, None]:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, v, s = 0, np.zeros_like(theta), np.zeros_like(theta)
        while True:
            g = yield theta, {"step": np.array(t), "exp_avg": v, "exp_avg_sq": s}
            beta1, beta2 = self.betas
            t += 1
            g = g + self.weight_decay * theta
            v = beta1 * v + (1 - beta1) * g
            s = beta2 * s + (1 - beta2) * g**2
            v_hat = v / (1 - beta1**t)
            s_hat = s / (1 - beta2**t)
            theta = theta - self.lr * v_hat / (np.sqrt(s_hat) + self.eps)

    def constant_gradient(self, theta: Any, g: Any, t: int, mp: Any) -> Any:
        """theta_t under the same gradient in every update:
        theta_0 - t eta g / (|g| + eps); None with weight decay, where there is no closed form."""
        if self.weight_decay:
            return None
        return theta - t * mp.mpf(self.lr) * g / (abs(g) + mp.mpf(self.eps))
