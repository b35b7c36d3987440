"""Faults of schedules, all of one right scheduler: warm-up and half a cosine."""

import math
import threading
from bisect import bisect

import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from broken import fault, fault_in
from broken.declared import factor


class WarmupCosine(LRScheduler):
    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self.warmup_steps, self.total_steps, self.min_lr_ratio = warmup_steps, total_steps, min_lr_ratio
        super().__init__(optimizer, last_epoch)

    def factor(self, t):
        return factor(t, self.warmup_steps, self.total_steps, self.min_lr_ratio)

    def get_lr(self):
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]


class Linear(LRScheduler):
    def __init__(self, optimizer, total_steps, start_factor=1.0, end_factor=0.0, last_epoch=-1):
        self.total_steps, self.start_factor, self.end_factor = total_steps, start_factor, end_factor
        super().__init__(optimizer, last_epoch)

    def factor(self, t):
        part = min(t / self.total_steps, 1.0) if self.total_steps else 1.0
        return self.start_factor + (self.end_factor - self.start_factor) * part

    def get_lr(self):
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]


@fault_in("L01", WarmupCosine, "factor")
def OneAhead(self, t):
    """Every rate comes one step early."""
    return WarmupCosine.factor(self, t + 1)


@fault_in("L01", WarmupCosine, "factor")
def OneBehind(self, t):
    """Every rate comes one step late."""
    return WarmupCosine.factor(self, max(0, t - 1))


@fault_in("L01", WarmupCosine, "factor")
def CosineOverTheWhole(self, t):
    """The cosine is stretched over all steps, the warm-up's too."""
    w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
    return t / w if t < w else r + (1 - r) * 0.5 * (1 + math.cos(math.pi * min(t, n) / n))


@fault_in("L02", WarmupCosine, "get_lr")
def SetsNothingAtFirst(self):
    """The first rate is set by the first step only."""
    if self.last_epoch == 0:
        return [group["lr"] for group in self.optimizer.param_groups]
    return WarmupCosine.get_lr(self)


@fault_in("V02", Linear, "factor")
def GoesBack(self, t):
    """After its last step it goes back."""
    part = 1 - abs(1 - t / self.total_steps)
    return self.start_factor + (self.end_factor - self.start_factor) * part


@fault_in("L03", WarmupCosine, "factor")
def EndsOneEarly(self, t):
    """The end is reached a step too early."""
    n = max(1, self.total_steps - 1)
    return factor(t, min(self.warmup_steps, n), n, self.min_lr_ratio)


@fault_in("L03", WarmupCosine, "factor")
def NoFloor(self, t):
    """It falls to zero, whatever the floor is."""
    return factor(t, self.warmup_steps, self.total_steps, 0.0)


@fault_in("L04", WarmupCosine, "factor")
def RisesAgain(self, t):
    """After the end the cosine goes on."""
    w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
    if t < w or n == w:
        return WarmupCosine.factor(self, t)
    return r + (1 - r) * 0.5 * (1 + math.cos(math.pi * (t - w) / (n - w)))


@fault_in("L04", Linear, "factor")
def GoesNegative(self, t):
    """After the end the line goes on below zero."""
    return self.start_factor + (self.end_factor - self.start_factor) * (t / self.total_steps)


@fault_in("L05", WarmupCosine, "factor")
def Overshoots(self, t):
    """The warm-up overshoots the peak."""
    w = self.warmup_steps
    return 1.2 * t / w if 0 < t < w else WarmupCosine.factor(self, t)


@fault_in("L06", WarmupCosine, "factor")
def DividesByZero(self, t):
    """A warm-up of no steps divides by zero."""
    warm = t / self.warmup_steps
    return warm if warm < 1 else WarmupCosine.factor(self, t)


@fault_in("L06", WarmupCosine, "factor")
def NeedsADecay(self, t):
    """A warm-up of all steps divides by zero."""
    w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
    x = min(1.0, (t - w) / (n - w))
    return t / w if t < w else r + (1 - r) * 0.5 * (1 + math.cos(math.pi * x))


@fault_in("L07", WarmupCosine, "factor")
def JumpsAtTheJoint(self, t):
    """The warm-up ends at nine tenths, and the cosine begins at one."""
    return WarmupCosine.factor(self, t) * (0.9 if t < self.warmup_steps else 1.0)


@fault_in("L09", WarmupCosine, "factor")
def WarmsUpAnotherWay(self, t):
    """The warm-up is counted (t + 1) / (W + 1), as nanoGPT counts it, and the peak comes a step early."""
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


@fault_in("L11", WarmupCosine, "get_last_lr")
def TellsTheBase(self):
    """`get_last_lr` tells the base learning rates."""
    return list(self.base_lrs)


@fault_in("L12", WarmupCosine, "get_lr")
def FirstBaseForAll(self):
    """The first group's base counts in all groups."""
    return [self.base_lrs[0] * self.factor(self.last_epoch) for _ in self.base_lrs]


