"""Paths: the ways to run a rule on tensors, in the order in which they are tried.

A path says which tensors it fits, and updates a batch of them. Another way to run a rule is another class, and its
place in `PATHS`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from optreg.pointwise import blocks, compiled, lists
from optreg.pointwise.packs import Pack
from optreg.pointwise.rounding import PackRounding, Rounding, TensorRounding, key_of
from optreg.pointwise.rule import Group, Rule, is_random
from optreg.pointwise.slots import PARAM, STATE
from optreg.pointwise.straight import straight
from optreg.pointwise.trace import Program

Traced = tuple[Program, tuple[float, ...]]


@dataclass(slots=True)
class Work:
    """Tensors that are updated together: a parameter, its gradient and its state, or those of a pack."""

    tensors: tuple[Tensor, ...]
    """By their slots; complex ones as pairs of reals."""
    place: int | Pack
    """The parameter's place in the optimizer, or the pack."""
    step: Tensor | None
    """The number of updates, if it is counted."""
    is_plain: bool = True
    """Whether the parameter is an ordinary tensor, not one of a subclass."""

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return torch.float64 if self.tensors[PARAM].dtype is torch.float64 else torch.float32

    @property
    def device(self) -> torch.device:
        """Where the parameter is."""
        return self.tensors[PARAM].device


@dataclass(frozen=True)
class Update:
    """One update of tensors of one group."""

    rule: Rule
    group: Group
    hyperparameters: Mapping[str, Any]
    t: int | None
    """Its number, if updates are counted and the path does not read it from the device."""
    trace: Callable[[Mapping[str, Any], bool], Traced]
    """Gives the rule's program and its numbers."""
    workspace: blocks.Workspace

    @property
    def maximize(self) -> bool:
        """Whether the gradient is negated."""
        return bool(self.group["maximize"])

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the rule takes by name."""
        return {"t": self.t, **self.hyperparameters} if self.rule.counts_steps else self.hyperparameters

    def traced(self) -> Traced:
        """The rule's program and its numbers.

        Raises:
            PluginError: the rule is not elementwise.
        """
        return self.trace(self.arguments, self.maximize)

    def as_written(self) -> blocks.Body:
        """The rule itself, its results copied back."""
        return as_written(self.rule, self.arguments, self.maximize)

    def rounding(self, work: Work) -> Rounding | None:
        """What is rounded at random, if anything is."""
        if self.t is None or not is_random(self.group):
            return None
        tensors, seed = work.tensors, self.group["seed"]
        slots = frozenset(slot for slot in range(STATE, len(tensors)) if tensors[slot].dtype is torch.bfloat16)
        if self.group["stochastic_rounding"] and tensors[PARAM].dtype is torch.bfloat16:
            slots |= {PARAM}
        if isinstance(work.place, int):
            return TensorRounding(key_of(seed, work.place, self.t), slots)
        return PackRounding([key_of(seed, place, self.t) for place in work.place.places], work.place.sizes, slots)


def as_written(rule: Rule, arguments: Mapping[str, Any], maximize: bool) -> blocks.Body:
    """A rule itself, its results copied back."""

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
    """Whether it reads the number of the update from tensors on the parameters' device, as `Work.step`."""

    @abstractmethod
    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """Whether tensors that no path before fits are updated so, under the options of their group."""

    @abstractmethod
    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """Update tensors whose devices and dtypes are the same, slot by slot."""


