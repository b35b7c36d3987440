"""torch's optimizers as their papers and torch's documentation state them, in float64.

Letters throughout: theta parameter, g gradient, eta = lr, lambda = weight_decay, t the parameter's own updates from 1.
Unless stated otherwise, the decay is coupled, g_t = g_t + lambda theta_{t-1}, every state begins at zero, and the
defaults are torch's.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Lt

from optreg import Decay, Fraction, NonNegative

Array = np.ndarray
Trajectory = Generator[tuple[Array, dict[str, Array]], Array, None]


@dataclass
class SGD:
    """Gradient descent, with momentum or Nesterov's.

    Sutskever et al. 2013 (proceedings.mlr.press/v28/sutskever13.html), in the form that torch.optim.SGD documents;
    mu = momentum, tau = dampening:

        b_1     = g_1, then b_t = mu b_{t-1} + (1 - tau) g_t
        d_t     = g_t + mu b_t with nesterov, b_t with momentum, g_t without
        theta_t = theta_{t-1} - eta_t d_t
    """

    lr: NonNegative = 1e-3
    momentum: NonNegative = 0.0
    dampening: float = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum and no dampening")

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        b: Array | None = None
        state: dict[str, Array] = {}
        while True:
            g = yield theta, state
            g = g + self.weight_decay * theta
            d, state = g, {}
            if self.momentum:
                b = g if b is None else self.momentum * b + (1 - self.dampening) * g
                d, state = (g + self.momentum * b if self.nesterov else b), {"momentum_buffer": b}
            theta = theta - self.lr * d


@dataclass
class Adam:
    """Adam, and AMSGrad with `amsgrad`.

    Kingma & Ba 2015, arXiv:1412.6980, Algorithm 1; Reddi et al. 2018, openreview.net/forum?id=ryQu7f-RZ:

        m_t     = beta1 m_{t-1} + (1 - beta1) g_t
        v_t     = beta2 v_{t-1} + (1 - beta2) g_t^2
        w_t     = max(w_{t-1}, v_t) with amsgrad, v_t without
        theta_t = theta_{t-1} - eta_t m_t / (1 - beta1^t) / (sqrt(w_t / (1 - beta2^t)) + eps)
    """

    lr: NonNegative = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False

    decoupled = False

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, m, v, w = 0, np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
        while True:
            more = {"max_exp_avg_sq": w} if self.amsgrad else {}
            g = yield theta, {"step": np.array(t), "exp_avg": m, "exp_avg_sq": v, **more}
            (beta1, beta2), t = self.betas, t + 1
            if self.decoupled:
                theta = theta - self.lr * self.weight_decay * theta
            else:
                g = g + self.weight_decay * theta
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            w = np.maximum(w, v) if self.amsgrad else v
            theta = theta - self.lr * m / (1 - beta1**t) / (np.sqrt(w / (1 - beta2**t)) + self.eps)


@dataclass
class AdamW(Adam):
    """AdamW, and its AMSGrad variant with `amsgrad`.

    Loshchilov & Hutter 2019, arXiv:1711.05101, Algorithm 2: as Adam (Kingma & Ba 2015, arXiv:1412.6980), but the decay
    is a step of its own, theta_{t-1} = theta_{t-1} - eta_t lambda theta_{t-1}, before the update.
    """

    weight_decay: NonNegative = 0.01

    decoupled = True


@dataclass
class NAdam:
    """Adam with Nesterov's momentum on its own schedule.

    Dozat 2016, openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, in the form that torch.optim.NAdam documents;
    psi = momentum_decay:

        mu_t    = beta1 (1 - 0.96^(t psi) / 2)
        m_t     = beta1 m_{t-1} + (1 - beta1) g_t
        v_t     = beta2 v_{t-1} + (1 - beta2) g_t^2
        m^_t    = mu_{t+1} m_t / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g_t / (1 - mu_1 ... mu_t)
        theta_t = theta_{t-1} - eta_t m^_t / (sqrt(v_t / (1 - beta2^t)) + eps)
    """

    lr: NonNegative = 2e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum_decay: NonNegative = 4e-3
    decoupled_weight_decay: bool = False

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, product, m, v = 0, 1.0, np.zeros_like(theta), np.zeros_like(theta)
        while True:
            g = yield theta, {"step": np.array(t), "mu_product": np.array(product), "exp_avg": m, "exp_avg_sq": v}
            (beta1, beta2), t = self.betas, t + 1
            if self.decoupled_weight_decay:
                theta = theta - self.lr * self.weight_decay * theta
            else:
                g = g + self.weight_decay * theta
            mu, after = (beta1 * (1 - 0.96 ** (k * self.momentum_decay) / 2) for k in (t, t + 1))
            product = product * mu
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            m_hat = after * m / (1 - product * after) + (1 - mu) * g / (1 - product)
            theta = theta - self.lr * m_hat / (np.sqrt(v / (1 - beta2**t)) + self.eps)


@dataclass
class RAdam:
    """Adam whose first updates use only the mean, until the variance of the denominator can be trusted.

    Liu et al. 2020, arXiv:1908.03265, Algorithm 2; torch adds eps to the root before the correction:

        m_t     = beta1 m_{t-1} + (1 - beta1) g_t,  m^_t = m_t / (1 - beta1^t)
        v_t     = beta2 v_{t-1} + (1 - beta2) g_t^2
        rho     = 2 / (1 - beta2) - 1,  rho_t = rho - 2 t beta2^t / (1 - beta2^t)
        r_t     = sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t))
        theta_t = theta_{t-1} - eta_t m^_t r_t sqrt(1 - beta2^t) / (sqrt(v_t) + eps) where rho_t > 5
        theta_t = theta_{t-1} - eta_t m^_t elsewhere
    """

    lr: NonNegative = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled_weight_decay: bool = False

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, m, v = 0, np.zeros_like(theta), np.zeros_like(theta)
        while True:
            g = yield theta, {"step": np.array(t), "exp_avg": m, "exp_avg_sq": v}
            (beta1, beta2), t = self.betas, t + 1
            if self.decoupled_weight_decay:
                theta = theta - self.lr * self.weight_decay * theta
            else:
                g = g + self.weight_decay * theta
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g**2
            m_hat = m / (1 - beta1**t)
            rho = 2 / (1 - beta2) - 1
            rho_t = rho - 2 * t * beta2**t / (1 - beta2**t)
            if rho_t > 5:
                r = ((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t)) ** 0.5
                theta = theta - self.lr * m_hat * r * (1 - beta2**t) ** 0.5 / (np.sqrt(v) + self.eps)
            else:
                theta = theta - self.lr * m_hat


@dataclass
class Adamax:
    """Adam with the largest decayed gradient as its denominator.

    Kingma & Ba 2015, arXiv:1412.6980, Algorithm 2; torch adds eps to the gradient's magnitude:

        m_t     = beta1 m_{t-1} + (1 - beta1) g_t
        u_t     = max(beta2 u_{t-1}, |g_t| + eps)
        theta_t = theta_{t-1} - eta_t m_t / ((1 - beta1^t) u_t)
    """

    lr: NonNegative = 2e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, m, u = 0, np.zeros_like(theta), np.zeros_like(theta)
        while True:
            g = yield theta, {"step": np.array(t), "exp_avg": m, "exp_inf": u}
            (beta1, beta2), t = self.betas, t + 1
            g = g + self.weight_decay * theta
            m = beta1 * m + (1 - beta1) * g
            u = np.maximum(beta2 * u, np.abs(g) + self.eps)
            theta = theta - self.lr * m / ((1 - beta1**t) * u)


@dataclass
class Adagrad:
    """Divide by the root of the sum of all squared gradients.

    Duchi et al. 2011, jmlr.org/papers/v12/duchi11a.html; eta' = lr_decay, and s_0 = initial_accumulator_value:

        s_t     = s_{t-1} + g_t^2
        theta_t = theta_{t-1} - eta_t / (1 + (t - 1) eta') g_t / (sqrt(s_t) + eps)
    """

    lr: NonNegative = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, s = 0, np.zeros_like(theta) + self.initial_accumulator_value
        while True:
            g = yield theta, {"step": np.array(t), "sum": s}
            t += 1
            g = g + self.weight_decay * theta
            s = s + g**2
            theta = theta - self.lr / (1 + (t - 1) * self.lr_decay) * g / (np.sqrt(s) + self.eps)


@dataclass
class Adadelta:
    """Step by the ratio of the roots of the mean squares of past steps and of gradients.

    Zeiler 2012, arXiv:1212.5701, Algorithm 1:

        s_t     = rho s_{t-1} + (1 - rho) g_t^2
        d_t     = sqrt(u_{t-1} + eps) / sqrt(s_t + eps) g_t
        u_t     = rho u_{t-1} + (1 - rho) d_t^2
        theta_t = theta_{t-1} - eta_t d_t
    """

    lr: NonNegative = 1.0
    rho: Fraction = 0.9
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, s, u = 0, np.zeros_like(theta), np.zeros_like(theta)
        while True:
            g = yield theta, {"step": np.array(t), "square_avg": s, "acc_delta": u}
            t += 1
            g = g + self.weight_decay * theta
            s = self.rho * s + (1 - self.rho) * g**2
            d = np.sqrt(u + self.eps) / np.sqrt(s + self.eps) * g
            u = self.rho * u + (1 - self.rho) * d**2
            theta = theta - self.lr * d


@dataclass
class RMSprop:
    """Divide by the root of the mean square; with `centered`, minus the squared mean; with momentum.

    Tieleman & Hinton 2012, Coursera, lecture 6.5; centered: Graves 2013, arXiv:1308.0850, equation 40; mu = momentum:

        s_t     = alpha s_{t-1} + (1 - alpha) g_t^2
        a_t     = alpha a_{t-1} + (1 - alpha) g_t,  s'_t = s_t - a_t^2 with centered, s_t without
        b_t     = mu b_{t-1} + g_t / (sqrt(s'_t) + eps)
        theta_t = theta_{t-1} - eta_t b_t
    """

    lr: NonNegative = 1e-2
    alpha: NonNegative = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: NonNegative = 0.0
    centered: bool = False

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, s, a, b = 0, np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
        while True:
            more = {"momentum_buffer": b} if self.momentum else {}
            more |= {"grad_avg": a} if self.centered else {}
            g = yield theta, {"step": np.array(t), "square_avg": s, **more}
            t += 1
            g = g + self.weight_decay * theta
            s = self.alpha * s + (1 - self.alpha) * g**2
            a = self.alpha * a + (1 - self.alpha) * g
            b = self.momentum * b + g / (np.sqrt(s - a**2 if self.centered else s) + self.eps)
            theta = theta - self.lr * b


@dataclass
class Adafactor:
    """Adam-like steps whose second moment of a matrix is kept as its row and column means.

    Shazeer & Stern 2018, arXiv:1804.04235, Algorithm 5, in the form that torch.optim.Adafactor documents, decay
    decoupled; tau = beta2_decay, (eps1, eps2) = eps, eps1 = the dtype's epsilon if it is None:

        b_t     = 1 - t^tau,  rho_t = min(eta_t, 1 / sqrt(t)),  alpha_t = max(eps2, RMS(theta_{t-1})) rho_t
        theta   = theta_{t-1} - eta_t lambda theta_{t-1}
        R_t     = b_t R_{t-1} + (1 - b_t) mean over columns of g_t^2; C_t likewise over rows
        v_t     = R_t C_t / max(mean(R_t), eps1); of fewer dimensions, v_t = b_t v_{t-1} + (1 - b_t) g_t^2
        u_t     = g_t / max(sqrt(v_t), eps1)
        theta_t = theta - alpha_t u_t / max(1, RMS(u_t) / d)
    """

    lr: NonNegative = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[NonNegative | None, NonNegative] = (None, 1e-3)
    d: Annotated[float, Ge(1)] = 1.0
    weight_decay: NonNegative = 0.0

    epsilon = 2.0**-52

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        t, matrix = 0, theta.ndim > 1
        v = np.zeros_like(theta)
        rows, columns = (np.zeros_like(theta[..., :1]), np.zeros_like(theta[..., :1, :])) if matrix else (v, v)
        while True:
            second = {"row_var": rows, "col_var": columns} if matrix else {"variance": v}
            g = yield theta, {"step": np.array(t), **second}
            t += 1
            eps1, eps2 = self.eps
            eps1 = self.epsilon if eps1 is None else eps1
            beta = 1 - t**self.beta2_decay
            alpha = max(eps2, _rms(theta)) * min(self.lr, 1 / t**0.5)
            theta = theta - self.lr * self.weight_decay * theta
            if matrix:
                rows = beta * rows + (1 - beta) * np.mean(g**2, axis=-1, keepdims=True)
                columns = beta * columns + (1 - beta) * np.mean(g**2, axis=-2, keepdims=True)
                estimate = rows * columns / np.maximum(np.mean(rows, axis=-2, keepdims=True), eps1)
            else:
                v = estimate = beta * v + (1 - beta) * g**2
            u = g / np.maximum(np.sqrt(estimate), eps1)
            theta = theta - alpha * u / max(1.0, _rms(u) / self.d)


def _rms(array: Array) -> float:
    return float(np.sqrt(np.mean(array**2))) if array.size else 0.0


@dataclass
class Muon:
    """Step along the momentum, with all its singular values brought near one.

    Jordan et al. 2024, kellerjordan.github.io/posts/muon; mu = momentum, (a, b, c) = ns_coefficients:

        B_t     = mu B_{t-1} + (1 - mu) g_t
        D_t     = (1 - mu) g_t + mu B_t with nesterov, B_t without
        X       = D_t / max(|D_t|, eps), transposed if it is tall; ns_steps times:
                  X = a X + (b X X^T + c (X X^T)^2) X
        theta_t = theta_{t-1} - eta_t lambda theta_{t-1} - eta_t s X

    with s = sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)) with adjust_lr_fn "match_rms_adamw".
    """

    lr: NonNegative = 1e-3
    weight_decay: NonNegative = 0.1
    momentum: NonNegative = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: NonNegative = 1e-7
    ns_steps: Annotated[int, Ge(1), Lt(100)] = 5
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None

    def trajectory(self, theta: Array) -> Trajectory:
        """Send a gradient, receive the next parameters and the state, by its torch key."""
        buffer = np.zeros_like(theta)
        while True:
            g = yield theta, {"momentum_buffer": buffer}
            mu, (rows, columns) = self.momentum, theta.shape
            buffer = mu * buffer + (1 - mu) * g
            x = self._orthogonal((1 - mu) * g + mu * buffer if self.nesterov else buffer)
            scale = max(1.0, rows / columns) ** 0.5
            if self.adjust_lr_fn == "match_rms_adamw":
                scale = 0.2 * max(rows, columns) ** 0.5
            theta = theta - self.lr * self.weight_decay * theta - self.lr * scale * x

    def _orthogonal(self, direction: Array) -> Array:
        a, b, c = self.ns_coefficients
        tall = direction.shape[0] > direction.shape[1]
        x = direction.T if tall else direction
        x = x / max(np.sqrt(np.sum(x**2)), self.eps)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return np.asarray(x.T if tall else x)
