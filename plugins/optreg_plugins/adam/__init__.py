"""adam: momentum over the root of the mean square, both corrected for starting at zero."""

from optreg import FusedPointwiseOptions, OptimizerPlugin, OptimizerTraits, hookimpl
from optreg_plugins.adam import reference


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `adam`."""
    return [
        OptimizerPlugin(
            name="adam",
            implementation="optreg_plugins.adam.optimizer:Adam",
            reference=reference.Adam,
            options=FusedPointwiseOptions,
            traits=OptimizerTraits(
                decay="coupled", eps="outside", complex_params=True, tensor_lr=True, temporaries=0.0
            ),
        )
    ]
