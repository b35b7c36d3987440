"""Faults of mathematics: AdamW, Adam, Lion, momentum and RMSprop, each with one thing wrong."""

import itertools

import torch

from broken import fault
from broken.textbook import Adam, AdamW, Lion, Momentum, RMSprop


@fault("M01", "adamw")
class NoBiasCorrection(AdamW):
    """No moment is corrected for starting at zero."""

    def mean(self, group, state, t):
        return state["exp_avg"]

    def denominator(self, group, state, t):
        return state["exp_avg_sq"].sqrt() + group["eps"]


@fault("M01", "adamw")
class FirstMomentUncorrected(AdamW):
    """The first moment is not corrected for starting at zero."""

    def mean(self, group, state, t):
        return state["exp_avg"]


@fault("M01", "adamw")
class SecondMomentUncorrected(AdamW):
    """The second moment is not corrected for starting at zero."""

    def denominator(self, group, state, t):
        return state["exp_avg_sq"].sqrt() + group["eps"]


@fault("M02", "adamw")
class EpsInsideTheRoot(AdamW):
    """Eps stands inside the square root."""

    def denominator(self, group, state, t):
        return (state["exp_avg_sq"] / (1 - group["betas"][1] ** t) + group["eps"]).sqrt()


@fault("M09", "adamw")
class EpsClamps(AdamW):
    """The denominator is clamped to eps from below."""

    def denominator(self, group, state, t):
        return (state["exp_avg_sq"] / (1 - group["betas"][1] ** t)).sqrt().clamp(min=group["eps"])


@fault("M09", "adamw")
class EpsBeforeTheCorrection(AdamW):
    """Eps is added before the second moment is corrected."""

    def denominator(self, group, state, t):
        return (state["exp_avg_sq"].sqrt() + group["eps"]) / (1 - group["betas"][1] ** t) ** 0.5


@fault("M05", "adamw")
class CoupledDecay(AdamW):
    """Weight decay is part of the gradient, as in Adam."""

    def decay(self, group, p, g):
        return g + group["weight_decay"] * p


@fault("M05", "adam")
class DecoupledDecay(Adam):
    """Weight decay is a step of its own, as in AdamW."""

    def decay(self, group, p, g):
        p.mul_(1 - group["lr"] * group["weight_decay"])
        return g


@fault("M05", "adamw")
class NoDecay(AdamW):
    """Weight decay is taken and ignored."""

    def decay(self, group, p, g):
        return g


@fault("M06", "adamw")
class DecayAfterTheUpdate(AdamW):
    """The decay reads the parameter after the update."""

    def decay(self, group, p, g):
        return g

    def move(self, group, p, mean, denominator):
        super().move(group, p, mean, denominator)
        p.mul_(1 - group["lr"] * group["weight_decay"])


@fault("M18", "adamw")
class DecayWithoutLearningRate(AdamW):
    """The decay is not multiplied by the learning rate."""

    def decay(self, group, p, g):
        p.mul_(1 - group["weight_decay"])
        return g


@fault("M02", "adamw")
class DecayOfMatricesOnly(AdamW):
    """Parameters of fewer than two dimensions are not decayed."""

    def decay(self, group, p, g):
        return super().decay(group, p, g) if p.ndim >= 2 else g


@fault("M02", "adamw")
class CountsFromZero(AdamW):
    """The corrections use t - 1, and nothing at first."""

    def mean(self, group, state, t):
        return super().mean(group, state, max(1, t - 1))

    def denominator(self, group, state, t):
        return super().denominator(group, state, max(1, t - 1))


@fault("M04", "adamw")
class CountsFromTwo(AdamW):
    """The corrections use t + 1."""

    def mean(self, group, state, t):
        return super().mean(group, state, t + 1)

    def denominator(self, group, state, t):
        return super().denominator(group, state, t + 1)


@fault("M02", "adamw")
class BetasSwapped(AdamW):
    """The two decay rates are taken in the wrong order."""

    def means(self, group, state, g, t):
        super().means({**group, "betas": group["betas"][::-1]}, state, g, t)


@fault("M04", "adamw")
class FirstMomentBeginsWithTheGradient(AdamW):
    """The first moment begins as the first gradient, not at zero."""

    def means(self, group, state, g, t):
        if t == 1:
            state["exp_avg"].copy_(g)
        super().means(group, state, g, t)


