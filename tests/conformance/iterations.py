"""Muon and Adafactor, right in several orders of operations, and with faults; none of them knows optreg."""

from dataclasses import dataclass

import numpy as np
import torch
from broken.textbook import Textbook

COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(Textbook):
    """Muon in its parameters' dtype, in the order of its authors."""

    def __init__(
        self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=COEFFICIENTS, eps=1e-7,
        ns_steps=5, adjust_lr_fn=None,
    ):  # fmt: skip
        given = {name: value for name, value in locals().items() if name not in {"self", "params", "__class__"}}
        super().__init__(params, given)

    def step_param(self, group, p, g):
        buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        buffer.lerp_(g, 1 - group["momentum"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        direction = self.direction(group, g, buffer)
        tall = direction.shape[0] > direction.shape[1]
        x = self.orthogonal(group, direction.T if tall else direction)
        p.sub_(x.T if tall else x, alpha=group["lr"] * self.scale(group, *p.shape))

    def direction(self, group, g, buffer):
        return g.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer

    def scale(self, group, rows, columns):
        if group["adjust_lr_fn"] == "match_rms_adamw":
            return 0.2 * max(rows, columns) ** 0.5
        return max(1.0, rows / columns) ** 0.5

    def orthogonal(self, group, x):
        x = x / x.norm().clamp(min=group["eps"])
        for _ in range(group["ns_steps"]):
            x = self.iterated(x, *group["ns_coefficients"])
        return x

    def iterated(self, x, a, b, c):
        gram = x @ x.T
        return a * x + (b * gram + c * gram @ gram) @ x


class MuonAsTorch(Muon):
    """In torch's order: multiplied and added at once."""

    def iterated(self, x, a, b, c):
        gram = x @ x.T
        return torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)


class MuonFromTheRight(Muon):
    """With the Gram matrix of the columns."""

    def iterated(self, x, a, b, c):
        gram = x.T @ x
        return x @ (a * torch.eye(len(gram), dtype=x.dtype) + b * gram + c * gram @ gram)


class MuonWithoutASquare(Muon):
    """Without the square of the Gram matrix."""

    def iterated(self, x, a, b, c):
        y = x @ x.T @ x
        return a * x + b * y + c * (x @ (x.T @ y))


class MuonOfOtherCoefficients(Muon):
    """The first coefficient is rounded."""

    def iterated(self, x, a, b, c):
        return super().iterated(x, round(a, 3), b, c)


class MuonOfFewerSteps(Muon):
    """One iteration too few."""

    def orthogonal(self, group, x):
        return super().orthogonal({**group, "ns_steps": group["ns_steps"] - 1}, x)


class MuonOfTheOtherScale(Muon):
    """The scale is that of the transposed matrix."""

    def scale(self, group, rows, columns):
        return super().scale(group, columns, rows)


class MuonThatAddsEps(Muon):
    """eps is added to the norm, which it should bound from below."""

    def orthogonal(self, group, x):
        return super().orthogonal(group, x / (x.norm() + group["eps"]) * x.norm())


class MuonInFloat32(Muon):
    """The iteration is computed in float32."""

    def orthogonal(self, group, x):
        return super().orthogonal(group, x.float()).to(x.dtype)


class MuonOfAPlainMomentum(Muon):
    """Nesterov's step is left out."""

    def direction(self, group, g, buffer):
        return buffer


class Adafactor(Textbook):
    """Adafactor as torch documents it, each formula as it stands."""

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0):
        given = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, given)

    def step_param(self, group, p, g):
        state = self.state[p]
        state["step"] = t = state.get("step", 0) + 1
        eps1 = torch.finfo(p.dtype).eps if group["eps"][0] is None else group["eps"][0]
        size = self.size(group, p) * self.rate(group, t)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        update = g / self.root(self.variance(state, self.decay(group, t), g, eps1), eps1)
        p.sub_(update * size / max(1.0, rms(update) / group["d"]) if p.numel() else update)

    def size(self, group, p):
        return max(group["eps"][1], rms(p))

    def rate(self, group, t):
        return min(group["lr"], t**-0.5)

    def decay(self, group, t):
        return 1 - t ** group["beta2_decay"]

    def root(self, variance, eps1):
        return variance.sqrt().clamp(min=eps1)

    def variance(self, state, beta, g, eps1):
        if g.ndim < 2:
            return self.mean(state, "variance", beta, g**2).clone()
        rows = self.mean(state, "row_var", beta, (g**2).mean(-1, keepdim=True))
        columns = self.mean(state, "col_var", beta, (g**2).mean(-2, keepdim=True))
        return rows * columns / rows.mean(-2, keepdim=True).clamp(min=eps1)

    def mean(self, state, name, beta, new):
        state[name] = beta * state.get(name, torch.zeros_like(new)) + (1 - beta) * new
        return state[name]


