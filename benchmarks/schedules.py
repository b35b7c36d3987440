"""The cost of `scheduler.step()`: warmup_cosine, torch's LambdaLR with the same formula, and torch's cosine."""

import math
import statistics
import time
import warnings
from typing import Any

import torch
from timing import in_turn, ratio
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

import optreg

WARM_UP, TOTAL, FLOOR = 100, 1_000_000, 0.1
GROUPS = (1, 100)
STEPS = 100
"""Steps in a round; a single one is too short for the clock."""
ROUNDS = 30


def formula(step: int) -> float:
    """warmup_cosine's multiplier as a function for LambdaLR."""
    if step < WARM_UP:
        return step / WARM_UP
    progress = min(1.0, (step - WARM_UP) / (TOTAL - WARM_UP))
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * progress)) / 2


def measure() -> list[dict[str, Any]]:
    """Microseconds of a step for each number of groups, and ratios to LambdaLR."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optreg.StepWarning)  # nothing is trained here
        return [_measured(groups) for groups in GROUPS]


def _measured(groups: int) -> dict[str, Any]:
    steppers = {
        "optreg warmup_cosine": _ours(_optimizer(groups)),
        "torch LambdaLR": LambdaLR(_optimizer(groups), formula),
        "torch CosineAnnealingLR": CosineAnnealingLR(_optimizer(groups), TOTAL),
    }
    for scheduler in steppers.values():
        scheduler.optimizer.step()  # torch warns otherwise
        for _ in range(STEPS):
            scheduler.step()
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for name in in_turn([*steppers], ROUNDS):
        step = steppers[name].step
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        times[name].append((time.perf_counter() - start) / STEPS)
    rates = {name: scheduler.get_last_lr()[0] for name, scheduler in steppers.items()}
    if not math.isclose(rates["optreg warmup_cosine"], rates["torch LambdaLR"], rel_tol=1e-9):
        raise RuntimeError(f"the schedules are not the same: {rates}")
    return {
        "groups": groups,
        "schedulers": [
            {
                "name": name,
                "ours": name.startswith("optreg"),
                "microseconds": statistics.median(seconds) * 1e6,
                "ratio": ratio(seconds, times["torch LambdaLR"]),
            }
            for name, seconds in times.items()
        ],
    }


def _optimizer(groups: int) -> Optimizer:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=0.1)


def _ours(optimizer: Optimizer) -> LRScheduler:
    return optreg.scheduler("warmup_cosine", optimizer, warmup_steps=WARM_UP, total_steps=TOTAL, min_lr_ratio=FLOOR)
