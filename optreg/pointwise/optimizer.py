"""Pointwise: everything an elementwise optimizer needs around its update rule, so that a plugin is only the rule."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal, get_type_hints, overload

import torch
from torch.optim.optimizer import ParamsT

from optreg import torch_internals
from optreg.errors import did_you_mean
from optreg.execution import FusedPointwiseOptions, PointwiseOptions
from optreg.hyperparameters import check_hyperparameters
from optreg.pointwise.checkpoints import Checkpointed
from optreg.pointwise.rule import Rule
from optreg.pointwise.step import Stepper


class Pointwise(Checkpointed):
    """An optimizer whose update treats every element of every parameter alike.

    A subclass declares its `reference`, the names of its state, and the rule as the paper writes it:

        class SignMomentum(optreg.Pointwise):
            reference = Paper                     # a dataclass: lr, beta
            state_names = ("exp_avg",)

            @staticmethod
            def update(p, g, m, *, lr, beta):
                m = beta * m + (1 - beta) * g
                return p - lr * m.sign(), m

    This class does the rest: the constructor, whose arguments are the reference's fields and the options; closures,
    `maximize`, missing gradients, complex parameters, groups, float or tensor `lr`, step counts, checkpoints and low
    precision; and every path that runs the rule near the limit of memory bandwidth (`optreg.PointwiseOptions`).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        *settings: hyperparameters, in the order of the reference's fields.
        **options: hyperparameters and execution options by name.

    Raises:
        ValueError: a hyperparameter or an option is missing or out of range.
        TypeError: an argument is unknown, or given twice.
    """

    reference: ClassVar[type]
    """The dataclass whose typed, bounded fields validate every group's hyperparameters."""

    state_names: ClassVar[tuple[str, ...]] = ()
    """The names of the state tensors, in the rule's order. Each has its parameter's shape and starts at zero."""

    counts_steps: ClassVar[bool] = False
    """Whether the rule takes `t`, the number of updates of the parameter, including this one."""

    marks: ClassVar[Mapping[str, Any]] = {}
    """Further entries of every group, which identify the algorithm in checkpoints."""

    update: ClassVar[Callable[..., Any]]
    """`update(param, grad, *state, [t], **hyperparameters) -> (param, *state)`, a static method. It returns new
    tensors, and changes none in place. It may use torch functions that treat every element by itself
    (`optreg.pointwise.operations`), and `torch.where` for conditions."""

    update_fused: ClassVar[Callable[..., None] | None] = None
    """`update_fused(params, grads, *states, steps, *, maximize, **hyperparameters)`: a fused kernel that makes the same
    update in place on lists of tensors. `steps` are 0-d tensors on the device. None if there is no such kernel."""

    fused_kernel: ClassVar[Literal["adam", "adamw"] | None] = None
    """The name of torch's fused kernel, if `update_fused` runs it: it gets the kernel as `kernel`. If the installed
    torch lacks it, other paths run the rule."""

    options: ClassVar[type[PointwiseOptions]] = PointwiseOptions
    """The dataclass of the execution options. A group may override each."""

    _constructed_with: set[int] | None = None
    """In the constructor, the ids of the parameters that are in groups already."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls.update_fused is not None and cls.options is PointwiseOptions:
            cls.options = FusedPointwiseOptions
        if "__init__" in vars(cls):
            cls.__signature__ = inspect.signature(cls.__init__.__get__(object()))  # type: ignore[attr-defined]
        elif cls.__init__ is Pointwise.__init__ and hasattr(cls, "reference"):
            cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]  # inspect looks for it

    def __init__(self, params: ParamsT, *settings: Any, **options: Any) -> None:
        names = [field.name for field in fields(self.reference)]
        if len(settings) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} hyperparameters, not {len(settings)}")
        given = dict(zip(names, settings, strict=False))
        for name in given.keys() & options.keys():
            raise TypeError(f"{type(self).__name__} got two values for '{name}'")
        self._begin()
        self._constructed_with = set()
        super().__init__(params, {**self._complete({**given, **options}), **self.marks})
        self._constructed_with = None

    def _complete(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The validated settings, with defaults filled in."""
        owner = type(self).__name__
        complete: dict[str, Any] = {}
        known = [[field.name for field in fields(part)] for part in (self.reference, self.options)]
        for name in settings:
            if name not in known[0] and name not in known[1]:
                raise TypeError(f"{owner} has no argument '{name}'{did_you_mean(name, known[0] + known[1])}")
        for part, names in zip((self.reference, self.options), known, strict=True):
            own = {name: value for name, value in settings.items() if name in names}
            complete |= check_hyperparameters(part, own, owner)
        return complete

    def _begin(self) -> None:
        self._stepper = Stepper(
            Rule(
                name=type(self).__name__,
                update=self.update,
                update_fused=self.update_fused,
                fused_kernel=self.fused_kernel,
                state_names=self.state_names,
                counts_steps=self.counts_steps,
                hyperparameters=tuple(field.name for field in fields(self.reference)),
            )
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a param group. Settings that it leaves out take the optimizer's defaults.

        Raises:
            ValueError: a hyperparameter or an option is out of range, or a parameter is already in a group.
        """
        merged = {**self.defaults, **param_group}
        for part in (self.reference, self.options):
            names = [field.name for field in fields(part)]
            if stated := param_group.keys() & names:
                checked = check_hyperparameters(part, {name: merged[name] for name in names}, type(self).__name__)
                param_group.update((name, checked[name]) for name in stated)
        if self._constructed_with is None or not self.param_groups:
            torch_internals.add_param_group(self, param_group)
        else:
            self._add_beside_the_last(param_group, self._constructed_with)

    def _add_beside_the_last(self, param_group: dict[str, Any], taken: set[int]) -> None:
        """Add a group as torch does, which compares each with all before it: for 2,000 groups it takes half a second.

        `taken` has the ids of the parameters in all groups but the last, and gets those of the last.
        """
        groups = self.param_groups
        taken.update(map(id, groups[-1]["params"]))
        self.param_groups = groups[-1:]
        try:
            torch_internals.add_param_group(self, param_group)
        finally:
            self.param_groups = groups
        if taken.isdisjoint(map(id, param_group["params"])):
            groups.append(param_group)
        else:
            torch_internals.add_param_group(self, param_group)  # which refuses it

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one update. Parameters without a gradient keep their values and state.

        Args:
            closure: reevaluates the model with gradients enabled and returns the loss, which `step` returns.

        Raises:
            RuntimeError: a gradient is sparse, or `execution="compiled"` cannot compile its kernel here.
            PluginError: the rule is not elementwise.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._stepper.step(self.param_groups, self.state)
        return loss


def _signature(cls: type[Pointwise]) -> inspect.Signature:
    """The constructor's signature: the reference's fields, then the options as keyword-only arguments."""
    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    for part, kind in ((cls.reference, kinds.POSITIONAL_OR_KEYWORD), (cls.options, kinds.KEYWORD_ONLY)):
        hints = get_type_hints(part)
        for name, parameter in inspect.signature(part).parameters.items():
            parameters.append(kinds(name, kind, default=parameter.default, annotation=hints[name]))
    return inspect.Signature(parameters)