@fault_in("L13", WarmupCosine, "get_lr")
def StaysAtZero(self):
    """Each rate is the one before times a ratio, and after zero it stays zero."""
    now, before = self.factor(self.last_epoch), self.factor(self.last_epoch - 1) if self.last_epoch else 1.0
    ratio = now / before if before else 0.0
    return [group["lr"] * ratio for group in self.optimizer.param_groups]


@fault_in("L14", WarmupCosine, "get_last_lr")
def ReadingMovesIt(self):
    """Writing to what `get_last_lr` returned writes to the groups."""
    outer = self

    class Live(list):
        def __setitem__(self, index, value):
            outer.optimizer.param_groups[index]["lr"] = value

    return Live(WarmupCosine.get_last_lr(self))


@fault_in("L15", WarmupCosine, "step", "after")
def ReplacesTheTensor(self, epoch=None):
    """A tensor rate becomes a float."""
    for group in self.optimizer.param_groups:
        group["lr"] = float(group["lr"])


@fault_in("R01", WarmupCosine, "state_dict")
def ForgetsTheStep(self):
    """The step is not part of the state."""
    return {key: value for key, value in WarmupCosine.state_dict(self).items() if key != "last_epoch"}


@fault_in("R01", WarmupCosine, "load_state_dict", "after")
def LoadsOneLate(self, state_dict):
    """Loading goes back one step."""
    self.last_epoch -= 1


@fault("R02", "warmup_cosine")
class SavesTheOptimizer(WarmupCosine):
    """The state holds the optimizer."""

    def state_dict(self):
        return {**super().state_dict(), "groups": self.optimizer}

    def load_state_dict(self, state_dict):
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "groups"})


@fault_in("R03", WarmupCosine, "load_state_dict")
def HorizonOfTheConstructor(self, state_dict):
    """The checkpoint's horizon is not taken over, and nobody is told."""
    horizon = self.total_steps
    WarmupCosine.load_state_dict(self, state_dict)
    self.total_steps = horizon


@fault_in("R04", WarmupCosine, "__init__")
def IgnoresLastEpoch(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
    """`last_epoch` is taken and ignored."""
    WarmupCosine.__init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio)


@fault_in("R05", WarmupCosine, "load_state_dict", "after")
def ReadsTheGroupsOnLoading(self, state_dict):
    """Loading takes the groups' present rates for the base, scaled back by the formula."""
    now = self.factor(self.last_epoch)
    self.base_lrs = [group["lr"] / now if now else group["lr"] for group in self.optimizer.param_groups]


@fault_in("R06", WarmupCosine, "load_state_dict")
def LoadingAdds(self, state_dict):
    """Loading adds to the step."""
    before = self.last_epoch
    WarmupCosine.load_state_dict(self, state_dict)
    self.last_epoch += before


@fault_in("R07", WarmupCosine, "state_dict")
def SavesATensor(self):
    """The state holds a tensor."""
    return {**WarmupCosine.state_dict(self), "rates": torch.zeros(2)}


@fault_in("R08", WarmupCosine, "load_state_dict")
def EmptiesTheSchedulesCheckpoint(self, state_dict):
    """The dict that is loaded is emptied."""
    WarmupCosine.load_state_dict(self, dict(state_dict))
    state_dict.clear()


@fault_in("X01", WarmupCosine, "load_state_dict", "after")
def StepsOnLoading(self, state_dict):
    """Loading sets the groups to the rate of the next step."""
    for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
        group["lr"] = base * self.factor(self.last_epoch + 1)


@fault_in("X02", WarmupCosine, "get_lr")
def LeavesLaterGroupsOut(self):
    """A group added later keeps its rate, and nobody is told."""
    rates = WarmupCosine.get_lr(self)
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


