"""adamw: Adam with weight decay decoupled from the gradient."""

from optreg import OptimizerPlugin, OptimizerTraits, hookimpl
from optreg_plugins.adamw import reference
from optreg_plugins.options import FusedOptions


@hookimpl
def optreg_optimizers() -> list[OptimizerPlugin]:
    """Offer `adamw`."""
    return [
        OptimizerPlugin(
            name="adamw",
            implementation="optreg_plugins.adamw.optimizer:AdamW",
            reference=reference.AdamW,
            options=FusedOptions,
            traits=OptimizerTraits(
                decay="decoupled", eps="outside", complex_params=True, tensor_lr=True, temporaries=0.0
            ),
        )
    ]