class Whole(Path):
    """The rule as it is written on whole tensors: subclasses of tensors understand it so."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """If they are of a subclass."""
        return not work.is_plain

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """One after the other."""
        update.traced()  # which checks the rule
        for work in batch:
            update.as_written()(*work.tensors)


class InBlocks(Path):
    """Something that runs on blocks: low precision is widened for it, and its results are rounded."""

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """One after the other, block by block."""
        make = self.maker(update, batch[0])
        for work in batch:
            blocks.run(work.tensors, make, work.dtype, update.workspace, update.rounding(work))

    @abstractmethod
    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """What makes the body for blocks of one shape, of tensors that are like these."""


class Loop(InBlocks):
    """The rule as it is written."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """If it is asked for."""
        return bool(group["execution"] == "loop")

    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """The rule, once it is checked."""
        update.traced()
        return lambda take: update.as_written()


class Compiled(Path):
    """One compiled kernel."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """If it is asked for, and the kernel can do it: dense tensors, and noise of none but a single parameter."""
        if group["execution"] != "compiled":
            return False
        elements = work.tensors[PARAM].numel()
        return (
            elements >= compiled.SMALLEST
            and (not is_random(group) or (isinstance(work.place, int) and elements <= compiled.LARGEST_ROUNDED))
            and blocks.lie_alike(work.tensors)
        )

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """One after the other, each in one pass."""
        updates = [(work.tensors, cast("TensorRounding | None", update.rounding(work))) for work in batch]
        compiled.run(*update.traced(), updates, batch[0].dtype)


class Fused(Path):
    """The optimizer's fused kernel on many tensors at once."""

    reads_steps = True

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """If there is one, and everything is of one dtype and rounded as usual."""
        dtype = work.tensors[PARAM].dtype
        return (
            _fused_is_asked_for(work, rule, group)
            and all(tensor.dtype is dtype for tensor in work.tensors)
            and not (dtype is torch.bfloat16 and is_random(group))
            and blocks.lie_alike(work.tensors)
        )

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """All at once."""
        columns = [list(column) for column in zip(*(work.tensors for work in batch), strict=True)]
        steps = [None if work.step is None else work.step.float() for work in batch]  # the kernel's dtype
        kernel = update.rule.kernel(batch[0].device)
        kernel(*columns, steps, maximize=update.maximize, **update.hyperparameters)
        for work in batch:  # which the kernel does not tell autograd
            torch.autograd.graph.increment_version(work.tensors[PARAM])


class FusedBlocks(InBlocks):
    """The optimizer's fused kernel on blocks of one dtype."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """If there is one, and blocks suit the device."""
        return (
            _fused_is_asked_for(work, rule, group)
            and BLOCKS.fits(work, rule, group)
            and blocks.lie_alike(work.tensors)
        )

    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """The kernel on lists of one block."""
        kernel = update.rule.kernel(like.device)
        steps = [torch.tensor(float(update.t or 0), dtype=torch.float32, device=like.device)]

        def body(*tensors: Tensor) -> None:
            kernel(*([tensor] for tensor in tensors), steps, maximize=update.maximize, **update.hyperparameters)

        return lambda take: body


class Blocks(InBlocks):
    """The program's straight-line code."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """On the CPU, which has a cache for them; elsewhere for what is rounded at random."""
        return work.device.type == "cpu" or is_random(group)

    def maker(self, update: Update, like: Work) -> Callable[[blocks.Take], blocks.Body]:
        """The code, in scratch."""
        program, numbers = update.traced()
        code = straight(program)
        return lambda take: code.bind(take(code.scratch, like.dtype), take(code.truths, torch.bool), numbers)


class Lists(Path):
    """The program on many tensors at once."""

    def fits(self, work: Work, rule: Rule, group: Group) -> bool:
        """What is left."""
        return True

    def run(self, update: Update, batch: Sequence[Work]) -> None:
        """All at once, or as many as memory allows."""
        columns = [list(column) for column in zip(*(work.tensors for work in batch), strict=True)]
        lists.run(*update.traced(), columns, batch[0].dtype)


def _fused_is_asked_for(work: Work, rule: Rule, group: Group) -> bool:
    return group["execution"] in {"auto", "fused"} and rule.has_kernel(work.device)


BLOCKS = Blocks()
PATHS: tuple[Path, ...] = (Whole(), Loop(), Compiled(), Fused(), FusedBlocks(), BLOCKS, Lists())
"""In the order in which they are tried: the first that fits is taken."""


def path_for(work: Work, rule: Rule, group: Group) -> Path:
    """The first path that fits."""
    return next(path for path in PATHS if path.fits(work, rule, group))
