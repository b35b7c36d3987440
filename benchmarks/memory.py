"""Memory beyond parameters, gradients and state, at the peak of a step, on every path."""

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from contestants import SETTINGS, Stepper, quiet
from processes import answer, asked, fresh
from timing import state_bytes
from works import GPT2_LIKE, MANY_SMALL, ONE_LARGE, WORKS, Work

import optreg

EXECUTIONS = {
    "adamw": ("auto", "loop", "foreach", "fused", "compiled"),
    "lion": ("auto", "loop", "foreach", "compiled"),
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("float32", {}),
    "bfloat16 state": ("float32", {"state_dtype": "bfloat16"}),
    "bfloat16, stochastic rounding": ("bfloat16", {"stochastic_rounding": True}),
}
"""The parameters' dtype and the options of each."""

STEPS = 3
AT_ONCE = 2
"""The number of parallel processes, which do not affect each other's memory."""
PATIENT = {"OMP_WAIT_POLICY": "passive"}
"""Waiting threads sleep, which leaves the cores to the other process."""


@dataclass(frozen=True)
class Case:
    """One path on one work."""

    work: str
    algorithm: str
    variant: str
    execution: str
    device: str


def measure(device: str) -> list[dict[str, Any]]:
    """MiB beyond the necessary memory, for every path, each in a fresh process."""
    cases = list(_cases(device))
    with ThreadPoolExecutor(AT_ONCE if device == "cpu" else 1) as pool:
        return [{**asdict(case), **found} for case, found in zip(cases, pool.map(_found, cases), strict=True)]


def _cases(device: str) -> Iterator[Case]:
    for work in (ONE_LARGE, GPT2_LIKE, MANY_SMALL):
        for algorithm, variant in (("adamw", "float32"), ("lion", "float32"), *(("adamw", v) for v in [*VARIANTS][1:])):
            for execution in EXECUTIONS[algorithm]:
                yield Case(work.name, algorithm, variant, execution, device)


def _found(case: Case) -> dict[str, Any]:
    try:
        return {"extra_mib": fresh("memory.py", case, PATIENT)}
    except RuntimeError as error:
        return {"failed": str(error)}


def extra(case: Case) -> float:
    """MiB at the peak of some steps, beyond parameters, gradients and state.

    A small optimizer of the same kind has stepped before, so that modules and kernels are loaded.
    """
    name, options = VARIANTS[case.variant]
    dtype = getattr(torch, name)
    _steps(replace(SMALL, dtype=dtype), case, options)
    return _steps(replace(WORKS[case.work], dtype=dtype), case, options) / 2**20


SMALL = Work("small", ((300, 40), *((64,),) * 20, (20_000,)))


def _steps(work: Work, case: Case, options: dict[str, Any]) -> int:
    """The bytes beyond the necessary memory."""
    params = [torch.nn.Parameter(tensor) for tensor in work.tensors(case.device)]
    for param, grad in zip(params, work.tensors(case.device), strict=True):
        param.grad = grad
    settings = {**SETTINGS[case.algorithm], **options}
    optimizer = optreg.optimizer(case.algorithm, params, execution=case.execution, **settings)
    gc.collect()
    before = Peak(case.device)
    with quiet():
        for _ in range(STEPS):
            optimizer.step()
    return before.passed() - state_bytes(Stepper(optimizer.step, optimizer))


class Peak:
    """The peak of memory use from now on, relative to the present use."""

    def __init__(self, device: str) -> None:
        self._on_gpu = device == "cuda"
        if self._on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak resident size to the current one
        self._before = self._highest()

    def passed(self) -> int:
        """The bytes above the present use."""
        return self._highest() - self._before

    def _highest(self) -> int:
        if self._on_gpu:
            return torch.cuda.max_memory_allocated()
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    answer(extra(Case(**asked())))
