"""Faults of schedules, all of one right scheduler: warm-up and half a cosine."""

import math

import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from broken import fault
from broken.declared import factor


class WarmupCosine(LRScheduler):
    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self.warmup_steps, self.total_steps, self.min_lr_ratio = warmup_steps, total_steps, min_lr_ratio
        super().__init__(optimizer, last_epoch)

    def factor(self, t):
        return factor(t, self.warmup_steps, self.total_steps, self.min_lr_ratio)

    def get_lr(self):
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]


@fault("L01", "warmup_cosine")
class OneAhead(WarmupCosine):
    """Every rate comes one step early."""

    def factor(self, t):
        return super().factor(t + 1)


@fault("L01", "warmup_cosine")
class OneBehind(WarmupCosine):
    """Every rate comes one step late."""

    def factor(self, t):
        return super().factor(max(0, t - 1))


@fault("L01", "warmup_cosine")
class CosineOverTheWhole(WarmupCosine):
    """The cosine is stretched over all steps, the warm-up's too."""

    def factor(self, t):
        w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
        return t / w if t < w else r + (1 - r) * 0.5 * (1 + math.cos(math.pi * min(t, n) / n))


@fault("L02", "warmup_cosine")
class SetsNothingAtFirst(WarmupCosine):
    """The first rate is set by the first step only."""

    def get_lr(self):
        if self.last_epoch == 0:
            return [group["lr"] for group in self.optimizer.param_groups]
        return super().get_lr()


@fault("L03", "warmup_cosine")
class EndsOneEarly(WarmupCosine):
    """The end is reached a step too early."""

    def factor(self, t):
        n = max(1, self.total_steps - 1)
        return factor(t, min(self.warmup_steps, n), n, self.min_lr_ratio)


@fault("L03", "warmup_cosine")
class NoFloor(WarmupCosine):
    """It falls to zero, whatever the floor is."""

    def factor(self, t):
        return factor(t, self.warmup_steps, self.total_steps, 0.0)


@fault("L04", "warmup_cosine")
class RisesAgain(WarmupCosine):
    """After the end the cosine goes on."""

    def factor(self, t):
        w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
        if t < w or n == w:
            return super().factor(t)
        return r + (1 - r) * 0.5 * (1 + math.cos(math.pi * (t - w) / (n - w)))


@fault("L04", "linear")
class GoesNegative(LRScheduler):
    """After the end the line goes on below zero."""

    def __init__(self, optimizer, total_steps, start_factor=1.0, end_factor=0.0, last_epoch=-1):
        self.total_steps, self.start_factor, self.end_factor = total_steps, start_factor, end_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        a, b, x = self.start_factor, self.end_factor, self.last_epoch / self.total_steps
        return [base * (a + (b - a) * x) for base in self.base_lrs]


@fault("L05", "warmup_cosine")
class Overshoots(WarmupCosine):
    """The warm-up overshoots the peak."""

    def factor(self, t):
        w = self.warmup_steps
        return 1.2 * t / w if 0 < t < w else super().factor(t)


@fault("L06", "warmup_cosine")
class DividesByZero(WarmupCosine):
    """A warm-up of no steps divides by zero."""

    def factor(self, t):
        warm = t / self.warmup_steps
        return warm if warm < 1 else super().factor(t)


@fault("L06", "warmup_cosine")
class NeedsADecay(WarmupCosine):
    """A warm-up of all steps divides by zero."""

    def factor(self, t):
        w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
        x = min(1.0, (t - w) / (n - w))
        return t / w if t < w else r + (1 - r) * 0.5 * (1 + math.cos(math.pi * x))


@fault("L07", "warmup_cosine")
class JumpsAtTheJoint(WarmupCosine):
    """The warm-up ends at nine tenths, and the cosine begins at one."""

    def factor(self, t):
        return super().factor(t) * (0.9 if t < self.warmup_steps else 1.0)


@fault("L09", "warmup_cosine")
class WarmsUpAnotherWay(WarmupCosine):
    """The warm-up is counted (t + 1) / (W + 1), as nanoGPT counts it, and the peak comes a step early."""

    def factor(self, t):
        w = self.warmup_steps
        return (t + 1) / (w + 1) if t < w else factor(t + 1, w, self.total_steps, self.min_lr_ratio)


@fault("L10", "constant")
class DriftsAway(LRScheduler):
    """Each rate comes from the one before, with an error that adds up."""

    def __init__(self, optimizer, factor=1.0, last_epoch=-1):
        self.factor = factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch == 0:
            return [base * self.factor for base in self.base_lrs]
        return [group["lr"] * (1 + 2.4e-14) for group in self.optimizer.param_groups]


