"""Faults of engineering: state, groups, dtypes, closures, saving."""

import copy

import torch

from broken import fault
from broken.textbook import AdamW, Lion, Momentum


@fault("S01", "adamw")
class CountsByGroup(AdamW):
    """Updates are counted for the group, gradients or not, and nobody is told."""

    def step_group(self, group):
        group["count"] = group.get("count", 0) + 1
        super().step_group(group)

    def count(self, group, state):
        return group["count"]


@fault("S01", "adamw")
class CountsParameters(AdamW):
    """One count for all parameters of an update."""

    def count(self, group, state):
        group["count"] = group.get("count", 0) + 1
        return group["count"]


@fault("M20", "momentum")
class DrawsLots(Momentum):
    """One update in eight is left out by lot, and nobody is told."""

    def direction(self, group, state, g):
        return state["momentum_buffer"] * (torch.rand(()) > 0.125)


@fault("S02", "adamw")
class DecaysWithoutGradient(AdamW):
    """Parameters without a gradient are decayed."""

    def step_group(self, group):
        for p in group["params"]:
            if p.grad is None:
                p.mul_(1 - group["lr"] * group["weight_decay"])
        super().step_group(group)


@fault("S03", "adamw")
class NoGradientIsZero(AdamW):
    """A missing gradient is taken for zeros."""

    def step_group(self, group):
        for p in group["params"]:
            self.step_param(group, p, torch.zeros_like(p) if p.grad is None else p.grad)


@fault("S04", "adamw")
class NeedsAGradient(AdamW):
    """An update without any gradient is an error."""

    def step_group(self, group):
        next(p for p in group["params"] if p.grad is not None)
        super().step_group(group)


_shared = {}


@fault("S06", "lion")
class StateOfTheClass(Lion):
    """State is kept by the parameter's shape, for all instances."""

    def state_of(self, p):
        return _shared.setdefault(tuple(p.shape), {"exp_avg": torch.zeros_like(p)})


@fault("S07", "adamw")
class WritesToTheGradient(AdamW):
    """The gradient is scaled in place."""

    def means(self, group, state, g, t):
        super().means(group, state, g, t)
        g.mul_(0.5)


@fault("S08", "adamw")
class ReplacesTheParameter(AdamW):
    """The parameter gets new memory in every update."""

    def move(self, group, p, mean, denominator):
        p.data = p.data - group["lr"] * mean / denominator


@fault("S09", "lion")
class KeepsTheLastGradient(Lion):
    """A parameter whose gradient was taken away goes on along its last one."""

    def step_group(self, group):
        for p in group["params"]:
            if p.grad is not None:
                self.state_of(p)["last"] = p.grad.clone()
            if "last" in self.state_of(p):
                self.step_param(group, p, self.state_of(p)["last"])


@fault("S10", "lion")
class KeepsACopyOfTheParameter(Lion):
    """A copy of the parameter is updated, and written over the parameter."""

    def update(self, group, p, g, state):
        own = state.setdefault("copy", p.detach().clone())
        super().update(group, own, g, state)
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


@fault("S12", "lion")
class EmptiesTheList(Lion):
    """The list of parameters that was passed is emptied."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        params = params if isinstance(params, list) else list(params)
        super().__init__(list(params), lr, betas, weight_decay)
        params.clear()


@fault("G01", "lion")
class FirstGroupForAll(Lion):
    """The first group's hyperparameters count in all."""

    def step_group(self, group):
        super().step_group({**self.param_groups[0], "params": group["params"]})


@fault("G02", "adamw")
class DecayFromTheDefaults(AdamW):
    """Weight decay is the optimizer's default, whatever a group says."""

    def decay(self, group, p, g):
        return super().decay({**group, "weight_decay": self.defaults["weight_decay"]}, p, g)


@fault("G03", "adamw")
class AddingForgets(AdamW):
    """Adding a group forgets the state of the others."""

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        self.state.clear()


@fault("G04", "lion")
class TakesDuplicates(Lion):
    """A parameter may be in two groups."""

    def add_param_group(self, param_group):
        params = param_group["params"]
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        self.param_groups.append({**self.defaults, **param_group, "params": params})


@fault("G05", "lion")
class NeedsParameters(Lion):
    """An empty group is an error at the next update."""

    def step_group(self, group):
        group["params"][0]
        super().step_group(group)


