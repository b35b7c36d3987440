"""lion: the sign of an interpolated momentum, with decoupled weight decay."""

from optreg import OptimizerPlugin, OptimizerTraits, PointwiseOptions, hookimpl
from optreg_plugins.lion import reference


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `lion`."""
    return [
        OptimizerPlugin(
            name="lion",
            implementation="optreg_plugins.lion.optimizer:Lion",
            reference=reference.Lion,
            options=PointwiseOptions,
            traits=OptimizerTraits(decay="decoupled", complex_params=True, tensor_lr=True, temporaries=1.0),
        )
    ]