@fault("L11", "warmup_cosine")
class TellsTheBase(WarmupCosine):
    """`get_last_lr` tells the base learning rates."""

    def get_last_lr(self):
        return list(self.base_lrs)


@fault("L12", "warmup_cosine")
class FirstBaseForAll(WarmupCosine):
    """The first group's base counts in all groups."""

    def get_lr(self):
        return [self.base_lrs[0] * self.factor(self.last_epoch) for _ in self.base_lrs]


@fault("L13", "warmup_cosine")
class StaysAtZero(WarmupCosine):
    """Each rate is the one before times a ratio, and after zero it stays zero."""

    def get_lr(self):
        now, before = self.factor(self.last_epoch), self.factor(self.last_epoch - 1) if self.last_epoch else 1.0
        ratio = now / before if before else 0.0
        return [group["lr"] * ratio for group in self.optimizer.param_groups]


@fault("L14", "warmup_cosine")
class ReadingMovesIt(WarmupCosine):
    """Writing to what `get_last_lr` returned writes to the groups."""

    def get_last_lr(self):
        outer = self

        class Live(list):
            def __setitem__(self, index, value):
                outer.optimizer.param_groups[index]["lr"] = value

        return Live(super().get_last_lr())


@fault("L15", "warmup_cosine")
class ReplacesTheTensor(WarmupCosine):
    """A tensor rate becomes a float."""

    def step(self, epoch=None):
        super().step(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = float(group["lr"])


@fault("R01", "warmup_cosine")
class ForgetsTheStep(WarmupCosine):
    """The step is not part of the state."""

    def state_dict(self):
        return {key: value for key, value in super().state_dict().items() if key != "last_epoch"}


@fault("R01", "warmup_cosine")
class LoadsOneLate(WarmupCosine):
    """Loading goes back one step."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.last_epoch -= 1


@fault("R02", "warmup_cosine")
class SavesTheOptimizer(WarmupCosine):
    """The state holds the optimizer."""

    def state_dict(self):
        return {**super().state_dict(), "groups": self.optimizer}

    def load_state_dict(self, state_dict):
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "groups"})


@fault("R03", "warmup_cosine")
class HorizonOfTheConstructor(WarmupCosine):
    """The checkpoint's horizon is not taken over, and nobody is told."""

    def load_state_dict(self, state_dict):
        horizon = self.total_steps
        super().load_state_dict(state_dict)
        self.total_steps = horizon


@fault("R04", "warmup_cosine")
class IgnoresLastEpoch(WarmupCosine):
    """`last_epoch` is taken and ignored."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio)


@fault("R05", "warmup_cosine")
class ReadsTheGroupsOnLoading(WarmupCosine):
    """Loading takes the groups' present rates for the base, scaled back by the formula."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        now = self.factor(self.last_epoch)
        self.base_lrs = [group["lr"] / now if now else group["lr"] for group in self.optimizer.param_groups]


@fault("R06", "warmup_cosine")
class LoadingAdds(WarmupCosine):
    """Loading adds to the step."""

    def load_state_dict(self, state_dict):
        before = self.last_epoch
        super().load_state_dict(state_dict)
        self.last_epoch += before


@fault("R07", "warmup_cosine")
class SavesATensor(WarmupCosine):
    """The state holds a tensor."""

    def state_dict(self):
        return {**super().state_dict(), "rates": torch.zeros(2)}


@fault("R08", "warmup_cosine")
class EmptiesTheSchedulesCheckpoint(WarmupCosine):
    """The dict that is loaded is emptied."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(dict(state_dict))
        state_dict.clear()


@fault("X01", "warmup_cosine")
class StepsOnLoading(WarmupCosine):
    """Loading sets the groups to the rate of the next step."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * self.factor(self.last_epoch + 1)


@fault("X02", "warmup_cosine")
class LeavesLaterGroupsOut(WarmupCosine):
    """A group added later keeps its rate, and nobody is told."""

    def get_lr(self):
        rates = super().get_lr()
        later = self.optimizer.param_groups[len(rates) :]
        return [*rates, *(group["lr"] for group in later)]


@fault("X03", "warmup_cosine")
class DrivesOldGroups(WarmupCosine):
    """The groups of the constructor are driven, though loading has replaced them."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self._first = list(optimizer.param_groups)
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)

    def step(self, epoch=None):
        live = self.optimizer.param_groups
        self.optimizer.param_groups = self._first
        super().step(epoch)
        self.optimizer.param_groups = live

    def state_dict(self):
        return {key: value for key, value in super().state_dict().items() if key != "_first"}


@fault("X09", "warmup_cosine")
class WarnsOfSkippedUpdates(WarmupCosine):
    """It warns where the first update was left out."""


_alive = []


@fault("X06", "warmup_cosine")
class KeepsEverythingAlive(WarmupCosine):
    """Every optimizer is kept in a list."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        _alive.append(optimizer)
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)


