"""Schedule metrics: what a schedule makes of the metric that drives it.

That its rates follow the rule, and that it resumes, is asked by the other chapters, whose steps bring metrics too.
"""

from typing import Any

import torch
from torch import Tensor

from optreg.conformance.catalogue import check
from optreg.conformance.chapters.conditions import unless
from optreg.conformance.harness.schedule_corners import corners_for
from optreg.conformance.harness.scheduler_run import SchedulerRun
from optreg.conformance.subjects.metrics import code, metric
from optreg.conformance.subjects.subject import ScheduleSubject

_unless_stepped = unless(lambda subject: subject.fed, "it is not driven by a metric")


@check("L24", needs=_unless_stepped, hint="`step` has a default for the metric, or counts before it looks at it")
def check_a_step_without_its_metric(subject: ScheduleSubject) -> None:
    """A step without a metric raises an error, and changes nothing."""
    run, plain = SchedulerRun(subject), SchedulerRun(subject)
    for _ in range(subject.reach(run.settings)):
        subject.assert_raises(run.scheduler.step, Exception, "a step without a metric")
        run.assert_same(plain, "after a step without a metric", of="without it, it is")
        run.step()
        plain.step()
        run.assert_same(plain, "after a step without a metric and one with it", of="without the former, it is")


@check("L25", needs=_unless_stepped, hint="the metric is kept and compared as it was given: take `float(metric)` of it")
def check_metrics_of_any_type(subject: ScheduleSubject) -> None:
    """A metric in a tensor, or an integer, does what its number does, and no checkpoint has the tensor."""
    for settings in corners_for(subject):
        run, plain = SchedulerRun(subject, settings), SchedulerRun(subject, settings)
        for n in range(1, subject.reach(settings) + 1):
            value, text = metric(n), code(n)
            if value.is_integer():
                run.feed(int(value), repr(int(value)))
            else:
                run.feed(torch.tensor(value, dtype=torch.float64), f"torch.tensor({text}, dtype=torch.float64)")
            plain.step()
            run.assert_same(plain, f"after the metric {text} of another type", of="with a float it is")
            for name, kept in run.scheduler.state_dict().items():
                subject.assert_true(not _tensors(kept), f"{name!r} in its checkpoint has a metric in a tensor", step=n)


def _tensors(value: Any) -> bool:
    """Whether there is a tensor in a value of a checkpoint."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, Tensor) or any(map(_tensors, items))
