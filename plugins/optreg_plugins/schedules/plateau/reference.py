"""What the rates do as a metric goes on or stands still, in arbitrary precision."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from optreg import NonNegative

Count = Annotated[int, Ge(0)]


@dataclass
class ReduceOnPlateau:
    """Multiply the learning rate by a factor whenever a metric has not improved for a while.

    The rule of `torch.optim.lr_scheduler.ReduceLROnPlateau`. Each step of the scheduler brings a metric m, for instance
    a validation loss; b is the best one so far, at first infinite, k counts those in a row that are no improvement, and
    c those of a pause that are left:

        m is better        mode min: m < b - threshold     with threshold_mode abs; m < b (1 - threshold) with rel
                           mode max: m > b + threshold     with threshold_mode abs; m > b (1 + threshold) with rel
        if m is better     b = m, k = 0; otherwise k = k + 1
        if c > 0           c = c - 1, k = 0
        if k > patience    lr = max(factor lr, min_lr) unless that is less than eps below lr; k = 0, c = cooldown

    lr(0) is the base learning rate, lr(n) that after n metrics. A metric that is not a number is no improvement.
    The threshold rel is meant for metrics above 0. patience and cooldown count metrics, not updates.
    """

    mode: Literal["min", "max"] = "min"
    factor: Annotated[float, Gt(0), Lt(1)] = 0.1
    patience: Count = 10
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Count = 0
    min_lr: NonNegative = 0.0
    eps: NonNegative = 1e-8

    def __post_init__(self) -> None:
        if self.threshold_mode == "rel" and self.mode == "min" and self.threshold >= 1:
            raise ValueError(
                f"with a threshold of {self.threshold:g}, threshold_mode 'rel' and mode 'min' no metric above 0 is an "
                "improvement; choose a threshold below 1, such as 1e-4"
            )

    def rates(self, base_lr: float, mp: Any) -> Generator[Any, float, None]:
        """The learning rate after each metric that is sent, with the precision of the mpmath context `mp`."""
        rate, best, k, c = mp.mpf(base_lr), mp.inf if self.mode == "min" else -mp.inf, 0, 0
        metric = mp.mpf((yield rate))
        while True:
            if self._is_better(metric, best, mp):
                best, k = metric, 0
            else:
                k += 1
            if c:
                c, k = c - 1, 0
            if k > self.patience:
                reduced = max(rate * mp.mpf(self.factor), mp.mpf(self.min_lr))
                if rate - reduced > mp.mpf(self.eps):
                    rate = reduced
                k, c = 0, self.cooldown
            metric = mp.mpf((yield rate))

    def _is_better(self, metric: Any, best: Any, mp: Any) -> bool:
        sign = -1 if self.mode == "min" else 1
        threshold = mp.mpf(self.threshold)
        bound = best * (1 + sign * threshold) if self.threshold_mode == "rel" else best + sign * threshold
        return bool(metric < bound if self.mode == "min" else metric > bound)