@fault("G06", "lion")
class RefusesNames(Lion):
    """Named parameters are an error."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        params = list(params)
        [p.requires_grad for p in params if not isinstance(p, dict)]
        super().__init__(params, lr, betas, weight_decay)


@fault("G07", "lion")
class LaterGroupsGoSlower(Lion):
    """Each group goes at half the rate of the one before."""

    def step_group(self, group):
        place = next(i for i, g in enumerate(self.param_groups) if g is group)
        super().step_group({**group, "lr": group["lr"] * 0.5**place})


@fault("G08", "lion")
class DropsUnknownKeys(Lion):
    """An update leaves only known keys in a group."""

    def step_group(self, group):
        super().step_group(group)
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


@fault("X05", "adamw")
class WritesTheRate(AdamW):
    """The group's learning rate is overwritten with the corrected one."""

    def count(self, group, state):
        t = super().count(group, state)
        group["lr"] = float(group["lr"]) * (1 + 1e-12)
        return t


@fault("D01", "adamw")
class StateInFloat32(AdamW):
    """The moments are float32, whatever the parameter is."""

    def state_of(self, p):
        state = self.state[p]
        if not state:
            state.update(step=torch.tensor(0.0), exp_avg=torch.zeros(p.shape), exp_avg_sq=torch.zeros(p.shape))
        return state


@fault("D02", "momentum")
class HalfPrecisionInside(Momentum):
    """float32 parameters are updated by way of bfloat16."""

    def direction(self, group, state, g):
        buffer = state["momentum_buffer"]
        return buffer.bfloat16().to(buffer.dtype) if buffer.dtype is torch.float32 else buffer


@fault("D03", "momentum")
class WidensBfloat16(Momentum):
    """bfloat16 parameters become float32."""

    def step_param(self, group, p, g):
        super().step_param(group, p, g)
        if p.dtype is torch.bfloat16:
            p.data = p.data.float()


@fault("D04", "adamw")
class PlainFloat16(AdamW):
    """In float16 eps is zero, and so is the square of a small gradient."""


@fault("D05", "lion")
class NeedsAnAxis(Lion):
    """A parameter without dimensions is an error."""

    def step_param(self, group, p, g):
        p[0:0].zero_()
        super().step_param(group, p, g)


@fault("D06", "lion")
class NeedsAnElement(Lion):
    """An empty parameter is an error."""

    def step_param(self, group, p, g):
        g.abs().max()
        super().step_param(group, p, g)


@fault("D06", "lion")
class StopsAtAnEmptyTensor(Lion):
    """Parameters after an empty one are left out."""

    def step_group(self, group):
        for p in group["params"]:
            if not p.numel():
                return
            if p.grad is not None:
                self.step_param(group, p, p.grad)


@fault("D07", "lion")
class UpdatesACopy(Lion):
    """Of a parameter that is not contiguous a copy is updated."""

    def step_param(self, group, p, g):
        if p.is_contiguous():
            return super().step_param(group, p, g)
        return self.update(group, p.detach().contiguous(), g, self.state_of(p))


@fault("D08", "lion")
class ReadsTheMemory(Lion):
    """The gradient is read in the order of its memory."""

    def step_param(self, group, p, g):
        if g.numel() and not g.is_contiguous() and g.untyped_storage().nbytes() == g.numel() * g.element_size():
            g = g.as_strided(p.shape, p.stride())
        super().step_param(group, p, g)


@fault("D11", "lion")
class SqueezesRows(Lion):
    """Axes of length one are squeezed out of the state."""

    def state_of(self, p):
        state = self.state[p]
        if not state:
            state["exp_avg"] = torch.zeros_like(p.squeeze())
        return state


@fault("D12", "momentum")
class DefaultDtype(Momentum):
    """The state has torch's default dtype."""

    def state_of(self, p):
        state = self.state[p]
        if not state:
            wanted = torch.get_default_dtype()
            state["momentum_buffer"] = torch.zeros_like(p, dtype=p.dtype if wanted is torch.float32 else wanted)
        return state


@fault("D10", "momentum")
class SparseByItsValues(Momentum):
    """Of a sparse gradient the first value is taken for all."""

    def step_param(self, group, p, g):
        super().step_param(group, p, torch.full_like(p, float(g.coalesce().values()[0, 0])) if g.is_sparse else g)


