"""The scheduler of torch that lowers the rates when a metric stands still."""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

import optreg
from optreg_plugins.schedules.plateau.reference import ReduceOnPlateau as Paper


class ReduceOnPlateau(ReduceLROnPlateau):
    """Lower every group's rate when the metric that each step brings has not improved for a while.

    Call `step(metric)` after each evaluation. The rate is the group's own: it is saved with the optimizer, and whoever
    changes it is not undone. The state holds the settings and what was seen of the metric, as plain data. It derives
    from torch's class, by which trainers know that a step takes a metric, and has nothing of it.

    Args:
        optimizer: the optimizer whose param groups are driven.
        mode: whether a lower metric is better, `"min"`, or a higher one, `"max"`.
        factor: what the rates are multiplied by, 0 < factor < 1.
        patience: how many metrics in a row may be no improvement, >= 0; the next one lowers the rates.
        threshold: what a metric must be better by than the best one so far, >= 0.
        threshold_mode: whether the threshold is a share of the best metric, `"rel"`, or a difference, `"abs"`.
        cooldown: how many metrics after a reduction are not counted, >= 0.
        min_lr: the rate below which none is lowered, >= 0; in units of the learning rate.
        eps: a reduction by less is left out, >= 0; in units of the learning rate.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = Paper.mode,
        factor: float = Paper.factor,
        patience: int = Paper.patience,
        threshold: float = Paper.threshold,
        threshold_mode: Literal["rel", "abs"] = Paper.threshold_mode,
        cooldown: int = Paper.cooldown,
        min_lr: float = Paper.min_lr,
        eps: float = Paper.eps,
    ) -> None:
        self.optimizer = optimizer
        given = {
            "mode": mode, "factor": factor, "patience": patience, "threshold": threshold,
            "threshold_mode": threshold_mode, "cooldown": cooldown, "min_lr": min_lr, "eps": eps,
        }  # fmt: skip
        self._settings = optreg.check_hyperparameters(Paper, given, "reduce_on_plateau")
        self.last_epoch = 0
        self.best_metric: float | None = None
        self.stale = 0
        self.paused = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))

    def step(self, metrics: Any = None, epoch: None = None) -> None:  # type: ignore[override]  # as torch's own
        """Take the next metric, and lower the rates if it is one too many without an improvement.

        Args:
            metrics: a number, or whatever `float` makes one of, such as a tensor of one element.
            epoch: not for a metric: steps are counted.

        Raises:
            TypeError: there is no metric.
        """
        if metrics is None or epoch is not None:
            raise TypeError("reduce_on_plateau is driven by a metric alone: call scheduler.step(validation_loss)")
        value, own = float(metrics), self._settings
        self.last_epoch += 1
        if self._improves(value):
            self.best_metric, self.stale = value, 0
        elif not self.paused:
            self.stale += 1
        if self.paused:
            self.paused -= 1
            self.stale = 0
        elif self.stale > own["patience"]:
            self._lower(own["factor"], own["min_lr"], own["eps"])
            self.stale, self.paused = 0, own["cooldown"]

    def _improves(self, metric: float) -> bool:
        """Whether a metric is better than the best one, by more than the threshold."""
        own, lower = self._settings, self._settings["mode"] == "min"
        best = (math.inf if lower else -math.inf) if self.best_metric is None else self.best_metric
        margin = own["threshold"] if lower else -own["threshold"]
        bound = best * (1.0 - margin) if own["threshold_mode"] == "rel" else best - margin
        return bool(metric < bound if lower else metric > bound)

    @torch.no_grad()
    def _lower(self, factor: float, least: float, eps: float) -> None:
        """Lower the rate of every group; a rate in a tensor is changed in place."""
        for group in self.optimizer.param_groups:
            before = float(group["lr"])
            after = max(before * factor, least)
            if before - after <= eps:
                continue
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(after)
            else:
                group["lr"] = after

    def get_last_lr(self) -> list[float | Tensor]:
        """The current rate of each group."""
        return [lr.clone() if isinstance(lr := group["lr"], Tensor) else lr for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The settings, and what was seen of the metric: how many, the best, and the two counts."""
        seen = {"last_epoch": self.last_epoch, "best": self.best_metric, "stale": self.stale, "paused": self.paused}
        return {**self._settings, **seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, under its settings. The rates are in the optimizer's checkpoint.

        Raises:
            ValueError: a setting is out of range.
            KeyError: something is missing.
        """
        settings = optreg.check_hyperparameters(
            Paper, {name: state_dict[name] for name in self._settings}, "reduce_on_plateau"
        )
        seen = [state_dict[name] for name in ("last_epoch", "best", "stale", "paused")]
        self._settings = settings
        self.last_epoch, self.best_metric, self.stale, self.paused = seen
