"""Faults that show in other ways of use only: paths, containers, many parameters, closures, gradients kept, long runs."""

import torch

from broken import fault
from broken.textbook import Adam, AdamW, Lion, Momentum, RMSprop


@fault("M29", "adamw")
class ZeroIsNotGiven(AdamW):
    """A first decay rate of zero is taken for one that was not given."""

    def means(self, group, state, g, t):
        beta1, beta2 = group["betas"]
        super().means({**group, "betas": (beta1 or 0.9, beta2)}, state, g, t)


@fault("M29", "adamw")
class ListsAreNotGiven(AdamW):
    """A list of decay rates, as JSON has them, is taken for none given."""

    def step_group(self, group):
        betas = group["betas"] if isinstance(group["betas"], tuple) else (0.9, 0.999)
        super().step_group({**group, "betas": betas})


@fault("M29", "rmsprop")
class KeepsTheGradientItself(RMSprop):
    """Where nothing is averaged, the memory is the gradient, squared in place."""

    def update(self, group, p, g, state):
        if group["alpha"] == 0:
            state["square_avg"] = g.square_()
            p.addcdiv_(g.sqrt(), self.denominator(group, state), value=-float(group["lr"]))
        else:
            super().update(group, p, g, state)


@fault("M30", "adamw")
class RestsAtNoLearningRate(AdamW):
    """At a learning rate of zero the means stand still too."""

    def step_group(self, group):
        if group["lr"] != 0:
            super().step_group(group)


@fault("M30", "adamw")
class DecaysByTheInitialRate(AdamW):
    """The decay goes by the rate that a scheduler noted as the initial one."""

    def decay(self, group, p, g):
        p.mul_(1 - group.get("initial_lr", group["lr"]) * group["weight_decay"])
        return g


@fault("M31", "adamw")
class CountsInFloat16(AdamW):
    """The step count is a float16, which stands still at 2048."""

    def count(self, group, state):
        state["step"] = (state["step"].half() + 1).float() if float(state["step"]) < 2048 else state["step"]
        return int(state["step"])


@fault("M31", "adam")
class ForgetsAfterAThousand(Adam):
    """After a thousand updates the first moment begins anew."""

    def count(self, group, state):
        t = super().count(group, state)
        if t % 1000 == 0:
            state["exp_avg"].zero_()
        return t


@fault("G11", "lion")
class GoesThroughParametersFirst(Lion):
    """The constructor goes through the parameters before torch does, which uses a generator up."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        self.count = sum(1 for _ in params)
        super().__init__(params, lr, betas, weight_decay)


@fault("G12", "lion")
class ForgetsARemainder(Lion):
    """Parameters are worked on fifty at a time, and those that are left over are not."""

    def step_group(self, group):
        params = [p for p in group["params"] if p.grad is not None]
        whole = len(params) // 50 * 50 if len(params) > 50 else len(params)
        for p in params[:whole]:
            self.step_param(group, p, p.grad)


@fault("G12", "lion")
class EndsAtAnEmptyGroup(Lion):
    """The update ends at a group that has no parameter with a gradient."""

    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        with torch.no_grad():
            for group in self.param_groups:
                if all(p.grad is None for p in group["params"]) and len(self.param_groups) > 2:
                    break
                self.step_group(group)
        return loss


@fault("S13", "lion")
class Seeds(Lion):
    """The constructor seeds torch's random numbers."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        torch.manual_seed(0)
        super().__init__(params, lr, betas, weight_decay)


@fault("S13", "momentum")
class Thaws(Momentum):
    """Frozen parameters are made trainable."""

    def __init__(self, params, lr=1e-3, momentum=0.9):
        super().__init__(params, lr, momentum)
        for group in self.param_groups:
            for p in group["params"]:
                p.requires_grad_(True)


@fault("S14", "momentum")
class RemembersTheTensor(Momentum):
    """A gradient that is the tensor it was before is taken for one that was seen already."""

    def step_param(self, group, p, g):
        seen = self.__dict__.setdefault("seen", {})
        if seen.get(p) is not g:
            seen[p] = g
            super().step_param(group, p, g)

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}


@fault("S15", "lion")
class ClearsTheFirstGroup(Lion):
    """`zero_grad` clears the first group alone."""

    def zero_grad(self, set_to_none=True):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.grad = None if set_to_none else p.grad.zero_()


@fault("C09", "lion")
class NeedsALoss(Lion):
    """What a closure returns is made a number."""

    def step(self, closure=None):
        loss = super().step(closure)
        return loss if closure is None else torch.as_tensor(float(loss))


@fault("C08", "adamw")
class DecaysNotWhileTheClosureRuns(AdamW):
    """Weight decay is set to zero while a closure runs, and stays so when that raises."""

    def step(self, closure=None):
        kept = [group["weight_decay"] for group in self.param_groups]
        if closure is None:
            return super().step()
        for group in self.param_groups:
            group["weight_decay"] = 0.0
        loss = torch.enable_grad()(closure)()
        for group, decay in zip(self.param_groups, kept, strict=True):
            group["weight_decay"] = decay
        super().step()
        return loss


@fault("P16", "lion")
class StateThatIsThereWins(Lion):
    """Loading keeps the state of parameters that have one already."""

    def load_state_dict(self, state_dict):
        kept = {p: dict(state) for p, state in self.state.items()}
        super().load_state_dict(state_dict)
        self.state.update(kept)


@fault("P17", "lion")
class FirstGroupForAllOnLoading(Lion):
    """Loading gives every group the learning rate of the first."""

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["lr"] = self.param_groups[0]["lr"]


class Foreach(Lion):
    """Right, with a foreach path to spoil."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, maximize=False, foreach=False):
        super().__init__(params, lr, betas, weight_decay, maximize)
        for group in self.param_groups:
            group.setdefault("foreach", foreach)
        self.defaults["foreach"] = foreach


@fault("D17", "lion")
class ForeachMinimizes(Foreach):
    """The foreach path knows no `maximize`."""

    def step_param(self, group, p, g):
        super().step_param({**group, "maximize": False} if group["foreach"] else group, p, g)


@fault("D18", "lion")
class ForeachReadsTheMemory(Foreach):
    """The foreach path reads gradients in the order of their memory."""

    def step_param(self, group, p, g):
        if group["foreach"] and not g.is_contiguous() and g.is_non_overlapping_and_dense():
            g = g.as_strided(g.shape, torch.empty(g.shape).stride())
        super().step_param(group, p, g)
