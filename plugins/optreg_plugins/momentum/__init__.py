"""momentum: gradient descent along a moving average of the gradients."""

from optreg import OptimizerPlugin, OptimizerTraits, hookimpl
from optreg_plugins.momentum import reference
from optreg_plugins.options import ForeachOptions


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `momentum`."""
    return [
        OptimizerPlugin(
            name="momentum",
            implementation="optreg_plugins.momentum.optimizer:Momentum",
            reference=reference.Momentum,
            options=ForeachOptions,
            traits=OptimizerTraits(complex_params=True, tensor_lr=True, temporaries=0.0),
        )
    ]
