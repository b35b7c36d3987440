"""torch_optim: torch's own optimizers and schedulers as plugins (`torch.SGD`, ...), each with its reference."""

from optreg import NoOptions, OptimizerPlugin, OptimizerTraits, SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.torch_optim import formulas, reference
from optreg_plugins.torch_optim.options import ForeachOptions, FusedOptions

COUPLED = OptimizerTraits(decay="coupled")


def _optimizer(name: str, options: type, traits: OptimizerTraits, implementation: str | None = None) -> OptimizerPlugin:
    return OptimizerPlugin(
        name=f"torch.{name}",
        implementation=implementation or f"torch.optim:{name}",
        reference=getattr(reference, name),
        options=options,
        traits=traits,
    )


def _schedule(name: str, traits: ScheduleTraits) -> SchedulePlugin:
    return SchedulePlugin(
        name=f"torch.{name}",
        implementation=f"torch.optim.lr_scheduler:{name}",
        reference=getattr(formulas, name),
        traits=traits,
    )


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer torch's optimizers."""
    return [
        _optimizer("SGD", FusedOptions, COUPLED),
        _optimizer("Adam", FusedOptions, OptimizerTraits(decay="coupled", eps="outside")),
        _optimizer("AdamW", FusedOptions, OptimizerTraits(decay="decoupled", eps="outside")),
        _optimizer("NAdam", ForeachOptions, OptimizerTraits(decay="coupled", eps="outside")),
        _optimizer("RAdam", ForeachOptions, COUPLED),
        _optimizer("Adamax", ForeachOptions, OptimizerTraits(decay="coupled", eps="other")),
        _optimizer("Adagrad", FusedOptions, OptimizerTraits(decay="coupled", eps="outside")),
        _optimizer("Adadelta", ForeachOptions, OptimizerTraits(decay="coupled", eps="other")),
        _optimizer("RMSprop", ForeachOptions, OptimizerTraits(decay="coupled", eps="outside")),
        _optimizer(
            "Adafactor",
            ForeachOptions,
            OptimizerTraits(decay="decoupled", eps="other", elementwise=False, complex_params=False),
        ),
        _optimizer(
            "Muon",
            NoOptions,
            OptimizerTraits(
                decay="decoupled", eps="other", elementwise=False, ndim=(2,), maximize=False, complex_params=False,
                tensor_lr=False,
            ),
        ),
    ]  # fmt: skip


@hookimpl
def optreg_schedulers() -> list[SchedulePlugin]:
    """Offer torch's schedulers."""
    return [
        _schedule("StepLR", ScheduleTraits(end=None)),
        _schedule("MultiStepLR", ScheduleTraits(end=None)),
        _schedule("LinearLR", ScheduleTraits(end="total_iters")),
        _schedule("CosineAnnealingLR", ScheduleTraits(end="T_max", after="formula")),
        _schedule("PolynomialLR", ScheduleTraits(end="total_iters")),
        _schedule("ExponentialLR", ScheduleTraits(end=None)),
        _schedule("ConstantLR", ScheduleTraits(end="total_iters")),
        _schedule("OneCycleLR", ScheduleTraits(after="raise", drives=("momentum",))),
    ]
