"""signsgd, signum: a step of equal size in every coordinate, along the sign of the gradient or of its average."""

from optreg import OptimizerPlugin, OptimizerTraits, PointwiseOptions, hookimpl
from optreg_signsgd import reference


@hookimpl
def optreg_optimizers():
    """Offer `signsgd` and `signum`."""
    return [
        OptimizerPlugin(
            name="signsgd",
            implementation="optreg_signsgd.optimizer:SignSGD",
            reference=reference.SignSGD,
            traits=OptimizerTraits(decay="decoupled", maximize=False, complex_params=False),
        ),
        OptimizerPlugin(
            name="signum",
            implementation="optreg_signsgd.signum:Signum",
            reference=reference.Signum,
            options=PointwiseOptions,
            traits=OptimizerTraits(decay="decoupled", complex_params=True, tensor_lr=True),
        ),
    ]
