"""The first step of `execution: compiled`, with an empty and with a filled compiler cache."""

import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from contestants import SETTINGS, quiet
from processes import answer, asked, fresh
from works import GPT2_LIKE

import optreg


@dataclass(frozen=True)
class Case:
    """One algorithm's first step."""

    algorithm: str
    device: str


def measure(device: str, repeats: int) -> list[dict[str, Any]]:
    """Seconds of the first step of AdamW and Lion, medians of processes that each have their own cache."""
    cases = [Case(algorithm, device) for algorithm in ("adamw", "lion")]
    return [{**asdict(case), "work": GPT2_LIKE.name, **_found(case, repeats)} for case in cases]


def _found(case: Case, repeats: int) -> dict[str, Any]:
    cold, warm = [], []
    try:
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
                environ = {"TORCHINDUCTOR_CACHE_DIR": cache}
                cold.append(fresh("compilation.py", case, environ))
                warm.append(fresh("compilation.py", case, environ))
    except RuntimeError as error:
        return {"failed": str(error)}
    return {"cold_seconds": statistics.median(cold), "warm_seconds": statistics.median(warm)}


def first_step(algorithm: str, device: str) -> float:
    """Seconds of the first step, including the import of the compiler."""
    params = [torch.nn.Parameter(tensor) for tensor in GPT2_LIKE.tensors(device)]
    for param, grad in zip(params, GPT2_LIKE.tensors(device), strict=True):
        param.grad = grad
    optimizer = optreg.optimizer(algorithm, params, **SETTINGS[algorithm], execution="compiled")
    with quiet():
        start = time.perf_counter()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


if __name__ == "__main__":
    answer(first_step(**asked()))
