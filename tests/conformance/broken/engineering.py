"""Faults of engineering: state, groups, dtypes, closures, saving."""

import copy
from collections import defaultdict

import torch

from broken import fault, fault_in
from broken.textbook import AdamW, Lion, Momentum


@fault("S01", "adamw")
class CountsByGroup(AdamW):
    """Updates are counted for the group, gradients or not, and nobody is told."""

    def step_group(self, group):
        group["count"] = group.get("count", 0) + 1
        super().step_group(group)

    def count(self, group, state):
        return group["count"]


@fault_in("S01", AdamW, "count")
def CountsParameters(self, group, state):
    """One count for all parameters of an update."""
    group["count"] = group.get("count", 0) + 1
    return group["count"]


@fault_in("M20", Momentum, "direction")
def DrawsLots(self, group, state, g):
    """One update in eight is left out by lot, and nobody is told."""
    return state["momentum_buffer"] * (torch.rand(()) > 0.125)


@fault_in("S02", AdamW, "step_group", "before")
def DecaysWithoutGradient(self, group):
    """Parameters without a gradient are decayed."""
    for p in group["params"]:
        if p.grad is None:
            p.mul_(1 - group["lr"] * group["weight_decay"])


@fault_in("S03", AdamW, "step_group")
def NoGradientIsZero(self, group):
    """A missing gradient is taken for zeros."""
    for p in group["params"]:
        self.step_param(group, p, torch.zeros_like(p) if p.grad is None else p.grad)


@fault_in("S04", AdamW, "step_group", "before")
def NeedsAGradient(self, group):
    """An update without any gradient is an error."""
    next(p for p in group["params"] if p.grad is not None)


_shared = {}


@fault_in("S06", Lion, "state_of")
def StateOfTheClass(self, p):
    """State is kept by the parameter's shape, for all instances."""
    return _shared.setdefault(tuple(p.shape), {"exp_avg": torch.zeros_like(p)})


@fault_in("S07", AdamW, "means", "after")
def WritesToTheGradient(self, group, state, g, t):
    """The gradient is scaled in place."""
    g.mul_(0.5)


@fault_in("S08", AdamW, "move")
def ReplacesTheParameter(self, group, p, mean, denominator):
    """The parameter gets new memory in every update."""
    p.data = p.data - group["lr"] * mean / denominator


@fault_in("S08", AdamW, "step_param", "before")
def MakesParametersContiguous(self, group, p, g):
    """A parameter that is not contiguous gets memory in which it is."""
    p.data = p.data.contiguous()


@fault_in("S09", Lion, "step_group")
def KeepsTheLastGradient(self, group):
    """A parameter whose gradient was taken away goes on along its last one."""
    for p in group["params"]:
        if p.grad is not None:
            self.state_of(p)["last"] = p.grad.clone()
        if "last" in self.state_of(p):
            self.step_param(group, p, self.state_of(p)["last"])


@fault_in("S10", Lion, "update")
def KeepsACopyOfTheParameter(self, group, p, g, state):
    """A copy of the parameter is updated, and written over the parameter."""
    own = state.setdefault("copy", p.detach().clone())
    Lion.update(self, group, own, g, state)
    p.copy_(own)


class _Counter:
    now = 0


@fault("S11", "adamw")
class CountsInTheClass(AdamW):
    """The last instance made resets the count of all."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, lr, betas, eps, weight_decay)
        _Counter.now = 0

    def step_group(self, group):
        _Counter.now += 1
        super().step_group(group)

    def count(self, group, state):
        return _Counter.now


@fault_in("S12", Lion, "__init__")
def EmptiesTheList(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """The list of parameters that was passed is emptied."""
    params = params if isinstance(params, list) else list(params)
    Lion.__init__(self, list(params), lr, betas, weight_decay)
    params.clear()


@fault_in("G01", Lion, "step_group")
def FirstGroupForAll(self, group):
    """The first group's hyperparameters count in all."""
    Lion.step_group(self, {**self.param_groups[0], "params": group["params"]})


@fault_in("G02", AdamW, "decay")
def DecayFromTheDefaults(self, group, p, g):
    """Weight decay is the optimizer's default, whatever a group says."""
    return AdamW.decay(self, {**group, "weight_decay": self.defaults["weight_decay"]}, p, g)


@fault_in("G02", AdamW, "decay")
def DecaysByTheFirstGroupsRate(self, group, p, g):
    """Weight decay goes by the learning rate of the first group."""
    p.mul_(1 - self.param_groups[0]["lr"] * group["weight_decay"])
    return g


@fault_in("G03", AdamW, "add_param_group", "after")
def AddingForgets(self, param_group):
    """Adding a group forgets the state of the others."""
    self.state.clear()


