"""rmsprop: the gradient over the root of a moving average of its square."""

from optreg import OptimizerPlugin, OptimizerTraits, PointwiseOptions, hookimpl
from optreg_plugins.rmsprop import reference


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `rmsprop`."""
    return [
        OptimizerPlugin(
            name="rmsprop",
            implementation="optreg_plugins.rmsprop.optimizer:RMSprop",
            reference=reference.RMSprop,
            options=PointwiseOptions,
            traits=OptimizerTraits(eps="outside", complex_params=True, tensor_lr=True, temporaries=1.0),
        )
    ]
