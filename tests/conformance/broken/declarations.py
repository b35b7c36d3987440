"""Faults of what a plugin declares: references, traits, signatures, names."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from broken import plugin
from optreg import (
    Decay,
    NonNegative,
    NoOptions,
    OptimizerPlugin,
    OptimizerTraits,
    PointwiseOptions,
    PositiveSteps,
    SchedulePlugin,
    ScheduleTraits,
)
from optreg_plugins.adamw.reference import AdamW
from optreg_plugins.lion.reference import Lion
from optreg_plugins.schedules.reference import WarmupCosine

LION = "optreg_plugins.lion.optimizer:Lion"
ADAMW = "optreg_plugins.adamw.optimizer:AdamW"
WARMUP = "optreg_plugins.schedules.schedule:WarmupCosine"


def optimizer(
    meant, name, sentence, implementation=LION, reference=Lion, *, entry="", module="optreg_plugins.lion", **traits
):
    """Add an optimizer that is at odds with its reference, its traits, or its entry point."""
    record = OptimizerPlugin(
        name="broken",
        implementation=implementation,
        reference=reference,
        options=PointwiseOptions if implementation in (LION, ADAMW) else NoOptions,
        traits=OptimizerTraits(**traits),
    )
    plugin(meant, name, sentence, record, entry=entry, module=module)


def schedule(
    meant, name, sentence, implementation=WARMUP, reference=WarmupCosine, *, entry="", peak="warmup_steps", **more
):
    """Add a schedule that is at odds with its formula, its traits or its entry point."""
    traits = ScheduleTraits(peak=peak, **more)
    record = SchedulePlugin(name="broken", implementation=implementation, reference=reference, traits=traits)
    plugin(meant, name, sentence, record, entry=entry)


class WrongClosedForm(AdamW):
    """AdamW (Loshchilov & Hutter 2019), with a closed form that forgets the decay."""

    def constant_gradient(self, theta, g, t, mp):
        return theta - t * self.lr * g / (abs(g) + self.eps)


optimizer("Q01", "WrongClosedForm", "The reference and its closed form disagree.", ADAMW, WrongClosedForm)


class Imprecise(Lion):
    """Lion (Chen et al. 2023), computed in float32."""

    def trajectory(self, theta):
        run = super().trajectory(theta)
        g = yield next(run)
        while True:
            theta, state = run.send(g)
            g = yield theta.astype(np.float32).astype(np.float64) if theta.dtype == np.float64 else theta, state


optimizer("Q02", "Imprecise", "The reference rounds to float32.", LION, Imprecise)


class WritesToItsInput(Lion):
    """Lion (Chen et al. 2023), in place."""

    def trajectory(self, theta):
        m = np.zeros_like(theta)
        g = yield theta, {"exp_avg": m}
        while True:
            b1, b2 = self.betas
            theta -= self.lr * (np.sign(b1 * m + (1 - b1) * g) + self.weight_decay * theta)
            m = b2 * m + (1 - b2) * g
            g = yield theta, {"exp_avg": m}


optimizer("Q03", "WritesToItsInput", "The reference works in place.", LION, WritesToItsInput)


class IgnoresDecay(Lion):
    """Lion (Chen et al. 2023), without decay."""

    def trajectory(self, theta):
        self.weight_decay = 0.0
        return super().trajectory(theta)


optimizer("Q04", "ReferenceIgnoresDecay", "The reference ignores weight_decay.", LION, IgnoresDecay)


class Retold(Lion):
    """Lion (Chen et al. 2023), whose subclasses tell another state."""

    def trajectory(self, theta):
        run = super().trajectory(theta)
        theta, state = next(run)
        while True:
            g = yield theta, self.told(state)
            theta, state = run.send(g)


class OtherState(Retold):
    """Lion (Chen et al. 2023), whose memory is told at another scale."""

    def told(self, state):
        return {"exp_avg": 2 * state["exp_avg"]}


optimizer("M03", "OtherState", "The state is not what the reference says.", LION, OtherState)


class NoState(Retold):
    """Lion (Chen et al. 2023), whose memory is not told."""

    def told(self, state):
        return {}


optimizer("S05", "UndeclaredState", "There is more state than the reference declares.", LION, NoState)
optimizer("F01", "UndeclaredMemory", "The state is larger than the reference declares.", LION, NoState)


@dataclass
class Nesterov:
    """Momentum with a switch (Nesterov 1983): v = beta v + (1 - beta) g; theta -= eta (v, or a look ahead)."""

    lr: NonNegative = 1e-3
    momentum: Decay = 0.9
    nesterov: bool = False

    def trajectory(self, theta):
        v = np.zeros_like(theta)
        g = yield theta, {"momentum_buffer": v}
        while True:
            b = self.momentum
            v = b * v + (1 - b) * g
            theta = theta - self.lr * (b * v + (1 - b) * g if self.nesterov else v)
            g = yield theta, {"momentum_buffer": v}


optimizer("M17", "IgnoresASwitch", "`nesterov` is taken and ignored.", "broken.declared:IgnoresNesterov", Nesterov)
optimizer(
    "M27", "EpsElsewhere", "Eps is declared to stand inside the root, and stands outside.", ADAMW, AdamW, eps="inside"
)
optimizer("M05", "DecayOtherwise", "Decay is declared to be coupled, and is not.", ADAMW, AdamW, decay="coupled")
optimizer(
    "D09", "RefusesComplex", "Complex parameters are claimed, and updated as if real.", "broken.textbook:AdamW", AdamW
)
optimizer("K03", "ClaimsMaximize", "`maximize` is not claimed, and taken.", maximize=False)
optimizer(
    "K04", "OtherSignature", "The constructor's defaults are not the reference's.", "broken.declared:OtherDefaults"
)
optimizer("K05", "EagerModule", "Importing the plugin imports torch.", module="broken.textbook")
optimizer("K06", "OtherName", "The entry point has another name than the record.", entry="another")
optimizer(
    "S01", "ClaimsToCountByGroup", "Updates are declared to be counted by group, and are not.", ADAMW, AdamW,
    counter="group",
)  # fmt: skip
optimizer("M20", "ClaimsRandomness", "Randomness is declared, and not used.", random=True)


class IgnoresFloor(WarmupCosine):
    """f(t) that ignores its floor."""

    def multiplier(self, t, mp):
        return WarmupCosine(self.warmup_steps, self.total_steps).multiplier(t, mp)


class NeverHolds(WarmupCosine):
    """f(t) that goes on falling after its end."""

    def multiplier(self, t, mp):
        return super().multiplier(t, mp) / (1 + max(0, t - self.total_steps))


LOOSE = "broken.declared:LooseWarmupCosine"

schedule("Q11", "FormulaIgnoresFloor", "The formula ignores min_lr_ratio.", reference=IgnoresFloor)
schedule("Q12", "FormulaFallsOn", "The formula falls on after its end, and is declared to hold.", reference=NeverHolds)
schedule("K12", "ScheduleTakesAnything", "No value is refused.", LOOSE)
schedule("K14", "ScheduleOtherDefaults", "The schedule's default is not the formula's.", LOOSE)
schedule("K15", "ScheduleImportsTorch", "A schedule that is a function imports torch.", LOOSE)
schedule("K16", "ScheduleOtherName", "The entry point has another name than the record.", entry="another")
schedule("L19", "ScheduleRemembers", "A schedule that is a function counts its calls.", "broken.declared:Remembers")
schedule("L20", "ScheduleOnlyForwards", "A schedule goes on from where it was.", "broken.declared:OnlyForwards")
schedule("K11", "MakesNoFunction", "It makes something that cannot be called.", "broken.declared:NoFunction")
schedule("K11", "ClaimsAnLRScheduler", "A function of the step is declared to be an LRScheduler.", pure=False)


@dataclass
class Geometric:
    """f(t) = r^(t / T), and r from T on, with T = total_steps and r = min_lr_ratio."""

    total_steps: PositiveSteps
    min_lr_ratio: Annotated[float, Gt(0), Le(1)] = 0.1

    def multiplier(self, t, mp):
        return mp.mpf(self.min_lr_ratio) ** min(mp.mpf(t) / self.total_steps, 1)


schedule("W01", "RaisesAtItsEnd", "It has no value at its last step.", "broken.declared:RaisesAtItsEnd", after="raise")
schedule(
    "W02", "ClaimsNotToTurn", "A curve that rises and falls is declared to go to a level.", levels=("min_lr_ratio",)
)
schedule(
    "W03", "LevelThatBends", "A declared level changes the shape of the curve.", "broken.declared:Geometric", Geometric,
    peak=None, levels=("min_lr_ratio",),
)  # fmt: skip
schedule("W04", "NoSuchLevel", "A level is declared that is no hyperparameter.", levels=("floor",))
