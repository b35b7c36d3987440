"""adamw: Adam with weight decay decoupled from the gradient."""

from optreg import FusedPointwiseOptions, OptimizerPlugin, OptimizerTraits, hookimpl
from optreg_plugins.adamw import reference


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `adamw`."""
    return [
        OptimizerPlugin(
            name="adamw",
            implementation="optreg_plugins.adamw.optimizer:AdamW",
            reference=reference.AdamW,
            options=FusedPointwiseOptions,
            traits=OptimizerTraits(
                decay="decoupled", eps="outside", complex_params=True, tensor_lr=True, temporaries=0.0
            ),
        )
    ]
