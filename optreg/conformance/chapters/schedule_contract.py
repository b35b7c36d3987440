"""Schedule contract: what a schedule promises by its signature and its record."""

import torch
from torch.optim.lr_scheduler import LRScheduler

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_registered
from optreg.conformance.chapters.promises import assert_lazy, assert_one_name, assert_refusals, assert_signature
from optreg.conformance.harness.scheduler_run import make_optimizer
from optreg.conformance.results.causes import INTERFACE
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.conformance.subjects.subject import ScheduleSubject


@check("K11", still=True, hint="the implementation is neither a function of the step nor an LRScheduler")
def check_it_is_a_scheduler(subject: ScheduleSubject) -> None:
    """It is a function of the step or a `torch.optim.lr_scheduler.LRScheduler`, and drives any optimizer."""
    settings = subject.ordinary()
    if subject.traits.pure is not None:
        kinds = {True: "a function of the step", False: "an LRScheduler"}
        said = f"it is {kinds[subject.pure]}, and declared to be {kinds[subject.traits.pure]}"
        subject.assert_true(subject.pure == subject.traits.pure, said)
    if subject.pure:
        schedule = subject.implementation(**subject.own_arguments(settings))
        subject.assert_true(callable(schedule), "what the class constructs is not callable")
    scheduler = subject.make(make_optimizer(subject), **settings)
    reason = f"it is a {type(scheduler).__name__}, not an LRScheduler"
    subject.assert_true(isinstance(scheduler, LRScheduler), reason, likely=INTERFACE)
    adam = torch.optim.AdamW([torch.nn.Parameter(subject.tensor([1.0], torch.float32))], lr=0.5)
    scheduler = subject.make(adam, **settings)
    for t in range(4):
        expected = subject.rate(settings, 0.5, t)
        bound = SCHEDULE_RTOL * abs(expected) + SCHEDULE_ATOL
        lr = float(adam.param_groups[0]["lr"])
        subject.assert_close(lr, expected, bound, "the learning rate of an AdamW", step=t)
        adam.step()
        subject.advance(scheduler, t + 1)


@check("K12", Tier.SHOULD, still=True, needs=unless_registered, hint="the constructor does not check the ranges")
def check_values_out_of_range_are_refused(subject: ScheduleSubject) -> None:
    """A hyperparameter beyond either end of its declared range raises a ValueError."""
    settings = subject.ordinary()
    subject.assert_true(settings is not None, "no settings")
    assert_refusals(subject, lambda **changed: subject.make(make_optimizer(subject), **changed), settings)


@check("K14", Tier.SHOULD, still=True, needs=unless_registered, hint="the constructor has its own defaults")
def check_signature_agrees_with_the_reference(subject: ScheduleSubject) -> None:
    """The constructor has the reference's hyperparameters and defaults, and the reference is documented."""
    sign, lacks = ("lr(", "states no rule of lr(n)") if subject.fed else ("f(", "states no formula f(t)")
    assert_signature(subject, sign, lacks)


@check("K15", Tier.SHOULD, still=True, needs=unless_registered, hint="the plugin's module or schedule imports torch")
def check_importing_the_plugin_is_lazy(subject: ScheduleSubject) -> None:
    """Importing the plugin's module, or a pure schedule, does not import torch, and prints nothing."""
    assert_lazy(subject)
    if subject.pure:
        assert_lazy(subject, subject.implementation.__module__)


@check("K16", still=True, needs=unless_registered, hint="the names in pyproject.toml and in the record differ")
def check_entry_point_and_record_have_one_name(subject: ScheduleSubject) -> None:
    """The entry point and the record have the same name, up to spelling."""
    assert_one_name(subject)
