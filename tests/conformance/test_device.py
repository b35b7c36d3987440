"""The suite knows a device: parameters, gradients, rates and the programs that it prints are there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_command import conform

from optreg.conformance import OptimizerRun, SchedulerRun, Target, hostile_problem
from optreg.conformance.explain import optimizer_programs, scheduler_programs
from optreg.conformance.subjects.resolving import resolve


def on_meta(name):
    """A subject on the one other device that every machine has, where nothing has a value: it shows where things are."""
    subject = resolve(Target(name))
    subject.target = replace(subject.target, device="meta")
    subject.activity.moved = True  # whether anything has moved cannot be seen there
    return subject


@pytest.mark.parametrize("name", ["torch.AdamW", "torch.RMSprop"])
def test_parameters_gradients_and_state_are_on_the_device(name):
    subject = on_meta(name)
    problem = hostile_problem(subject)
    run = OptimizerRun(subject, problem.starts, foreach=True, groups=[([0, 1], {}), ([2, 3], {"lr": 0.5})])
    run.run(problem, 0, 3)
    held = [*run.params, *(param.grad for param in run.params)]
    held += [value for index in range(len(run.params)) for value in run.state(index).values() if value.ndim]
    assert {tensor.device.type for tensor in held if tensor is not None} == {"meta"}


def test_the_rate_in_a_tensor_is_on_the_device():
    run = SchedulerRun(resolve(Target("cosine")), {"total_steps": 20}, tensor=True)
    assert run.optimizer.param_groups[0]["lr"].device.type == "cpu"
    subject = replace(run.subject, target=replace(run.subject.target, device="meta"))
    assert subject.tensor([1.0]).device.type == "meta"


def test_programs_make_their_tensors_on_the_device():
    error = NotImplementedError("no values here")
    subject = on_meta("torch.SGD")
    run = OptimizerRun(subject, [np.ones(3)])
    run.step([np.ones(3)], lr=0.1)
    run.note("params[0].tolist()")  # which raises there
    program = optimizer_programs.raising(run.recording, error)
    assert program.count("device='meta'") == 2, program
    subject = resolve(Target("cosine"))
    recording = SchedulerRun(subject, {"total_steps": 20}).run(2).recording
    subject.target = replace(subject.target, device="meta")
    recording.lines.append("optimizer.param_groups[0]['params'][0].tolist()")
    assert "torch.ones(1, device='meta')" in scheduler_programs.raising(recording, error)


@pytest.mark.parametrize("device", ["meta", "nonsense", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_cannot_be_used_is_refused(device):
    run = conform("lion", "--device", device)
    assert run.returncode == 2
    assert f"cannot be judged: device '{device}' cannot be used, or does not support float64" in run.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", ["lion", "adamw", "cosine"])
def test_plugins_pass_on_an_accelerator(name):
    run = conform(name, "--device", "cuda")
    assert run.returncode == 0, run.stdout
