"""Members: the parameters of a model, each once, with all its names."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from optreg import lazy_types
from optreg.criteria import NamedParameter, Need


@dataclass(slots=True)
class Member:
    """A parameter with all its names (tied weights have several) and the class of the module behind each name."""

    param: "lazy_types.Tensor"
    names: list[str] = field(default_factory=list)
    owners: list[type] = field(default_factory=list)
    is_frozen: bool = False
    """Whether a rule freezes it for good."""

    @property
    def name(self) -> str:
        """The first name; empty if the parameter was given without one."""
        return self.names[0] if self.names else ""

    @property
    def told(self) -> str:
        """The parameter in a message: its name, or its shape if it has none."""
        return f"'{self.name}'" if self.names else f"one of shape {tuple(self.param.shape)}"

    @property
    def can_train(self) -> bool:
        """Whether it can ever have a gradient."""
        return self.param.is_floating_point() or self.param.is_complex()

    @property
    def is_trained(self) -> bool:
        """Whether it is to be trained from the beginning, or from some update on."""
        return self.param.requires_grad and not self.is_frozen

    @property
    def aliases(self) -> list[NamedParameter]:
        """The parameter under each of its names, as criteria see it."""
        names = self.names or [""]
        owners = self.owners or [object] * len(names)
        return [NamedParameter(name, owner, self.param) for name, owner in zip(names, owners, strict=True)]


def members_of(model: "lazy_types.Model") -> list[Member]:
    """The parameters of a model, in its order.

    Raises:
        TypeError: the model is neither a module nor an iterable of parameters.
    """
    members: dict[int, Member] = {}
    if hasattr(model, "named_modules"):
        for prefix, module in model.named_modules(remove_duplicate=False):
            for name, param in module.named_parameters(recurse=False, remove_duplicate=False):
                member = members.setdefault(id(param), Member(param))
                member.names.append(f"{prefix}.{name}" if prefix else name)
                member.owners.append(type(module))
        return list(members.values())
    if hasattr(model, "requires_grad") or not isinstance(model, Iterable):
        raise TypeError(f"a model is a module, named parameters or parameters, not {type(model).__name__}")
    for item in model:
        name, param = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
        if not hasattr(param, "requires_grad") or not isinstance(name, str | None):
            raise TypeError(f"a model is a module, named parameters or parameters; this contains {type(item).__name__}")
        member = members.setdefault(id(param), Member(param))
        if name is not None:
            member.names.append(name)
    if not all(member.names for member in members.values()):  # torch requires all names or none
        for member in members.values():
            member.names.clear()
    return list(members.values())


def lacking(members: list[Member]) -> dict[Need, str]:
    """What the model, in the form given, does not provide, each with the reason and what to do instead.

    The marks of FSDP's parameters are torch's own. Where torch gives them other names, nothing is lacking.
    """
    found: dict[Need, str] = {}
    if not all(member.names for member in members):
        found[Need.NAMES] = "the parameters have none; pass the model or model.named_parameters()"
    if not all(member.owners for member in members):
        found[Need.MODULES] = "only parameters were given; pass the model itself"
    if any(getattr(member.param, "_fsdp_flattened", False) for member in members):
        found[Need.DIMENSIONS] = "FSDP has flattened the parameters; ask for names or module types"
    if flat := next((each for each in members if getattr(each.param, "_is_flat_param", False)), None):
        reason = f"FSDP has flattened the parameters into {flat.told}; wrap the model with use_orig_params=True"
        found = dict.fromkeys(Need, reason)
    return found
