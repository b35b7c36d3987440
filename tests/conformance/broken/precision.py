"""Faults of what is kept in bfloat16: in the rounding, in the noise, in the state."""

from dataclasses import dataclass
from typing import Literal

import torch

from broken import plugin, replacing
from broken.textbook import Textbook
from optreg import OptimizerPlugin, OptimizerTraits
from optreg_plugins.lion.reference import Lion as Paper


@dataclass(frozen=True)
class Options:
    """How it is run."""

    execution: Literal["auto", "loop", "compiled"] = "auto"
    stochastic_rounding: bool = False
    state_dtype: Literal["bfloat16"] | None = None
    seed: int = 0


class Low(Textbook):
    """Lion, right, with state and parameters in bfloat16 where that is asked for."""

    def __init__(
        self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, execution="auto", stochastic_rounding=False,
        state_dtype=None, seed=0,
    ):  # fmt: skip
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "execution": execution}
        defaults |= {"stochastic_rounding": stochastic_rounding, "state_dtype": state_dtype, "seed": seed}
        super().__init__(params, defaults)

    def step_group(self, group):
        beta1, beta2 = group["betas"]
        for place, p in enumerate(group["params"]):
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state["exp_avg"] = torch.zeros_like(p, dtype=torch.bfloat16 if group["state_dtype"] else p.dtype)
                if group["stochastic_rounding"] or group["state_dtype"]:
                    state["step"] = torch.zeros(())
            if "step" in state:
                state["step"] += 1
            wide = torch.promote_types(p.dtype, torch.float32)
            theta, g, m = p.to(wide), p.grad.to(wide), state["exp_avg"].to(wide)
            c = m + (g - m) * (1 - beta1)
            theta = theta - group["lr"] * (c.sign() + group["weight_decay"] * theta)
            m = m + (g - m) * (1 - beta2)
            self.store(group, place, state, "p", p, theta)
            self.store(group, place, state, "m", state["exp_avg"], m)

    def load_state_dict(self, state_dict):
        how = [{key: group[key] for key in ("execution", "seed", "state_dtype")} for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, options in zip(self.param_groups, how, strict=True):
            group.update(options)
            for p in group["params"]:
                if p in self.state and group["state_dtype"]:
                    self.state[p]["exp_avg"] = self.state[p]["exp_avg"].bfloat16()

    def store(self, group, place, state, role, target, wide):
        asked = group["stochastic_rounding"] if role == "p" else group["stochastic_rounding"] or group["state_dtype"]
        if target.dtype is torch.bfloat16 and asked:
            bits = wide.float().view(torch.int32) + self.noise(group, place, state, role, wide.shape)
            wide = (bits & ~0xFFFF).view(torch.float32)
        target.copy_(wide)

    def noise(self, group, place, state, role, shape):
        seed = ((group["seed"] * 7919 + place) * 7919 + int(state["step"])) * 2 + (role == "m")
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 65536, shape, dtype=torch.int32, generator=generator)


def low_plugin(name):
    """The record of a class of this module."""
    traits = OptimizerTraits(decay="decoupled", complex_params=None)
    return OptimizerPlugin(
        name="broken", implementation=f"broken.precision:{name}", reference=Paper, options=Options, traits=traits
    )


def fault_in(meant, method):
    """Add a plugin whose class is `Low`, but for one method: the decorated function, which gives the class its name."""

    def add(wrong):
        plugin(meant, wrong.__name__, wrong.__doc__, low_plugin(wrong.__name__))
        return replacing(Low, method, wrong)

    return add


@fault_in("E01", "noise")
def DropsTheLowerBits(self, group, place, state, role, shape):
    """What is asked to be rounded at random is rounded towards zero."""
    return torch.zeros(shape, dtype=torch.int32)


@fault_in("E01", "noise")
def RoundsUpTooOften(self, *arguments):
    """The noise has a tail: one value in ten goes up whatever it is."""
    noise = Low.noise(self, *arguments)
    return torch.where(noise % 10 == 0, 65535, noise)


@fault_in("E01", "noise")
def RoundsToTheNearest(self, group, place, state, role, shape):
    """What is asked to be rounded at random is rounded to the nearest."""
    return torch.full(shape, 0x7FFF, dtype=torch.int32)


@fault_in("E02", "noise")
def NoiseTwiceAsLarge(self, *arguments):
    """Values go to one of three numbers, where there are two beside them."""
    return 2 * Low.noise(self, *arguments) - 0x8000


@fault_in("E02", "noise")
def OneRowOfNoise(self, group, place, state, role, shape):
    """All rows of a parameter have one row of noise."""
    return Low.noise(self, group, place, state, role, shape[-1:]).expand(shape)


@fault_in("E03", "noise")
def NoiseOfTheGlobalGenerator(self, group, place, state, role, shape):
    """The noise comes from torch's global generator."""
    return torch.randint(0, 65536, shape, dtype=torch.int32)


@fault_in("E03", "noise")
def CountsRoundingsInAnAttribute(self, group, place, state, role, shape):
    """The number of the update, which the noise is made of, is in no checkpoint."""
    self.calls = getattr(self, "calls", 0) + 1
    return Low.noise(self, group, place, {"step": self.calls}, role, shape)


@fault_in("E03", "noise")
def OneSeedForAll(self, group, *arguments):
    """The seed does not matter."""
    return Low.noise(self, {**group, "seed": 0}, *arguments)


@fault_in("E04", "store")
def RoundsAllParameters(self, group, place, state, role, target, wide):
    """Parameters of any dtype are rounded to bfloat16."""
    if role == "p" and group["stochastic_rounding"]:
        wide = wide.bfloat16()
    Low.store(self, group, place, state, role, target, wide)


@fault_in("E05", "noise")
def StateStandsStill(self, group, place, state, role, shape):
    """State is rounded to the nearest, so that slow averages end halfway."""
    return Low.noise(self, group, place, state, role, shape) if role == "p" else torch.full(shape, 0x7FFF)


@fault_in("E05", "step")
def StateStaysWide(self, closure=None):
    """State is kept in the parameter's dtype, whatever is asked for."""
    for group in self.param_groups:
        group["state_dtype"] = None
    return Low.step(self, closure)


@fault_in("E05", "store")
def ParametersGoThroughTheStatesDtype(self, group, place, state, role, target, wide):
    """Where the state is kept in bfloat16, the parameter is rounded to it as well."""
    Low.store(self, group, place, state, role, target, wide.bfloat16() if group["state_dtype"] else wide)


@fault_in("E07", "noise")
def CompiledRoundsToTheNearest(self, group, place, state, role, shape):
    """On the compiled path everything is rounded to the nearest."""
    if group["execution"] == "compiled":
        return torch.full(shape, 0x7FFF, dtype=torch.int32)
    return Low.noise(self, group, place, state, role, shape)


@fault_in("D19", "step")
def CompiledForgetsTheDecay(self, closure=None):
    """On the compiled path there is no decay where the gradient is of another layout than the parameter."""
    odd = any(p.grad is not None and not p.grad.is_contiguous() for g in self.param_groups for p in g["params"])
    kept = [group["weight_decay"] for group in self.param_groups]
    for group in self.param_groups:
        if odd and group["execution"] == "compiled":
            group["weight_decay"] = 0.0
    loss = Low.step(self, closure)
    for group, decay in zip(self.param_groups, kept, strict=True):
        group["weight_decay"] = decay
    return loss
