"""torch's own optimizers and schedulers, judged: what fails is a finding, listed here with its reason, and nothing else."""

import pytest
import torch

import optreg
from optreg.conformance import Status, Target, Tier, checks
from optreg.conformance.catalogue import of_tier
from optreg.conformance.running.check import judge
from optreg.conformance.subjects.target import kind_of
from optreg.requirements import missing
from optreg_plugins import torch_optim

ISSUES = "https://github.com/pytorch/pytorch/issues/"

SHARED = {
    "P04": f"load_state_dict keeps the tensors of the checkpoint, and writes to them: {ISSUES}196083",
}
HALF = {
    "D04": f"in float16 eps=1e-8 is zero, and so is the square of a small gradient: {ISSUES}147437",
}
LAID = {
    "D18": "fused assumes that parameter, gradient and state lie in one order, and is wrong where they do not",
}
SCHEDULER = {
    "K12": "torch checks no hyperparameter of a scheduler",
    "X02": f"base_lrs is a list made at construction: a group added later keeps its rate, silently: {ISSUES}79888",
    "X09": f"step() warns where a gradient scaler rightly left out the first update: {ISSUES}44511",
}

FOLLOWING = [
    "M02", "M04", "M05", "M06", "M08", "M09", "M11", "M17", "M19", "M21", "M22", "M23", "M25", "M28", "M29", "M30",
    "M31", "M34", "S01", "S06", "S09", "S14", "G02", "G03", "G05", "G10", "G12", "G13", "G14", "D01", "D07", "D08", "D11", "D12", "P11",
]  # fmt: skip
"""The checks that compare parameters with the reference in float64."""

RESUMING = [
    "P01", "P02", "P05", "P06", "P07", "P10", "P15", "P16", "P17", "P19", "P20", "P21", "P22", "P24", "P25", "P26",
]  # fmt: skip
"""The checks that compare a resumed run with the uninterrupted one."""

RECURSIVE = "made on a loaded optimizer it scales the group's rate, which is scaled already, once more"

NADAM = "mu_product is a float32 tensor, so that float64 parameters are right to eight digits only"
NADAM_RESUME = "mu_product is cast to the parameter's dtype on loading, so that a resumed run differs"
MUON = "the update is orthogonalised in bfloat16, whatever the parameters are"

EXPECTED = {
    "torch.SGD": {
        **SHARED,
        **LAID,
        **dict.fromkeys(
            ["D15", "D17", "M32", "P12", "P18", "P19", "P20"],
            "fused raises TypeError where some parameters have their first gradient late",
        ),
    },
    "torch.Adam": {**SHARED, **HALF, **LAID},
    "torch.AdamW": {**SHARED, **HALF, **LAID},
    "torch.NAdam": {
        **SHARED,
        **HALF,
        **dict.fromkeys([*FOLLOWING, "M03", "D05", "D06", "D09", "D15", "D17", "D18", "P12"], NADAM),
        **dict.fromkeys(RESUMING, NADAM_RESUME),
    },
    "torch.RAdam": {**SHARED, **HALF},
    "torch.Adamax": {**SHARED},
    "torch.Adagrad": {
        **SHARED,
        **HALF,
        **LAID,
        **dict.fromkeys(
            ["G01", "G02", "G03", "G12", "D17"],
            "initial_accumulator_value is the constructor's in every group, whatever the group says",
        ),
    },
    "torch.Adadelta": {**SHARED},
    "torch.RMSprop": {
        **SHARED,
        **HALF,
        "M17": "centered subtracts two nearly equal means: 1.01 times the bound in one element after twelve updates",
    },
    "torch.Adafactor": {
        **SHARED,
        **dict.fromkeys(["D06", "D17"], "an empty parameter is a ZeroDivisionError"),
        "D14": "row_var times col_var overflows float32 at |g| = 1e15, and the update is zero",
        "F04": "the root mean square of the parameter, which the step is scaled by, is read back by `.item()`",
        "P10": "a checkpoint without the key `maximize` is a KeyError at the next update",
    },
    "torch.Muon": {
        **SHARED,
        **dict.fromkeys([*FOLLOWING, "D02", "D14", "D16"], MUON),
        "K02": "a negative eps, and ns_steps out of range, are not refused when it is made",
    },
    "torch.StepLR": {name: SCHEDULER[name] for name in ("K12", "X09")},
    "torch.MultiStepLR": {**SCHEDULER, "R07": "milestones are a Counter, whose keys JSON makes text"},
    "torch.LinearLR": {**SCHEDULER, "R13": RECURSIVE},
    "torch.CosineAnnealingLR": SCHEDULER,
    "torch.PolynomialLR": SCHEDULER,
    "torch.ExponentialLR": SCHEDULER,
    "torch.ConstantLR": {**SCHEDULER, "R13": RECURSIVE},
    "torch.OneCycleLR": SCHEDULER,
}


@pytest.fixture(autouse=True)
def only_what_this_torch_has(request):
    """Skip the tests of a component that the installed torch lacks."""
    name = getattr(getattr(request.node, "callspec", None), "params", {}).get("name")
    if name and (lacking := missing("optreg", name)):
        pytest.skip(f"{name} is not available: it needs {lacking}")


@pytest.mark.no_cover
@pytest.mark.parametrize("name", EXPECTED)
def test_what_fails_is_what_is_expected_to_and_nothing_else(name):
    target = Target(name)
    verdicts = [judge(target, check) for check in of_tier(checks(kind_of(target)), Tier.SHOULD)]
    found = {verdict.check: str(verdict.finding) for verdict in verdicts if verdict.status is Status.FAILED}
    unexpected = {check: finding for check, finding in found.items() if check not in EXPECTED[name]}
    assert not unexpected
    assert found.keys() == EXPECTED[name].keys(), "what was expected to fail has passed"


def test_every_one_is_judged():
    offered = [*torch_optim.optreg_optimizers(), *torch_optim.optreg_schedulers()]
    assert [plugin.name for plugin in offered] == list(EXPECTED)


SETTINGS = {
    "torch.StepLR": {"step_size": 3},
    "torch.MultiStepLR": {"milestones": [3, 5]},
    "torch.CosineAnnealingLR": {"T_max": 10},
    "torch.ExponentialLR": {"gamma": 0.9},
    "torch.OneCycleLR": {"max_lr": 0.1, "total_steps": 20},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_one_is_built_from_yaml(name, tmp_path):
    settings = "".join(f", {key}: {value}" for key, value in SETTINGS.get(name, {}).items())
    optimizer, scheduler = ("torch.SGD, momentum: 0.9", name + settings) if name.endswith("LR") else (name, "constant")
    spec = tmp_path / "run.yaml"
    spec.write_text(f"optimizer: {{name: {optimizer}}}\nscheduler: {{name: {scheduler}}}\n")
    run = optreg.build(spec, torch.nn.Linear(2, 2, bias=False))
    assert type(run.optimizer) is getattr(torch.optim, optimizer.partition(",")[0].removeprefix("torch."))
    if name.endswith("LR"):
        assert isinstance(run.scheduler, getattr(torch.optim.lr_scheduler, name.removeprefix("torch.")))