@fault("M02", "adamw")
class MeanOfDecayedGradient(AdamW):
    """The second moment is of the mean, not of the gradient."""

    def means(self, group, state, g, t):
        super().means(group, state, g, t)
        beta2 = group["betas"][1]
        state["exp_avg_sq"].addcmul_(g, g, value=-(1 - beta2)).addcmul_(
            state["exp_avg"], state["exp_avg"], value=1 - beta2
        )


@fault("M07", "adamw")
class EpsIgnored(AdamW):
    """Eps is 1e-8 whatever is asked for."""

    def denominator(self, group, state, t):
        return super().denominator({**group, "eps": 1e-8}, state, t)


@fault("M22", "adamw")
class OtherDefaults(AdamW):
    """The default of beta2 is 0.99."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps, weight_decay)


@fault("M08", "adamw")
class LateLearningRate(AdamW):
    """An update uses the learning rate that its group had in the update before."""

    def update(self, group, p, g, state):
        now = state.setdefault("lr", group["lr"])
        state["lr"] = group["lr"]
        super().update({**group, "lr": now}, p, g, state)


@fault("G10", "adamw")
class CapturedFromTheConstructor(AdamW):
    """Betas and eps are those of the constructor, whatever the group says later."""

    def update(self, group, p, g, state):
        super().update({**group, "betas": self.defaults["betas"], "eps": self.defaults["eps"]}, p, g, state)


@fault("M11", "adamw")
class SkipsZeroGradients(AdamW):
    """A gradient of zeros is taken for none."""

    def step_param(self, group, p, g):
        if g.any():
            super().step_param(group, p, g)


@fault("M10", "adamw")
class MaximizeTurnsTheUpdate(AdamW):
    """`maximize` turns the update round, and the decay with it, instead of the gradient."""

    def step_param(self, group, p, g):
        if group["maximize"]:
            group = {**group, "maximize": False, "lr": -group["lr"]}
        super().step_param(group, p, g)


@fault("M15", "adamw")
class LearningRateCapped(AdamW):
    """A learning rate above 0.1 counts as 0.1."""

    def move(self, group, p, mean, denominator):
        super().move({**group, "lr": min(0.1, float(group["lr"]))}, p, mean, denominator)


@fault("M16", "adamw")
class UpdateFeelsTheParameter(AdamW):
    """Parameters above 2 take half an update."""

    def move(self, group, p, mean, denominator):
        super().move(group, p, torch.where(p.abs() > 2, 0.5 * mean, mean), denominator)


@fault("M19", "adamw")
class WritesToATensorRate(AdamW):
    """A tensor lr is multiplied in place by the correction, and back, but for rounding."""

    def move(self, group, p, mean, denominator):
        lr = group["lr"]
        if isinstance(lr, torch.Tensor):
            lr.mul_(0.999)
        p.sub_(lr * mean / denominator)


_runs = itertools.count()


@fault("M20", "momentum")
class NeverTwiceTheSame(Momentum):
    """Each instance rounds a little otherwise than the one before."""

    def __init__(self, params, lr=1e-3, momentum=0.9):
        super().__init__(params, lr, momentum)
        self.wobble = 1 + 2.0**-52 * (next(_runs) % 2)

    def direction(self, group, state, g):
        return state["momentum_buffer"] * self.wobble


@fault("M21", "adamw")
class CountsInAByte(AdamW):
    """The step count overflows after 255 updates."""

    def count(self, group, state):
        state["step"] = torch.tensor((int(state["step"]) + 1) % 256 or 1)
        return int(state["step"])


@fault("M23", "lion")
class DropsTheRemainder(Lion):
    """Large tensors are updated in blocks, and what is left over is not."""

    def step_param(self, group, p, g):
        if p.numel() < 4096:
            return super().step_param(group, p, g)
        state, whole = self.state_of(p), p.numel() // 4096 * 4096
        parts = {"exp_avg": state["exp_avg"].view(-1)[:whole]}
        return self.update(group, p.view(-1)[:whole], g.reshape(-1)[:whole], parts)


@fault("M24", "lion")
class NeverQuiteZero(Lion):
    """A millionth is added to every learning rate, so that it is never zero."""

    def update(self, group, p, g, state):
        super().update({**group, "lr": group["lr"] + 1e-6}, p, g, state)


@fault("M25", "adamw")
class ClampsLargeGradients(AdamW):
    """Gradients above 1000 are clamped."""

    def step_param(self, group, p, g):
        super().step_param(group, p, g.clamp(-1000, 1000))


@fault("M28", "rmsprop")
class FlushesTinyGradients(RMSprop):
    """Gradients below 1e-10 are taken for zero."""

    def step_param(self, group, p, g):
        super().step_param(group, p, torch.where(g.abs() < 1e-10, torch.zeros_like(g), g))


@fault("M26", "adamw")
class ClipsByTheNormOfAll(AdamW):
    """Gradients are divided by the norm of all of the group's where that is above 1."""

    def step_group(self, group):
        grads = [p.grad for p in group["params"] if p.grad is not None]
        norm = sum((g**2).sum() for g in grads) ** 0.5 if grads else 0.0
        for p in group["params"]:
            if p.grad is not None:
                self.step_param(group, p, p.grad / max(1.0, float(norm)))