@fault_in("G04", Lion, "add_param_group")
def TakesDuplicates(self, param_group):
    """A parameter may be in two groups."""
    params = param_group["params"]
    params = [params] if isinstance(params, torch.Tensor) else list(params)
    self.param_groups.append({**self.defaults, **param_group, "params": params})


@fault_in("G05", Lion, "step_group", "before")
def NeedsParameters(self, group):
    """An empty group is an error at the next update."""
    group["params"][0]


@fault_in("G06", Lion, "__init__")
def RefusesNames(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    """Named parameters are an error."""
    params = list(params)
    [p.requires_grad for p in params if not isinstance(p, dict)]
    Lion.__init__(self, params, lr, betas, weight_decay)


@fault_in("G07", Lion, "step_group")
def LaterGroupsGoSlower(self, group):
    """Each group goes at half the rate of the one before."""
    place = next(i for i, g in enumerate(self.param_groups) if g is group)
    Lion.step_group(self, {**group, "lr": group["lr"] * 0.5**place})


@fault_in("G08", Lion, "step_group", "after")
def DropsUnknownKeys(self, group):
    """An update leaves only known keys in a group."""
    for key in set(group) - {"params", *self.defaults}:
        del group[key]


@fault("G09", "lion")
class OneDtypeForAll(Lion):
    """Gradients are cast to float32 wherever one parameter of the group is."""

    def step_group(self, group):
        narrow = any(p.dtype is torch.float32 for p in group["params"])
        for p in group["params"]:
            if p.grad is not None:
                self.step_param(group, p, p.grad.float().to(p.dtype) if narrow else p.grad)

    def remember(self, group, state, g):
        super().remember(group, state, g)
        if any(p.dtype is torch.float32 for p in group["params"]):
            state["exp_avg"].zero_()


@fault_in("X05", AdamW, "count", "after")
def WritesTheRate(self, group, state):
    """The group's learning rate is overwritten with the corrected one."""
    group["lr"] = float(group["lr"]) * (1 + 1e-12)


@fault_in("D01", AdamW, "zeros")
def StateInFloat32(self, p):
    """The moments are float32, whatever the parameter is."""
    return torch.zeros(p.shape)


@fault_in("D02", Momentum, "direction")
def HalfPrecisionInside(self, group, state, g):
    """float32 parameters are updated by way of bfloat16."""
    buffer = state["momentum_buffer"]
    return buffer.bfloat16().to(buffer.dtype) if buffer.dtype is torch.float32 else buffer


@fault_in("D03", Momentum, "step_param", "after")
def WidensBfloat16(self, group, p, g):
    """bfloat16 parameters become float32."""
    if p.dtype is torch.bfloat16:
        p.data = p.data.float()


@fault("D04", "adamw")
class PlainFloat16(AdamW):
    """In float16 eps is zero, and so is the square of a small gradient."""


@fault_in("D05", Lion, "step_param", "before")
def NeedsAnAxis(self, group, p, g):
    """A parameter without dimensions is an error."""
    p[0:0].zero_()


@fault_in("D06", Lion, "step_param", "before")
def NeedsAnElement(self, group, p, g):
    """An empty parameter is an error."""
    g.abs().max()


@fault_in("D06", Lion, "step_group")
def StopsAtAnEmptyTensor(self, group):
    """Parameters after an empty one are left out."""
    for p in group["params"]:
        if not p.numel():
            return
        if p.grad is not None:
            self.step_param(group, p, p.grad)


@fault_in("D07", Lion, "step_param")
def UpdatesACopy(self, group, p, g):
    """Of a parameter that is not contiguous a copy is updated."""
    if p.is_contiguous():
        return Lion.step_param(self, group, p, g)
    return self.update(group, p.detach().contiguous(), g, self.state_of(p))


@fault_in("D08", Lion, "step_param")
def ReadsTheMemory(self, group, p, g):
    """The gradient is read in the order of its memory."""
    if g.numel() and not g.is_contiguous() and g.untyped_storage().nbytes() == g.numel() * g.element_size():
        g = g.as_strided(p.shape, p.stride())
    Lion.step_param(self, group, p, g)


@fault_in("D11", Lion, "zeros")
def SqueezesRows(self, p):
    """Axes of length one are squeezed out of the state."""
    return torch.zeros_like(p.squeeze())


@fault_in("D12", Momentum, "zeros")
def DefaultDtype(self, p):
    """The state has torch's default dtype."""
    wanted = torch.get_default_dtype()
    return torch.zeros_like(p, dtype=p.dtype if wanted is torch.float32 else wanted)


@fault_in("D10", Momentum, "step_param")
def SparseByItsValues(self, group, p, g):
    """Of a sparse gradient the first value is taken for all."""
    Momentum.step_param(self, group, p, torch.full_like(p, float(g.coalesce().values()[0, 0])) if g.is_sparse else g)


@fault_in("D13", Lion, "step_param")
def SpreadsNaN(self, group, p, g):
    """The mean gradient, which one NaN spoils, is taken from each."""
    Lion.step_param(self, group, p, g - 0.0 * g.mean() if g.numel() else g)


@fault_in("D14", AdamW, "denominator")
def OverflowsEarly(self, group, state, t):
    """The denominator is the fourth root of the fourth power."""
    corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** t)
    return (corrected * corrected).sqrt().sqrt() + group["eps"]


