"""Paths: the ways to run a rule on tensors, in the order in which they are tried.

A path decides which tensors it fits, and updates a batch of them. To add a way to run a rule, write a class and put it
in `PATHS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from optreg.pointwise import blocks, compiled, lists
from optreg.pointwise.packs import SMALL, WHOLE, Members
from optreg.pointwise.rounding import Rounding, TensorRounding, VectorRounding, key_of
from optreg.pointwise.rule import Group, Rule, is_random
from optreg.pointwise.slots import PARAM, STATE
from optreg.pointwise.straight import straight
from optreg.pointwise.trace import Program

Traced = tuple[Program, tuple[float, ...]]


@dataclass(slots=True)
class Work:
    """The tensors of one parameter, or vectors of many small ones, which are updated together."""

    tensors: tuple[Tensor, ...]
    """The parameter, its gradient and its state, in the order of slots; complex tensors as pairs of reals."""
    place: int | Members
    """The parameter's index in the optimizer, or the parameters of a vector."""
    step: Tensor | None
    """The number of updates so far, if updates are counted."""
    is_plain: bool = True
    """False if the parameter is of a tensor subclass."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the computation."""
        return torch.float64 if self.tensors[PARAM].dtype is torch.float64 else torch.float32

    @property
    def device(self) -> torch.device:
        """The parameter's device."""
        return self.tensors[PARAM].device

    @property
    def t(self) -> int | None:
        """The number of this update, if updates are counted."""
        return None if self.step is None else int(self.step) + 1

    @property
    def kinds(self) -> tuple[object, ...]:
        """The device and dtype in each slot."""
        return tuple((tensor.device, tensor.dtype) for tensor in self.tensors)

    @property
    def is_whole(self) -> bool:
        """Whether kernels compute every element alike, as in the vectors of `optreg.pointwise.packs`."""
        return self.tensors[PARAM].numel() % WHOLE == 0 and all(map(Tensor.is_contiguous, self.tensors))


@dataclass(frozen=True)
class Update:
    """One update of a group: its rule, hyperparameters and number."""

    rule: Rule
    group: Group
    hyperparameters: Mapping[str, Any]
    t: int | None
    """The number of the update, if updates are counted and the path does not read it from the device."""
    trace: Callable[[Mapping[str, Any], bool], Traced]
    """Returns the rule's program and numbers for given arguments and `maximize`."""
    workspace: blocks.Workspace

    @property
    def maximize(self) -> bool:
        """Whether to negate the gradient."""
        return bool(self.group["maximize"])

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The rule's keyword arguments."""
        return {"t": self.t, **self.hyperparameters} if self.rule.counts_steps else self.hyperparameters

    def traced(self) -> Traced:
        """The rule's program and its numbers.

        Raises:
            PluginError: the rule is not elementwise.
        """
        return self.trace(self.arguments, self.maximize)

    def as_written(self) -> blocks.Body:
        """The rule itself as a body that updates in place."""
        return as_written(self.rule, self.arguments, self.maximize)

    def rounding(self, work: Work) -> Rounding | None:
        """How to round at random; None if nothing in `work` may be."""
        if self.t is None or not is_random(self.group):
            return None
        tensors, seed = work.tensors, self.group["seed"]
        slots = frozenset(slot for slot in range(STATE, len(tensors)) if tensors[slot].dtype is torch.bfloat16)
        if self.group["stochastic_rounding"] and tensors[PARAM].dtype is torch.bfloat16:
            slots |= {PARAM}
        if isinstance(work.place, int):
            return TensorRounding(key_of(seed, work.place, self.t), slots)
        keys = [key_of(seed, place, self.t) for place in work.place.places]
        return VectorRounding(keys, work.place.sizes, slots, tensors[PARAM].numel())


def as_written(rule: Rule, arguments: Mapping[str, Any], maximize: bool) -> blocks.Body:
    """The rule itself as a body that updates in place."""

    def body(*tensors: Tensor) -> None:
        param, grad, *state = tensors
        results = rule.update(param, -grad if maximize else grad, *state, **arguments)
        results = results if isinstance(results, tuple) else (results,)
        given = {id(tensor) for tensor in tensors}
        results = tuple(result.clone() if id(result) in given else result for result in results)
        for target, result in zip((param, *state), results, strict=True):
            target.copy_(result)

    return body


class Path(ABC):
    """A way to run a rule."""

    reads_steps: ClassVar[bool] = False
    """Whether the path reads the number of the update from `Work.step`, on the parameter's device."""

    @abstractmethod
    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """Whether the path can update `work` under the options of its group."""

    @abstractmethod
    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update a batch. The devices and dtypes in each slot are the same throughout the batch."""


class Whole(Path):
    """Runs the rule as written on whole tensors, which tensor subclasses understand."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """True for tensor subclasses."""
        return not work.is_plain

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update one tensor after the other."""
        update.traced()  # checks the rule
        for work in batch:
            update.as_written()(*work.tensors)


