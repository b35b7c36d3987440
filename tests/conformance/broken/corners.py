"""Faults that show in a corner only: a switch of one group, an edit after a load, a bucket, a rate, a size, a count."""

import math

import torch

from broken import fault, fault_in
from broken.textbook import AdamW, Lion, Momentum


class Switched(torch.optim.SGD):
    """Right, with a switch to spoil."""

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov)

    def step(self, closure=None):
        kept = [group["nesterov"] for group in self.param_groups]
        for group in self.param_groups:
            group["nesterov"] = self.position(group)
        loss = super().step(closure)
        for group, nesterov in zip(self.param_groups, kept, strict=True):
            group["nesterov"] = nesterov
        return loss


@fault("G02", "torch.SGD")
class FirstSwitchForAll(Switched):
    """The first group's position of a switch counts in all."""

    def position(self, group):
        return self.param_groups[0]["nesterov"]


@fault("M08", "torch.SGD")
class SwitchedAtFirst(Switched):
    """A switch stays in the position that its group has in the first update."""

    def position(self, group):
        return group.setdefault("at first", group["nesterov"])


@fault_in("M08", AdamW, "decay")
def DecaysIfConstructedSo(self, group, p, g):
    """Whether there is any decay is decided by what the constructor was given."""
    return AdamW.decay(self, group, p, g) if self.defaults["weight_decay"] else g


@fault("M08", "torch.Adam")
class LeavesOutWhatHasNoMaximum(torch.optim.Adam):
    """Where `amsgrad` is switched on during a run, parameters that have no such state yet are left out."""

    def step(self, closure=None):
        late = [
            p for group in self.param_groups for p in group["params"]
            if group["amsgrad"] and self.state[p] and "max_exp_avg_sq" not in self.state[p]
        ]  # fmt: skip
        grads = [p.grad for p in late]
        for p in late:
            p.grad = None
        loss = super().step(closure)
        for p, grad in zip(late, grads, strict=True):
            p.grad = grad
        return loss


@fault_in("M10", AdamW, "step_param")
def MaximizesAsAtFirst(self, group, p, g):
    """Whether it maximizes is what its group says in the first update."""
    AdamW.step_param(self, {**group, "maximize": group.setdefault("at first", group["maximize"])}, p, g)


@fault_in("P24", AdamW, "load_state_dict", "after")
def MaximizesAsConstructed(self, state_dict):
    """Loading sets `maximize` back to what the constructor was given."""
    for group in self.param_groups:
        group["maximize"] = self.defaults["maximize"]


@fault("P24", "lion")
class KeepsWhatItLoaded(Lion):
    """After a load, decay rates are those that were loaded, whatever is edited."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.loaded = [group["betas"] for group in self.param_groups]

    def step_group(self, group):
        place = next(i for i, g in enumerate(self.param_groups) if g is group)
        loaded = getattr(self, "loaded", None)
        super().step_group({**group, "betas": loaded[place]} if loaded else group)


@fault("P24", "torch.Adam")
class LosesTheMaximum(torch.optim.Adam):
    """Loading sets the largest second moments to zero."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for state in self.state.values():
            if "max_exp_avg_sq" in state:
                state["max_exp_avg_sq"] = torch.zeros_like(state["max_exp_avg_sq"])


@fault_in("P25", AdamW, "count")
def CountsInTensorsAlone(self, group, state):
    """The count is advanced in place, which a plain number of an old checkpoint is not."""
    t = torch.as_tensor(state["step"])
    t += 1
    return int(t)


_tickets = {}


@fault("P26", "lion")
class SavesTickets(Lion):
    """A checkpoint holds tickets for memories that this process keeps. Elsewhere they are zero."""

    def state_dict(self):
        saved, state = super().state_dict(), {}
        for index, values in saved["state"].items():
            ticket = len(_tickets)
            _tickets[ticket] = values["exp_avg"].clone()
            state[index] = {"ticket": ticket, "exp_avg": torch.zeros_like(values["exp_avg"])}
        return {**saved, "state": state}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for values in self.state.values():
            memory = _tickets.get(values.pop("ticket", None))
            values["exp_avg"] = values["exp_avg"].clone() if memory is None else memory.clone()


@fault("P23", "lion")
class LosesAnAttribute(Lion):
    """An attribute that is set in the constructor is lost in a copy."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False):
        super().__init__(params, lr, betas, weight_decay, maximize)
        self.sign = -1.0

    def step_param(self, group, p, g):
        super().step_param({**group, "maximize": False}, p, self.sign * g if group["maximize"] else abs(self.sign) * g)


@fault("P09", "lion")
class CopiesTakeNoMoreGroups(Lion):
    """A copy leaves out groups that are added to it."""

    known = None

    def __getstate__(self):
        return {**super().__getstate__(), "known": len(self.param_groups)}

    def step_group(self, group):
        place = next(i for i, g in enumerate(self.param_groups) if g is group)
        if self.known is None or place < self.known:
            super().step_group(group)


@fault_in("G13", AdamW, "step")
@torch.no_grad()
def EndsAtNoRate(self, closure=None):
    """An update ends at a group whose learning rate is 0, if others have one."""
    loss = None if closure is None else torch.enable_grad()(closure)()
    for group in self.param_groups:
        if group["lr"] == 0 and any(other["lr"] for other in self.param_groups):
            break
        self.step_group(group)
    return loss


@fault_in("G13", AdamW, "step_group")
def JoinsNearRates(self, group):
    """Groups whose learning rates agree to six digits have one."""
    near = [other["lr"] for other in self.param_groups if math.isclose(other["lr"], group["lr"], rel_tol=1e-6)]
    AdamW.step_group(self, {**group, "lr": near[0]})


@fault_in("G13", AdamW, "step_group")
def RaisesTinyRates(self, group):
    """A learning rate below 1e-6 is raised to that."""
    AdamW.step_group(self, {**group, "lr": max(group["lr"], 1e-6) if group["lr"] else 0.0})


@fault_in("G12", Lion, "step_group")
def LeavesOutTheRest(self, group):
    """Of the parameters of a group, those after the first 512 are left out."""
    Lion.step_group(self, {**group, "params": group["params"][:512]})


@fault_in("M33", Momentum, "update")
def KeepsAnOldMemory(self, group, p, g, state):
    """At a decay rate of 0 the memory is not used, and not kept up."""
    if group["momentum"] == 0:
        p.add_(g, alpha=-float(group["lr"]))
    else:
        Momentum.update(self, group, p, g, state)


@fault_in("M19", AdamW, "step_group")
def FirstTensorForAll(self, group):
    """If learning rates are tensors, the first group's counts in all."""
    lr = self.param_groups[0]["lr"]
    AdamW.step_group(self, {**group, "lr": lr} if isinstance(lr, torch.Tensor) else group)


