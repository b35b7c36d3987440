"""Added groups: param groups that join an optimizer after it was built, and the names of their parameters."""

import warnings
import weakref
from typing import Any

from optreg import lazy_types


def name_added_groups(optimizer: "lazy_types.Optimizer", model: "lazy_types.Model") -> None:
    """Let `optimizer.add_param_group` take a group without names, where torch refuses it beside groups with names.

    A name is found in the model if that is a module, as it is when the group is added. Otherwise the name is made up of
    the numbers of the group and of the parameter, `added.2.0`, with a warning.

    Args:
        optimizer: an optimizer all of whose groups have names; others are left as they are.
        model: what it was built from, as far as that is known. It is not kept alive.
    """
    if not all("param_names" in group for group in optimizer.param_groups):
        return
    built = weakref.ref(optimizer)  # an optimizer that held itself would keep its state until Python looks for circles
    module = weakref.ref(model) if hasattr(model, "named_parameters") else lambda: None

    def add_param_group(param_group: Any) -> None:
        """Add a param group, as torch does. Parameters without names get theirs from the model."""
        self = built()
        if self is None:  # nobody holds the optimizer any more
            return
        if isinstance(param_group, dict) and "param_names" not in param_group:
            _name(param_group, len(self.param_groups), module())
        type(self).add_param_group(self, param_group)

    optimizer.add_param_group = add_param_group  # type: ignore[method-assign]


def _name(param_group: dict[str, Any], number: int, model: Any) -> None:
    """Give each parameter of a group its name, unless the group has names or is one that torch will refuse."""
    params = param_group.get("params", ())
    if isinstance(params, set):
        return
    params = [params] if hasattr(params, "requires_grad") else list(params)
    param_group["params"] = params
    if any(isinstance(param, tuple) for param in params):
        return
    known = {id(param): name for name, param in model.named_parameters()} if model is not None else {}
    made_up = {id(param): f"added.{number}.{place}" for place, param in enumerate(params) if id(param) not in known}
    param_group["params"] = [((known | made_up)[id(param)], param) for param in params]
    if made_up:
        warnings.warn(
            f"the added param group has parameters that are not in the model; they are called "
            f"{', '.join(list(made_up.values())[:3])}{', ...' if len(made_up) > 3 else ''}; "
            "to name them, add them as pairs (name, parameter)",
            stacklevel=3,
        )
