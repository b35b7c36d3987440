"""Freezing: param groups that are not updated before some update of the run.

Such a group holds the number of that update as `freeze_steps`. Before it, the group's gradients are dropped, so that
its parameters stay as they are and have no state.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

from torch.optim import Optimizer

from optreg.spec import FREEZE_STEPS


def is_frozen(group: Mapping[str, Any], step: int) -> bool:
    """Whether a param group is frozen in update `step`."""
    return bool(step < group.get(FREEZE_STEPS, 0))


def separate_rate(group: MutableMapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> None:
    """Give a group that may be frozen a tensor of its own as `lr`; torch gives all groups the same one by default."""
    if FREEZE_STEPS in group and sum(other["lr"] is group["lr"] for other in groups) > 1:
        group["lr"] = group["lr"].clone()


def may_freeze(optimizer: Optimizer) -> bool:
    """Whether an optimizer has param groups that are, or were, frozen for the first updates."""
    return any(group.get(FREEZE_STEPS) for group in optimizer.param_groups)


def without_frozen(
    optimizer: Optimizer, step: int | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Drop the gradients of frozen groups before an update, and those that a closure makes during it.

    Args:
        optimizer: an optimizer that may have frozen groups.
        step: the number of the update; None if no scheduler knows it.
        args: the arguments of the optimizer's `step`, the optimizer among them.
        kwargs: its keyword arguments.

    Returns:
        The arguments with another closure, if there is one and a group is frozen.

    Raises:
        RuntimeError: the number of the update is not known.
    """
    if step is None:
        raise RuntimeError(
            "param groups are frozen for the first updates ('freeze_steps'), but there is no scheduler to count them; "
            "keep the one that optreg.build returns, or make one with optreg.scheduler, and call its step() after "
            "each update"
        )
    _drop(optimizer, step)
    closures = [argument for argument in (*args[1:], *kwargs.values()) if callable(argument)]
    if not closures or not any(is_frozen(group, step) for group in optimizer.param_groups):
        return None
    return (
        (args[0], *(_dropping(optimizer, step, argument) for argument in args[1:])),
        {key: _dropping(optimizer, step, argument) for key, argument in kwargs.items()},
    )


def _drop(optimizer: Optimizer, step: int) -> None:
    for group in optimizer.param_groups:
        if is_frozen(group, step):
            for param in group["params"]:
                param.grad = None


def _dropping(optimizer: Optimizer, step: int, argument: Any) -> Any:
    """A closure after whose backward the gradients of frozen groups are dropped; anything else as it is."""
    if not callable(argument):
        return argument
    closure: Callable[[], Any] = argument

    def dropping() -> Any:
        loss = closure()
        _drop(optimizer, step)
        return loss

    return dropping
