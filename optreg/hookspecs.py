"""The hooks that a plugin module may implement.

    from optreg import OptimizerPlugin, hookimpl

    @hookimpl
    def optreg_optimizers():
        return [OptimizerPlugin(name="lion", implementation="my_package.optimizer:Lion", reference=reference.Lion)]

A module is found by the entry point that names it, and imported when somebody asks for that name.
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
    """Return more chapters of conformance checks. Heard in modules of the entry-point group `optreg.hooks` alone."""
    raise NotImplementedError


@hookspec
def optreg_built(spec: Spec, optimizer: "lazy_types.Optimizer", scheduler: "lazy_types.LRScheduler") -> None:
    """Observe what `optreg.build` has just built: log it, count it. The result is ignored."""
