"""Cost: memory, leaked objects, and synchronization with the device."""

import gc
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.harness.following import side_by_side, undeclared_state
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import Problem, Shape, shapes_for
from optreg.conformance.subjects.subject import OptimizerSubject
from optreg.torch_internals import TorchDispatchMode


@check(
    "F01",
    Tier.SHOULD,
    needs=undeclared_state,
    formula=True,
    hint="the state has other tensors or dtypes than the reference's",
)
def check_state_is_as_large_as_declared(subject: OptimizerSubject) -> None:
    """The state takes as many bytes as the reference's tensors would in the parameter's dtype."""
    shape = shapes_for(subject, [(64, 32)])[-1]
    run, reference = side_by_side(subject, Problem([np.ones(shape)], []), dtype=torch.float32)
    run.step([np.ones(shape)])
    reference.step([np.ones(shape)])
    declared = sum(4 * np.asarray(value).size for value in reference.now[0][1].values() if np.asarray(value).ndim)
    tensors = [value for value in run.state(0).values() if isinstance(value, Tensor) and value.ndim]
    used = sum(tensor.untyped_storage().nbytes() for tensor in tensors)
    subject.assert_equal(used, declared, "the state's bytes", of="the reference declares")


@check("F02", Tier.SHOULD, hint="something is appended in every update, and never released")
def check_no_object_is_left_behind(subject: OptimizerSubject) -> None:
    """After 100 updates there are no more live tensors than after the first few."""
    shape = shapes_for(subject, [(8, 8)])[-1]
    run = OptimizerRun(subject, [np.ones(shape)] * 3)
    grads = [np.ones(shape)] * 3

    def alive(updates: int) -> int:
        for _ in range(updates):
            for param, grad in zip(run.params, grads, strict=True):
                param.grad = subject.tensor(grad)
            run.step_again()
        gc.collect()
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())

    few, many = alive(5), alive(100)
    subject.assert_true(many <= few, "updates leave tensors behind", measured=float(many), bound=float(few))


class _Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Observes every operation: the memory of its results, and what is read back into Python."""

    READS = frozenset({"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::nonzero"})

    def __init__(self, own: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self.live: dict[int, int] = {}
        self.peak = 0
        self.reads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().split(".")[0] in self.READS and not self._is_own(args[0]):
            self.reads.append(func.name())
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, list | tuple) else [results]:
            if isinstance(result, Tensor) and not self._is_own(result):
                self._take(result)
        return results

    def _is_own(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.own

    def _take(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address not in self.live:
            self.live[address] = storage.nbytes()
            weakref.finalize(storage, self.live.pop, address, None)
        self.peak = max(self.peak, sum(self.live.values()))


def _watched(subject: OptimizerSubject, shapes: list[Shape]) -> tuple[OptimizerRun, _Watching]:
    """A run whose second update was observed, and the observation."""
    run = OptimizerRun(subject, [np.ones(shape) for shape in shapes], dtype=torch.float32)
    run.step([np.ones(shape) for shape in shapes])
    kept = [value for index in range(len(shapes)) for value in run.state(index).values() if isinstance(value, Tensor)]
    kept += [value for group in run.optimizer.param_groups for value in group.values() if isinstance(value, Tensor)]
    grads = [param.grad for param in run.params if param.grad is not None]
    with _Watching([*run.params, *grads, *kept]) as watching:
        run.step_again()
    return run, watching


def _undeclared(subject: OptimizerSubject) -> str | None:
    return None if subject.traits.temporaries is not None else "it does not declare its temporary memory"


@check(
    "F03",
    Tier.SHOULD,
    needs=_undeclared,
    formula=True,
    hint="an operation allocates a tensor though it could work in place",
)
def check_temporaries_are_as_declared(subject: OptimizerSubject) -> None:
    """An update takes no more temporary memory than declared, and at least half of it."""
    shape = shapes_for(subject, [(64, 64)])[-1]
    run, watching = _watched(subject, [shape] * 4)
    size = run.params[0].numel() * run.params[0].element_size()
    used, declared = watching.peak / size, subject.traits.temporaries or 0.0
    more, less = "an update takes more memory than declared", "an update takes less than half of the declared memory"
    subject.assert_true(used <= declared + 0.01, more, measured=used, bound=declared)
    subject.assert_true(used >= declared / 2, less, measured=used)


@check("F04", Tier.SHOULD, hint="`.item()`, `bool(...)` or a comparison of tensors makes Python wait for the device")
def check_no_value_is_read_back(subject: OptimizerSubject) -> None:
    """An update does not read computed values back into Python, which would make it wait for the device."""
    _, watching = _watched(subject, shapes_for(subject, [(4, 3), (6,)]))
    operations = ", ".join(sorted(set(watching.reads)))
    subject.assert_true(not watching.reads, f"an update reads values back into Python: {operations}")
