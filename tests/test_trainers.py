"""docs/trainers.md: what it says to return is taken, and every update runs at the spec's rate."""

import re
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer

import optreg
from optreg import StepWarning

PAGE = (Path(__file__).parents[1] / "docs" / "trainers.md").read_text(encoding="utf-8")
SPEC = """\
optimizer: {name: adamw, lr: 1.0}
scheduler: {name: linear, warmup_steps: 4, total_steps: 600}
"""
EPOCH = 250


def rate(t):
    return t / 4 if t < 4 else max(0.0, (600 - t) / 596)


def lightning(output):
    """The optimizers and the schedulers with their intervals, as Lightning reads what `configure_optimizers` returns.

    A copy of the rules of pytorch-lightning 2.6 (`core/optimizer.py`), without those for monitored schedulers.
    """
    if isinstance(output, Optimizer):
        return [output], []
    if isinstance(output, list | tuple) and len(output) == 2 and isinstance(output[0], list):
        optimizers, schedulers = output
        return optimizers, [_scheduled(each) for each in schedulers]
    if isinstance(output, dict):
        return [output["optimizer"]], [_scheduled(output["lr_scheduler"])] if "lr_scheduler" in output else []
    if isinstance(output, list | tuple) and all(isinstance(each, Optimizer) for each in output):
        return [*output], []
    raise ValueError("Unknown configuration for model optimizers")


def _scheduled(scheduler):
    return {"interval": "epoch", **(scheduler if isinstance(scheduler, dict) else {"scheduler": scheduler})}


def fit(output, epochs=2):
    """The rates of all updates, as Lightning's loop makes them."""
    (optimizer,), schedulers = lightning(output)
    rates = []
    for _ in range(epochs):
        for _ in range(EPOCH):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            for each in schedulers:
                if each["interval"] == "step":
                    each["scheduler"].step()
        for each in schedulers:
            if each["interval"] == "epoch":
                each["scheduler"].step()
    return rates


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/run.yaml").write_text(SPEC)
    return torch.nn.Linear(2, 1)


def code(chapter):
    """The first Python code of a chapter of the page."""
    return re.search(rf"^## {chapter}\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)[1]


def test_what_the_page_returns_to_lightning_runs_every_update_at_its_rate(model):
    namespace = {"optreg": optreg}
    exec(code("Lightning"), namespace)
    assert fit(namespace["configure_optimizers"](model)) == [rate(t) for t in range(2 * EPOCH)]


def test_the_run_itself_is_refused_by_lightning(model):
    with pytest.raises(ValueError, match="Unknown configuration"):
        lightning(optreg.build("configs/run.yaml", model))


def test_the_form_that_runs_once_an_epoch_is_noticed(model):
    optimizer, scheduler = optreg.build("configs/run.yaml", model)
    with pytest.warns(StepWarning, match="'interval': 'step'"):
        assert fit(([optimizer], [scheduler]))[:EPOCH] == [0.0] * EPOCH


def test_the_plain_loop_of_the_page_runs_every_update_at_its_rate(model):
    namespace, seen = {"optreg": optreg, "model": model}, []
    before, after = code("A plain loop").split("for inputs")
    exec(before, namespace)
    namespace["optimizer"].register_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"]))
    exec("for inputs" + after, namespace)
    assert seen == [rate(t) for t in range(6)]