@fault_in("X06", WarmupCosine, "__init__", "before")
def KeepsEverythingAlive(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
    """Every optimizer is kept in a list."""
    _alive.append(optimizer)


class Counting(WarmupCosine):
    """Right, and counts the updates of its optimizer."""

    def __init__(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
        self.began, self.updates = max(0, last_epoch + 1), 0
        optimizer.register_step_post_hook(self._count)
        super().__init__(optimizer, warmup_steps, total_steps, min_lr_ratio, last_epoch)

    def _count(self, *_):
        self.updates += 1


@fault_in("X07", Counting, "get_lr")
def CountsUpdates(self):
    """The step is the number of the optimizer's updates."""
    return [base * self.factor(self.began + self.updates) for base in self.base_lrs]


@fault_in("X08", WarmupCosine, "step", "after")
def ChangesTheDecay(self, epoch=None):
    """The groups' weight decay is changed too."""
    for group in self.optimizer.param_groups:
        group["weight_decay"] = 0.5


@fault_in("L21", WarmupCosine, "factor")
def AQuarterCosine(self, t):
    """It follows a quarter of a cosine."""
    w, n, r = self.warmup_steps, self.total_steps, self.min_lr_ratio
    if t < w or t >= n:
        return WarmupCosine.factor(self, t)
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


@fault_in("X04", Counting, "step", "before")
def InsistsOnTheOrder(self, epoch=None):
    """A step before the optimizer's first is an error."""
    if self.last_epoch == 0 and not self.updates:
        raise RuntimeError("the optimizer has not stepped")


@fault_in("X10", WarmupCosine, "step", "before")
def ClearsGradients(self, epoch=None):
    """A step clears the gradients."""
    self.optimizer.zero_grad()


@fault_in("X10", WarmupCosine, "__init__", "before")
def LosesTheLoss(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
    """The optimizer's `step` is replaced by one that returns nothing."""
    step = optimizer.step
    optimizer.step = lambda *args, **kwargs: step(*args, **kwargs) and None


@fault_in("R09", WarmupCosine, "load_state_dict")
def NeverGoesBack(self, state_dict):
    """An earlier checkpoint does not take it back."""
    WarmupCosine.load_state_dict(self, {**state_dict, "last_epoch": max(self.last_epoch, state_dict["last_epoch"])})


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


@fault_in("R11", WarmupCosine, "load_state_dict")
def BaseOfTheConstructor(self, state_dict):
    """The base rates are those that the optimizer was made with, whatever is loaded."""
    WarmupCosine.load_state_dict(self, {key: value for key, value in state_dict.items() if key != "base_lrs"})


@fault("R13", "linear")
class ScalesAgain(Linear):
    """The constructor scales the rate that it finds, scaled already or not."""

    def __init__(self, optimizer, total_steps, start_factor=1.0, end_factor=0.0, last_epoch=-1):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        super().__init__(optimizer, total_steps, start_factor, end_factor, last_epoch)

    def get_lr(self):
        return [group["initial_lr"] * self.factor(self.last_epoch) for group in self.optimizer.param_groups]


@fault_in("R12", WarmupCosine, "__deepcopy__")
def CopiesDriveTheOriginal(self, memo):
    """A copy drives the groups of the original."""
    other = self.__class__.__new__(self.__class__)
    other.__dict__.update(self.__dict__)
    return other


@fault_in("L01", WarmupCosine, "factor")
def EndsAfterTheWarmup(self, t):
    """A decay of one step is left out: the end is reached with the warm-up."""
    if self.total_steps - self.warmup_steps == 1 and t >= self.warmup_steps:
        return self.min_lr_ratio
    return WarmupCosine.factor(self, t)


@fault_in("L01", WarmupCosine, "factor")
def NoFloorBelowAPercent(self, t):
    """A floor below a percent is taken for none."""
    return factor(t, self.warmup_steps, self.total_steps, self.min_lr_ratio if self.min_lr_ratio >= 0.01 else 0.0)


@fault("L12", "warmup_cosine")
class SortsGroupsAsText(WarmupCosine):
    """A checkpoint has the base rates by their group's number as text, in the order of those texts."""

    def state_dict(self):
        saved = super().state_dict()
        return {**saved, "base_lrs": {str(index): base for index, base in enumerate(saved["base_lrs"])}}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.base_lrs = [base for _, base in sorted(state_dict["base_lrs"].items())]


@fault_in("L22", WarmupCosine, "__init__", "after")
def BasesAreTheTensors(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
    """A base rate is the group's own tensor, which every step writes to."""
    self.base_lrs = [group["lr"] if isinstance(group["lr"], torch.Tensor) else base
                     for group, base in zip(optimizer.param_groups, self.base_lrs, strict=True)]  # fmt: skip


@fault_in("L23", WarmupCosine, "factor")
def StepsInFloat32(self, t):
    """The step is a float32, which counts to 2^24."""
    return WarmupCosine.factor(self, float(torch.tensor(t, dtype=torch.float32)))


@fault_in("R14", WarmupCosine, "state_dict")
def SavesNoBases(self):
    """The base rates are those of the constructor, and no checkpoint holds them."""
    return {key: value for key, value in WarmupCosine.state_dict(self).items() if key not in {"base_lrs", "_last_lr"}}


@fault_in("R15", WarmupCosine, "__init__", "after")
def CannotBeCopied(self, optimizer, warmup_steps, total_steps, min_lr_ratio=0.1, last_epoch=-1):
    """It keeps a lock, which cannot be copied."""
    self.lock = threading.Lock()


@fault("L01", "torch.MultiStepLR")
class TakesMilestonesAsInOrder(LRScheduler):
    """Milestones are searched as if they were in order."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = [*milestones], gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * self.gamma ** bisect(self.milestones, self.last_epoch) for base in self.base_lrs]
