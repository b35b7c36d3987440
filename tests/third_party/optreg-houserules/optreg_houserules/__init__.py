"""House rules: chapters of conformance checks for optreg."""

from optreg import CheckPlugin, hookimpl


@hookimpl
def optreg_checks():
    """The chapters, whose modules the suite imports."""
    return [
        CheckPlugin(module="optreg_houserules.optimizers", kind="optimizer"),
        CheckPlugin(module="optreg_houserules.schedules", kind="scheduler"),
    ]
