"""Faults of mathematics: AdamW, Adam, Lion, momentum and RMSprop, each with one thing wrong."""

import itertools

import torch

from broken import fault, fault_in
from broken.textbook import Adam, AdamW, Lion, Momentum, RMSprop


@fault_in("M01", AdamW, "update")
def NoBiasCorrection(self, group, p, g, state):
    """No moment is corrected for starting at zero."""
    t = self.count(group, state)
    self.means(group, state, self.decay(group, p, g), t)
    self.move(group, p, state["exp_avg"], state["exp_avg_sq"].sqrt() + group["eps"])


@fault_in("M01", AdamW, "mean")
def FirstMomentUncorrected(self, group, state, t):
    """The first moment is not corrected for starting at zero."""
    return state["exp_avg"]


@fault_in("M01", AdamW, "denominator")
def SecondMomentUncorrected(self, group, state, t):
    """The second moment is not corrected for starting at zero."""
    return state["exp_avg_sq"].sqrt() + group["eps"]


@fault_in("M02", AdamW, "denominator")
def EpsInsideTheRoot(self, group, state, t):
    """Eps stands inside the square root."""
    return (state["exp_avg_sq"] / (1 - group["betas"][1] ** t) + group["eps"]).sqrt()


@fault_in("M09", AdamW, "denominator")
def EpsClamps(self, group, state, t):
    """The denominator is clamped to eps from below."""
    return (state["exp_avg_sq"] / (1 - group["betas"][1] ** t)).sqrt().clamp(min=group["eps"])


@fault_in("V01", AdamW, "denominator")
def EpsBeforeTheCorrection(self, group, state, t):
    """Eps is added before the second moment is corrected."""
    return (state["exp_avg_sq"].sqrt() + group["eps"]) / (1 - group["betas"][1] ** t) ** 0.5


@fault_in("M05", AdamW, "decay")
def CoupledDecay(self, group, p, g):
    """Weight decay is part of the gradient, as in Adam."""
    return g + group["weight_decay"] * p


@fault_in("M05", Adam, "decay")
def DecoupledDecay(self, group, p, g):
    """Weight decay is a step of its own, as in AdamW."""
    p.mul_(1 - group["lr"] * group["weight_decay"])
    return g


@fault_in("M05", AdamW, "decay")
def NoDecay(self, group, p, g):
    """Weight decay is taken and ignored."""
    return g


@fault_in("M06", AdamW, "update")
def DecayAfterTheUpdate(self, group, p, g, state):
    """The decay reads the parameter after the update."""
    AdamW.update(self, {**group, "weight_decay": 0.0}, p, g, state)
    p.mul_(1 - group["lr"] * group["weight_decay"])


@fault_in("M18", AdamW, "decay")
def DecayWithoutLearningRate(self, group, p, g):
    """The decay is not multiplied by the learning rate."""
    p.mul_(1 - group["weight_decay"])
    return g


@fault_in("M02", AdamW, "decay")
def DecayOfMatricesOnly(self, group, p, g):
    """Parameters of fewer than two dimensions are not decayed."""
    return AdamW.decay(self, group, p, g) if p.ndim >= 2 else g


@fault_in("M02", AdamW, "count")
def CountsFromZero(self, group, state):
    """The corrections use t - 1, and nothing at first."""
    return max(1, AdamW.count(self, group, state) - 1)


@fault_in("M04", AdamW, "count")
def CountsFromTwo(self, group, state):
    """The corrections use t + 1."""
    return AdamW.count(self, group, state) + 1


@fault_in("M02", AdamW, "means")
def BetasSwapped(self, group, state, g, t):
    """The two decay rates are taken in the wrong order."""
    AdamW.means(self, {**group, "betas": group["betas"][::-1]}, state, g, t)


@fault_in("M04", AdamW, "means", "before")
def FirstMomentBeginsWithTheGradient(self, group, state, g, t):
    """The first moment begins as the first gradient, not at zero."""
    if t == 1:
        state["exp_avg"].copy_(g)


