"""Races: all contestants of a work step in turn, so that disturbances of the machine affect them equally."""

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from contestants import CONTESTANTS, Contestant, Stepper, quiet
from torch import Tensor
from works import Work

COPY = "copy"
"""The participant that measures the memory bandwidth: `b.copy_(a)` of as many elements."""

WARM_UP = 3
"""Steps that are not counted: state is made at the first, and kernels may be compiled until the third."""


@dataclass(frozen=True)
class Settings:
    """The number of rounds and repeats, and the device."""

    device: str
    rounds: int
    repeats: int


@dataclass(frozen=True)
class Entry:
    """A contestant's result in a race. Milliseconds are of one step; all but the last three figures are medians."""

    name: str
    ours: bool
    milliseconds: float
    gigabytes_per_second: float
    of_copy: float
    """The bandwidth as a share of the copy's in the same round."""
    ratio: float
    """The time relative to the baseline's in the same round."""
    fastest: float
    slowest: float
    bytes_per_element: float


@dataclass(frozen=True)
class Race:
    """One algorithm on one work."""

    work: str
    algorithm: str
    elements: int
    tensors: int
    dtype: str
    baseline: str
    copy_milliseconds: float
    copy_gigabytes_per_second: float
    entries: list[Entry]
    left_out: dict[str, str]
    """The reasons, by name."""


class Gradients:
    """The shared gradients, which are restored after anyone writes to them."""

    def __init__(self, work: Work, device: str) -> None:
        self.shared = work.tensors(device)
        self._spare = [grad.clone() for grad in self.shared]
        self._versions = self._seen()

    def _seen(self) -> list[int]:
        return [grad._version for grad in self.shared]

    def restored(self) -> bool:
        """Restore them; returns whether anything was written."""
        if self._seen() == self._versions:
            return False
        torch._foreach_copy_(self.shared, self._spare)
        self._versions = self._seen()
        return True


class Runner:
    """A contestant with its own parameters; and with its own gradients, if it writes to them."""

    def __init__(self, contestant: Contestant, starts: Sequence[Tensor], gradients: Gradients) -> None:
        self._params = [torch.nn.Parameter(start.clone()) for start in starts]
        self._shared = self._grads = gradients.shared
        try:
            with quiet():
                self._stepper = contestant.make(self._params)
                for _ in range(WARM_UP):
                    self.prepare()
                    self._stepper.step()
                    if gradients.restored():
                        self._grads = [grad.clone() for grad in gradients.shared]
        finally:
            gradients.restored()

    def prepare(self) -> None:
        """Give every parameter its gradient: some optimizers remove it, others reuse its memory."""
        if self._grads is not self._shared:
            torch._foreach_copy_(self._grads, self._shared)
        for param, grad in zip(self._params, self._grads, strict=True):
            if param.grad is not grad:
                param.grad = grad

    def step(self) -> None:
        """Make one step."""
        self._stepper.step()

    @property
    def moved(self) -> int:
        """The bytes that a step must move: parameters and state read and written, gradients read."""
        return 2 * _bytes(self._params) + _bytes(self._grads) + 2 * state_bytes(self._stepper)


class Copy:
    """A copy, which measures the memory bandwidth."""

    def __init__(self, work: Work, device: str) -> None:
        self._from = torch.ones(work.elements, dtype=work.dtype, device=device)
        self._to = torch.zeros_like(self._from)

    def prepare(self) -> None:
        """Do nothing: a copy removes no gradients."""

    def step(self) -> None:
        """Copy once."""
        self._to.copy_(self._from)

    @property
    def moved(self) -> int:
        """The bytes read and written."""
        return _bytes([self._from, self._to])


