"""Faults of what is kept in bfloat16: in the rounding, in the noise, in the state."""

from dataclasses import dataclass
from typing import Literal

import torch

from broken import plugin
from optreg import OptimizerPlugin, OptimizerTraits
from optreg_plugins.lion.reference import Lion as Paper


@dataclass(frozen=True)
class Options:
    """How it is run."""

    execution: Literal["auto", "loop", "compiled"] = "auto"
    stochastic_rounding: bool = False
    state_dtype: Literal["bfloat16"] | None = None
    seed: int = 0


class Low(torch.optim.Optimizer):
    """Lion, right, with state and parameters in bfloat16 where that is asked for."""

    def __init__(
        self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0, *, execution="auto", stochastic_rounding=False,
        state_dtype=None, seed=0,
    ):  # fmt: skip
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "execution": execution}
        defaults |= {"stochastic_rounding": stochastic_rounding, "state_dtype": state_dtype, "seed": seed}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for place, p in enumerate(group["params"]):
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    dtype = torch.bfloat16 if group["state_dtype"] else p.dtype
                    state["exp_avg"] = torch.zeros_like(p, dtype=dtype)
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
        return loss

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


def fault(meant):
    """Add a plugin of a broken class."""

    def add(broken):
        record = OptimizerPlugin(
            name="broken", implementation=f"broken.precision:{broken.__name__}", reference=Paper, options=Options,
            traits=OptimizerTraits(decay="decoupled", complex_params=None),
        )  # fmt: skip
        globals()[broken.__name__] = broken
        plugin(meant, broken.__name__, broken.__doc__, record)
        return broken

    return add


@fault("E01")
class DropsTheLowerBits(Low):
    """What is asked to be rounded at random is rounded towards zero."""

    def noise(self, group, place, state, role, shape):
        return torch.zeros(shape, dtype=torch.int32)


@fault("E01")
class RoundsUpTooOften(Low):
    """The noise has a tail: one value in ten goes up whatever it is."""

    def noise(self, *arguments):
        noise = super().noise(*arguments)
        return torch.where(noise % 10 == 0, 65535, noise)


@fault("E01")
class RoundsToTheNearest(Low):
    """What is asked to be rounded at random is rounded to the nearest."""

    def noise(self, group, place, state, role, shape):
        return torch.full(shape, 0x7FFF, dtype=torch.int32)


@fault("E02")
class NoiseTwiceAsLarge(Low):
    """Values go to one of three numbers, where there are two beside them."""

    def noise(self, *arguments):
        return 2 * super().noise(*arguments) - 0x8000


@fault("E02")
class OneRowOfNoise(Low):
    """All rows of a parameter have one row of noise."""

    def noise(self, group, place, state, role, shape):
        return super().noise(group, place, state, role, shape[-1:]).expand(shape)


@fault("E03")
class NoiseOfTheGlobalGenerator(Low):
    """The noise comes from torch's global generator."""

    def noise(self, group, place, state, role, shape):
        return torch.randint(0, 65536, shape, dtype=torch.int32)


@fault("E03")
class CountsRoundingsInAnAttribute(Low):
    """The number of the update, which the noise is made of, is in no checkpoint."""

    calls = 0

    def noise(self, group, place, state, role, shape):
        self.calls += 1
        return super().noise(group, place, {"step": self.calls}, role, shape)


@fault("E03")
class OneSeedForAll(Low):
    """The seed does not matter."""

    def noise(self, group, *arguments):
        return super().noise({**group, "seed": 0}, *arguments)


@fault("E04")
class RoundsAllParameters(Low):
    """Parameters of any dtype are rounded to bfloat16."""

    def store(self, group, place, state, role, target, wide):
        if role == "p" and group["stochastic_rounding"]:
            wide = wide.bfloat16()
        super().store(group, place, state, role, target, wide)


@fault("E05")
class StateStandsStill(Low):
    """State is rounded to the nearest, so that slow averages end halfway."""

    def noise(self, group, place, state, role, shape):
        return super().noise(group, place, state, role, shape) if role == "p" else torch.full(shape, 0x7FFF)


@fault("E05")
class StateStaysWide(Low):
    """State is kept in the parameter's dtype, whatever is asked for."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["state_dtype"] = None
        return super().step(closure)


@fault("E06")
class ParametersGoThroughTheStatesDtype(Low):
    """Where the state is kept in bfloat16, the parameter is rounded to it as well."""

    def store(self, group, place, state, role, target, wide):
        super().store(group, place, state, role, target, wide.bfloat16() if group["state_dtype"] else wide)


@fault("E07")
class CompiledRoundsToTheNearest(Low):
    """On the compiled path everything is rounded to the nearest."""

    def noise(self, group, place, state, role, shape):
        if group["execution"] == "compiled":
            return torch.full(shape, 0x7FFF, dtype=torch.int32)
        return super().noise(group, place, state, role, shape)


@fault("D19")
class CompiledForgetsTheDecay(Low):
    """On the compiled path there is no decay where the gradient is of another layout than the parameter."""

    def step(self, closure=None):
        odd = any(p.grad is not None and not p.grad.is_contiguous() for g in self.param_groups for p in g["params"])
        kept = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            if odd and group["execution"] == "compiled":
                group["weight_decay"] = 0.0
        loss = super().step(closure)
        for group, decay in zip(self.param_groups, kept, strict=True):
            group["weight_decay"] = decay
        return loss
