"""Pointwise: what every elementwise optimizer needs around its update rule, so that a plugin holds the rule alone."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_type_hints, overload

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from optreg.errors import did_you_mean
from optreg.execution import FusedPointwiseOptions, PointwiseOptions
from optreg.hyperparameters import check_hyperparameters
from optreg.pointwise import blocks, compiled, lists
from optreg.pointwise.packs import Pack, Plan
from optreg.pointwise.rounding import PackRounding, Rounding, TensorRounding, key_of
from optreg.pointwise.straight import straight
from optreg.pointwise.trace import Program, trace

Hyperparameters = dict[str, Any]

_KEPT_TRACES = 64


@dataclass(frozen=True, slots=True)
class Work:
    """One tensor's update: parameter, gradient and state (complex ones as pairs of reals), and what belongs to them."""

    tensors: tuple[Tensor, ...]
    path: str
    """`loop`, `blocks`, `lists`, `fused`, `compiled`, or `whole` for what is no ordinary tensor."""
    place: int | Pack
    """The parameter's place in the optimizer, or the pack that the tensors are of."""
    step: Tensor | None
    """The number of updates, if it is counted."""


class Pointwise(Optimizer):
    """An optimizer whose update treats every element of every parameter alike.

    A subclass states its `reference`, the names of its state and the rule, as the paper writes it:

        class SignMomentum(optreg.Pointwise):
            reference = Paper                     # a dataclass: lr, beta
            state_names = ("exp_avg",)

            @staticmethod
            def update(p, g, m, *, lr, beta):
                m = beta * m + (1 - beta) * g
                return p - lr * m.sign(), m

    The rest is here: the constructor, whose arguments are the reference's fields and the options; closures, `maximize`,
    missing gradients, complex parameters, groups, float or tensor `lr`, step counts, checkpoints; low precision;
    and every way to run the rule near the limit of the memory (`optreg.PointwiseOptions`).

    Args:
        params: parameters, named parameters, or dicts of param groups.
        *settings: hyperparameters, in the order of the reference's fields.
        **options: hyperparameters and execution options by name.

    Raises:
        ValueError: a hyperparameter or an option is missing or out of its range.
        TypeError: one is unknown, or given twice.
    """

    reference: ClassVar[type]
    """The dataclass whose typed, bounded fields every group's hyperparameters are checked against."""

    state_names: ClassVar[tuple[str, ...]] = ()
    """The state tensors, each shaped like its parameter and zero at first, in the order the rule takes them."""

    counts_steps: ClassVar[bool] = False
    """Whether the rule takes `t`, the number of updates of the parameter, this one included."""

    marks: ClassVar[Mapping[str, Any]] = {}
    """What every group holds besides, so that checkpoints tell what they are."""

    update: ClassVar[Callable[..., Any]]
    """`update(param, grad, *state, [t], **hyperparameters) -> (param, *state)`, a static method: new tensors, and none
    changed in place. Functions of torch that treat every element by itself may be used (`optreg.pointwise.trace`);
    decisions are made by `torch.where`."""

    update_fused: ClassVar[Callable[..., None] | None] = None
    """`update_fused(params, grads, *states, steps, *, maximize, **hyperparameters)`: the same on lists of tensors, in
    place, by a kernel of its own. `steps` are 0-d tensors on the device. None where there is no such kernel."""

    options: ClassVar[type[PointwiseOptions]] = PointwiseOptions
    """The dataclass of the execution options, which every group may set too."""

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
        super().__init__(params, {**self._complete({**given, **options}), **self.marks})

    def _complete(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with all defaults."""
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
        """Start without anything that is kept for speed alone."""
        self._plans: dict[int, Plan] = {}
        self._workspace = blocks.Workspace()
        self._traces: dict[tuple[object, ...], tuple[Program, tuple[float, ...]]] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; what it does not set takes the optimizer's defaults.

        Raises:
            ValueError: a hyperparameter or an option is out of its range, or a parameter is already in a group.
        """
        merged = {**self.defaults, **param_group}
        for part in (self.reference, self.options):
            check_hyperparameters(part, {f.name: merged[f.name] for f in fields(part)}, type(self).__name__)
        super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """As torch's; every tensor in it has memory of its own."""
        self._unpack()
        return super().state_dict()

    def __getstate__(self) -> dict[str, Any]:
        self._unpack()
        return super().__getstate__()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a copy of a checkpoint: its hyperparameters and state; but execution options stay as they are.

        State goes into the dtype that it is kept in here, and not, as in torch's optimizers, through the
        parameter's.

        Raises:
            ValueError: the checkpoint belongs to another model or another algorithm.
        """
        self._unpack()
        how = [field.name for field in fields(self.options) if field.name != "maximize"]
        kept = [{name: group[name] for name in how if name in group} for group in self.param_groups]
        seen: list[dict[str, Any]] = []

        def adapt(_: Optimizer) -> None:
            for group, options, was in zip(self.param_groups, kept, seen[-1]["param_groups"], strict=True):
                group.update(options)
                for param, key in zip(group["params"], was["params"], strict=True):
                    self._adapt(param, group, seen[-1]["state"].get(key, {}))

        before = self.register_load_state_dict_pre_hook(lambda _, given: seen.append(given))
        after = self.register_load_state_dict_post_hook(adapt, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _adapt(self, param: Tensor, group: dict[str, Any], saved: Mapping[str, Any]) -> None:
        """Take a parameter's state from a checkpoint in the dtypes that it is kept in here."""
        for name, value in saved.items():
            if name in self.state_names:
                value = torch.as_tensor(value, device=param.device)
                self.state[param][name] = value.to(_state_dtype(param, group), copy=True)
            elif name == "step":
                step = torch.as_tensor(value, device=self.state[param][name].device)
                self.state[param][name] = step.to(_step_dtype(group), copy=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a copy of a checkpoint; a key that it does not have yet means the default."""
        self._begin()
        for param, values in state["state"].items():
            for name in self.state_names:
                if name in values and values[name].shape != param.shape:
                    raise ValueError(
                        f"{type(self).__name__}: the checkpoint's '{name}' has shape {tuple(values[name].shape)}, "
                        f"its parameter {tuple(param.shape)}; the checkpoint belongs to another model"
                    )
        super().__setstate__(state)
        self.defaults.pop("differentiable", None)  # torch adds it, to nobody's use here
        for group in self.param_groups:
            for key, default in self.defaults.items():
                group.setdefault(key, default)
            for param in group["params"]:
                values = self.state.get(param, {})
                for name, value in values.items():
                    if name == "step":  # a number in old checkpoints, float64 under a changed default
                        values[name] = torch.as_tensor(value, dtype=_step_dtype(group)).clone()
                    elif isinstance(value, Tensor):
                        values[name] = value.clone()  # torch would go on writing to the checkpoint's own tensor

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one update; parameters without a gradient stay as they are, and so does their state.

        Args:
            closure: reevaluates the model with gradients enabled and returns the loss, which is returned.

        Raises:
            RuntimeError: a gradient is sparse, or `compiled` was asked for and nothing can be compiled here.
            PluginError: the rule is no elementwise one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        names = [field.name for field in fields(self.reference)]
        if not torch.compiler.is_compiling():
            self._step_groups(names)
        elif any(map(_is_random, self.param_groups)):
            torch.compiler.disable(self._step_groups)(names)  # type: ignore[no-untyped-call]
        else:
            self._step_as_written(names)
        return loss

    def _step_groups(self, names: list[str]) -> None:
        place = 0
        for index, group in enumerate(self.param_groups):
            hyperparameters = {name: _number(group[name]) for name in names}
            self._step_group(index, group, hyperparameters, place)
            place += len(group["params"])

    def _step_group(self, index: int, group: dict[str, Any], hyperparameters: Hyperparameters, first: int) -> None:
        plan = self._plan(index, group, first)
        updated = list(enumerate(group["params"])) if plan is None else list(plan.rest)
        changed = False
        for pack in plan.packs if plan else ():
            gathered = pack.gather(self.state)
            changed |= gathered is None
            if gathered:
                self._step_pack(pack, group, hyperparameters)
            else:
                updated += [(place - first, param) for place, param in zip(pack.places, pack.params, strict=True)]
        if plan and changed:
            plan.dissolve()
            del self._plans[index]
        works = self._works(index, group, first, updated)
        fused = [work for work in works if work.path == "fused"]
        _count([work.step for work in fused])
        batches: dict[tuple[str, int | None, object], list[Work]] = {}
        for work in works:
            t = None if work.step is None or work.path == "fused" else int(work.step) + 1
            kinds = tuple((tensor.device, tensor.dtype) for tensor in work.tensors)
            batches.setdefault((work.path, t, kinds), []).append(work)
        for (path, t, _), batch in batches.items():
            self._run(path, t, batch, group, hyperparameters)
            if path != "fused":
                _count([work.step for work in batch])

    def _works(self, index: int, group: dict[str, Any], first: int, updated: list[tuple[int, Tensor]]) -> list[Work]:
        """The updates of those parameters that have a gradient."""
        works = []
        for position, param in updated:
            if param.grad is None:
                continue
            if param.grad.layout is not torch.strided:
                name = group["param_names"][position] if "param_names" in group else f"number {position}"
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients: parameter {name} of group {index} "
                    "has one; build its layer with sparse=False, or give it to torch.optim.SparseAdam"
                )
            state = self._state_of(param, group)
            if param.is_conj() or param.is_neg():
                raise RuntimeError(
                    f"{type(self).__name__} cannot update a parameter that is a lazy conjugate or negation; give it "
                    "param.resolve_conj().resolve_neg()"
                )
            tensors = self._tensors(param, state)
            path = self._path(tensors, type(param) in {Tensor, Parameter}, group)
            if "step" in state:  # where the path reads it
                state["step"] = state["step"].to(param.device if path == "fused" else "cpu", _step_dtype(group))
            works.append(Work(tuple(tensors), path, first + position, state.get("step")))
        return works

    def _state_of(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The parameter's state, made when it is first asked for."""
        state: dict[str, Any] = self.state[param]
        if "step" not in state and (self.counts_steps or _is_random(group)):
            state["step"] = torch.zeros((), dtype=_step_dtype(group), device="cpu")
        for name in self.state_names:
            if name not in state:
                dtype = _state_dtype(param, group)
                state[name] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)
        return state

    def _tensors(self, param: Tensor, state: dict[str, Any]) -> list[Tensor]:
        """Parameter, gradient and state; complex ones as pairs of reals."""
        assert param.grad is not None
        tensors = [param, param.grad.resolve_neg(), *(state[name] for name in self.state_names)]
        return [torch.view_as_real(tensor.resolve_conj()) for tensor in tensors] if param.is_complex() else tensors

    def _path(self, tensors: list[Tensor], plain: bool, group: dict[str, Any]) -> str:
        """The path that the group asks for, or the best one that fits the tensors."""
        execution = group["execution"]
        if not plain:
            return "whole"
        if execution == "loop":
            return "loop"
        param = tensors[0]
        random = param.dtype is torch.bfloat16 and _is_random(group)
        uniform = all(tensor.dtype is param.dtype for tensor in tensors) and not random
        if execution == "compiled" and param.numel() >= compiled.SMALLEST and blocks.flattened(tensors):
            return "compiled"
        fused = self.update_fused is not None and execution in {"auto", "fused"}
        if fused and uniform and param.device.type in _FUSED_DEVICES and blocks.flattened(tensors):
            return "fused"
        if param.device.type == "cpu" or _is_random(group):
            return "blocks"
        return "lists"

    def _run(
        self, path: str, t: int | None, batch: list[Work], group: dict[str, Any], hyperparameters: Hyperparameters
    ) -> None:
        """Update tensors of one kind."""
        maximize = group["maximize"]
        if self.counts_steps and path != "fused":
            hyperparameters = {"t": t, **hyperparameters}
        if path == "fused":
            columns = [list(column) for column in zip(*(work.tensors for work in batch), strict=True)]
            steps = [None if work.step is None else work.step.float() for work in batch]  # the kernel's dtype
            assert self.update_fused is not None
            self.update_fused(*columns, steps, maximize=maximize, **hyperparameters)
            for work in batch:  # which the kernel does not tell autograd
                torch.autograd.graph.increment_version(work.tensors[0])
            return
        program, numbers = self._trace(maximize, hyperparameters)  # of every rule, since that is how it is checked
        if path == "whole":
            body = self._as_written(maximize, hyperparameters)
            for work in batch:
                body(*work.tensors)
            return
        dtype = torch.float64 if batch[0].tensors[0].dtype is torch.float64 else torch.float32
        if path == "lists":
            lists.run(program, numbers, [list(c) for c in zip(*(w.tensors for w in batch), strict=True)], dtype)
            return
        kernels: list[tuple[Sequence[Tensor], TensorRounding | None]] = []
        for work in batch:
            rounding = _rounding(work, t, group)
            flat = blocks.flattened(work.tensors)
            if path == "compiled" and flat and compiled.bears(rounding, flat[0].numel()):
                kernels.append((work.tensors, rounding))
                continue

            def body_of(take: blocks.Take, flat: bool = flat is not None) -> blocks.Body:
                if path == "loop":
                    return self._as_written(maximize, hyperparameters)
                if self.update_fused is not None and flat and group["execution"] in {"auto", "fused"}:
                    return self._by_kernel(maximize, hyperparameters)
                code = straight(program)
                return code.bind(take(code.scratch, dtype), take(code.truths, torch.bool), numbers)

            blocks.run(work.tensors, body_of, dtype, self._workspace, rounding)
        if kernels:
            compiled.run(program, numbers, kernels, dtype)

    def _as_written(self, maximize: bool, hyperparameters: Hyperparameters) -> blocks.Body:
        """The rule itself, its results copied back."""

        def body(param: Tensor, grad: Tensor, *state: Tensor) -> None:
            results = _tuple(self.update(param, -grad if maximize else grad, *state, **hyperparameters))
            given = {id(tensor) for tensor in (param, grad, *state)}
            results = tuple(result.clone() if id(result) in given else result for result in results)
            for target, result in zip((param, *state), results, strict=True):
                target.copy_(result)

        return body

    def _by_kernel(self, maximize: bool, hyperparameters: Hyperparameters) -> blocks.Body:
        """The fused kernel on one tensor."""
        settings = dict(hyperparameters)
        steps = [torch.tensor(float(settings.pop("t", 0)), dtype=torch.float32)]

        def body(*tensors: Tensor) -> None:
            assert self.update_fused is not None
            self.update_fused(*([tensor] for tensor in tensors), steps, maximize=maximize, **settings)

        return body

    def _trace(self, maximize: bool, hyperparameters: Hyperparameters) -> tuple[Program, tuple[float, ...]]:
        try:
            key = (maximize, *hyperparameters.items())
            known = self._traces.get(key)
        except TypeError:  # a list among them
            return trace(self.update, len(self.state_names), hyperparameters, maximize=maximize)
        if known is None:
            if len(self._traces) >= _KEPT_TRACES:
                self._traces.clear()
            known = trace(self.update, len(self.state_names), hyperparameters, maximize=maximize)
            self._traces[key] = known
        return known

    def _step_as_written(self, names: list[str]) -> None:
        """A step that `torch.compile` can trace as a whole: the rule on whole tensors, a tensor `lr` as it is."""
        for group in self.param_groups:
            hyperparameters = {name: group[name] for name in names}
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self._state_of(param, group)
                if self.counts_steps:
                    state["step"] += 1
                    hyperparameters["t"] = state["step"].double()
                body = self._as_written(group["maximize"], hyperparameters)
                body(*self._tensors(param, state))

    def _plan(self, index: int, group: dict[str, Any], first: int) -> Plan | None:
        """Which of the group's parameters are packed; None before any has had an update."""
        plan = self._plans.get(index)
        if plan is not None:
            if plan.is_current(group, self.state, first):
                return plan
            plan.dissolve()
            del self._plans[index]
        elif (
            group["execution"] != "loop"
            and not torch.is_inference_mode_enabled()
            and any(param in self.state for param in group["params"])
        ):
            counted = self.counts_steps or _is_random(group)
            self._plans[index] = Plan(group, self.state, self.state_names, first, counted=counted)
            return self._plans[index]
        return None

    def _step_pack(self, pack: Pack, group: dict[str, Any], hyperparameters: Hyperparameters) -> None:
        t = None if pack.steps is None else int(pack.steps[0]) + 1
        path = self._path(list(pack.tensors), True, group)
        step = None if t is None else torch.tensor(float(t), dtype=torch.float32, device="cpu")
        self._run(path, t, [Work(pack.tensors, path, pack, step)], group, hyperparameters)
        if pack.steps is not None:
            pack.steps.add_(1)
        pack.scatter()

    def _unpack(self) -> None:
        """Give every parameter state of its own again."""
        for plan in self._plans.values():
            plan.dissolve()
        self._plans.clear()


def _number(value: Any) -> Any:
    """The numbers that a tensor, an array or a list holds, as Python's; anything else as it is."""
    if hasattr(value, "tolist"):
        value = value.item() if math.prod(value.shape) == 1 else value.tolist()
    return tuple(map(_number, value)) if isinstance(value, list | tuple) else value


def _count(steps: Sequence[Tensor | None]) -> None:
    """Count one more update."""
    counted = [step for step in steps if step is not None]
    if counted:
        torch._foreach_add_(counted, 1)


def _step_dtype(group: Mapping[str, Any]) -> torch.dtype:
    """float32, as torch's; but where numbers are drawn for every update, one that never stands still."""
    return torch.float64 if _is_random(group) else torch.float32


_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def _tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def _is_random(group: Mapping[str, Any]) -> bool:
    """Whether something in the group is rounded at random."""
    return bool(group["stochastic_rounding"] or group["state_dtype"] == "bfloat16")


def _state_dtype(param: Tensor, group: Mapping[str, Any]) -> torch.dtype:
    name = group["state_dtype"]
    if name is None:
        return param.dtype
    if param.is_complex():
        raise ValueError(f"state_dtype={name} is for real parameters; a complex one is among them")
    return torch.float32 if name == "float32" else torch.bfloat16


def _rounding(work: Work, t: int | None, group: Mapping[str, Any]) -> Rounding | None:
    """What of an update is rounded at random, if anything is."""
    if t is None or not _is_random(group):
        return None
    param, _, *state = work.tensors
    roles = frozenset(place for place, tensor in enumerate(state, 2) if tensor.dtype is torch.bfloat16)
    if group["stochastic_rounding"] and param.dtype is torch.bfloat16:
        roles |= {0}
    seed = group["seed"]
    if isinstance(work.place, int):
        return TensorRounding(key_of(seed, work.place, t), roles)
    return PackRounding([key_of(seed, place, t) for place in work.place.places], work.place.sizes, roles)


def _signature(cls: type[Pointwise]) -> inspect.Signature:
    """The constructor's signature: the reference's fields, then the options by name alone."""
    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    for part, kind in ((cls.reference, kinds.POSITIONAL_OR_KEYWORD), (cls.options, kinds.KEYWORD_ONLY)):
        hints = get_type_hints(part)
        for name, parameter in inspect.signature(part).parameters.items():
            parameters.append(kinds(name, kind, default=parameter.default, annotation=hints[name]))
    return inspect.Signature(parameters)