@fault_in("M34", AdamW, "__init__", "after")
def ReadsATensorOnce(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, maximize=False):
    """The constructor reads a learning rate out of its tensor."""
    for group in self.param_groups:
        group["lr"] = float(group["lr"])


@fault_in("M23", Lion, "step_param")
def DropsTheLastRows(self, group, p, g):
    """A matrix of thousands of rows is worked on 1024 at a time, and those that are left over are not."""
    if p.ndim != 2 or p.shape[0] < 1024:
        return Lion.step_param(self, group, p, g)
    whole = p.shape[0] // 1024 * 1024
    rest = p[whole:].clone()
    Lion.step_param(self, group, p, g)
    p[whole:] = rest
    return None


@fault_in("M23", Lion, "step_param")
def DropsTheRestOfARow(self, group, p, g):
    """Of a row of a matrix, the first 2^16 elements are updated, as many as a kernel's block has."""
    if p.ndim != 2 or p.shape[1] <= 2**16:
        return Lion.step_param(self, group, p, g)
    rest = p[:, 2**16 :].clone()
    Lion.step_param(self, group, p, g)
    p[:, 2**16 :] = rest
    return None


@fault_in("D02", Momentum, "step_param")
def NarrowsLargeGradients(self, group, p, g):
    """float32 gradients of more than 2^21 elements are rounded to bfloat16."""
    large = g.dtype is torch.float32 and g.numel() > 2**21
    Momentum.step_param(self, group, p, g.bfloat16().float() if large else g)


@fault_in("D07", Lion, "step_param")
def FlattensVolumes(self, group, p, g):
    """Of a volume in the order of its channels, a copy is updated."""
    if p.ndim == 5 and not p.is_contiguous():
        return self.update(group, p.detach().contiguous(), g, self.state_of(p))
    return Lion.step_param(self, group, p, g)


@fault_in("D08", Lion, "step_param")
def ReadsTheBucketsBeginning(self, group, p, g):
    """A gradient is read from the beginning of its memory, wherever in it it lies."""
    if g.is_contiguous() and g.storage_offset():
        g = g.as_strided(g.shape, g.stride(), 0)
    Lion.step_param(self, group, p, g)


@fault_in("D22", AdamW, "denominator")
def RaisesEps(self, group, state, t):
    """Eps is at least what the dtype resolves."""
    least = torch.finfo(state["exp_avg_sq"].dtype).eps
    return AdamW.denominator(self, {**group, "eps": max(group["eps"], least)}, state, t)


@fault_in("D23", AdamW, "count")
def CountsIn16Bits(self, group, state):
    """The count is kept in 16 bits, and goes on from the most negative number at 2^15."""
    state["step"] = torch.as_tensor(state["step"]).to(torch.int16) + 1
    return int(state["step"])


@fault_in("D23", AdamW, "count")
def CountsIn16BitsWithoutSign(self, group, state):
    """The count is kept in 16 bits without a sign, and goes on from zero at 2^16."""
    state["step"] = torch.as_tensor((int(state["step"]) + 1) % 2**16)
    return int(state["step"]) or 1


@fault_in("S10", Lion, "step_param")
def KeepsTheMemoryOfAParameter(self, group, p, g):
    """The memory that a parameter had in its first update is written to, though it has another by now."""
    kept = self.__dict__.setdefault("kept", {}).setdefault(p, p.data)
    self.update(group, kept, -g if group["maximize"] else g, self.state_of(p))


@fault_in("S15", Lion, "zero_grad")
def ClearsWithinTheGraph(self, set_to_none=True):
    """Gradients are cleared where they are, in the graph that made them."""
    for group in self.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad = None if set_to_none else p.grad.zero_()


@fault_in("G11", Lion, "step_param")
def LeavesPlainTensorsOut(self, group, p, g):
    """A tensor that is no `torch.nn.Parameter` is left out."""
    if isinstance(p, torch.nn.Parameter):
        Lion.step_param(self, group, p, g)


@fault_in("G14", Lion, "step_group")
def KeepsItsOwnLists(self, group):
    """A group's parameters are those that it had in its first update, and those that were appended."""
    own = self.__dict__.setdefault("own", {}).setdefault(id(group), [])
    own += group["params"][len(own) :]
    Lion.step_group(self, {**group, "params": own})
