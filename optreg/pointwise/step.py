"""Step: one step of an optimizer: batches parameters, counts their updates, and hands the batches to paths."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from optreg import torch_internals
from optreg.pointwise.blocks import Workspace
from optreg.pointwise.packs import Pack, Plan
from optreg.pointwise.paths import Path, Traced, Update, Work, as_written, path_for
from optreg.pointwise.rule import Group, Rule, is_random, step_dtype
from optreg.pointwise.trace import trace

_KEPT_TRACES = 64

States = Mapping[Tensor, Any]


class Stepper:
    """Makes the steps of one optimizer. Keeps packs, scratch and traces to speed up later steps."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._plans: dict[int, Plan] = {}
        self._workspace = Workspace()
        self._traces: dict[tuple[object, ...], Traced] = {}

    def step(self, groups: Sequence[dict[str, Any]], states: States) -> None:
        """Update the parameters that have a gradient."""
        if not torch.compiler.is_compiling():
            self._step_groups(groups, states)
        elif any(map(is_random, groups)):
            torch.compiler.disable(self._step_groups)(groups, states)  # type: ignore[no-untyped-call]
        else:
            self._step_as_written(groups, states)

    def unpack(self) -> None:
        """Move every parameter's state out of its pack."""
        for plan in self._plans.values():
            plan.dissolve()
        self._plans.clear()

    def _step_groups(self, groups: Sequence[dict[str, Any]], states: States) -> None:
        place = 0
        for index, group in enumerate(groups):
            self._step_group(index, group, states, place)
            place += len(group["params"])

    def _step_as_written(self, groups: Sequence[dict[str, Any]], states: States) -> None:
        """Make a step that `torch.compile` can trace whole: the rule on whole tensors. A tensor `lr` stays one."""
        for group in groups:
            hyperparameters = {name: group[name] for name in self.rule.hyperparameters}
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.rule.state_of(param, group, states)
                if self.rule.counts_steps:
                    state["step"] += 1
                    hyperparameters["t"] = state["step"].double()
                body = as_written(self.rule, hyperparameters, group["maximize"])
                body(*self.rule.tensors_of(param, state))

    def _step_group(self, index: int, group: dict[str, Any], states: States, first: int) -> None:
        hyperparameters = {name: _number(group[name]) for name in self.rule.hyperparameters}

        def update(t: int | None) -> Update:
            return Update(self.rule, group, hyperparameters, t, self._trace, self._workspace)

        plan = self._plan(index, group, states, first)
        updated = list(enumerate(group["params"])) if plan is None else list(plan.rest)
        changed = False
        for pack in plan.packs if plan else ():
            gathered = pack.gather(states)
            changed |= gathered is None
            if gathered:
                self._step_pack(pack, group, update)
            else:
                updated += [(place - first, param) for place, param in zip(pack.places, pack.params, strict=True)]
        if plan and changed:
            plan.dissolve()
            del self._plans[index]
        works = list(self._works(index, group, states, first, updated))
        _count([work for path, work in works if path.reads_steps])
        batches: dict[tuple[Path, int | None, object], list[Work]] = {}
        for path, work in works:
            t = None if work.step is None or path.reads_steps else int(work.step) + 1
            kinds = tuple((tensor.device, tensor.dtype) for tensor in work.tensors)
            batches.setdefault((path, t, kinds), []).append(work)
        for (path, t, _), batch in batches.items():
            path.run(update(t), batch)
            if not path.reads_steps:
                _count(batch)

    def _step_pack(self, pack: Pack, group: Group, update: Callable[[int | None], Update]) -> None:
        t = None if pack.steps is None else int(pack.steps[0]) + 1
        step = None if t is None else torch.tensor(float(t), dtype=torch.float32, device="cpu")
        work = Work(pack.tensors, pack, step)
        path_for(work, self.rule, group).run(update(t), [work])
        if pack.steps is not None:
            pack.steps.add_(1)
        pack.scatter()

    def _plan(self, index: int, group: Group, states: States, first: int) -> Plan | None:
        """The plan of which parameters of the group are packed; None before the first update."""
        plan = self._plans.get(index)
        if plan is not None:
            if plan.is_current(group, states, first):
                return plan
            plan.dissolve()
            del self._plans[index]
        elif (
            group["execution"] != "loop"
            and not torch.is_inference_mode_enabled()
            and any(param in states for param in group["params"])
        ):
            counted = self.rule.counts_steps_in(group)
            self._plans[index] = Plan(group, states, self.rule.state_names, first, counted=counted)
            return self._plans[index]
        return None

    def _works(
        self, index: int, group: Group, states: States, first: int, updated: Iterable[tuple[int, Tensor]]
    ) -> Iterator[tuple[Path, Work]]:
        """The work of each parameter that has a gradient, with its path."""
        name = self.rule.name
        for position, param in updated:
            if param.grad is None:
                continue
            if param.grad.layout is not torch.strided:
                which = group["param_names"][position] if "param_names" in group else f"number {position}"
                raise RuntimeError(
                    f"{name} does not support sparse gradients: parameter {which} of group {index} "
                    "has one; build its layer with sparse=False, or give it to torch.optim.SparseAdam"
                )
            state = self.rule.state_of(param, group, states)
            if param.is_conj() or param.is_neg():
                raise RuntimeError(
                    f"{name} cannot update a parameter that is a lazy conjugate or negation; give it "
                    "param.resolve_conj().resolve_neg()"
                )
            is_plain = type(param) in {Tensor, Parameter}
            work = Work(self.rule.tensors_of(param, state), first + position, state.get("step"), is_plain)
            path = path_for(work, self.rule, group)
            if work.step is not None:  # put it where the path reads it
                where = param.device if path.reads_steps else "cpu"
                work.step = state["step"] = work.step.to(where, step_dtype(group))
            yield path, work

    def _trace(self, arguments: Mapping[str, Any], maximize: bool) -> Traced:
        """The rule's program and numbers, cached by the arguments."""
        states = len(self.rule.state_names)
        try:
            key = (maximize, *arguments.items())
            known = self._traces.get(key)
        except TypeError:  # an argument is not hashable
            return trace(self.rule.update, states, arguments, maximize=maximize)
        if known is None:
            if len(self._traces) >= _KEPT_TRACES:
                self._traces.clear()
            known = self._traces[key] = trace(self.rule.update, states, arguments, maximize=maximize)
        return known


def _number(value: Any) -> Any:
    """A tensor, an array or a list as Python numbers; any other value unchanged."""
    if hasattr(value, "tolist"):
        value = value.item() if math.prod(value.shape) == 1 else value.tolist()
    return tuple(map(_number, value)) if isinstance(value, list | tuple) else value


def _count(works: Sequence[Work]) -> None:
    """Add one to the step counts."""
    steps = [work.step for work in works if work.step is not None]
    if steps:
        torch_internals.count_each(steps)
