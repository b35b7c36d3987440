"""A warm-up before any schedule, and no schedule at all: what a spec says, what is built, what is printed."""

import copy
import json
import pickle
import subprocess
import sys
from textwrap import dedent

import jsonschema
import pytest
import torch
from click.testing import CliRunner
from torch.optim.lr_scheduler import LRScheduler

import optreg
from optreg import SpecError
from optreg.cli import main
from optreg.cli.curve import curve
from optreg.cli.schema import make_schema
from optreg.multipliers import WarmUp

OPTIMIZER = {"name": "adamw", "lr": 1.0}


def build(scheduler=None):
    """A run on one parameter."""
    spec = {"optimizer": OPTIMIZER, **({"scheduler": scheduler} if scheduler else {})}
    return optreg.build(spec, torch.nn.Linear(1, 1, bias=False))


def multiplier(**scheduler):
    return build(scheduler).scheduler.schedule


def run(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes `run.yaml` in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "run.yaml").write_text(dedent(text))
        return "run.yaml"

    return write


HORIZONS = [(0, 10), (1, 2), (3, 10), (10, 10), (7, 1000), (999, 1000)]


@pytest.mark.parametrize(("W", "T"), HORIZONS)
def test_linear_after_a_warmup_is_the_default_of_transformers_to_the_bit(W, T):
    def transformers(step, num_warmup_steps=W, num_training_steps=T):
        """What `get_linear_schedule_with_warmup` hands to LambdaLR (transformers 4.57, optimization.py)."""
        if step < num_warmup_steps:
            return float(step) / float(max(1, num_warmup_steps))
        return max(0.0, float(num_training_steps - step) / float(max(1, num_training_steps - num_warmup_steps)))

    f = multiplier(name="linear", warmup_steps=W, total_steps=T)
    assert [f(t) for t in range(T + 20)] == [transformers(t) for t in range(T + 20)]


@pytest.mark.parametrize(("W", "T"), HORIZONS)
def test_cosine_after_a_warmup_is_warmup_cosine_to_the_bit(W, T):
    for floor in (0.0, 1 / 3, 1.0):
        settings = {"warmup_steps": W, "total_steps": T, "min_lr_ratio": floor}
        f, g = (multiplier(name=name, **settings) for name in ("cosine", "warmup_cosine"))
        assert [f(t) for t in range(T + 20)] == [g(t) for t in range(T + 20)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant", "warmup_steps": 2}, [0, 0.5, 1, 1, 1]),
        ({"name": "exponential", "gamma": 0.5, "warmup_steps": 2}, [0, 0.5, 1, 0.5, 0.25]),
        ({"name": "polynomial", "power": 2.0, "total_steps": 6, "warmup_steps": 2}, [0, 0.5, 1, 0.5625, 0.25, 0.0625, 0, 0]),
        ({"name": "linear", "total_steps": 4, "start_factor": 0.5, "end_factor": 2.0, "warmup_steps": 2}, [0, 0.5, 0.5, 1.25, 2, 2]),
        ({"name": "linear", "total_steps": 2, "end_factor": 0.25, "warmup_steps": 2}, [0, 0.5, 0.25, 0.25]),
        ({"name": "linear", "total_steps": 2, "warmup_steps": 0}, [1, 0.5, 0]),
        ({"name": "linear_warmup", "warmup_steps": 2}, [0, 0.5, 1, 1]),  # its own parameter
    ],
)  # fmt: skip
def test_the_values_worked_out_by_hand(settings, expected):
    f = multiplier(**settings)
    assert [f(t) for t in range(len(expected))] == expected
    assert isinstance(f, WarmUp) == (settings["name"] != "linear_warmup" and settings["warmup_steps"] > 0)


def test_python_calls_and_specs_build_the_same_and_the_resolved_spec_says_it_again():
    scheduler = {"name": "linear", "warmup_steps": 3, "total_steps": 10}
    spec = optreg.load_spec({"optimizer": OPTIMIZER, "scheduler": scheduler})
    assert spec.as_dict()["scheduler"] == {**scheduler, "start_factor": 1.0, "end_factor": 0.0}
    assert optreg.load_spec(spec.as_dict()) == optreg.load_spec(spec) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert "warmup_steps" not in optreg.load_spec(spec, {"scheduler": {"name": "constant"}}).as_dict()["scheduler"]
    by_hand = optreg.scheduler("linear", build().optimizer, warmup_steps=3, total_steps=10)
    assert by_hand.schedule == build(scheduler).scheduler.schedule