@fault("D13", "lion")
class SpreadsNaN(Lion):
    """The mean gradient, which one NaN spoils, is taken from each."""

    def step_param(self, group, p, g):
        super().step_param(group, p, g - 0.0 * g.mean() if g.numel() else g)


@fault("D14", "adamw")
class OverflowsEarly(AdamW):
    """The denominator is the fourth root of the fourth power."""

    def denominator(self, group, state, t):
        corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** t)
        return (corrected * corrected).sqrt().sqrt() + group["eps"]


@fault("D15", "lion")
class ForeachForgetsDecay(Lion):
    """The foreach path has no decay."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, foreach=None):
        super().__init__(params, lr, betas, weight_decay)
        for group in self.param_groups:
            group["foreach"] = foreach

    def step_group(self, group):
        super().step_group({**group, "weight_decay": 0.0} if group.get("foreach") else group)


@fault("P12", "lion")
class ForeachHasItsOwnState(Lion):
    """The foreach path keeps its memory under another name."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, foreach=None):
        super().__init__(params, lr, betas, weight_decay)
        for group in self.param_groups:
            group["foreach"] = foreach

    def update(self, group, p, g, state):
        if not group.get("foreach"):
            return super().update(group, p, g, state)
        own = {"exp_avg": state.setdefault("foreach_exp_avg", torch.zeros_like(p))}
        return super().update(group, p, g, own)


@fault("C01", "lion")
class CallsTheClosureTwice(Lion):
    """The closure is called twice."""

    def step(self, closure=None):
        if closure is not None:
            closure()
        return super().step(closure)


@fault("C01", "lion")
class ClosureWithoutGradients(Lion):
    """The closure is called with gradients disabled, and its loss is not returned."""

    @torch.no_grad()
    def step(self, closure=None):
        if closure is not None:
            closure()
        super().step()


@fault("C02", "lion")
class ClosureAfterwards(Lion):
    """The closure is called after the update."""

    def step(self, closure=None):
        super().step()
        if closure is None:
            return None
        with torch.enable_grad():
            return closure()


@fault("C03", "lion")
class LeavesAGraph(Lion):
    """The memory carries an autograd graph."""

    def remember(self, group, state, g):
        with torch.enable_grad():
            weight = torch.ones((), dtype=g.dtype, requires_grad=True)
            beta2 = group["betas"][1]
            state["exp_avg"] = (beta2 * state["exp_avg"].detach() + (1 - beta2) * g) * weight


@fault("C03", "lion")
class LeavesGradientsDisabled(Lion):
    """After an update gradients stay disabled."""

    def step(self, closure=None):
        loss = super().step(closure)
        torch.set_grad_enabled(False)
        return loss


@fault("C04", "lion")
class WithoutHooks(Lion):
    """Hooks around a step are never called."""

    def register_step_pre_hook(self, hook):
        return super().register_step_pre_hook(lambda *_: None)


@fault("C05", "lion")
class WithoutStateHooks(Lion):
    """Hooks of the state dict are never called."""

    def register_state_dict_post_hook(self, hook, prepend=False):
        return super().register_state_dict_post_hook(lambda *_: None, prepend)


@fault("C06", "lion")
class ClaimsToUnscale(Lion):
    """It tells the gradient scaler that it skips overflows itself, and does not."""

    _step_supports_amp_scaling = True


@fault("C07", "lion")
class TurnsTheGradientInPlace(Lion):
    """`maximize` turns the gradient round in place."""

    def step_param(self, group, p, g):
        if group["maximize"]:
            g.neg_()
        super().step_param({**group, "maximize": False}, p, g)


@fault("P01", "adamw")
class CountsInAnAttribute(AdamW):
    """The step count is an attribute, which no checkpoint holds."""

    counted = 0

    def count(self, group, state):
        state["own"] = state.get("own", 0)
        self.counts = getattr(self, "counts", {})
        self.counts[id(state)] = self.counts.get(id(state), 0) + 1
        return self.counts[id(state)]


@fault("P01", "lion")
class MemoryInAnAttribute(Lion):
    """The memory is an attribute, which no checkpoint holds."""

    def state_of(self, p):
        self.memory = getattr(self, "memory", {})
        return self.memory.setdefault(p, {"exp_avg": torch.zeros_like(p)})