class InBlocks(Path):
    """Runs a body on blocks. Widens low precision, and rounds the results."""

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update one tensor after the other, block by block."""
        make = self.maker(update, batch[0])
        for work in batch:
            blocks.run(work.tensors, make, work.dtype, update.workspace, update.rounding(work))

    @abstractmethod
    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """A function that makes the body for blocks of one shape, for tensors like those of `like`."""


class Loop(InBlocks):
    """Runs the rule as written."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """True for `execution="loop"`."""
        return bool(group["execution"] == "loop")

    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """Make the rule itself the body."""
        update.traced()  # checks the rule
        return lambda take: update.as_written()


class Compiled(Path):
    """Runs the program as one compiled kernel."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """True for `execution="compiled"` on dense tensors. The kernel rounds large parameters alone at random."""
        elements = work.tensors[PARAM].numel()
        return (
            group["execution"] == "compiled"
            and elements >= compiled.SMALLEST
            and (not is_random(group) or (isinstance(work.place, int) and SMALL < elements <= compiled.LARGEST_ROUNDED))
            and blocks.are_dense(work.tensors)
        )

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update one tensor after the other, each in one pass."""
        updates = [(work.tensors, cast("TensorRounding | None", update.rounding(work))) for work in batch]
        compiled.run(*update.traced(), updates, batch[0].dtype)


class Fused(Path):
    """Runs the optimizer's fused kernel on many tensors at once."""

    reads_steps = True

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """True where there is a kernel, all tensors have one dtype, and nothing is rounded at random."""
        dtype = work.tensors[PARAM].dtype
        return (
            _fused_is_asked_for(work, rule, group)
            and all(tensor.dtype is dtype for tensor in work.tensors)
            and not (dtype is torch.bfloat16 and is_random(group))
            and blocks.are_dense(work.tensors)
        )

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update all tensors at once."""
        steps = [None if work.step is None else work.step.float() for work in batch]  # the kernel's dtype
        kernel = update.rule.kernel(batch[0].device)
        kernel(*columns(batch), steps, maximize=update.maximize, **update.hyperparameters)
        for work in batch:  # the kernel does not tell autograd
            torch.autograd.graph.increment_version(work.tensors[PARAM])


class FusedBlocks(InBlocks):
    """Runs the optimizer's fused kernel on blocks of one dtype."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """True where there is a kernel, and `Blocks` fits dense tensors."""
        return (
            _fused_is_asked_for(work, rule, group) and BLOCKS.fits(work, rule, group) and blocks.are_dense(work.tensors)
        )

    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """Make a body that calls the kernel on lists of one block."""
        kernel = update.rule.kernel(like.device)
        steps = [torch.tensor(float(update.t or 0), dtype=torch.float32, device=like.device)]

        def body(*tensors: Tensor) -> None:
            kernel(*([tensor] for tensor in tensors), steps, maximize=update.maximize, **update.hyperparameters)

        return lambda take: body


class Blocks(InBlocks):
    """Runs the program's straight-line code."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """True on the CPU, where blocks stay in the cache; elsewhere only for random rounding."""
        return work.device.type == "cpu" or is_random(group)

    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """Bind the code to scratch."""
        program, numbers = update.traced()
        code = straight(program)
        return lambda take: code.bind(take(code.scratch, like.dtype), take(code.truths, torch.bool), numbers)


class Lists(Path):
    """Runs the program on many tensors at once."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """Always true."""
        return True

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update all tensors at once, or as many as memory allows."""
        lists.run(*update.traced(), columns(batch), batch[0].dtype)


def columns(batch: Sequence[Work]) -> list[list[Tensor]]:
    """For each slot, the tensors of all works."""
    return [list(column) for column in zip(*(work.tensors for work in batch), strict=True)]


def _fused_is_asked_for(work: Work, rule: Rule, group: Group) -> bool:
    return group["execution"] in {"auto", "fused"} and rule.has_kernel(work.device)


BLOCKS = Blocks()
PATHS: tuple[Path, ...] = (Whole(), Loop(), Compiled(), Fused(), FusedBlocks(), BLOCKS, Lists())
"""In the order in which they are tried: the first that fits runs."""


def path_for(work: Work, rule: Rule, group: Group) -> Path:
    """The first path that fits."""
    return next(path for path in PATHS if path.fits(work, rule, group))
