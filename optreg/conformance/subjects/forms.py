"""Forms: how a class takes its parameters: as they are, in another optimizer, in a model, in groups that say more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optreg.conformance.subjects.naming import Signature, arguments_of

SGD = "torch.optim.SGD"
INNER = {"lr": 0.01, "momentum": 0.9}
"""The hyperparameters of the optimizer that another one is given."""

OPTIMIZERS = {"optimizer", "base_optimizer"}
"""Common names of an argument that is another optimizer, or its class."""


@dataclass(frozen=True)
class Form:
    """How a class takes its parameters.

    Args:
        words: what is particular about it, in sentences.
        first: the first argument as code, with places for the parameters and for hyperparameters.
        others: further arguments of the same kind.
        given: hyperparameters that its signature does not have, with their defaults.
        flags: what every group has to say.
        whole: whether groups hold all hyperparameters, and the constructor takes groups alone.
        grouped: whether it can be made of groups.
    """

    words: tuple[str, ...] = ()
    first: str = "{params}"
    others: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    grouped: bool = True

    def make(self, implementation: Callable[..., Any], params: Any, arguments: Mapping[str, Any]) -> Any:
        """Construct the optimizer from parameters or groups."""
        import torch

        in_groups = isinstance(params, list) and bool(params) and isinstance(params[0], dict)
        if in_groups and not self.grouped:
            raise ValueError("a model has no groups")
        if not self.grouped:
            params = list(params)  # which may be a generator, and is used twice
        if of_groups := self.of_groups(arguments):
            params = [{**of_groups, **group} for group in (params if in_groups else [{"params": params}])]
        names = {"torch": torch, "params": params, **arguments}
        first, *others = (eval(code, names) for code in self._codes({name: name for name in names}))
        return implementation(first, **dict(zip(self.others, others, strict=True)), **self._passed(arguments))

    def code(self, params: str, arguments: Mapping[str, str]) -> list[str]:
        """The arguments of the constructor as code, from code of the parameters and of each argument."""
        if of_groups := {**{name: repr(value) for name, value in self.flags.items()}, **self._in_groups(arguments)}:
            start = "".join(f"{name!r}: {value}, " for name, value in of_groups.items())
            groups = params if params.startswith("[{") else f"[{{'params': {params}}}]"
            params = groups.replace("{'params'", f"{{{start}'params'")
        first, *others = self._codes({"params": params, **arguments})
        named = {**dict(zip(self.others, others, strict=True)), **self._passed(arguments)}
        return [first, *(f"{name}={value}" for name, value in named.items())]

    def of_groups(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What every group is given: the flags, and all hyperparameters if groups hold them."""
        return {**self.flags, **self._in_groups(arguments)}

    def _codes(self, names: Mapping[str, str]) -> list[str]:
        return [code.format_map(names) for code in (self.first, *self.others.values())]

    def _in_groups(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return arguments if self.whole else {}

    def _passed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that the constructor itself is given."""
        passed = {} if self.whole else arguments
        return {name: value for name, value in passed.items() if f"{{{name}}}" not in self.first}


def form_of(implementation: Any, flags: Mapping[str, Any]) -> Form:
    """The form of an optimizer class, by the names of its arguments; `flags` are what every group has to say."""
    first = next((argument.name for argument in arguments_of(implementation)), "")
    signature = Signature(implementation, 1)
    words = []
    form = Form(flags=flags, whole=first == "param_groups" and not signature.names)
    if first in OPTIMIZERS:
        words.append(f"it takes another optimizer: it was given {SGD}")
        form = replace(form, first=f"{SGD}({{params}}, lr={{lr}}, momentum={{momentum}})", given=INNER)
    elif first == "model":
        words.append("it takes a model: it was given one of the parameters alone")
        others = {"params": "list({params})"} if "params" in signature.required else {}
        form = replace(form, first="torch.nn.ParameterList({params})", others=others, grouped=False)
    for name in (name for name in signature.required if name in OPTIMIZERS):
        words.append(f"it takes the class of another optimizer: it was given {SGD}")
        given = {ours: value for ours, value in INNER.items() if signature.open and ours not in signature.names}
        form = replace(form, others={**form.others, name: SGD}, given=given)
    return replace(form, words=tuple(words))


def in_groups_alone(form: Form, implementation: Any) -> dict[str, Any]:
    """The hyperparameters of a class that takes groups alone, with their defaults, read from a group that it made."""
    import torch

    try:
        made = form.make(implementation, [torch.nn.Parameter(torch.ones(2, 2))], {})
    except Exception:  # its groups have to say more, which trials find out
        return {}
    return {name: value for name, value in made.param_groups[0].items() if name not in {"params", *form.flags}}