@fault("M12", "lion")
class SignWithAThreshold(Lion):
    """The sign of anything below 1e-5 is taken for zero."""

    def direction(self, group, state, g):
        beta1, _ = group["betas"]
        c = beta1 * state["exp_avg"] + (1 - beta1) * g
        return c.sign() * (c.abs() > 1e-5)


@fault("M13", "momentum")
class LeansToOneSide(Momentum):
    """A small constant is part of every update."""

    def direction(self, group, state, g):
        return state["momentum_buffer"] + 1e-9


@fault("M14", "adamw")
class LastRowUndecayed(AdamW):
    """The last row of a matrix is not decayed."""

    def decay(self, group, p, g):
        rows = p[:-1] if p.ndim == 2 else p
        rows.mul_(1 - group["lr"] * group["weight_decay"])
        return g


@fault("M02", "lion")
class LionBetasSwapped(Lion):
    """The direction takes beta2, the memory beta1."""

    def direction(self, group, state, g):
        return super().direction({**group, "betas": group["betas"][::-1]}, state, g)

    def remember(self, group, state, g):
        super().remember({**group, "betas": group["betas"][::-1]}, state, g)


@fault("M02", "lion")
class LionRemembersFirst(Lion):
    """The memory is updated before the direction is taken from it."""

    def update(self, group, p, g, state):
        self.remember(group, state, g)
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(self.direction(group, state, g), alpha=-float(group["lr"]))


@fault("M02", "lion")
class LionWithoutSign(Lion):
    """The direction keeps its size."""

    def direction(self, group, state, g):
        beta1, _ = group["betas"]
        return beta1 * state["exp_avg"] + (1 - beta1) * g


@fault("M11", "lion")
class SignOfZeroIsOne(Lion):
    """The sign of zero is taken for 1."""

    def direction(self, group, state, g):
        beta1, _ = group["betas"]
        return torch.where(beta1 * state["exp_avg"] + (1 - beta1) * g >= 0, 1.0, -1.0).to(g.dtype)


@fault("M02", "momentum")
class MomentumIsASum(Momentum):
    """The gradient enters the memory whole, as in torch.optim.SGD."""

    def remember(self, group, state, g):
        state["momentum_buffer"].mul_(group["momentum"]).add_(g)


@fault("M02", "momentum")
class NesterovUnasked(Momentum):
    """The direction looks ahead, as Nesterov's does."""

    def direction(self, group, state, g):
        return group["momentum"] * state["momentum_buffer"] + (1 - group["momentum"]) * g


@fault("M09", "rmsprop")
class RMSpropEpsInside(RMSprop):
    """Eps stands inside the square root."""

    def denominator(self, group, state):
        return (state["square_avg"] + group["eps"]).sqrt()


@fault("M02", "rmsprop")
class RMSpropStaleSquares(RMSprop):
    """The mean square is updated after it has been used."""

    def update(self, group, p, g, state):
        p.addcdiv_(g, self.denominator(group, state), value=-float(group["lr"]))
        state["square_avg"].mul_(group["alpha"]).addcmul_(g, g, value=1 - group["alpha"])


@fault("M02", "adam")
class AMSGradUnasked(Adam):
    """The denominator never falls."""

    names = ("exp_avg", "exp_avg_sq", "most")

    def denominator(self, group, state, t):
        torch.maximum(state["most"], state["exp_avg_sq"], out=state["most"])
        return super().denominator(group, {"exp_avg_sq": state["most"]}, t)


@fault("M02", "adam")
class Ascends(Adam):
    """It goes uphill."""

    def move(self, group, p, mean, denominator):
        super().move(group, p, -mean, denominator)
