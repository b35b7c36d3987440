"""Contract: what an optimizer promises by its signature and its declaration."""

import inspect
from functools import partial

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_registered
from optreg.conformance.chapters.promises import assert_lazy, assert_one_name, assert_signature, plain
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import shapes_for
from optreg.conformance.subjects.settings import out_of_range
from optreg.conformance.subjects.subject import OptimizerSubject


@check("K01", still=True, hint="a hyperparameter is not among the `defaults` that `Optimizer.__init__` is given")
def check_it_is_an_optimizer(subject: OptimizerSubject) -> None:
    """It is a `torch.optim.Optimizer` whose groups hold every hyperparameter."""
    shape = shapes_for(subject, [(3,)])[0]
    optimizer = subject.make([Parameter(subject.tensor(np.ones(shape), torch.float32))], **subject.hostile)
    subject.assert_true(isinstance(optimizer, torch.optim.Optimizer), f"it makes a {type(optimizer).__name__}")
    for group in optimizer.param_groups:
        for name, value in subject.group_arguments(subject.hostile).items():
            subject.assert_true(name in group, f"its groups have no '{name}'")
            subject.assert_equal(plain(group[name]), plain(value), f"the group's '{name}'")


@check("K02", Tier.SHOULD, still=True, hint="the constructor does not check the ranges that the reference declares")
def check_values_out_of_range_are_refused(subject: OptimizerSubject) -> None:
    """Each hyperparameter beyond each end of its declared range is a ValueError."""
    shape = shapes_for(subject, [(3,)])[0]
    for name, value in out_of_range(subject.reference):
        if name not in subject.fixed:
            settings = {**subject.hostile, name: value}
            make = partial(subject.make, [Parameter(subject.tensor(np.ones(shape), torch.float32))], **settings)
            subject.assert_raises(make, ValueError, f"{name}={value!r}")


@check(
    "K03",
    needs=unless_registered,
    hint="the record's options or traits claim what the class does not do, or leave out what it does",
)
def check_capabilities_are_as_claimed(subject: OptimizerSubject) -> None:
    """Options, `maximize` and tensor lr are taken where they are claimed, and refused where they are not."""
    start, grad = np.ones((2, 2)), np.ones((2, 2))
    for name, options in subject.paths.items():
        if name == "compiled":  # which takes seconds, and is looked at by D15
            continue
        run = OptimizerRun(subject, [start], **options)
        run.step([grad])
        subject.assert_true(np.all(run.values()[0] != start), f"nothing moves on path {name}")
    if subject.can_maximize:
        OptimizerRun(subject, [start], maximize=True).step([grad])
    else:
        subject.assert_raises(
            partial(OptimizerRun, subject, [start], maximize=True), TypeError, "maximize, which is not claimed,"
        )
    if subject.traits.tensor_lr:
        OptimizerRun(subject, [start], lr=subject.tensor(0.1)).step([grad])


@check(
    "K04",
    Tier.SHOULD,
    still=True,
    needs=unless_registered,
    hint="a default is written a second time in the constructor: quote the reference's",
)
def check_signature_agrees_with_the_reference(subject: OptimizerSubject) -> None:
    """The constructor takes the reference's hyperparameters by name, with its defaults; the reference is documented."""
    assert_signature(subject)
    text = inspect.getdoc(subject.reference) or ""
    subject.assert_true(len(text) > 40 and "(" in text, "the reference's docstring names no source and no equations")


@check(
    "K05",
    Tier.SHOULD,
    still=True,
    needs=unless_registered,
    hint='the plugin\'s module imports its implementation: name it as "module:Class" in the record',
)
def check_importing_the_plugin_is_lazy(subject: OptimizerSubject) -> None:
    """Importing the plugin's module imports no torch and prints nothing."""
    assert subject.registration
    assert_lazy(subject, subject.registration.entry.module)


@check(
    "K06",
    still=True,
    needs=unless_registered,
    hint="the entry point in pyproject.toml and the record bear different names",
)
def check_entry_point_and_record_have_one_name(subject: OptimizerSubject) -> None:
    """The entry point and the record bear the same name, however it is spelt."""
    assert_one_name(subject)
