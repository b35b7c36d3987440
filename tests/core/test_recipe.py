"""From a spec and a model to a run."""

import copy
import importlib
import pickle
import sys

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

import optreg
from optreg import PluginWarning, SpecError
from optreg.cli.curve import curve

SPEC = {
    "optimizer": {"name": "lion", "lr": 0.5},
    "groups": [{"match": "*bias", "lr": 0.25}],
    "scheduler": {"name": "linear", "total_steps": 10},
}


@pytest.fixture
def model():
    return torch.nn.Linear(3, 2)


def test_a_run_unpacks_into_optimizer_and_scheduler_and_knows_where_they_came_from(model):
    run = optreg.build(SPEC, model)
    optimizer, scheduler = run
    assert type(optimizer).__name__ == "Lion"
    assert scheduler.optimizer is optimizer
    assert run.spec.optimizer.settings["betas"] == (0.9, 0.99)
    assert [(entry.name, entry.distribution) for entry in run.plugins] == [("lion", "optreg"), ("linear", "optreg")]
    assert run.plugins[0].version


def test_without_a_model_the_checked_recipe_comes_back_and_can_be_called_twice(model):
    recipe = optreg.build(SPEC, overrides=["scheduler.total_steps=4"])
    first, second = recipe(model), recipe(model)
    assert first.optimizer is not second.optimizer
    first.scheduler.step(2)
    assert first.scheduler.get_last_lr() == [0.25, 0.125]
    assert second.scheduler.get_last_lr() == [0.5, 0.25]


def test_a_yaml_file_a_mapping_and_python_calls_build_the_same(model, tmp_path):
    (tmp_path / "run.yaml").write_text(
        "optimizer: {name: lion, lr: 0.5}\ngroups:\n  - match: '*bias'\n    lr: 0.25\n"
        "scheduler: {name: linear, total_steps: 10}\n"
    )
    optimizer = optreg.optimizer("lion", model, lr=0.5, groups=SPEC["groups"])
    scheduler = optreg.scheduler("linear", optimizer, total_steps=10)
    for run in (optreg.build(tmp_path / "run.yaml", model), optreg.build(SPEC, model)):
        assert run.optimizer.state_dict() == optimizer.state_dict()
        assert run.scheduler.state_dict() == scheduler.state_dict()


def test_copies_and_pickles_of_a_run_go_on_by_themselves(model):
    run = optreg.build(SPEC, model)
    assert copy.copy(run) == run == run._replace()
    assert copy.copy(run).spec is run._replace(scheduler=None).spec is run.spec
    for twin in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        assert twin.spec == run.spec
        assert twin.scheduler.optimizer is twin.optimizer
        twin.scheduler.step()
        assert run.scheduler.get_last_lr() == [0.5, 0.25]


def test_a_tensor_rate_is_checked_and_stays_the_tensor_it_is(model):
    rate = torch.tensor(0.5)
    assert optreg.optimizer("adamw", model, lr=rate).param_groups[0]["lr"] is rate
    with pytest.raises(SpecError, match=r"lr must be greater than or equal to 0, not -1.0"):
        optreg.optimizer("adamw", model, lr=torch.tensor(-1.0))


@pytest.mark.parametrize("rate", [torch.ones(2), torch.ones(0)])
def test_a_rate_that_is_not_one_number_is_refused_before_anything_is_built(rate):
    with pytest.raises(SpecError, match=r"optimizer\.lr: Tensor is not a plain value"):
        optreg.optimizer("adamw", torch.nn.Linear(2, 2), lr=rate)


def test_wrong_python_calls_are_told_like_wrong_specs(model):
    with pytest.raises(SpecError, match=r"optimizer.weigth_decay: lion has no parameter 'weigth_decay'; did you mean"):
        optreg.optimizer("lion", model, weigth_decay=1)
    with pytest.raises(SpecError, match="there is no optimizer 'lyon'; did you mean 'lion'"):
        optreg.optimizer("lyon", model)
    with pytest.raises(SpecError, match="needs 'total_steps'"):
        optreg.scheduler("linear", optreg.optimizer("lion", model))


def test_what_does_not_fit_the_model_is_told_when_the_model_comes(model):
    recipe = optreg.build({**SPEC, "groups": [{"match": "*norm*", "lr": 0.5}]})
    with pytest.raises(SpecError, match=r"^the rule 'match: \*norm\*' \(number 1\) matches no parameter"):
        recipe(model)


def test_a_ready_scheduler_of_torch_can_be_a_plugin(schedule, model):
    schedule("drop", "step_size: PositiveSteps", implementation="torch.optim.lr_scheduler:StepLR")
    run = optreg.build({**SPEC, "scheduler": {"name": "drop", "step_size": 3}}, model)
    assert isinstance(run.scheduler, StepLR)
    assert (
        run.scheduler.state_dict()
        == StepLR(optreg.optimizer("lion", model, lr=0.5, groups=SPEC["groups"]), 3).state_dict()
    )
    assert run.scheduler.step_size == 3

    rates = curve(run.spec)
    assert [rates.at(t) for t in (0, 2, 3, 7)] == pytest.approx([0.5, 0.5, 0.05, 0.005])


OBSERVER = """
    import optreg
    seen = []

    @optreg.hookimpl
    def optreg_built(spec, optimizer, scheduler):
        seen.append((spec, optimizer, scheduler))
"""


@pytest.fixture
def seen(site):
    """Installs an observer, and returns what it has seen."""
    site.install("observer", OBSERVER, group="optreg.hooks", names=["observer"])
    return lambda: importlib.import_module("observer").seen


