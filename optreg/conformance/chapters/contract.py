"""Contract: what an optimizer promises by its signature and its declaration."""

import inspect
import subprocess
import sys
from functools import partial

import numpy as np
import torch
from torch.nn import Parameter

from optreg.conformance.catalogue import Tier, check
from optreg.conformance.following import shapes_for
from optreg.conformance.problems import out_of_range
from optreg.conformance.rig import Rig
from optreg.conformance.subject import OptimizerSubject, Subject
from optreg.entries import normalised
from optreg.hyperparameters import defaults, names


def _not_registered(subject: OptimizerSubject) -> str | None:
    return None if subject.registered else "it is no registered plugin"


@check("K01", still=True, hint="a hyperparameter is not among the `defaults` that `Optimizer.__init__` is given")
def check_it_is_an_optimizer(subject: OptimizerSubject) -> None:
    """It is a `torch.optim.Optimizer` whose groups hold every hyperparameter."""
    judge = subject.judge
    shape = shapes_for(subject, [(3,)])[0]
    optimizer = subject.make([Parameter(torch.ones(shape))], **subject.hostile)
    judge.that(isinstance(optimizer, torch.optim.Optimizer), f"it makes a {type(optimizer).__name__}")
    for group in optimizer.param_groups:
        for name, value in subject.group_arguments(subject.hostile).items():
            judge.that(name in group, f"its groups have no '{name}'")
            judge.equal(plain(group[name]), plain(value), f"the group's '{name}'")


def plain(value: object) -> object:
    """A tuple for a list, and a number for a tensor that holds one."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return tuple(value) if isinstance(value, list) else value


@check("K02", Tier.SHOULD, still=True, hint="the constructor does not check the ranges that the reference declares")
def check_values_out_of_range_are_refused(subject: OptimizerSubject) -> None:
    """Each hyperparameter beyond each end of its declared range is a ValueError."""
    judge = subject.judge
    shape = shapes_for(subject, [(3,)])[0]
    for name, value in out_of_range(subject.reference):
        if name not in subject.fixed:
            settings = {**subject.hostile, name: value}
            make = partial(subject.make, [Parameter(torch.ones(shape))], **settings)
            judge.raises(make, ValueError, f"{name}={value!r}")


@check(
    "K03",
    needs=_not_registered,
    hint="the record's options or traits claim what the class does not do, or leave out what it does",
)
def check_capabilities_are_as_claimed(subject: OptimizerSubject) -> None:
    """Options, `maximize` and tensor lr are taken where they are claimed, and refused where they are not."""
    judge = subject.judge
    start, grad = np.ones((2, 2)), np.ones((2, 2))
    for name, options in subject.paths.items():
        if name == "compiled":  # which takes seconds, and is looked at by D15
            continue
        rig = Rig(subject, [start], **options)
        rig.step([grad])
        judge.that(np.all(rig.values()[0] != start), f"nothing moves on path {name}")
    if subject.can_maximize:
        Rig(subject, [start], maximize=True).step([grad])
    else:
        judge.raises(partial(Rig, subject, [start], maximize=True), TypeError, "maximize, which is not claimed,")
    if subject.traits.tensor_lr:
        Rig(subject, [start], lr=torch.tensor(0.1, dtype=torch.float64)).step([grad])


@check(
    "K04",
    Tier.SHOULD,
    still=True,
    needs=_not_registered,
    hint="a default is written a second time in the constructor: quote the reference's",
)
def check_signature_agrees_with_the_reference(subject: OptimizerSubject) -> None:
    """The constructor takes the reference's hyperparameters by name, with its defaults; the reference is documented."""
    judge = subject.judge
    taken = inspect.signature(subject.implementation).parameters
    given = defaults(subject.reference)
    for name in names(subject.reference):
        judge.that(name in taken, f"the constructor takes no '{name}'")
        default = taken[name].default
        if name in given:
            judge.equal(plain(default), given[name], f"the constructor's default of '{name}'", of="the reference's is")
    text = inspect.getdoc(subject.reference) or ""
    judge.that(len(text) > 40 and "(" in text, "the reference's docstring names no source and no equations")


@check(
    "K05",
    Tier.SHOULD,
    still=True,
    needs=_not_registered,
    hint='the plugin\'s module imports its implementation: name it as "module:Class" in the record',
)
def check_importing_the_plugin_is_lazy(subject: OptimizerSubject) -> None:
    """Importing the plugin's module imports no torch and prints nothing."""
    assert subject.registration
    judge_lazy(subject, subject.registration.entry.module)


def judge_lazy(subject: Subject, module: str) -> None:
    """Import a module in an interpreter of its own, and see what it brings along."""
    judge = subject.judge
    code = f"import sys, importlib; importlib.import_module({module!r}); print('torch' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    judge.that(run.returncode == 0, f"importing '{module}' alone fails: {run.stderr.strip().splitlines()[-1:]}")
    judge.equal(run.stdout.strip(), "False", f"whether importing '{module}' prints anything or imports torch")


@check(
    "K06",
    still=True,
    needs=_not_registered,
    hint="the entry point in pyproject.toml and the record bear different names",
)
def check_entry_point_and_record_have_one_name(subject: OptimizerSubject) -> None:
    """The entry point and the record bear the same name, however it is spelt."""
    judge = subject.judge
    assert subject.registration
    name = normalised(subject.registration.plugin.name)
    judge.equal(name, subject.registration.entry.name, "the record's name", of="the entry point's is")
