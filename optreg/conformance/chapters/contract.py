"""Contract: what an optimizer promises by its signature and its record."""

from functools import partial

import numpy as np
import torch

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.chapters.conditions import unless_registered
from optreg.conformance.chapters.promises import assert_lazy, assert_one_name, assert_refusals, assert_signature, plain
from optreg.conformance.harness.optimizer_run import OptimizerRun
from optreg.conformance.harness.problems import a_parameter
from optreg.conformance.subjects.own_fields import COMMON
from optreg.conformance.subjects.subject import OptimizerSubject


@check("K01", still=True, hint="a hyperparameter is missing from the `defaults` passed to `Optimizer.__init__`")
def check_it_is_an_optimizer(subject: OptimizerSubject) -> None:
    """It is a `torch.optim.Optimizer` whose groups contain every hyperparameter."""
    optimizer = subject.make([a_parameter(subject)], **subject.hostile)
    subject.assert_true(isinstance(optimizer, torch.optim.Optimizer), f"it is a {type(optimizer).__name__}")
    asked = {name: value for name, value in subject.hostile.items() if name in COMMON or not subject.alone}
    for group in optimizer.param_groups:
        for name, value in subject.group_arguments(asked).items():
            likely = f"matches the constructor's {name}, whatever is in the group"
            subject.assert_true(name in group, f"its groups have no '{name}'", likely=likely)
            subject.assert_equal(plain(group[name]), plain(value), f"the group's '{name}'")


@check("K02", Tier.SHOULD, still=True, hint="the constructor does not check the ranges that the reference declares")
def check_values_out_of_range_are_refused(subject: OptimizerSubject) -> None:
    """A hyperparameter beyond either end of its declared range raises a ValueError."""
    assert_refusals(subject, lambda **changed: subject.make([a_parameter(subject)], **changed), subject.hostile)


@check("K03", needs=unless_registered, hint="the record's options or traits are not what the class accepts")
def check_capabilities_are_as_claimed(subject: OptimizerSubject) -> None:
    """Options, `maximize` and a tensor lr are accepted if claimed, and an unclaimed `maximize` is refused."""
    start, grad = np.ones((2, 2)), np.ones((2, 2))
    for name, options in subject.paths.items():
        if name == "compiled":  # takes seconds; D15 judges it
            continue
        run = OptimizerRun(subject, [start], **options)
        run.step([grad])
        subject.assert_true(np.all(run.values()[0] != start), f"nothing moves on path {name}")
    if subject.can_maximize:
        OptimizerRun(subject, [start], maximize=True).step([grad])
    else:
        make = partial(OptimizerRun, subject, [start], maximize=True)
        subject.assert_raises(make, TypeError, "maximize, which is not claimed,")
    if subject.traits.tensor_lr:
        OptimizerRun(subject, [start], lr=subject.tensor(0.1)).step([grad])


@check("K04", Tier.SHOULD, still=True, needs=unless_registered, hint="the constructor has its own defaults")
def check_signature_agrees_with_the_reference(subject: OptimizerSubject) -> None:
    """The constructor has the reference's hyperparameters and defaults, and the reference is documented."""
    assert_signature(subject, "(", "has no source and no equations")


@check("K05", Tier.SHOULD, still=True, needs=unless_registered, hint="name the class as `module:Class` in the record")
def check_importing_the_plugin_is_lazy(subject: OptimizerSubject) -> None:
    """Importing the plugin's module does not import torch, and prints nothing."""
    assert_lazy(subject)


@check("K06", still=True, needs=unless_registered, hint="the names in pyproject.toml and in the record differ")
def check_entry_point_and_record_have_one_name(subject: OptimizerSubject) -> None:
    """The entry point and the record have the same name, up to spelling."""
    assert_one_name(subject)
