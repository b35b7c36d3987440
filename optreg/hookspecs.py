"""The hooks that a plugin module may implement.

    from optreg import OptimizerPlugin, hookimpl

    @hookimpl
    def optreg_optimizers():
        return [OptimizerPlugin(name="lion", implementation="my_package.optimizer:Lion", reference=reference.Lion)]

An entry point names the module, which is imported when its name is first used.
"""

from collections.abc import Iterable

import pluggy

from optreg import lazy_types
from optreg.records import CheckPlugin, OptimizerPlugin, SchedulePlugin
from optreg.spec import Spec

hookspec = pluggy.HookspecMarker("optreg")
hookimpl = pluggy.HookimplMarker("optreg")


@hookspec
def optreg_optimizers() -> Iterable[OptimizerPlugin]:
    """Return the optimizers that this module offers."""
    raise NotImplementedError


@hookspec
def optreg_schedulers() -> Iterable[SchedulePlugin]:
    """Return the schedules that this module offers."""
    raise NotImplementedError


@hookspec
def optreg_checks() -> Iterable[CheckPlugin]:
    """Return further chapters of conformance checks. Called only for the entry-point group `optreg.hooks`."""
    raise NotImplementedError


@hookspec
def optreg_built(spec: Spec, optimizer: "lazy_types.Optimizer", scheduler: "lazy_types.LRScheduler") -> None:
    """Observe what `optreg.build` has just built, for instance to log it. The result is ignored.

    `spec.scheduler` is None if the spec names no schedule; the scheduler then keeps all rates constant. It is an
    `optreg.Timeline` if the spec has a list of phases.
    """