@fault("X07", "warmup_cosine")
class CountsUpdates(WarmupCosine):
    """The step is the number of the optimizer's updates."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self.updates = max(0, last_epoch + 1)
        optimizer.register_step_post_hook(self._count)
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)

    def _count(self, *_):
        self.updates += 1

    def get_lr(self):
        return [base * self.factor(self.updates) for base in self.base_lrs]


@fault("X08", "warmup_cosine")
class ChangesTheDecay(WarmupCosine):
    """The groups' weight decay is changed too."""

    def step(self, epoch=None):
        super().step(epoch)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.5


@fault("L21", "warmup_cosine")
class AQuarterCosine(WarmupCosine):
    """It follows a quarter of a cosine."""

    def factor(self, t):
        w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
        if t < w or t >= n:
            return super().factor(t)
        return r + (1 - r) * math.cos(0.5 * math.pi * (t - w) / (n - w))


@fault("L17", "exponential")
class GoesOnFromWhatIsThere(LRScheduler):
    """Each rate is made from the one before, whoever has set that."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [group["lr"] * (self.gamma if self.last_epoch else 1.0) for group in self.optimizer.param_groups]


@fault("L16", "torch.OneCycleLR", traits={"drives": ("momentum",)})
class LeavesTheMomentum(OneCycleLR):
    """The rate goes round its cycle, the momentum stays at its first value."""

    def step(self, epoch=None):
        before = [group["momentum"] for group in self.optimizer.param_groups]
        super().step(epoch)
        if self.last_epoch:
            for group, momentum in zip(self.optimizer.param_groups, before, strict=True):
                group["momentum"] = momentum


@fault("X04", "warmup_cosine")
class InsistsOnTheOrder(WarmupCosine):
    """A step before the optimizer's first is an error."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self.updates = 0
        optimizer.register_step_post_hook(self._count)
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)

    def _count(self, *_):
        self.updates += 1

    def step(self, epoch=None):
        if self.last_epoch == 0 and not self.updates:
            raise RuntimeError("the optimizer has not stepped")
        super().step(epoch)


@fault("X10", "warmup_cosine")
class ClearsGradients(WarmupCosine):
    """A step clears the gradients."""

    def step(self, epoch=None):
        self.optimizer.zero_grad()
        super().step(epoch)


@fault("X10", "warmup_cosine")
class LosesTheLoss(WarmupCosine):
    """The optimizer's `step` is replaced by one that returns nothing."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        step = optimizer.step
        optimizer.step = lambda *args, **kwargs: step(*args, **kwargs) and None
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)


@fault("R09", "warmup_cosine")
class NeverGoesBack(WarmupCosine):
    """An earlier checkpoint does not take it back."""

    def load_state_dict(self, state_dict):
        super().load_state_dict({**state_dict, "last_epoch": max(self.last_epoch, state_dict["last_epoch"])})


@fault("R10", "warmup_cosine")
class SavesWhatLives(WarmupCosine):
    """The state dict is the scheduler's own, and goes on with it."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self.live = {}
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)

    def step(self, epoch=None):
        super().step(epoch)
        self.state_dict()

    def state_dict(self):
        kept = {key: value for key, value in super().state_dict().items() if key != "live"}
        self.live.update(kept)
        return self.live

    def load_state_dict(self, state_dict):
        super().load_state_dict(dict(state_dict))


@fault("R11", "warmup_cosine")
class BaseOfTheConstructor(WarmupCosine):
    """The base rates are those that the optimizer was made with, whatever is loaded."""

    def load_state_dict(self, state_dict):
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "base_lrs"})


@fault("R13", "linear")
class ScalesAgain(LRScheduler):
    """The constructor scales the rate that it finds, scaled already or not."""

    def __init__(self, optimizer, total_steps, start_factor=1.0, end_factor=0.0, last_epoch=-1):
        self.total_steps, self.start_factor, self.end_factor = total_steps, start_factor, end_factor
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        part = min(self.last_epoch / self.total_steps, 1.0) if self.total_steps else 1.0
        factor = self.start_factor + (self.end_factor - self.start_factor) * part
        return [group["initial_lr"] * factor for group in self.optimizer.param_groups]


@fault("R12", "warmup_cosine")
class CopiesDriveTheOriginal(WarmupCosine):
    """A copy drives the groups of the original."""

    def __deepcopy__(self, memo):
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        return other
