"""Schedule contract: what a schedule promises by its signature and its declaration."""

import inspect
from functools import partial

import torch
from torch.optim.lr_scheduler import LRScheduler

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.contract import judge_lazy
from optreg.conformance.chapters.schedule_mathematics import ordinary
from optreg.conformance.probe import BASE_LRS, make_optimizer
from optreg.conformance.problems import out_of_range
from optreg.conformance.subject import ScheduleSubject
from optreg.conformance.tolerance import SCHEDULE_ATOL, SCHEDULE_RTOL
from optreg.entries import normalised
from optreg.hyperparameters import defaults, names


def _not_registered(subject: ScheduleSubject) -> str | None:
    return None if subject.registration is not None and not subject.target.like else "it is no registered plugin"


@check("K11", still=True, hint="the implementation is neither a function of the step nor an LRScheduler")
def check_it_is_a_scheduler(subject: ScheduleSubject) -> None:
    """It is a function of the step, or a `torch.optim.lr_scheduler.LRScheduler`, and drives any optimizer."""
    judge = subject.judge
    settings = ordinary(subject)
    if subject.pure:
        judge.that(
            callable(subject.implementation(**subject.own_arguments(settings))), "it makes nothing that can be called"
        )
    scheduler = subject.make(make_optimizer(BASE_LRS), **settings)
    judge.that(isinstance(scheduler, LRScheduler), f"it makes a {type(scheduler).__name__}, no LRScheduler")
    adam = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    scheduler = subject.make(adam, **settings)
    for t in range(4):
        expected = subject.rate(settings, 0.5, t)
        bound = SCHEDULE_RTOL * abs(expected) + SCHEDULE_ATOL
        judge.close(float(adam.param_groups[0]["lr"]), expected, bound, "the learning rate of an AdamW", step=t)
        adam.step()
        scheduler.step()


@check(
    "K12",
    Tier.SHOULD,
    still=True,
    needs=_not_registered,
    hint="the constructor does not check the ranges that the reference declares",
)
def check_values_out_of_range_are_refused(subject: ScheduleSubject) -> None:
    """Each hyperparameter beyond each end of its declared range is a ValueError."""
    judge = subject.judge
    settings = ordinary(subject)
    judge.that(settings is not None, "no settings")
    for name, value in out_of_range(subject.reference):
        make = partial(subject.make, make_optimizer(BASE_LRS), **{**settings, name: value})
        judge.raises(make, ValueError, f"{name}={value!r}")


@check(
    "K14",
    Tier.SHOULD,
    still=True,
    needs=_not_registered,
    hint="a default is written a second time in the constructor: quote the reference's",
)
def check_signature_agrees_with_the_reference(subject: ScheduleSubject) -> None:
    """The constructor takes the reference's hyperparameters by name, with its defaults; the reference is documented."""
    judge = subject.judge
    taken = inspect.signature(subject.implementation).parameters
    given = defaults(subject.reference)
    for name in names(subject.reference):
        judge.that(name in taken, f"the constructor takes no '{name}'")
        if name in given:
            judge.equal(
                taken[name].default, given[name], f"the constructor's default of '{name}'", of="the reference's is"
            )
    text = inspect.getdoc(subject.reference) or ""
    judge.that(len(text) > 40 and "f(" in text, "the reference's docstring states no formula f(t)")


@check(
    "K15",
    Tier.SHOULD,
    still=True,
    needs=_not_registered,
    hint="the plugin's module imports its implementation, or the schedule imports torch",
)
def check_importing_the_plugin_is_lazy(subject: ScheduleSubject) -> None:
    """Importing the plugin's module, and a schedule that is a function, imports no torch and prints nothing."""
    assert subject.registration
    judge_lazy(subject, subject.registration.entry.module)
    if subject.pure:
        judge_lazy(subject, subject.implementation.__module__)


@check(
    "K16",
    still=True,
    needs=_not_registered,
    hint="the entry point in pyproject.toml and the record bear different names",
)
def check_entry_point_and_record_have_one_name(subject: ScheduleSubject) -> None:
    """The entry point and the record bear the same name, however it is spelt."""
    assert subject.registration
    judge = subject.judge
    name = normalised(subject.registration.plugin.name)
    judge.equal(name, subject.registration.entry.name, "the record's name", of="the entry point's is")