def test_observers_are_told_once_of_every_build(seen, model):
    runs = [optreg.build(SPEC, model) for _ in range(2)]
    assert seen() == [(run.spec, run.optimizer, run.scheduler) for run in runs]


def test_a_registry_of_ones_own_is_looked_up_in_and_its_observers_are_told(seen, model):
    default = optreg.default_registry()
    run = optreg.build(SPEC, model, registry=optreg.Registry(environ={"OPTREG_BLOCK": "observer"}))
    assert run.spec == optreg.load_spec(SPEC, registry=default)
    assert "observer" not in sys.modules
    with pytest.raises(SpecError, match="there is no optimizer 'lion'"):
        optreg.build(SPEC, model, registry=optreg.Registry(entry_points=[]))
    recipe = optreg.build(SPEC, registry=optreg.Registry())
    run = recipe(model)
    assert seen() == [(run.spec, run.optimizer, run.scheduler)]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (OBSERVER.replace("seen.append", "1 / 0; seen.append"), "observer 'bad:bad' failed: ZeroDivisionError"),
        ("raise RuntimeError('no')", "hook 'bad' is broken: distribution 'bad' 1.0"),
        (
            OBSERVER.replace("optreg_built", "optreg_build"),
            "'optreg_build', which is not a hook of optreg; did you mean",
        ),
    ],
)
def test_an_observer_that_fails_warns_and_the_build_and_the_others_go_on(site, seen, model, code, message):
    site.install("bad", code, group="optreg.hooks", names=["bad"])
    with pytest.warns(PluginWarning, match=message):
        run = optreg.build(SPEC, model)
    assert seen() == [(run.spec, run.optimizer, run.scheduler)]


def test_a_hidden_observer_is_not_told(site, model, monkeypatch):
    site.install("observer", "raise RuntimeError", group="optreg.hooks", names=["observer"])
    monkeypatch.setenv("OPTREG_BLOCK", "observer")
    assert optreg.build(SPEC, model)


@pytest.mark.parametrize("error", ["ValueError('five')", "KeyError('five')", "AssertionError('five')", "SystemExit(5)"])
def test_whatever_a_constructor_raises_is_told_at_the_components_place(site, model, tmp_path, error):
    code = f"""
        from dataclasses import dataclass
        import torch
        from optreg import OptimizerPlugin, SchedulePlugin, hookimpl

        @dataclass
        class Reference:
            '''One sentence.'''
            lr: float = 0.1

        @dataclass
        class Nothing:
            '''One sentence.'''

        class Implementation(torch.optim.SGD):
            def __init__(self, params, **settings):
                raise {error}

        class Schedule:
            def __init__(self):
                raise {error}

        @hookimpl
        def optreg_optimizers():
            return [OptimizerPlugin(name="odd", implementation="odd:Implementation", reference=Reference)]

        @hookimpl
        def optreg_schedulers():
            return [SchedulePlugin(name="odd", implementation="odd:Schedule", reference=Nothing)]
    """
    site.install("odd", code, names=["odd"])
    site.install("odd-too", "", module="nothing", group="optreg.schedulers", names=[])
    (site.folder / "odd_too-1.0.dist-info/entry_points.txt").write_text("[optreg.schedulers]\nodd = odd\n")
    kind, said = type(eval(error)), error.split("(")[0]
    path = tmp_path / "run.yaml"
    for text, place, distribution in (
        ("optimizer: {name: odd}\nscheduler: {name: constant}\n", "1:19", "odd"),
        ("optimizer: {name: lion}\nscheduler:\n  name: odd\n", "3:9", "odd-too"),
    ):
        path.write_text(text)
        with pytest.raises(SpecError) as caught:
            optreg.build(path, model)
        assert str(caught.value).startswith(
            f"{path}:{place}: odd of distribution '{distribution}' 1.0, module 'odd' cannot be built: {said}: "
        )
        assert type(caught.value.__cause__) is kind


def test_parameters_that_an_optimizer_does_not_take_are_named_at_its_place_before_it_is_imported(site, tmp_path):
    code = """
        from dataclasses import dataclass
        from optreg import OptimizerPlugin, OptimizerTraits, hookimpl

        @dataclass
        class Reference:
            '''One sentence.'''
            lr: float = 0.1

        @hookimpl
        def optreg_optimizers():
            return [
                OptimizerPlugin(
                    name=name, implementation="no_such_module:Odd", reference=Reference, traits=OptimizerTraits(**traits)
                )
                for name, traits in (("flat", {"ndim": (2, 3)}), ("real", {"complex_params": False}))
            ]
    """
    site.install("odd", code, names=["flat", "real"])
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(6)))
    model[0].weight = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    path = tmp_path / "run.yaml"
    biases = ", ".join(f"'{place}.bias' has 1" for place in range(5))
    for name, message in (
        ("flat", f"flat takes parameters of 2 or 3 dimensions, but {biases} and 1 more; freeze them, or give"),
        (
            "real",
            "real takes real parameters alone, but '0.weight' is complex; freeze them, or give them another optimizer",
        ),
    ):
        path.write_text(f"optimizer:\n  name: {name}\nscheduler: {{name: constant}}\n")
        with pytest.raises(SpecError) as caught:
            optreg.build(path, model)
        assert str(caught.value).startswith(f"{path}:2:9: {message}")
    with pytest.raises(SpecError, match=r"^optimizer: flat takes .* but one of shape \(2,\) has 1, one of"):
        optreg.optimizer("flat", list(model.parameters()))
