"""Meta: parameters without memory, on which an optimizer can be built but which it cannot train."""

from typing import Any

from optreg import lazy_types


def refuse_idle_steps(optimizer: "lazy_types.Optimizer") -> None:
    """Let steps fail if the optimizer was built on the meta device, and none of its parameters there gets a gradient.

    Materialising a model makes new parameters. The optimizer keeps the old ones, and would train nothing, without a
    word. To build on the meta device is right where a trainer gives the optimizer the new parameters afterwards, or
    where shapes alone are of interest.
    """
    if any(param.is_meta for group in optimizer.param_groups for param in group["params"]):
        optimizer.register_step_post_hook(_refuse_if_idle)


def _refuse_if_idle(optimizer: "lazy_types.Optimizer", args: Any, kwargs: Any) -> None:
    idle = [
        (group, place)
        for group in optimizer.param_groups
        for place, param in enumerate(group["params"])
        if param.is_meta and param.requires_grad
    ]
    if idle and all(group["params"][place].grad is None for group, place in idle):
        group, place = idle[0]
        example = f" ('{group['param_names'][place]}', ...)" if "param_names" in group else ""
        raise RuntimeError(
            f"the optimizer trains nothing: {len(idle)} of its parameters{example} are on the meta device and have no "
            "gradient; it was built before the model was materialised, which makes new parameters; build it afterwards"
        )
