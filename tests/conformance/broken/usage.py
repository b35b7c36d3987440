"""Faults that show in other ways of use only: paths, containers, many parameters, closures, gradients kept, long runs."""

import torch

from broken import fault_in
from broken.textbook import Adam, AdamW, Lion, Momentum, RMSprop


@fault_in("M29", AdamW, "means")
def ZeroIsNotGiven(self, group, state, g, t):
    """A first decay rate of zero is taken for one that was not given."""
    beta1, beta2 = group["betas"]
    AdamW.means(self, {**group, "betas": (beta1 or 0.9, beta2)}, state, g, t)


@fault_in("M29", AdamW, "step_group")
def ListsAreNotGiven(self, group):
    """A list of decay rates, as JSON has them, is taken for none given."""
    betas = group["betas"] if isinstance(group["betas"], tuple) else (0.9, 0.999)
    AdamW.step_group(self, {**group, "betas": betas})


@fault_in("M29", RMSprop, "update")
def KeepsTheGradientItself(self, group, p, g, state):
    """Where nothing is averaged, the memory is the gradient, squared in place."""
    if group["alpha"] == 0:
        state["square_avg"] = g.square_()
        p.addcdiv_(g.sqrt(), self.denominator(group, state), value=-float(group["lr"]))
    else:
        RMSprop.update(self, group, p, g, state)


@fault_in("M30", AdamW, "step_group")
def RestsAtNoLearningRate(self, group):
    """At a learning rate of zero the means stand still too."""
    if group["lr"] != 0:
        AdamW.step_group(self, group)


@fault_in("M30", AdamW, "decay")
def DecaysByTheInitialRate(self, group, p, g):
    """The decay goes by the rate that a scheduler noted as the initial one."""
    p.mul_(1 - group.get("initial_lr", group["lr"]) * group["weight_decay"])
    return g


@fault_in("M31", AdamW, "count")
def CountsInFloat16(self, group, state):
    """The step count is a float16, which stands still at 2048."""
    state["step"] = (state["step"].half() + 1).float() if float(state["step"]) < 2048 else state["step"]
    return int(state["step"])


@fault_in("M31", Adam, "count")
def ForgetsAfterAThousand(self, group, state):
    """After a thousand updates the first moment begins anew."""
    t = Adam.count(self, group, state)
    if t % 1000 == 0:
        state["exp_avg"].zero_()
    return t


@fault_in("G11", Lion, "__init__", "before")
def GoesThroughParametersFirst(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """The constructor goes through the parameters before torch does, which uses a generator up."""
    self.count = sum(1 for _ in params)


@fault_in("G12", Lion, "step_group")
def ForgetsARemainder(self, group):
    """Parameters are worked on fifty at a time, and those that are left over are not."""
    params = [p for p in group["params"] if p.grad is not None]
    whole = len(params) // 50 * 50 if len(params) > 50 else len(params)
    for p in params[:whole]:
        self.step_param(group, p, p.grad)


@fault_in("G12", Lion, "step")
def EndsAtAnEmptyGroup(self, closure=None):
    """The update ends at a group that has no parameter with a gradient."""
    loss = None if closure is None else torch.enable_grad()(closure)()
    with torch.no_grad():
        for group in self.param_groups:
            if all(p.grad is None for p in group["params"]) and len(self.param_groups) > 2:
                break
            self.step_group(group)
    return loss


@fault_in("S13", Lion, "__init__", "before")
def Seeds(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """The constructor seeds torch's random numbers."""
    torch.manual_seed(0)


@fault_in("S13", Momentum, "__init__", "after")
def Thaws(self, params, lr=1e-3, momentum=0.9):
    """Frozen parameters are made trainable."""
    for group in self.param_groups:
        for p in group["params"]:
            p.requires_grad_(True)


@fault_in("S14", Momentum, "step_param")
def RemembersTheTensor(self, group, p, g):
    """A gradient that is the tensor it was before is taken for one that was seen already."""
    seen = self.__dict__.setdefault("seen", {})
    if seen.get(p) is not g:
        seen[p] = g
        Momentum.step_param(self, group, p, g)


@fault_in("S15", Lion, "zero_grad")
def ClearsTheFirstGroup(self, set_to_none=True):
    """`zero_grad` clears the first group alone."""
    for p in self.param_groups[0]["params"]:
        if p.grad is not None:
            p.grad = None if set_to_none else p.grad.zero_()


@fault_in("C09", Lion, "step")
def NeedsALoss(self, closure=None):
    """What a closure returns is made a number."""
    loss = Lion.step(self, closure)
    return loss if closure is None else torch.as_tensor(float(loss))


@fault_in("C08", AdamW, "step")
def DecaysNotWhileTheClosureRuns(self, closure=None):
    """Weight decay is set to zero while a closure runs, and stays so when that raises."""
    kept = [group["weight_decay"] for group in self.param_groups]
    if closure is None:
        return AdamW.step(self)
    for group in self.param_groups:
        group["weight_decay"] = 0.0
    loss = torch.enable_grad()(closure)()
    for group, decay in zip(self.param_groups, kept, strict=True):
        group["weight_decay"] = decay
    AdamW.step(self)
    return loss


@fault_in("P16", Lion, "load_state_dict")
def StateThatIsThereWins(self, state_dict):
    """Loading keeps the state of parameters that have one already."""
    kept = {p: dict(state) for p, state in self.state.items()}
    Lion.load_state_dict(self, state_dict)
    self.state.update(kept)


@fault_in("P17", Lion, "load_state_dict", "after")
def FirstGroupForAllOnLoading(self, state_dict):
    """Loading gives every group the learning rate of the first."""
    for group in self.param_groups:
        group["lr"] = self.param_groups[0]["lr"]


class Foreach(Lion):
    """Right, with a foreach path to spoil."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False, foreach=False):
        super().__init__(params, lr, betas, weight_decay, maximize)
        for group in self.param_groups:
            group.setdefault("foreach", foreach)
        self.defaults["foreach"] = foreach


@fault_in("D17", Foreach, "step_param")
def ForeachMinimizes(self, group, p, g):
    """The foreach path knows no `maximize`."""
    Foreach.step_param(self, {**group, "maximize": False} if group["foreach"] else group, p, g)


@fault_in("D17", Foreach, "step_param")
def ForeachTurnsTheGradient(self, group, p, g):
    """Under `maximize`, the foreach path turns the gradient itself round."""
    turns = group["foreach"] and group["maximize"]
    Foreach.step_param(self, {**group, "maximize": False} if turns else group, p, g.neg_() if turns else g)


@fault_in("D17", Foreach, "step_group", "before")
def ForeachNeedsAGradient(self, group):
    """On the foreach path, a group without any gradient is an error, as torch's operations on no tensors are."""
    if group["foreach"] and group["params"]:
        torch._foreach_neg([p.grad for p in group["params"] if p.grad is not None])


@fault_in("D18", Foreach, "step_param")
def ForeachReadsTheMemory(self, group, p, g):
    """The foreach path reads gradients in the order of their memory."""
    if group["foreach"] and not g.is_contiguous() and g.is_non_overlapping_and_dense():
        g = g.as_strided(g.shape, torch.empty(g.shape).stride())
    Foreach.step_param(self, group, p, g)