class Foreach(Lion):
    """Right, with a foreach path to spoil, and without `maximize`."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, foreach=None):
        super().__init__(params, lr, betas, weight_decay)
        for group in self.param_groups:
            group["foreach"] = foreach


@fault_in("D15", Foreach, "step_group")
def ForeachForgetsDecay(self, group):
    """The foreach path has no decay."""
    Foreach.step_group(self, {**group, "weight_decay": 0.0} if group.get("foreach") else group)


@fault_in("P12", Foreach, "update")
def ForeachHasItsOwnState(self, group, p, g, state):
    """The foreach path keeps its memory under another name."""
    if group.get("foreach"):
        state = {"exp_avg": state.setdefault("foreach_exp_avg", torch.zeros_like(p))}
    Foreach.update(self, group, p, g, state)


@fault_in("C01", Lion, "step", "before")
def CallsTheClosureTwice(self, closure=None):
    """The closure is called twice."""
    if closure is not None:
        closure()


@fault_in("C01", Lion, "step")
@torch.no_grad()
def ClosureWithoutGradients(self, closure=None):
    """The closure is called with gradients disabled, and its loss is not returned."""
    if closure is not None:
        closure()
    Lion.step(self)


@fault_in("C02", Lion, "step")
def ClosureAfterwards(self, closure=None):
    """The closure is called after the update."""
    Lion.step(self)
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


@fault_in("C03", Lion, "remember")
def LeavesAGraph(self, group, state, g):
    """The memory carries an autograd graph."""
    with torch.enable_grad():
        weight = torch.ones((), dtype=g.dtype, requires_grad=True)
        beta2 = group["betas"][1]
        state["exp_avg"] = (beta2 * state["exp_avg"].detach() + (1 - beta2) * g) * weight


@fault_in("C03", Lion, "step", "after")
def LeavesGradientsDisabled(self, closure=None):
    """After an update gradients stay disabled."""
    torch.set_grad_enabled(False)


@fault_in("C04", Lion, "register_step_pre_hook")
def WithoutHooks(self, hook):
    """Hooks around a step are never called."""
    return Lion.register_step_pre_hook(self, lambda *_: None)


@fault_in("C05", Lion, "register_state_dict_post_hook")
def WithoutStateHooks(self, hook, prepend=False):
    """Hooks of the state dict are never called."""
    return Lion.register_state_dict_post_hook(self, lambda *_: None, prepend)


@fault("C06", "lion")
class ClaimsToUnscale(Lion):
    """It tells the gradient scaler that it skips overflows itself, and does not."""

    _step_supports_amp_scaling = True


@fault_in("C07", Lion, "step_param")
def TurnsTheGradientInPlace(self, group, p, g):
    """`maximize` turns the gradient round in place."""
    if group["maximize"]:
        g.neg_()
    Lion.step_param(self, {**group, "maximize": False}, p, g)


@fault_in("P01", AdamW, "count")
def CountsInAnAttribute(self, group, state):
    """The step count is an attribute, which no checkpoint holds."""
    state["own"] = state.get("own", 0)
    self.counts = getattr(self, "counts", {})
    self.counts[id(state)] = self.counts.get(id(state), 0) + 1
    return self.counts[id(state)]


@fault("P01", "adamw")
class CountsOutsideTheState(AdamW):
    """One count for all parameters is an attribute, which no checkpoint holds."""

    t = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.t += 1
        return super().step(closure)

    def count(self, group, state):
        return self.t


@fault_in("P01", Lion, "state_of")
def MemoryInAnAttribute(self, p):
    """The memory is an attribute, which no checkpoint holds."""
    self.memory = getattr(self, "memory", {})
    return self.memory.setdefault(p, {"exp_avg": torch.zeros_like(p)})


@fault_in("P01", AdamW, "load_state_dict", "after")
def LoadingResetsTheCount(self, state_dict):
    """Loading a checkpoint sets the step counts to zero."""
    for state in self.state.values():
        state["step"] = torch.tensor(0.0)


@fault_in("P15", AdamW, "load_state_dict", "after")
def LoadingCounts(self, state_dict):
    """Loading a checkpoint counts as an update."""
    for state in self.state.values():
        state["step"] = state["step"] + 1


class _Note:
    """Something that no safe loader knows."""


@fault_in("P02", Lion, "state_of")
def KeepsAnObject(self, p):
    """The state holds an object of its own class."""
    state = Lion.state_of(self, p)
    state.setdefault("note", _Note())
    return state


@fault_in("P03", Lion, "load_state_dict")
def EmptiesTheCheckpoint(self, state_dict):
    """The dict that is loaded is emptied."""
    Lion.load_state_dict(self, copy.deepcopy(state_dict))
    state_dict["state"].clear()


@fault("P04", "lion")
class SharesTheCheckpoint(Lion):
    """The tensors of the checkpoint become its own, to write to."""


@fault_in("P05", Momentum, "zeros")
def StateInFloat64(self, p):
    """The memory is float64, and becomes the parameter's dtype when it is loaded."""
    return torch.zeros_like(p, dtype=torch.float64)