def race(work: Work, algorithm: str, settings: Settings) -> Race:
    """Let every contestant step, in newly allocated memory for each repeat."""
    times: dict[str, list[float]] = {}
    moved: dict[str, int] = {}
    left_out: dict[str, str] = {}
    ours: set[str] = set()
    for _ in range(settings.repeats):
        torch.compiler.reset()  # torch compiles a step for each optimizer, and gives up after eight
        gradients = Gradients(work, settings.device)
        starts = work.tensors(settings.device)
        runners: dict[str, Runner | Copy] = {COPY: Copy(work, settings.device)}
        for contestant in CONTESTANTS:
            if contestant.algorithm != algorithm or not contestant.enters(work) or contestant.name in left_out:
                continue
            if contestant.device not in {None, settings.device}:
                left_out[contestant.name] = f"for {contestant.device} alone"
                continue
            try:
                runners[contestant.name] = Runner(contestant, starts, gradients)
            except Exception as error:
                left_out[contestant.name] = reason(error)
            if contestant.ours:
                ours.add(contestant.name)
        del starts
        runners[COPY].step()
        for name, seconds in _rounds(runners, settings).items():
            times.setdefault(name, []).extend(seconds)
            moved[name] = runners[name].moved
        del runners, gradients
        gc.collect()
    finished = {name: seconds for name, seconds in times.items() if name not in left_out}
    baseline = _baseline(finished, ours)
    copy = statistics.median(times[COPY])
    return Race(
        work=work.name,
        algorithm=algorithm,
        elements=work.elements,
        tensors=len(work.shapes),
        dtype=str(work.dtype).removeprefix("torch."),
        baseline=baseline,
        copy_milliseconds=copy * 1e3,
        copy_gigabytes_per_second=moved[COPY] / copy / 1e9,
        entries=list(_entries(finished, moved, baseline, ours, work)),
        left_out=left_out,
    )


def _rounds(runners: Mapping[str, Runner | Copy], settings: Settings) -> dict[str, list[float]]:
    """The seconds of every contestant's step in each round.

    In its turn everybody steps twice, and the second step is timed: memory that has lain idle for seconds, while others
    had their turn, may have been taken away by the system, which is no cost of an optimizer.
    """
    synchronize: Callable[[], None] = torch.cuda.synchronize if settings.device == "cuda" else _nothing
    times: dict[str, list[float]] = {name: [] for name in runners}
    gc.collect()
    gc.disable()
    try:
        with quiet():
            for name in in_turn([*runners], settings.rounds):
                runner = runners[name]
                runner.prepare()
                runner.step()
                runner.prepare()
                synchronize()
                start = time.perf_counter()
                runner.step()
                synchronize()
                times[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return times


def in_turn(names: list[str], rounds: int) -> Iterator[str]:
    """Every name once in each round; each round begins with another one."""
    for number in range(rounds):
        first = number % len(names)
        yield from names[first:] + names[:first]


def _nothing() -> None:
    pass


def _baseline(times: Mapping[str, list[float]], ours: set[str]) -> str:
    """The baseline of the comparison: torch's fused kernel; without one, the fastest peer."""
    if "torch fused" in times:
        return "torch fused"
    entered = [name for name in times if name != COPY]
    peers = [name for name in entered if name not in ours]
    return min(peers or entered, key=lambda name: statistics.median(times[name]), default=COPY)


def _entries(
    times: Mapping[str, list[float]], moved: Mapping[str, int], baseline: str, ours: set[str], work: Work
) -> Iterator[Entry]:
    for name, seconds in times.items():
        if name == COPY:
            continue
        median = statistics.median(seconds)
        of_copy = ratio(times[COPY], seconds) * moved[name] / moved[COPY]
        yield Entry(
            name=name,
            ours=name in ours,
            milliseconds=median * 1e3,
            gigabytes_per_second=moved[name] / median / 1e9,
            of_copy=of_copy,
            ratio=ratio(seconds, times[baseline]),
            fastest=min(seconds) * 1e3,
            slowest=max(seconds) * 1e3,
            bytes_per_element=moved[name] / work.elements,
        )


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios in each round."""
    return statistics.median(one / other for one, other in zip(some, others, strict=True))


def state_bytes(stepper: Stepper) -> int:
    """The bytes of all state tensors; those of one element are counts."""
    return _bytes(tensor for tensor in _tensors(dict(stepper.optimizer.state)) if tensor.numel() > 1)


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested state."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def reason(error: Exception) -> str:
    """An exception's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
