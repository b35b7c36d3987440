"""momentum: gradient descent along a moving average of the gradients."""

from optreg import OptimizerPlugin, OptimizerTraits, PointwiseOptions, hookimpl
from optreg_plugins.momentum import reference


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `momentum`."""
    return [
        OptimizerPlugin(
            name="momentum",
            implementation="optreg_plugins.momentum.optimizer:Momentum",
            reference=reference.Momentum,
            options=PointwiseOptions,
            traits=OptimizerTraits(complex_params=True, tensor_lr=True, temporaries=0.0),
        )
    ]