def test_a_warmup_from_a_rate_is_a_share_of_the_optimizers_in_python_too():
    scheduler = {"name": "linear", "warmup_steps": 4, "warmup_from": 5e-4, "total_steps": 10}
    spec = {"optimizer": {"name": "adamw", "lr": 1e-3}, "scheduler": scheduler}
    run = optreg.build(spec, torch.nn.Linear(1, 1))
    optimizer = optreg.optimizer("adamw", torch.nn.Linear(1, 1), lr=1e-3)
    own = {key: value for key, value in scheduler.items() if key != "name"}
    by_hand = optreg.scheduler("linear", optimizer, **own)
    assert by_hand.schedule == run.scheduler.schedule
    assert by_hand.get_last_lr() == [5e-4]
    with pytest.raises(SpecError, match=r"'warmup_from' is a rate of 0\.5, 500 times the optimizer's lr"):
        optreg.scheduler("linear", optimizer, **{**own, "warmup_from": 0.5})


@pytest.mark.parametrize("k", [0, 1, 4, 5, 11, 12])  # the joint is at 4, the end at 11
def test_a_run_resumes_exactly_from_one_integer(k):
    scheduler = {"name": "polynomial", "power": 1.5, "warmup_steps": 4, "total_steps": 11}
    whole = build(scheduler)
    for _ in range(k):
        whole.optimizer.step()
        whole.scheduler.step()
    state = json.loads(json.dumps(whole.scheduler.state_dict()))
    assert state["last_epoch"] == k
    resumed, copied = build(scheduler), copy.deepcopy(whole)
    resumed.scheduler.load_state_dict(state)
    jumped = build(scheduler)
    jumped.scheduler.step(k)
    for _ in range(5):
        rates = {each.optimizer.param_groups[0]["lr"] for each in (whole, resumed, copied, jumped)}
        assert len(rates) == 1
        for each in (whole, resumed, copied, jumped):
            each.optimizer.step()
            each.scheduler.step()


@pytest.mark.parametrize("other", [{"warmup_steps": 5}, {"power": 2.0}, {"total_steps": 12}, {"warmup_steps": 0}])
def test_the_checkpoint_of_another_warmup_is_refused(other):
    scheduler = {"name": "polynomial", "power": 1.5, "warmup_steps": 4, "total_steps": 11}
    (key,) = other
    with pytest.raises(optreg.ResumeError, match=rf"scheduler\.{key}: .* in the checkpoint, .* in the spec"):
        build({**scheduler, **other}).scheduler.load_state_dict(build(scheduler).scheduler.state_dict())


def test_a_checkpoint_says_what_the_spec_says():
    scheduler = {"name": "polynomial", "power": 1.5, "warmup_steps": 4, "total_steps": 11, "min_lr_ratio": 0.0}
    assert build(scheduler).scheduler.state_dict()["schedule"] == {**scheduler, "name": "Polynomial"}


def test_a_plain_class_after_a_warmup_leaves_a_checkpoint_of_plain_data(schedule):
    schedule(fields="milestones: tuple[PositiveSteps, ...] = (2, 3)", body="return 1 / (1 + step)")
    run = build({"name": "odd", "warmup_steps": 2})
    state = run.scheduler.state_dict()
    assert json.loads(json.dumps(state)) == state
    assert state["schedule"] == {"name": "Implementation", "warmup_steps": 2, "milestones": [2, 3]}
    assert [run.scheduler.schedule(t) for t in range(4)] == [0, 0.5, 1, 0.5]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("name: linear\n  warmup_steps: 11\n  total_steps: 10", "4:17: linear: warmup_steps (11) must not be more than total_steps (10)"),
        ("name: linear\n  warmup_steps: -1\n  total_steps: 10", "4:17: linear: warmup_steps must be greater than or equal to 0, not -1"),
        ("name: linear\n  warmup_steps: ten\n  total_steps: 10", "4:17: linear: warmup_steps must be a valid integer, not 'ten'"),
        ("name: linear\n  warmup_step: 1\n  total_steps: 10", "4:3: linear has no parameter 'warmup_step'; did you mean 'warmup_steps'?"),
        ("name: torch.StepLR\n  step_size: 3\n  warmup_steps: 1", "5:3: torch.StepLR takes no warmup_steps: it is an LRScheduler, and only a function of the step can begin later"),
        ("name: torch.StepLR\n  step_size: 3\n  warmup_steps: no", "5:17: 'no' is a boolean to some YAML readers"),
        ("null", "2:12: 'scheduler' must be a mapping: 'name: ...' and the hyperparameters, or a list of phases; for constant rates, leave the section out"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_once_with_its_place(file, scheduler, expected):
    path = file(f"optimizer: {{name: adamw}}\nscheduler: {scheduler}" if scheduler == "null" else
                f"optimizer: {{name: adamw}}\nscheduler:\n  {scheduler}")  # fmt: skip
    with pytest.raises(SpecError) as caught:
        optreg.load_spec(path)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"run.yaml:{expected}")