@fault("P01", "adamw")
class LoadingResetsTheCount(AdamW):
    """Loading a checkpoint sets the step counts to zero."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["step"] = torch.tensor(0.0)


@fault("P15", "adamw")
class LoadingCounts(AdamW):
    """Loading a checkpoint counts as an update."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["step"] = state["step"] + 1


class _Note:
    """Something that no safe loader knows."""


@fault("P02", "lion")
class KeepsAnObject(Lion):
    """The state holds an object of its own class."""

    def state_of(self, p):
        state = super().state_of(p)
        state.setdefault("note", _Note())
        return state


@fault("P03", "lion")
class EmptiesTheCheckpoint(Lion):
    """The dict that is loaded is emptied."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(copy.deepcopy(state_dict))
        state_dict["state"].clear()


@fault("P04", "lion")
class SharesTheCheckpoint(Lion):
    """The tensors of the checkpoint become its own, to write to."""


@fault("P05", "momentum")
class StateInFloat64(Momentum):
    """The memory is float64, and becomes the parameter's dtype when it is loaded."""

    def state_of(self, p):
        state = self.state[p]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(p, dtype=torch.float64)
        return state


@fault("P06", "adamw")
class CountsInTheStatesDtype(AdamW):
    """The count is a float tensor called `t`, which loading casts to the parameter's dtype."""

    def count(self, group, state):
        state["t"] = state.get("t", torch.tensor(0.0)) + 1
        return int(state["t"])


@fault("P07", "lion")
class ConstructorWins(Lion):
    """After loading, the hyperparameters are the constructor's."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group.update(self.defaults)


@fault("P08", "lion")
class TakesAnyCheckpoint(Lion):
    """Checkpoints of other sizes are loaded as far as they go."""

    def load_state_dict(self, state_dict):
        params = [p for group in self.param_groups for p in group["params"]]
        saved = copy.deepcopy(state_dict)
        for group, old in zip(self.param_groups, saved["param_groups"], strict=False):
            group.update({key: value for key, value in old.items() if key != "params"})
        for index, p in enumerate(params):
            if index in saved["state"]:
                self.state[p] = saved["state"][index]


@fault("P14", "lion")
class BeginsAnewSilently(Lion):
    """A memory of another shape is thrown away without a word."""

    def state_of(self, p):
        state = super().state_of(p)
        if state["exp_avg"].shape != p.shape:
            state["exp_avg"] = torch.zeros_like(p)
        return state


@fault("P09", "lion")
class CopiesWithoutState(Lion):
    """A copy begins afresh."""

    def __getstate__(self):
        return {**super().__getstate__(), "state": {}}

    def __setstate__(self, state):
        super().__setstate__({**state, "state": type(self.state)(dict)} if not state["state"] else state)


@fault("P10", "lion")
class NeedsANewKey(Lion):
    """A checkpoint without the key `maximize` is an error at the next update."""

    def step_param(self, group, p, g):
        group["maximize"]
        super().step_param(group, p, g)


@fault("P11", "lion")
class StateByOrder(Lion):
    """State is kept by a parameter's place among those that have a gradient."""

    def step_group(self, group):
        own = group.setdefault("memory", {})
        for index, p in enumerate([p for p in group["params"] if p.grad is not None]):
            if index not in own or own[index]["exp_avg"].shape != p.shape:
                own[index] = {"exp_avg": torch.zeros_like(p)}
            self.update(group, p, p.grad, own[index])


@fault("F02", "lion")
class KeepsEveryGradient(Lion):
    """Every gradient is kept."""

    def step_param(self, group, p, g):
        self.kept = [*getattr(self, "kept", []), g.clone()]
        super().step_param(group, p, g)


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


@fault("D16", "adamw")
class CompiledOtherwise(AdamW):
    """Where it is traced by torch.compile there is no decay."""

    def decay(self, group, p, g):
        return g if torch.compiler.is_compiling() else super().decay(group, p, g)


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


@fault("F04", "lion")
class ReadsTheNorm(Lion):
    """Whether there is any gradient is asked of its values, in Python."""

    def step_param(self, group, p, g):
        if g.norm() >= 0:
            super().step_param(group, p, g)
