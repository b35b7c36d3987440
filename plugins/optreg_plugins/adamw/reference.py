"""AdamW as its paper states it, in float64."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from optreg import Decay, NonNegative

Array = np.ndarray


@dataclass
class AdamW:
    """Step as Adam does; decay the weights separately.

    Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2 (whose m and v are v and s here):

        v_t     = beta1 v_{t-1} + (1 - beta1) g_t
        s_t     = beta2 s_{t-1} + (1 - beta2) g_t^2
        v^_t    = v_t / (1 - beta1^t)
        s^_t    = s_t / (1 - beta2^t)
        theta_t = theta_{t-1} - eta_t (v^_t / (sqrt(s^_t) + eps) + lambda theta_{t-1})

    with v_0 = s_0 = 0, eta = lr, (beta1, beta2) = betas, lambda = weight_decay, and t counting the parameter's own
    updates. As in torch.optim.AdamW the decay is in units of the learning rate; the paper's is in units of the
    schedule's multiplier alone, so its lambda is lr times this one. The defaults are torch.optim.AdamW's: all but
    the decay are from Adam's paper.
    """

    lr: NonNegative = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.01

    def trajectory(self, theta: Array) -> Generator[tuple[Array, dict[str, Array]], Array, None]:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, v, s = 0, np.zeros_like(theta), np.zeros_like(theta)
        while True:
            g = yield theta, {"step": np.array(t), "exp_avg": v, "exp_avg_sq": s}
            beta1, beta2 = self.betas
            t += 1
            v = beta1 * v + (1 - beta1) * g
            s = beta2 * s + (1 - beta2) * g**2
            v_hat = v / (1 - beta1**t)
            s_hat = s / (1 - beta2**t)
            theta = theta - self.lr * (v_hat / (np.sqrt(s_hat) + self.eps) + self.weight_decay * theta)

    def constant_gradient(self, theta: Any, g: Any, t: int, mp: Any) -> Any:
        """theta_t under the same gradient in every update:
        a^t theta_0 - eta g / (|g| + eps) sum of a^k for k < t, with a = 1 - eta lambda."""
        a, sign = 1 - mp.mpf(self.lr) * mp.mpf(self.weight_decay), mp.mpf(g) / (abs(g) + mp.mpf(self.eps))
        return a**t * theta - self.lr * sign * mp.fsum(a**k for k in range(t))