@fault_in("M02", AdamW, "means", "after")
def MeanOfDecayedGradient(self, group, state, g, t):
    """The second moment is of the mean, not of the gradient."""
    beta2 = group["betas"][1]
    state["exp_avg_sq"].addcmul_(g, g, value=-(1 - beta2)).addcmul_(state["exp_avg"], state["exp_avg"], value=1 - beta2)


@fault_in("M07", AdamW, "denominator")
def EpsIgnored(self, group, state, t):
    """Eps is 1e-8 whatever is asked for."""
    return AdamW.denominator(self, {**group, "eps": 1e-8}, state, t)


@fault_in("M22", AdamW, "__init__")
def OtherDefaults(self, params, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.01):
    """The default of beta2 is 0.99."""
    AdamW.__init__(self, params, lr, betas, eps, weight_decay)


@fault_in("M08", AdamW, "update")
def LateLearningRate(self, group, p, g, state):
    """An update uses the learning rate that its group had in the update before."""
    now = state.setdefault("lr", group["lr"])
    state["lr"] = group["lr"]
    AdamW.update(self, {**group, "lr": now}, p, g, state)


@fault_in("G10", AdamW, "update")
def CapturedFromTheConstructor(self, group, p, g, state):
    """Betas and eps are those of the constructor, whatever the group says later."""
    AdamW.update(self, {**group, "betas": self.defaults["betas"], "eps": self.defaults["eps"]}, p, g, state)


@fault_in("M11", AdamW, "step_param")
def SkipsZeroGradients(self, group, p, g):
    """A gradient of zeros is taken for none."""
    if g.any():
        AdamW.step_param(self, group, p, g)


@fault_in("M10", AdamW, "step_param")
def MaximizeTurnsTheUpdate(self, group, p, g):
    """`maximize` turns the update round, and the decay with it, instead of the gradient."""
    if group["maximize"]:
        group = {**group, "maximize": False, "lr": -group["lr"]}
    AdamW.step_param(self, group, p, g)


@fault_in("M15", AdamW, "move")
def LearningRateCapped(self, group, p, mean, denominator):
    """A learning rate above 0.1 counts as 0.1."""
    AdamW.move(self, {**group, "lr": min(0.1, float(group["lr"]))}, p, mean, denominator)


@fault_in("M16", AdamW, "move")
def UpdateFeelsTheParameter(self, group, p, mean, denominator):
    """Parameters above 2 take half an update."""
    AdamW.move(self, group, p, torch.where(p.abs() > 2, 0.5 * mean, mean), denominator)


@fault_in("M19", AdamW, "move")
def WritesToATensorRate(self, group, p, mean, denominator):
    """A tensor lr is multiplied in place by the correction, and back, but for rounding."""
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


@fault_in("M21", AdamW, "count")
def CountsInAByte(self, group, state):
    """The step count overflows after 255 updates."""
    state["step"] = torch.tensor((int(state["step"]) + 1) % 256 or 1)
    return int(state["step"])


@fault_in("M23", Lion, "step_param")
def DropsTheRemainder(self, group, p, g):
    """Large tensors are updated in blocks, and what is left over is not."""
    if p.numel() < 4096:
        return Lion.step_param(self, group, p, g)
    state, whole = self.state_of(p), p.numel() // 4096 * 4096
    parts = {"exp_avg": state["exp_avg"].view(-1)[:whole]}
    return self.update(group, p.view(-1)[:whole], g.reshape(-1)[:whole], parts)


@fault_in("M24", Lion, "update")
def NeverQuiteZero(self, group, p, g, state):
    """A millionth is added to every learning rate, so that it is never zero."""
    Lion.update(self, {**group, "lr": group["lr"] + 1e-6}, p, g, state)


@fault_in("M25", AdamW, "step_param")
def ClampsLargeGradients(self, group, p, g):
    """Gradients above 1000 are clamped."""
    AdamW.step_param(self, group, p, g.clamp(-1000, 1000))


@fault_in("M28", RMSprop, "step_param")
def FlushesTinyGradients(self, group, p, g):
    """Gradients below 1e-10 are taken for zero."""
    RMSprop.step_param(self, group, p, torch.where(g.abs() < 1e-10, torch.zeros_like(g), g))


