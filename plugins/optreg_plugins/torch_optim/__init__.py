"""torch_optim: torch's own optimizers and schedulers as plugins (`torch.SGD`, ...), each with its reference."""

from typing import Any

from optreg import NoOptions, OptimizerPlugin, OptimizerTraits, SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.torch_optim import formulas, reference
from optreg_plugins.torch_optim.options import ForeachOptions, FusedOptions


def _optimizer(name: str, options: type, **traits: Any) -> OptimizerPlugin:
    return OptimizerPlugin(
        name=f"torch.{name}",
        implementation=f"torch.optim:{name}",
        reference=getattr(reference, name),
        options=options,
        traits=OptimizerTraits(**traits),
    )


def _schedule(name: str, **traits: Any) -> SchedulePlugin:
    return SchedulePlugin(
        name=f"torch.{name}",
        implementation=f"torch.optim.lr_scheduler:{name}",
        reference=getattr(formulas, name),
        traits=ScheduleTraits(pure=False, **traits),
    )


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer torch's optimizers."""
    return [
        _optimizer("SGD", FusedOptions, decay="coupled"),
        _optimizer("Adam", FusedOptions, decay="coupled", eps="outside"),
        _optimizer("AdamW", FusedOptions, decay="decoupled", eps="outside"),
        _optimizer("NAdam", ForeachOptions, decay="coupled", eps="outside"),
        _optimizer("RAdam", ForeachOptions, decay="coupled"),
        _optimizer("Adamax", ForeachOptions, decay="coupled", eps="other"),
        _optimizer("Adagrad", FusedOptions, decay="coupled", eps="outside"),
        _optimizer("Adadelta", ForeachOptions, decay="coupled", eps="other"),
        _optimizer("RMSprop", ForeachOptions, decay="coupled", eps="outside"),
        _optimizer(
            "Adafactor", ForeachOptions, decay="decoupled", eps="other", elementwise=False, complex_params=False,
        ),
        _optimizer(
            "Muon", NoOptions, decay="decoupled", eps="other", elementwise=False, ndim=(2,), maximize=False,
            complex_params=False, tensor_lr=False,
        ),
    ]  # fmt: skip


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer torch's schedulers."""
    return [
        _schedule("StepLR", end=None),
        _schedule("MultiStepLR", end=None),
        _schedule("LinearLR", end="total_iters"),
        _schedule("CosineAnnealingLR", end="T_max", after="formula"),
        _schedule("PolynomialLR", end="total_iters"),
        _schedule("ExponentialLR", end=None),
        _schedule("ConstantLR", end="total_iters"),
        _schedule("OneCycleLR", after="raise", drives=("momentum",)),
    ]
