"""Cost: memory and objects."""

import gc

import numpy as np
import torch
from torch import Tensor

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.following import shapes_for, undeclared_state
from optreg.conformance.rig import Rig
from optreg.conformance.subject import OptimizerSubject
from optreg.conformance.twin import Twin


@check(
    "F01",
    Tier.SHOULD,
    needs=undeclared_state,
    hint="the reference declares other state than the optimizer keeps, or in another dtype",
)
def check_state_is_as_large_as_declared(subject: OptimizerSubject) -> None:
    """The state takes as many bytes per parameter as the reference's tensors do in the parameter's dtype."""
    judge = subject.judge
    shape = shapes_for(subject, [(64, 32)])[-1]
    rig = Rig(subject, [np.ones(shape)], dtype=torch.float32)
    rig.step([np.ones(shape)])
    twin = Twin(subject, [np.ones(shape)], torch.float32)
    twin.step([np.ones(shape)])
    declared = sum(4 * np.asarray(value).size for value in twin.now[0][1].values() if np.asarray(value).ndim)
    used = sum(
        value.untyped_storage().nbytes() for value in rig.state(0).values() if isinstance(value, Tensor) and value.ndim
    )
    judge.equal(used, declared, "the state's bytes", of="the reference declares")


@check("F02", Tier.SHOULD, hint="something is appended in every update, and never let go")
def check_no_object_is_left_behind(subject: OptimizerSubject) -> None:
    """100 updates leave no more live tensors behind than the first few."""
    judge = subject.judge
    shape = shapes_for(subject, [(8, 8)])[-1]
    rig = Rig(subject, [np.ones(shape)] * 3)
    grads = [np.ones(shape)] * 3

    def alive(updates: int) -> int:
        for _ in range(updates):
            for param, grad in zip(rig.params, grads, strict=True):
                param.grad = torch.tensor(grad)
            rig.step_again()
        gc.collect()
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())

    few, many = alive(5), alive(100)
    judge.that(many <= few, "updates leave tensors behind", measured=float(many), bound=float(few))