@fault_in("M26", AdamW, "step_group")
def ClipsByTheNormOfAll(self, group):
    """Gradients are divided by the norm of all of the group's where that is above 1."""
    grads = [p.grad for p in group["params"] if p.grad is not None]
    norm = sum((g**2).sum() for g in grads) ** 0.5 if grads else 0.0
    for p in group["params"]:
        if p.grad is not None:
            self.step_param(group, p, p.grad / max(1.0, float(norm)))


@fault_in("M12", Lion, "direction")
def SignWithAThreshold(self, group, state, g):
    """The sign of anything below 1e-5 is taken for zero."""
    beta1, _ = group["betas"]
    c = beta1 * state["exp_avg"] + (1 - beta1) * g
    return c.sign() * (c.abs() > 1e-5)


@fault_in("M13", Momentum, "direction")
def LeansToOneSide(self, group, state, g):
    """A small constant is part of every update."""
    return state["momentum_buffer"] + 1e-9


@fault_in("M14", AdamW, "decay")
def LastRowUndecayed(self, group, p, g):
    """The last row of a matrix is not decayed."""
    rows = p[:-1] if p.ndim == 2 else p
    rows.mul_(1 - group["lr"] * group["weight_decay"])
    return g


@fault_in("M02", Lion, "update")
def LionBetasSwapped(self, group, p, g, state):
    """The direction takes beta2, the memory beta1."""
    Lion.update(self, {**group, "betas": group["betas"][::-1]}, p, g, state)


@fault_in("M02", Lion, "update")
def LionRemembersFirst(self, group, p, g, state):
    """The memory is updated before the direction is taken from it."""
    self.remember(group, state, g)
    p.mul_(1 - group["lr"] * group["weight_decay"])
    p.add_(self.direction(group, state, g), alpha=-float(group["lr"]))


@fault_in("M02", Lion, "direction")
def LionWithoutSign(self, group, state, g):
    """The direction keeps its size."""
    beta1, _ = group["betas"]
    return beta1 * state["exp_avg"] + (1 - beta1) * g


@fault_in("M11", Lion, "direction")
def SignOfZeroIsOne(self, group, state, g):
    """The sign of zero is taken for 1."""
    beta1, _ = group["betas"]
    return torch.where(beta1 * state["exp_avg"] + (1 - beta1) * g >= 0, 1.0, -1.0).to(g.dtype)


@fault_in("M02", Momentum, "remember")
def MomentumIsASum(self, group, state, g):
    """The gradient enters the memory whole, as in torch.optim.SGD."""
    state["momentum_buffer"].mul_(group["momentum"]).add_(g)


@fault_in("M02", Momentum, "direction")
def NesterovUnasked(self, group, state, g):
    """The direction looks ahead, as Nesterov's does."""
    return group["momentum"] * state["momentum_buffer"] + (1 - group["momentum"]) * g


@fault_in("M09", RMSprop, "denominator")
def RMSpropEpsInside(self, group, state):
    """Eps stands inside the square root."""
    return (state["square_avg"] + group["eps"]).sqrt()


@fault_in("M02", RMSprop, "update")
def RMSpropStaleSquares(self, group, p, g, state):
    """The mean square is updated after it has been used."""
    p.addcdiv_(g, self.denominator(group, state), value=-float(group["lr"]))
    state["square_avg"].mul_(group["alpha"]).addcmul_(g, g, value=1 - group["alpha"])


@fault("M02", "adam")
class AMSGradUnasked(Adam):
    """The denominator never falls."""

    names = ("exp_avg", "exp_avg_sq", "most")

    def denominator(self, group, state, t):
        torch.maximum(state["most"], state["exp_avg_sq"], out=state["most"])
        return super().denominator(group, {"exp_avg_sq": state["most"]}, t)


@fault_in("M02", Adam, "move")
def Ascends(self, group, p, mean, denominator):
    """It goes uphill."""
    Adam.move(self, group, p, -mean, denominator)
