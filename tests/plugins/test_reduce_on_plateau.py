"""reduce_on_plateau: values worked out by hand, torch's own beside it, and runs that are built, saved and resumed."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

import optreg
from optreg.cli import main

SPEC = {
    "optimizer": {"name": "adamw", "lr": 0.1},
    "groups": [{"match": "bias", "lr": 0.01}],
    "scheduler": {"name": "reduce_on_plateau", "patience": 1, "factor": 0.5},
}


def made(lrs=(1.0,), implementation=None, **settings):
    """A scheduler on an optimizer of these rates."""
    implementation = implementation or optreg.default_registry().scheduler("reduce_on_plateau").implementation()
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return implementation(torch.optim.SGD(groups), **settings)


def rates(scheduler, metrics):
    """The first group's rate after each metric."""
    found = []
    for metric in metrics:
        scheduler.step(metric)
        found.append(float(scheduler.optimizer.param_groups[0]["lr"]))
    return found


def built(*overrides, **on_resume):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    return optreg.build(SPEC, model, overrides, on_resume=on_resume)


def stepped(run, metrics):
    for metric in metrics:
        for param in itertools.chain(*(group["params"] for group in run.optimizer.param_groups)):
            param.grad = torch.ones_like(param)
        run.optimizer.step()
        run.scheduler.step(metric)
    return [group["lr"] for group in run.optimizer.param_groups]


HALF = {"factor": 0.5, "threshold": 0.0}


@pytest.mark.parametrize(
    ("settings", "metrics", "expected"),
    [
        ({"patience": 0}, [3, 2, 2, 1, 1, 1], [1, 1, 0.5, 0.5, 0.25, 0.125]),
        ({"patience": 2}, [3, 3, 3, 3, 3, 3, 3], [1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 2, 2, 2, 2], [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 0, "mode": "max"}, [1, 2, 2, 1, 3], [1, 1, 0.5, 0.25, 0.25]),
        ({"patience": 0, "threshold": 0.25}, [4, 3, 2.5, 2], [1, 0.5, 0.5, 0.25]),
        ({"patience": 0, "threshold": 0.5, "threshold_mode": "abs"}, [4, 3.5, 3.25], [1, 0.5, 0.5]),
        ({"patience": 0, "min_lr": 0.375}, [3, 3, 3, 3], [1, 0.5, 0.375, 0.375]),
        ({"patience": 0, "min_lr": 2.0}, [3, 3], [1, 1]),
        ({"patience": 0, "eps": 0.25}, [3, 3, 3, 3], [1, 0.5, 0.5, 0.5]),
        ({"patience": 0}, [math.nan, math.nan, 3, math.nan, math.inf, 2], [0.5, 0.25, 0.25, 0.125, 0.0625, 0.0625]),
    ],
)
def test_the_rates_are_those_worked_out_by_hand(settings, metrics, expected):
    assert rates(made(**{**HALF, **settings}), metrics) == expected


metrics = st.lists(
    st.one_of(st.integers(-3, 6).map(lambda n: n / 4), st.sampled_from([math.nan, math.inf])), max_size=40
)


