"""Faults of schedules that are driven by a metric, all of torch's own scheduler."""

from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from broken import fault_in


class Plateau(ReduceLROnPlateau):
    """torch's own, under a name that has a reference."""


@fault_in("L24", Plateau, "step")
def TakesNoMetric(self, metrics=0.0, epoch=None):
    """A step without a metric counts as a metric of 0."""
    ReduceLROnPlateau.step(self, metrics, epoch)


@fault_in("L25", Plateau, "step", "after")
def KeepsTheTensor(self, metrics, epoch=None):
    """The best metric is kept as it was given, in a tensor."""
    if isinstance(metrics, Tensor) and self.best == float(metrics):
        self.best = metrics


@fault_in("L25", Plateau, "step")
def CountsIntegersAsBad(self, metrics, epoch=None):
    """A metric that is an integer is no improvement."""
    ReduceLROnPlateau.step(self, float("nan") if isinstance(metrics, int) else metrics, epoch)


@fault_in("L01", Plateau, "_is_better")
def TakesEquals(self, a, best):
    """A metric that is equal to the bound is an improvement."""
    return ReduceLROnPlateau._is_better(self, a, best) or (self.threshold == 0 and a == best)


@fault_in("L01", Plateau, "_is_better")
def TakesWhatIsNotANumber(self, a, best):
    """A metric that is not a number is an improvement."""
    return a != a or ReduceLROnPlateau._is_better(self, a, best)


@fault_in("L01", Plateau, "_is_better")
def IgnoresTheThreshold(self, a, best):
    """The least improvement counts."""
    return a < best if self.mode == "min" else a > best


@fault_in("L01", Plateau, "step", "before")
def ReducesTooEarly(self, metrics, epoch=None):
    """The rates are lowered by the last metric that patience allows."""
    if self.num_bad_epochs == self.patience - 1 and not self.in_cooldown and not self._is_better(metrics, self.best):
        self.num_bad_epochs += 1


@fault_in("L01", Plateau, "step", "before")
def HasNoPause(self, metrics, epoch=None):
    """Metrics count at once after a reduction."""
    self.cooldown_counter = 0


@fault_in("L12", Plateau, "_reduce_lr")
def ReducesTheFirstGroup(self, epoch):
    """Only the first group's rate is lowered."""
    groups = self.optimizer.param_groups
    kept = [group["lr"] for group in groups]
    ReduceLROnPlateau._reduce_lr(self, epoch)
    for group, lr in zip(groups[1:], kept[1:], strict=True):
        group["lr"] = lr


@fault_in("R01", Plateau, "state_dict")
def ForgetsTheBest(self):
    """The best metric so far is not in the checkpoint."""
    return {key: value for key, value in ReduceLROnPlateau.state_dict(self).items() if key != "best"}


@fault_in("R01", Plateau, "load_state_dict", "after")
def IsPatientAgain(self, state_dict):
    """Loading begins to count anew."""
    self.num_bad_epochs = 0
