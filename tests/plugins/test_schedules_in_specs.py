"""The first-party schedules as specs state them: lengths in any unit, ends that the horizon gives, phases."""

import pytest
import torch

import optreg

RUN = "optimizer: {{name: adamw, lr: 1.0}}\nhorizon: 40_000 samples\nbatch: 20 samples\nscheduler: {}\n"


def load(tmp_path, scheduler):
    file = tmp_path / "run.yaml"
    file.write_text(RUN.format(scheduler))
    return optreg.load_spec(file)


def rates(spec, steps):
    """The rate of each of some updates of a run."""
    optimizer, scheduler = optreg.build(spec.as_dict(), torch.nn.Linear(1, 1))
    found = {0: optimizer.param_groups[0]["lr"]}
    for t in range(1, max(steps) + 1):
        optimizer.step()
        scheduler.step()
        found[t] = optimizer.param_groups[0]["lr"]
    return [found[t] for t in steps]


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        (
            "{name: wsd, warmup_steps: 1%, decay_steps: 10%, decay: 1-sqrt}",
            {"warmup_steps": 20, "decay_steps": 200, "total_steps": 2000},
        ),
        (
            "{name: wsd_s, restarts: [8000 samples, 40%], decay_steps: 1000 samples, decay: linear}",
            {"restarts": (400, 800), "decay_steps": 50, "total_steps": 2000},
        ),
        (
            "{name: tri_stage, warmup_steps: 10%, decay_steps: 50%}",
            {"warmup_steps": 200, "decay_steps": 1000, "total_steps": 2000},
        ),
        ("{name: one_cycle, warmup_steps: 30%}", {"warmup_steps": 600, "total_steps": 2000}),
        (
            "{name: inverse_sqrt, timescale: 10_000 samples, hold_steps: 10_000 samples, cooldown_steps: 10%}",
            {"timescale": 500, "hold_steps": 500, "cooldown_steps": 200, "total_steps": 2000},
        ),
        ("{name: power, timescale: 5%}", {"timescale": 100, "decay_steps": 0, "total_steps": 2000}),
        ("{name: cosine_restarts, period: 10%, growth: 2}", {"period": 200, "growth": 2}),
        ("{name: multistep, milestones: [30%, 60%, 36_000 samples]}", {"milestones": (600, 1200, 1800)}),
        ("{name: step, step_size: 30%}", {"step_size": 600}),
    ],
)
def test_lengths_are_stated_in_any_unit_and_the_end_is_the_horizon(tmp_path, scheduler, settings):
    assert load(tmp_path, scheduler).scheduler.settings.items() >= settings.items()


def test_a_schedule_that_needs_no_end_has_none_without_a_horizon():
    spec = optreg.load_spec(
        {"optimizer": {"name": "adamw"}, "scheduler": {"name": "inverse_sqrt", "timescale": 100, "warmup_steps": 100}}
    )
    assert spec.scheduler.settings["total_steps"] is None


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("{name: wsd, decay_steps: 10%}", "wsd needs 'decay', which has no default"),
        ("{name: wsd, decay_steps: 10%, decay: exponential}", "'exponential' never reaches 0; set min_lr_ratio"),
        (
            "{name: wsd, decay_steps: 60%, warmup_steps: 60%, decay: cosine}",
            r"must not be more than total_steps \(2000\)",
        ),
        (
            "{name: wsd_s, restarts: [40%, 10%], decay_steps: 5%, decay: linear}",
            r"the cycle from update 800 to 200 must have room for decay_steps \(100\)",
        ),
        ("{name: cosine_restarts, period: 10%, growth: 1.5}", "growth must be a valid integer"),
    ],
)
def test_what_does_not_fit_is_told_in_updates(tmp_path, scheduler, message):
    with pytest.raises(optreg.SpecError, match=message):
        load(tmp_path, scheduler)


def test_a_phase_holds_and_decays_and_the_next_goes_on_from_there(tmp_path):
    phases = (
        "[{name: wsd, warmup_steps: 4, decay_steps: 4, decay: linear, min_lr_ratio: 0.5, from: 0.8, for: 20},"
        " {name: multistep, milestones: [5], gamma: 0.5}]"
    )
    with pytest.raises(optreg.SpecError, match="wsd begins at 0, so that it cannot go on from another level"):
        load(tmp_path, phases)
    spec = load(tmp_path, phases.replace("warmup_steps: 4, ", ""))
    assert rates(spec, [0, 16, 18, 20, 24, 25]) == pytest.approx([0.8, 0.8, 0.6, 0.4, 0.4, 0.2])


def test_a_wsd_of_a_run_has_its_values_at_every_joint(tmp_path):
    spec = load(
        tmp_path, "{name: wsd, warmup_steps: 10, decay_steps: 20, decay: inverse, min_lr_ratio: 0.1, total_steps: 50}"
    )
    assert rates(spec, [0, 5, 10, 30, 40, 50, 51]) == pytest.approx([0, 0.5, 1, 1, 1 / 5.5, 0.1, 0.1], rel=1e-15)
