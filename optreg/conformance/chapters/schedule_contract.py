"""Schedule contract: what a schedule promises by its signature and its declaration."""

import inspect
from functools import partial

import torch
from torch.optim.lr_scheduler import LRScheduler

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_registered
from optreg.conformance.chapters.promises import assert_lazy, assert_one_name, assert_signature
from optreg.conformance.harness.scheduler_run import make_optimizer
from optreg.conformance.results.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.conformance.subjects.settings import out_of_range
from optreg.conformance.subjects.subject import ScheduleSubject


@check("K11", still=True, hint="the implementation is neither a function of the step nor an LRScheduler")
def check_it_is_a_scheduler(subject: ScheduleSubject) -> None:
    """It is a function of the step, or a `torch.optim.lr_scheduler.LRScheduler`, and drives any optimizer."""
    settings = subject.ordinary()
    if subject.pure:
        subject.assert_true(
            callable(subject.implementation(**subject.own_arguments(settings))), "it makes nothing that can be called"
        )
    scheduler = subject.make(make_optimizer(subject), **settings)
    subject.assert_true(isinstance(scheduler, LRScheduler), f"it makes a {type(scheduler).__name__}, no LRScheduler")
    adam = torch.optim.AdamW([torch.nn.Parameter(subject.tensor([1.0], torch.float32))], lr=0.5)
    scheduler = subject.make(adam, **settings)
    for t in range(4):
        expected = subject.rate(settings, 0.5, t)
        bound = SCHEDULE_RTOL * abs(expected) + SCHEDULE_ATOL
        subject.assert_close(
            float(adam.param_groups[0]["lr"]), expected, bound, "the learning rate of an AdamW", step=t
        )
        adam.step()
        scheduler.step()


@check(
    "K12",
    Tier.SHOULD,
    still=True,
    needs=unless_registered,
    hint="the constructor does not check the ranges that the reference declares",
)
def check_values_out_of_range_are_refused(subject: ScheduleSubject) -> None:
    """Each hyperparameter beyond each end of its declared range is a ValueError."""
    settings = subject.ordinary()
    subject.assert_true(settings is not None, "no settings")
    for name, value in out_of_range(subject.reference):
        make = partial(subject.make, make_optimizer(subject), **{**settings, name: value})
        subject.assert_raises(make, ValueError, f"{name}={value!r}")


@check(
    "K14",
    Tier.SHOULD,
    still=True,
    needs=unless_registered,
    hint="a default is written a second time in the constructor: quote the reference's",
)
def check_signature_agrees_with_the_reference(subject: ScheduleSubject) -> None:
    """The constructor takes the reference's hyperparameters by name, with its defaults; the reference is documented."""
    assert_signature(subject)
    text = inspect.getdoc(subject.reference) or ""
    subject.assert_true(len(text) > 40 and "f(" in text, "the reference's docstring states no formula f(t)")


@check(
    "K15",
    Tier.SHOULD,
    still=True,
    needs=unless_registered,
    hint="the plugin's module imports its implementation, or the schedule imports torch",
)
def check_importing_the_plugin_is_lazy(subject: ScheduleSubject) -> None:
    """Importing the plugin's module, and a schedule that is a function, imports no torch and prints nothing."""
    assert subject.registration
    assert_lazy(subject, subject.registration.entry.module)
    if subject.pure:
        assert_lazy(subject, subject.implementation.__module__)


@check(
    "K16",
    still=True,
    needs=unless_registered,
    hint="the entry point in pyproject.toml and the record bear different names",
)
def check_entry_point_and_record_have_one_name(subject: ScheduleSubject) -> None:
    """The entry point and the record bear the same name, however it is spelt."""
    assert_one_name(subject)