THIRD_PARTY = """
    from dataclasses import dataclass
    from optreg import PositiveSteps, PureSchedule, SchedulePlugin, ScheduleTraits, hookimpl

    @dataclass
    class Reference:
        'One sentence.'
        horizon: PositiveSteps
        decay_steps: PositiveSteps = 4

        def __post_init__(self):
            if self.decay_steps > self.horizon:
                raise ValueError(f"decay_steps ({self.decay_steps}) must not be more than horizon ({self.horizon})")

    class Trapezoid(PureSchedule):
        reference = Reference

        @staticmethod
        def multiplier(t, *, horizon, decay_steps):
            return min(1.0, max(0.0, (horizon - t) / decay_steps))

    @hookimpl
    def optreg_schedulers():
        return [SchedulePlugin(name="trapezoid", implementation="trapezoid:Trapezoid", reference=Reference,
                               traits=ScheduleTraits(end="horizon"))]
"""


def test_a_third_partys_horizon_is_found_by_its_trait_and_its_conditions_hold_for_what_is_left(site, file):
    site.install("trapezoid", THIRD_PARTY, group="optreg.schedulers", names=["trapezoid"])
    f = multiplier(name="trapezoid", warmup_steps=2, horizon=8)
    assert [f(t) for t in range(9)] == [0, 0.5, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    path = file("""\
        optimizer: {name: adamw}
        scheduler:
          name: trapezoid
          warmup_steps: 5
          horizon: 8
    """)
    with pytest.raises(SpecError) as caught:
        optreg.load_spec(path)
    assert str(caught.value) == (
        "run.yaml:4:17: trapezoid: decay_steps (4) must not be more than horizon (3), where horizon is what the warm-up "
        "leaves of it"
    )


def test_a_schedule_without_a_horizon_begins_after_the_warmup(schedule):
    schedule(fields="total_steps: PositiveSteps | None = None", body="return 1 / (1 + step)")
    f = multiplier(name="odd", warmup_steps=2)
    assert [f(t) for t in range(4)] == [0, 0.5, 1, 0.5]


def test_a_third_partys_lr_scheduler_that_does_not_say_so_is_refused_when_it_is_built(schedule):
    schedule("drop", "step_size: PositiveSteps", implementation="torch.optim.lr_scheduler:StepLR")
    scheduler = {"name": "drop", "step_size": 3, "warmup_steps": 1}
    with pytest.raises(SpecError, match="drop takes no warmup_steps"):
        build(scheduler)
    with pytest.raises(optreg.PluginError, match="drop takes no warmup_steps"):
        curve(optreg.load_spec({"optimizer": OPTIMIZER, "scheduler": scheduler}))


def test_commands_know_the_warmup(file):
    path = file("""\
        optimizer: {name: adamw, lr: 1.0}
        scheduler: {name: linear, warmup_steps: 20, total_steps: 100}
    """)
    lines = run("explain", path).output.splitlines()
    assert "scheduler: {name: linear, warmup_steps: 20, total_steps: 100, start_factor: 1.0, end_factor: 0.0}" in lines
    assert "20\t1\twarmup_steps" in lines
    assert run("plot", path, "-o", "lr.svg").exit_code == 0
    assert "warmup_steps\tint\t>= 0\t0" in run("show", "linear").output.splitlines()
    assert "T - W" not in run("show", "warmup_cosine").output.partition("min_lr_ratio\t")[2]
    assert "warmup_steps" not in run("show", "torch.StepLR").output


def test_the_schema_knows_the_warmup_and_the_spec_without_a_schedule():
    schema = jsonschema.Draft202012Validator(make_schema(optreg.default_registry()))
    for scheduler, valid in (
        (None, True),
        ({"name": "linear", "total_steps": 3, "warmup_steps": 2}, True),
        ({"name": "linear", "total_steps": 3, "warmup_steps": -2}, False),
        ({"name": "torch.steplr", "step_size": 3}, True),
        ({"name": "torch.steplr", "step_size": 3, "warmup_steps": 2}, False),
    ):
        section = {"scheduler": scheduler} if scheduler else {}
        assert schema.is_valid({"optimizer": OPTIMIZER, **section}) == valid, scheduler


# No schedule


def test_without_a_schedule_rates_are_constant_and_the_scheduler_is_a_whole_one():
    run = build()
    assert isinstance(run.scheduler, LRScheduler)
    assert run.spec.scheduler is None
    assert run.spec.as_dict().keys() == {"optimizer"}
    assert optreg.load_spec(run.spec) == run.spec
    assert [entry.name for entry in run.plugins] == ["adamw"]
    for _ in range(300):
        assert run.scheduler.get_last_lr() == run.scheduler.get_lr() == [1.0]
        run.optimizer.step()
        run.scheduler.step()
    twin = build()
    twin.scheduler.load_state_dict(json.loads(json.dumps(run.scheduler.state_dict())))
    assert (twin.scheduler.last_epoch, twin.scheduler.base_lrs) == (300, [1.0])
    assert pickle.loads(pickle.dumps(run)).scheduler.last_epoch == copy.deepcopy(run).scheduler.last_epoch == 300


def test_an_observer_is_told_of_a_spec_without_a_schedule(site):
    code = """
        import optreg
        seen = []

        @optreg.hookimpl
        def optreg_built(spec, optimizer, scheduler):
            seen.append((spec.scheduler, type(scheduler).__name__))
    """
    site.install("watcher", code, group="optreg.hooks", names=["watcher"])
    build()
    assert sys.modules["watcher"].seen == [(None, "ScheduleLR")]


def test_commands_say_that_there_is_no_schedule(file):
    path = file("optimizer: {name: adamw, lr: 0.5}\n")
    assert run("validate", path).output == "run.yaml: ok\n"
    lines = run("explain", path).output.splitlines()
    assert "scheduler\tnone: all rates are constant\t\t" in lines
    assert lines[-1] == "0\t0.5\tevery update"
    assert run("plot", path, "-o", "lr.svg").exit_code == 0


def test_a_spec_without_a_schedule_is_read_and_drawn_without_torch(file):
    path = file("optimizer: {name: adamw, lr: 0.5}\n")
    code = (
        "import sys, optreg\nfrom optreg.cli.curve import curve\n"
        f"assert curve(optreg.load_spec({path!r})).at(7) == 0.5\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Absolute rates


def under_rules(lr, **scheduler):
    return {
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "groups": [{"match": "*bias", "lr": lr}],
        "scheduler": scheduler,
    }


@pytest.mark.parametrize(
    ("lr", "scheduler", "message"),
    [
        (1e-5, {"name": "torch.OneCycleLR", "max_lr": 1e-3, "total_steps": 100}, "the lr of this rule has no effect: torch.OneCycleLR gives every group the same rates, up to 0.001"),
        (1e-5, {"name": "torch.CosineAnnealingLR", "T_max": 100, "eta_min": 1e-4}, "torch.CosineAnnealingLR would raise the rate of this rule's group from 1e-05 to 0.0001"),
        (1e-5, {"name": "torch.CosineAnnealingLR", "T_max": 100, "eta_min": 1e-2}, "from 1e-05 to 0.01"),
        (0.0, {"name": "torch.CosineAnnealingLR", "T_max": 100, "eta_min": 1e-6}, "from 0 to 1e-06"),
    ],
)  # fmt: skip
def test_a_rate_of_a_rule_that_the_schedule_overrides_is_an_error_at_its_place(lr, scheduler, message):
    with pytest.raises(SpecError, match=r"^groups\.0\.lr: ") as caught:
        optreg.build(under_rules(lr, **scheduler), torch.nn.Linear(2, 2))
    assert message in str(caught.value)
    # torch does it in silence
    params = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (1e-3, lr)]
    optimizer = torch.optim.AdamW(params)
    settings = {key: value for key, value in scheduler.items() if key != "name"}
    kind = getattr(torch.optim.lr_scheduler, scheduler["name"].removeprefix("torch."))
    theirs = kind(optimizer, **settings)
    for _ in range(99):
        optimizer.step()
        theirs.step()
    assert optimizer.param_groups[1]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"], rel=0.3)


@pytest.mark.parametrize(
    ("lr", "scheduler"),
    [
        (1e-3, {"name": "torch.OneCycleLR", "max_lr": 1e-3, "total_steps": 100}),
        (1e-5, {"name": "torch.CosineAnnealingLR", "T_max": 100, "eta_min": 1e-6}),
        (1e-5, {"name": "torch.CosineAnnealingLR", "T_max": 100}),
        (0.0, {"name": "torch.CosineAnnealingLR", "T_max": 100}),
        (1e-1, {"name": "torch.CosineAnnealingLR", "T_max": 100, "eta_min": 1e-6}),
        (1e-5, {"name": "cosine", "total_steps": 100, "min_lr_ratio": 0.5}),
        (1e-5, {"name": "torch.StepLR", "step_size": 3}),
    ],
)
def test_a_rate_of_a_rule_that_holds_is_left_alone(lr, scheduler):
    assert optreg.build(under_rules(lr, **scheduler), torch.nn.Linear(2, 2))


CYCLE = {"name": "torch.OneCycleLR", "max_lr": 1e-3, "total_steps": 100}


def with_a_rule(optimizer, **own):
    return {"optimizer": optimizer, "groups": [{"match": "*bias", **own}], "scheduler": CYCLE}


def test_a_momentum_of_a_rule_that_the_schedule_overrides_is_an_error_at_its_place():
    of_betas, of_momentum = {"betas": [0.8, 0.9]}, {"momentum": 0.8}
    for optimizer, own, message in (
        ({"name": "adamw", "betas": [0.9, 0.99]}, of_betas, r"groups\.0\.betas: the first of the betas of this rule, 0\.8, has no effect: torch\.OneCycleLR sets it in every group; write the optimizer's value, 0\.9"),
        ({"name": "torch.SGD", "momentum": 0.9}, of_momentum, r"groups\.0\.momentum: the momentum of this rule, 0\.8, has no effect"),
    ):  # fmt: skip
        with pytest.raises(SpecError, match=f"^{message}"):
            optreg.load_spec(with_a_rule(optimizer, **own))
        alone = with_a_rule(optimizer, **own) | {"scheduler": {**CYCLE, "cycle_momentum": False}}
        run = optreg.build(alone, torch.nn.Linear(2, 2))
        for key, value in own.items():
            assert run.optimizer.param_groups[1][key] == (tuple(value) if key == "betas" else value)
    second = optreg.build(with_a_rule({"name": "adamw", "betas": [0.9, 0.99]}, betas=[0.9, 0.5]), torch.nn.Linear(2, 2))
    assert [group["betas"] for group in second.optimizer.param_groups] == [(0.95, 0.99), (0.95, 0.5)]
    assert optreg.load_spec(with_a_rule({"name": "torch.SGD", "momentum": 0.9}, momentum=0.9, weight_decay=0.1))


def test_a_formula_that_ends_the_process_says_nothing_about_rules(schedule):
    schedule(fields="total_steps: PositiveSteps = 9\ndef rate(self, base_lr, t, mp): raise SystemExit")
    assert optreg.load_spec(under_rules(1e-5, name="odd"))


def test_a_formula_that_floats_cannot_evaluate_says_nothing_about_rules(schedule, site):
    schedule(fields="total_steps: PositiveSteps = 9\ndef rate(self, base_lr, t, mp): return mp.zeta(2)")
    assert optreg.load_spec(under_rules(1e-5, name="odd"))


def test_explain_shows_the_rates_that_each_group_will_use(file):
    path = file("""\
        optimizer: {name: adamw, lr: 1e-3}
        groups:
          - match: "*.bias"
            weight_decay: 0
          - match: "backbone.*"
            lr: 1e-5
        scheduler: {name: torch.CosineAnnealingLR, T_max: 50, eta_min: 1e-6}
    """)
    output = run("explain", path).output
    assert output.endswith(
        "learning rate of group\tfirst\tpeak\tlast\n"
        "(all others)\t0.001\t0.001\t1e-06\n"
        "match: backbone.*\t1e-05\t1e-05\t1e-06\n"
    )
    assert "50\t1e-06\tT_max, end" in output.splitlines()


@pytest.mark.parametrize(("body", "rates"), [("1 / (10 - step)", "0.05\t0.5\t0.5"), ("1 / 0", "none\tnone\tnone")])
def test_explain_shows_the_rates_up_to_the_last_one_there_is(schedule, file, body, rates):
    schedule(body=f"return {body}", fields="total_steps: PositiveSteps = 20")
    text = "optimizer: {name: adamw, lr: 1.0}\ngroups: [{match: a, lr: 0.5}]\nscheduler: {name: odd}\n"
    assert run("explain", file(text)).output.splitlines()[-1] == f"match: a\t{rates}"