@given(
    metrics,
    st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.sampled_from([0.1, 0.5, 0.9]),
            "patience": st.integers(0, 3),
            "threshold": st.sampled_from([0.0, 1e-4, 0.25]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
            "cooldown": st.integers(0, 3),
            "min_lr": st.sampled_from([0.0, 0.2]),
            "eps": st.sampled_from([1e-8, 0.1]),
        }
    ),
    st.integers(0, 40),
)
def test_it_does_what_torchs_own_does_resumed_at_any_metric(sequence, settings, at):
    theirs = rates(made(implementation=ReduceLROnPlateau, **settings), sequence)
    scheduler = made(**settings)
    found = rates(scheduler, sequence[:at])
    resumed = made(patience=7)
    resumed.optimizer.load_state_dict(scheduler.optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert found + rates(resumed, sequence[at:]) == theirs


def test_every_group_is_lowered_to_the_floor_that_is_the_same_for_all():
    scheduler = made((1.0, 0.5, 0.1), patience=0, factor=0.5, min_lr=0.2)
    rates(scheduler, [1.0, 1.0])
    assert scheduler.get_last_lr() == [0.5, 0.25, 0.1]
    rates(scheduler, [1.0, 1.0])
    assert scheduler.get_last_lr() == [0.2, 0.2, 0.1]


def test_a_rate_that_somebody_has_changed_is_where_it_goes_on():
    scheduler = made(patience=0, factor=0.5)
    rates(scheduler, [1.0, 1.0])
    scheduler.optimizer.param_groups[0]["lr"] = 0.75
    assert rates(scheduler, [0.5, 0.5]) == [0.75, 0.375]


def test_trainers_know_that_its_steps_take_a_metric():
    assert isinstance(made(), ReduceLROnPlateau)


def test_the_state_is_plain_and_complete():
    scheduler = made(patience=3, cooldown=1)
    rates(scheduler, [torch.tensor(2.0), 3.0])
    settings = {"mode": "min", "factor": 0.1, "patience": 3, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 1}
    assert scheduler.state_dict() == {
        **settings, "min_lr": 0.0, "eps": 1e-8, "last_epoch": 2, "best": 2.0, "stale": 1, "paused": 0,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [(), (None,), (1.0, 3)])
def test_a_step_without_a_metric_says_what_to_write(wrong):
    scheduler = made()
    with pytest.raises(TypeError, match=r"is driven by a metric alone: call scheduler.step\(validation_loss\)"):
        scheduler.step(*wrong)
    assert scheduler.state_dict()["last_epoch"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, "factor must be less than 1"),
        ({"factor": 0.0}, "factor must be greater than 0"),
        ({"patience": -1}, "patience must be greater than or equal to 0"),
        ({"mode": "auto"}, "mode must be 'min' or 'max'"),
        ({"threshold": 1.0}, "choose a threshold below 1"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)


def test_a_checkpoint_that_is_damaged_changes_nothing():
    scheduler = made(patience=0)
    rates(scheduler, [2.0])
    before = scheduler.state_dict()
    for damage in ({"factor": 2.0}, {"mode": "best"}):
        with pytest.raises(ValueError, match=next(iter(damage))):
            scheduler.load_state_dict({**before, **damage})
    with pytest.raises(KeyError, match="stale"):
        scheduler.load_state_dict({key: value for key, value in before.items() if key != "stale"})
    assert scheduler.state_dict() == before


def test_a_spec_builds_it_and_it_resumes_exactly_in_either_order():
    run = built()
    stepped(run, [2.0, 1.0, 1.5])
    saved = copy.deepcopy(run.state_dict())
    after = stepped(run, [1.5, 1.5, 1.5])
    assert after == [0.025, 0.0025]
    for order in (1, -1):
        fresh = built()
        for part in ["optimizer", "scheduler"][::order]:
            getattr(fresh, part).load_state_dict(copy.deepcopy(saved[part]))
        assert stepped(fresh, [1.5, 1.5, 1.5]) == after


def test_copies_and_pickles_of_a_run_go_on_apart():
    run = built()
    stepped(run, [2.0, 2.0])
    copied, pickled = copy.deepcopy(run), pickle.loads(pickle.dumps(run.scheduler))
    assert stepped(copied, [2.0]) == [0.05, 0.005]
    assert pickled.state_dict() == run.scheduler.state_dict()
    assert run.scheduler.get_last_lr() == [0.1, 0.01]


def test_hundreds_of_updates_between_metrics_are_no_reason_to_warn():
    run = built()
    for _ in range(3):
        for _ in range(400):
            run.optimizer.step()
        run.scheduler.step(1.0)
    assert run.scheduler.get_last_lr() == [0.05, 0.005]


def test_a_checkpoint_of_other_settings_is_settled_by_on_resume():
    run = built()
    stepped(run, [2.0, 2.0, 2.0, 2.0])
    saved = copy.deepcopy(run.state_dict())
    with pytest.raises(optreg.ResumeError, match=r"scheduler\.patience: 1 in the checkpoint, 4 in the spec"):
        built("scheduler.patience=4").load_state_dict(copy.deepcopy(saved))
    expected = {
        "follow": ({"patience": 4, "last_epoch": 4, "best": 2.0, "stale": 1}, [0.05, 0.005]),
        "checkpoint": ({"patience": 1, "last_epoch": 4, "best": 2.0, "stale": 1}, [0.05, 0.005]),
        "branch": ({"patience": 4, "last_epoch": 0, "best": None, "stale": 0}, [0.1, 0.01]),
    }
    for choice, (state, lrs) in expected.items():
        other = built("scheduler.patience=4", schedule=choice)
        other.load_state_dict(copy.deepcopy(saved))
        assert other.scheduler.state_dict().items() >= state.items(), choice
        assert other.scheduler.get_last_lr() == lrs, choice


@pytest.fixture
def spec(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "optimizer: {name: adamw, lr: 0.1}\n"
        "groups: [{match: '*.bias', lr: 0.01}]\n"
        "scheduler: {name: reduce_on_plateau, patience: 3}\n"
    )
    return str(file)


def test_explain_tells_the_start_alone(spec):
    result = CliRunner().invoke(main, ["explain", spec])
    assert result.exit_code == 0, result.output
    assert "0\t0.1\tstart; a metric says how it goes on\n" in result.output
    assert "match: *.bias\t0.01\tby a metric\tby a metric\n" in result.output
    assert "lr" in CliRunner().invoke(main, ["explain", spec, "--at", "0"]).output


def test_what_asks_for_later_rates_is_told_that_a_metric_decides(spec, tmp_path):
    result = CliRunner().invoke(main, ["explain", spec, "--at", "10"])
    assert result.exit_code == 1
    assert "its rate depends on a metric, and is not known before the run" in result.output
    result = CliRunner().invoke(main, ["plot", spec, "-o", str(tmp_path / "rates.png")])
    assert result.exit_code == 1
    assert f"{spec}:3:19: reduce_on_plateau is driven by a metric: there is no curve before" in result.output
    assert not (tmp_path / "rates.png").exists()


@pytest.mark.parametrize("section", ["warmup_steps: 5, name: reduce_on_plateau", "name: reduce_on_plateau, for: 10"])
def test_what_is_not_a_function_of_the_step_takes_no_warmup_and_is_no_phase(section, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(f"optimizer: {{name: adamw, lr: 0.1}}\nscheduler: {{{section}}}\n")
    with pytest.raises(optreg.SpecError, match="reduce_on_plateau"):
        optreg.load_spec(file)