def rms(x):
    return float((x**2).mean().sqrt()) if x.numel() else 0.0


class AdafactorAsTorch(Adafactor):
    """In torch's order: norms in place of means of squares, and a reciprocal root."""

    def root(self, variance, eps1):
        return 1 / variance.clamp(min=eps1**2).rsqrt()

    def size(self, group, p):
        return max(group["eps"][1], float(p.norm()) / p.numel() ** 0.5 if p.numel() else 0.0)

    def mean(self, state, name, beta, new):
        return state.setdefault(name, torch.zeros_like(new)).lerp_(new, 1 - beta)


class AdafactorOfTheRateAlone(Adafactor):
    """The rate is not bounded by 1 / sqrt(t)."""

    def rate(self, group, t):
        return group["lr"]


class AdafactorThatCountsFromTwo(Adafactor):
    """The decay of the means begins one update too early."""

    def decay(self, group, t):
        return 1 - (t + 1) ** group["beta2_decay"]


class AdafactorWithoutTheSize(Adafactor):
    """The step is not scaled by the parameter's size."""

    def size(self, group, p):
        return 1.0


class AdafactorThatAddsEps(Adafactor):
    """eps is added to the squares, as the paper has it, where torch bounds the root."""

    def variance(self, state, beta, g, eps1):
        return super().variance(state, beta, (g**2 + eps1).sqrt(), eps1)


RIGHT = [(Muon, "torch.Muon"), (MuonAsTorch, "torch.Muon"), (MuonFromTheRight, "torch.Muon"),
         (MuonWithoutASquare, "torch.Muon"), (Adafactor, "torch.Adafactor"), (AdafactorAsTorch, "torch.Adafactor")]  # fmt: skip
FAULTY = [(MuonOfOtherCoefficients, "torch.Muon"), (MuonOfFewerSteps, "torch.Muon"), (MuonOfTheOtherScale, "torch.Muon"),
          (MuonThatAddsEps, "torch.Muon"), (MuonInFloat32, "torch.Muon"), (MuonOfAPlainMomentum, "torch.Muon"),
          (AdafactorOfTheRateAlone, "torch.Adafactor"), (AdafactorThatCountsFromTwo, "torch.Adafactor"),
          (AdafactorWithoutTheSize, "torch.Adafactor"), (AdafactorThatAddsEps, "torch.Adafactor")]  # fmt: skip


@dataclass
class NormalizedReference:
    """Gradients divided by their size, to which a hyperparameter named as the dtype's epsilon is added."""

    lr: float = 0.1
    epsilon: float = 1e-3

    def trajectory(self, theta):
        while True:
            g = yield theta, {}
            theta = theta - self.lr * g / (np.abs(g) + self.epsilon)


class Normalized(Textbook):
    def __init__(self, params, lr=0.1, epsilon=1e-3):
        super().__init__(params, {"lr": lr, "epsilon": epsilon})

    def step_param(self, group, p, g):
        p.sub_(group["lr"] * g / (g.abs() + group["epsilon"]))
