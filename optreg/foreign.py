"""Foreign checkpoints: whether another algorithm than this optimizer's wrote a checkpoint."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from optreg.differences import listed
from optreg.errors import PluginError, ResumeError, plugin_code
from optreg.records import OptimizerPlugin, names
from optreg.spec import FREEZE_STEPS, Component

OPTIONS = frozenset(
    {"maximize", "foreach", "fused", "capturable", "differentiable"}  # torch's
    | {"execution", "stochastic_rounding", "state_dtype", "seed"}  # optreg's
)
"""Keys of param groups that say how an update runs, in one library or another."""

BOOKKEEPING = frozenset(
    {"params", "param_names", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}  # torch's schedulers
    | {FREEZE_STEPS}
)
"""Keys of param groups that belong to no algorithm."""

MARK = "decoupled_weight_decay"
"""The key that tells torch's Adam and AdamW apart, whose other keys are the same."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The keys of an optimizer's groups that are hyperparameters of its algorithm, and those that are options.

    A class that is `lenient` loads other settings that are off, and tells by itself what it cannot load.
    """

    hyperparameters: Set[str]
    options: Set[str]
    lenient: bool


@dataclass(frozen=True, slots=True)
class States:
    """The keys that a parameter's state has after any update, and those that it may have; None if that is unknown."""

    needed: Set[str]
    possible: Set[str] | None


@dataclass(frozen=True, slots=True)
class Part:
    """What of a checkpoint an optimizer would load.

    Args:
        component: what the optimizer was built from.
        optimizer: the optimizer.
        groups: the checkpoint's param groups, by their numbers in it.
        states: the states of parameters.
        whole: whether that is the whole checkpoint.
    """

    component: Component
    optimizer: Optimizer
    groups: Sequence[tuple[int, Mapping[str, Any]]]
    states: Sequence[Any]
    whole: bool = True


def refuse_foreign(parts: Sequence[Part]) -> None:
    """Refuse a checkpoint of another algorithm.

    Args:
        parts: what of it each optimizer would load.

    Raises:
        ResumeError: another algorithm wrote it.
    """
    told = [
        f"another optimizer than {part.component.name} wrote {'' if part.whole else 'its part of '}the checkpoint:"
        f"{listed(signs)}\n"
        for part in parts
        if (signs := _signs(part))
    ]
    if told:
        raise ResumeError(
            f"{''.join(told)}build the optimizer that wrote it, or load the model alone and begin with fresh state. "
            "If a key of a group is your own, add it to the optimizer's param_groups before you load"
        )


def _signs(part: Part) -> list[str]:
    """What shows that another algorithm wrote a part of a checkpoint."""
    plugin = _plugin(part.component)
    hyperparameters, options = frozenset(names(plugin.reference)), frozenset(names(plugin.options))
    kept = Kept(hyperparameters, options, lenient=hasattr(part.optimizer, "state_names"))
    signs = [*signs_in_groups(kept, part.optimizer.param_groups, part.groups)]
    if not signs and any(part.states):
        saved_groups = [group for _, group in part.groups]
        signs = [*signs_in_states(_states(part.component, part.optimizer, saved_groups), part.states)]
    return [*dict.fromkeys(signs)]


def _states(component: Component, optimizer: Optimizer, saved_groups: Sequence[Mapping[str, Any]]) -> States:
    """The keys of a parameter's state under the checkpoint's settings, from the declaration or from a trial."""
    declared = getattr(optimizer, "state_names", None)
    if declared is not None:
        counted = {"step"} if getattr(optimizer, "counts_steps", False) else set()
        return States({*declared} | counted, {*declared, "step"})
    try:
        with plugin_code(f"{component.name} cannot be tried out"):
            trials = [*_trial(component, optimizer, saved_groups)]
    except PluginError:  # a class that cannot be tried out on small tensors
        return States(frozenset(), None)
    possible = set().union(*trials)
    return States(set.intersection(*trials), possible if _plugin(component).traits.elementwise else None)


def _trial(component: Component, optimizer: Optimizer, saved_groups: Sequence[Mapping[str, Any]]) -> Iterator[set[str]]:
    """The keys of the states of small parameters after one update."""
    implementation = component.registration.implementation()
    settings = component.settings
    kinds = {
        f"{ndim} {kind}": (ndim, kind)
        for group, saved in zip(optimizer.param_groups, saved_groups, strict=False)
        for kind in [{key: saved[key] for key in settings.keys() & saved.keys()}]
        for ndim in {param.ndim for param in group["params"]}
    }
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        for ndim, kind in kinds.values():
            param = torch.nn.Parameter(torch.ones((2,) * ndim))
            param.grad = torch.ones_like(param)
            twin = implementation([{"params": [param], **kind}], **settings)
            twin.step()
            yield {key for key, value in twin.state[param].items() if value is not None}


def _plugin(component: Component) -> OptimizerPlugin:
    plugin = component.registration.plugin
    assert isinstance(plugin, OptimizerPlugin)
    return plugin


def signs_in_groups(
    kept: Kept, groups: Sequence[Mapping[str, Any]], saved_groups: Sequence[tuple[int, Mapping[str, Any]]]
) -> Iterator[str]:
    """What in a checkpoint's groups shows that another algorithm wrote it; nothing if this one may have.

    A checkpoint with the same execution options comes from the same library, and its hyperparameters must be the same.
    Another library's class for the same algorithm may leave out a switch that is off.

    Args:
        kept: what the optimizer keeps.
        groups: the optimizer's param groups.
        saved_groups: the checkpoint's, by number.
    """
    options = kept.options - {"maximize"}
    for place, (index, saved) in enumerate(saved_groups):
        own = groups[min(place, len(groups) - 1)]
        same_library = not options or bool(options & saved.keys())
        for key in sorted(kept.hyperparameters - saved.keys()):
            if same_library or own[key] is not False:
                yield f"its group {index} has no '{key}'"
        for key in sorted(saved.keys() - own.keys() - OPTIONS - BOOKKEEPING - kept.options - {MARK}):
            value = saved[key]
            if _is_setting(value) and (value or not kept.lenient):
                yield f"its group {index} has '{key}': {value}"
        if MARK in own and bool(saved.get(MARK, own[MARK])) != own[MARK]:
            yield f"its group {index} has {MARK}={saved[MARK]}"


def signs_in_states(states: States, saved_states: Iterable[Any]) -> Iterator[str]:
    """What in the states of a checkpoint shows that another algorithm wrote it."""
    found = [
        {key for key, value in state.items() if value is not None} for state in saved_states if isinstance(state, dict)
    ]
    found = [keys for keys in found if keys]
    if lacking := sorted(set().union(*(states.needed - keys for keys in found))):
        yield f"its state has no {_quoted(lacking)}"
    if states.possible is not None and (others := sorted(set().union(*found) - states.possible)):
        yield f"its state has {_quoted(others)}"


def _is_setting(value: Any) -> bool:
    """Whether a group's entry may be a hyperparameter; notes of users are often strings."""
    if isinstance(value, tuple | list):
        return all(map(_is_setting, value))
    return isinstance(value, bool | int | float) or getattr(value, "ndim", None) == 0


def _quoted(keys: Sequence[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys)