@fault_in("P06", AdamW, "count")
def CountsInTheStatesDtype(self, group, state):
    """The count is a float tensor called `t`, which loading casts to the parameter's dtype."""
    state["t"] = state.get("t", torch.tensor(0.0)) + 1
    return int(state["t"])


@fault_in("P07", Lion, "load_state_dict", "after")
def ConstructorWins(self, state_dict):
    """After loading, the hyperparameters are the constructor's."""
    for group in self.param_groups:
        group.update(self.defaults)


@fault_in("P08", Lion, "load_state_dict")
def TakesAnyCheckpoint(self, state_dict):
    """Checkpoints of other sizes are loaded as far as they go."""
    params = [p for group in self.param_groups for p in group["params"]]
    saved = copy.deepcopy(state_dict)
    for group, old in zip(self.param_groups, saved["param_groups"], strict=False):
        group.update({key: value for key, value in old.items() if key != "params"})
    for index, p in enumerate(params):
        if index in saved["state"]:
            self.state[p] = saved["state"][index]


@fault_in("P14", Lion, "state_of")
def BeginsAnewSilently(self, p):
    """A memory of another shape is thrown away without a word."""
    state = Lion.state_of(self, p)
    if state["exp_avg"].shape != p.shape:
        state["exp_avg"] = torch.zeros_like(p)
    return state


@fault("P09", "lion")
class CopiesWithoutState(Lion):
    """A copy begins afresh."""

    def __getstate__(self):
        return {**super().__getstate__(), "state": defaultdict(dict)}


@fault_in("P10", Lion, "step_param", "before")
def NeedsANewKey(self, group, p, g):
    """A checkpoint without the key `maximize` is an error at the next update."""
    group["maximize"]


@fault_in("P11", Lion, "step_group")
def StateByOrder(self, group):
    """State is kept by a parameter's place among those that have a gradient."""
    own = group.setdefault("memory", {})
    for index, p in enumerate([p for p in group["params"] if p.grad is not None]):
        if index not in own or own[index]["exp_avg"].shape != p.shape:
            own[index] = {"exp_avg": torch.zeros_like(p)}
        self.update(group, p, p.grad, own[index])


@fault_in("F02", Lion, "step_param", "before")
def KeepsEveryGradient(self, group, p, g):
    """Every gradient is kept."""
    self.kept = [*getattr(self, "kept", []), g.clone()]


@fault("K01", "lion")
class DecayInAnAttribute(Lion):
    """Weight decay is an attribute, and no group has it."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr, betas, weight_decay)
        for group in self.param_groups:
            group.pop("weight_decay")
        self.weight_decay = weight_decay

    def step_group(self, group):
        super().step_group({"weight_decay": self.weight_decay, **group})


@fault("K02", "lion")
class TakesAnything(Lion):
    """No value is refused."""


@fault_in("D16", AdamW, "decay")
def CompiledOtherwise(self, group, p, g):
    """Where it is traced by torch.compile there is no decay."""
    return g if torch.compiler.is_compiling() else AdamW.decay(self, group, p, g)


@fault("P13", "lion")
class ModeInAnAttribute(Lion):
    """The mode for evaluation, in which parameters are half of themselves, is an attribute, which no checkpoint holds."""

    training = True

    def eval(self):
        self._switch(to_training=False, factor=0.5)

    def train(self):
        self._switch(to_training=True, factor=2.0)

    @torch.no_grad()
    def _switch(self, to_training, factor):
        if self.training is not to_training:
            for group in self.param_groups:
                torch._foreach_mul_(group["params"], factor)
        self.training = to_training


@fault("F03", "lion", traits={"temporaries": 0.5})
class TakesMoreMemoryThanDeclared(Lion):
    """Half a parameter's size is declared as the memory that an update takes for a while, and more is taken."""


@fault_in("F04", Lion, "step_param")
def ReadsTheNorm(self, group, p, g):
    """Whether there is any gradient is asked of its values, in Python."""
    if g.norm() >= 0:
        Lion.step_param(self, group, p, g)
