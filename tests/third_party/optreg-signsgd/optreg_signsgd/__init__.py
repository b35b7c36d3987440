"""signsgd: a step of equal size in every coordinate, along the sign of the gradient."""

from optreg import OptimizerPlugin, OptimizerTraits, hookimpl
from optreg_signsgd import reference


@hookimpl
def optreg_optimizers():
    """Offer `signsgd`."""
    return [
        OptimizerPlugin(
            name="signsgd",
            implementation="optreg_signsgd.optimizer:SignSGD",
            reference=reference.SignSGD,
            traits=OptimizerTraits(decay="decoupled", maximize=False, complex_params=False),
        )
    ]
