"""Step: one step of an optimizer: batches parameters, counts their updates, and hands the batches to paths."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from optreg import torch_internals
from optreg.pointwise.blocks import Workspace
from optreg.pointwise.packs import Joined, Members, Pack, Plan, portions
from optreg.pointwise.paths import Path, Traced, Update, Work, as_written, columns, path_for
from optreg.pointwise.rule import Group, Rule, is_random, step_dtype
from optreg.pointwise.slots import PARAM
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

        plan = self._plan(index, group, states, first, update)
        updated = list(enumerate(group["params"])) if plan is None else list(plan.rest)
        changed = False
        for pack in plan.packs if plan else ():
            gathered = pack.gather(states)
            changed |= gathered is None
            if gathered:
                self._step_pack(pack, group, update)
            else:
                updated += zip((place - first for place in pack.members.places), pack.params, strict=True)
        if plan and changed:
            plan.dissolve()
            del self._plans[index]
        small = plan.small if plan else frozenset()
        works = list(self._works(index, group, states, first, updated, small))
        self._step_alone([(path, work) for path, work in works if path is not None], update)
        self._step_joined([work for path, work in works if path is None], group, update)

    def _step_alone(self, works: Sequence[tuple[Path, Work]], update: Callable[[int | None], Update]) -> None:
        """Update parameters where they lie, in batches of one path, number of the update and kind."""
        _count([work for path, work in works if path.reads_steps])
        batches: dict[tuple[Path, int | None, object], list[Work]] = {}
        for path, work in works:
            t = None if path.reads_steps else work.t
            batches.setdefault((path, t, work.kinds), []).append(work)
        for (path, t, _), batch in batches.items():
            path.run(update(t), batch)
            if not path.reads_steps:
                _count(batch)

    def _step_joined(self, works: Sequence[Work], group: Group, update: Callable[[int | None], Update]) -> None:
        """Update small parameters that are in no pack, or whose pack cannot be updated as a whole."""
        sizes = [work.tensors[PARAM].numel() for work in works]
        for portion in portions(sizes, [(work.t, work.kinds) for work in works]):
            batch = [works[place] for place in portion]
            joined = Joined(columns(batch))
            members = Members([cast("int", work.place) for work in batch], [sizes[place] for place in portion])
            self._step_vector(joined.tensors, members, batch[0].t, group, update)
            joined.scatter()
            _count(batch)

    def _step_pack(self, pack: Pack, group: Group, update: Callable[[int | None], Update]) -> None:
        self._step_vector(pack.tensors, pack.members, pack.t, group, update)
        if pack.steps is not None:
            pack.steps.add_(1)
        pack.scatter()

    def _step_vector(
        self, tensors: tuple[Tensor, ...], members: Members, t: int | None, group: Group,
        update: Callable[[int | None], Update],
    ) -> None:  # fmt: skip
        """Make update number t of vectors."""
        step = None if t is None else torch.tensor(float(t), dtype=torch.float32, device="cpu")
        work = Work(tensors, members, step)
        path_for(work, self.rule, group).run(update(t), [work])

    def _plan(
        self, index: int, group: Group, states: States, first: int, update: Callable[[int | None], Update]
    ) -> Plan | None:
        """The plan of which parameters of the group are updated together; None for a plain loop."""
        plan = self._plans.get(index)
        if plan is not None:
            if plan.is_current(group, states, first):
                return plan
            plan.dissolve()
            del self._plans[index]
        if group["execution"] == "loop":
            return None
        counted, lasting = self.rule.counts_steps_in(group), not torch.is_inference_mode_enabled()
        steady = update(1).traced()[0].is_steady
        names = self.rule.state_names
        plan = Plan(group, states, names, first, counted=counted, steady=steady, lasting=lasting)
        if lasting:
            self._plans[index] = plan
        return plan

    def _works(
        self, index: int, group: dict[str, Any], states: States, first: int, updated: Iterable[tuple[int, Tensor]],
        small: frozenset[int],
    ) -> Iterator[tuple[Path | None, Work]]:  # fmt: skip
        """The work of each parameter that has a gradient, with its path; None for those that are joined."""
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
            is_joined = position in small and not work.is_whole
            path = None if is_joined else path_for(work, self.rule, group)
            if work.step is not None:  # put it where the path reads it
                where = param.device if path and path.reads_steps else "cpu"
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
