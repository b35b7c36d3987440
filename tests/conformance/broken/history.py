"""Faults of history: what an element becomes depends on its place in a pack, on looks, and on where a count is kept."""

import torch

from broken import fault, fault_in
from broken.textbook import AdamW, Lion

VECTOR = 8
"""How many elements a kernel updates at once; those that are left over are rounded otherwise."""


class Packed(AdamW):
    """Eight or more small parameters are updated in a pack. The elements at its end are rounded otherwise."""

    def step_group(self, group):
        params = [p for p in self.order(group) if p.grad is not None]
        size = sum(p.numel() for p in params)
        end = size if len(params) < VECTOR else size // VECTOR * VECTOR
        place = 0
        for p in params:
            self.left_over = torch.arange(place, place + p.numel()).reshape(p.shape) >= end
            self.step_param(group, p, p.grad)
            place += p.numel()

    def order(self, group):
        """The parameters in the order in which they are packed."""
        return group["params"]

    def update(self, group, p, g, state):
        t = self.count(group, state)
        self.means(group, state, g, t)
        step = float(group["lr"]) * self.mean(group, state, t) / self.denominator(group, state, t)
        decay = float(group["lr"]) * group["weight_decay"]
        p.copy_(torch.where(self.left_over, p - (decay * p + step), p * (1 - decay) - step))


@fault("M32", "adamw")
class RoundsByPlace(Packed):
    """How an element is rounded depends on its place among all the parameters of its pack."""


class Planned(Packed):
    """The order of a pack is that of first gradients."""

    def order(self, group):
        plans = self.__dict__.setdefault("plans", {})
        plan = plans.setdefault(id(group), [])
        known = {id(p) for p in plan}
        plan += [p for p in group["params"] if p.grad is not None and id(p) not in known]
        return plan


@fault_in("P18", Planned, "state_dict", "after")
def PlansAnewWhenSaved(self):
    """Parameters are packed in the order of their first gradients, and after `state_dict()` in that of their group."""
    self.plans = {}


@fault("P19", "adamw")
class PlansByFirstGradients(Planned):
    """Parameters are packed in the order of their first gradients, which no checkpoint holds."""


@fault("P20", "adamw")
class CorrectsByAPower(AdamW):
    """The second moment is corrected by a power in float64, which loading casts to the parameter's dtype."""

    def count(self, group, state):
        state["power"] = state.get("power", torch.ones((), dtype=torch.float64)) * group["betas"][1]
        return super().count(group, state)

    def denominator(self, group, state, t):
        return (state["exp_avg_sq"] / (1 - float(state["power"]))).sqrt() + group["eps"]


@fault("D20", "adamw")
class CountsInTheParametersDtype(AdamW):
    """The count has the parameter's dtype, and stands still at 256 where that is bfloat16."""

    def state_of(self, p):
        state = super().state_of(p)
        state["step"] = state["step"].to(p.dtype)
        return state


@fault("D21", "adamw")
class CountsInTheDefaultDtype(AdamW):
    """The count is made without a dtype, and stands still at 256 where the default dtype is bfloat16."""

    def state_of(self, p):
        if not self.state[p]:
            self.state[p]["step"] = torch.tensor(0.0)
            self.state[p].update({name: self.zeros(p) for name in self.names})
        return self.state[p]


@fault_in("P21", AdamW, "state_dict")
def SavesWhatTrains(self):
    """The state of parameters that are frozen at the moment is left out of a checkpoint."""
    saved = AdamW.state_dict(self)
    params = [p for group in self.param_groups for p in group["params"]]
    trains = [index for index, p in enumerate(params) if p.requires_grad]
    return {**saved, "state": {index: state for index, state in saved["state"].items() if index in trains}}


@fault("P22", "lion")
class KeepsAddedMemoriesApart(Lion):
    """The memory of parameters that are added later is an attribute, which no checkpoint holds."""

    apart = None

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        if self.apart is not None:
            self.apart.update({p: {"exp_avg": torch.zeros_like(p)} for p in self.param_groups[-1]["params"]})

    def state_of(self, p):
        if self.apart is None:
            self.apart = {}
        return self.apart[p] if p in self.apart else super().state_of(p)
