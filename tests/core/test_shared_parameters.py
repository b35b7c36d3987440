"""Parameters with several names, and several users of one registry: each is counted once."""

import pickle
import threading

import pytest
import torch
from torch import nn

import optreg
from optreg import PluginError, Problem, Registry, SpecError
from optreg.errors import did_you_mean
from optreg.groups import partition
from optreg.spec import Rule


class Twice(nn.Module):
    """One block under two names, and a parameter of the model's own."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.scale = nn.Parameter(torch.ones(()))


def test_a_module_under_two_names_gives_each_of_its_parameters_two():
    (group,) = partition(Twice(), [])
    assert [member.names for member in group.members] == [
        ["scale"],
        ["first.0.weight", "second.0.weight"],
        ["first.0.bias", "second.0.bias"],
        ["first.1.weight", "second.1.weight"],
        ["first.1.bias", "second.1.bias"],
    ]


def test_a_rule_on_the_second_name_of_a_module_takes_its_parameters():
    rest, chosen = partition(Twice(), [Rule(match=("second.*",))])
    assert [member.name for member in rest.members] == ["scale"]
    assert [member.name for member in chosen.members] == [
        "first.0.weight", "first.0.bias", "first.1.weight", "first.1.bias",
    ]  # fmt: skip


def test_rules_that_split_a_shared_module_by_type_agree_about_it():
    groups = partition(Twice(), [Rule(type=("*Norm",)), Rule(match=("second.*",)), Rule(ndim=(0,))])
    assert [[member.name for member in group.members] for group in groups] == [
        ["first.1.weight", "first.1.bias"], ["first.0.weight", "first.0.bias"], ["scale"],
    ]  # fmt: skip


def test_every_tied_parameter_that_rules_disagree_about_is_told():
    with pytest.raises(SpecError) as caught:
        partition(Twice(), [Rule(match=("first.*",)), Rule(match=("second.*",))])
    said = [str(problem) for problem in caught.value.problems if "disagree" in str(problem)]
    assert len(said) == 4
    assert (
        "'first.1.bias' falls to rule 1 (match: first.*), 'second.1.bias' falls to rule 2 (match: second.*)" in said[3]
    )


def test_pairs_that_give_a_parameter_two_names_hold_it_once():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    rest, chosen = partition([("a", weight), ("b", bias), ("c", weight)], [Rule(match=("c",))])
    assert [member.name for member in rest.members] == ["b"]
    assert [member.names for member in chosen.members] == [["a", "c"]]


def test_a_parameter_given_twice_without_names_is_held_once():
    weight = nn.Parameter(torch.ones(2))
    (group,) = partition(iter([weight, weight]), [])
    assert [id(param) for param in group.as_param_group()["params"]] == [id(weight)]


def test_the_order_of_groups_is_the_order_of_rules_whatever_the_model_says_first():
    model = Twice()
    for rules in ([{"ndim": 0}, {"ndim": 1}], [{"ndim": 1}, {"ndim": 0}]):
        rules = [{**rule, "lr": float(number + 1)} for number, rule in enumerate(rules)]
        optimizer = optreg.optimizer("lion", model, lr=9.0, groups=rules)
        assert [group["lr"] for group in optimizer.param_groups] == [9.0, 1.0, 2.0]
        scheduler = optreg.scheduler("constant", optimizer, factor=0.5)
        assert scheduler.base_lrs == [9.0, 1.0, 2.0]
        assert scheduler.get_last_lr() == [4.5, 0.5, 1.0]


def test_threads_that_load_good_and_broken_plugins_at_once_do_not_disturb_each_other(site):
    for number in range(8):
        hook = "optreg_optimisers" if number % 2 else "optreg_optimizers"
        site.install(
            f"dist{number}",
            f"""
            from dataclasses import dataclass
            from optreg import OptimizerPlugin, hookimpl

            @dataclass
            class Reference:
                lr: float = 0.1

            @hookimpl
            def {hook}():
                return [OptimizerPlugin(name="p{number}", implementation="torch.optim:SGD", reference=Reference)]
            """,
            names=[f"p{number}"],
        )
    registry, told = Registry(), []
    start = threading.Barrier(16)

    def load(number):
        start.wait()
        for _ in range(20):
            try:
                told.append((number, registry.optimizer(f"p{number}").plugin.name))
            except PluginError as error:
                told.append((number, "misspelt" if "which is no hook of optreg" in str(error) else str(error)))

    threads = [threading.Thread(target=load, args=(number % 8,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 16 * 20
    assert set(told) == {(number, "misspelt" if number % 2 else f"p{number}") for number in range(8)}


def test_errors_survive_pickling_as_data_loader_workers_do_it():
    with pytest.raises(SpecError) as caught:
        optreg.load_spec({"optimizer": {"name": "lion", "rl": 1}, "scheduler": {"name": "constant"}})
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)
    assert twin.problems == caught.value.problems == (Problem(None, str(caught.value)),)


@pytest.mark.parametrize(
    ("word", "choices", "hint"),
    [
        ("lr", [], ""),
        ("foreech", ["lr", "foreach"], "; did you mean 'foreach'?"),
        ("x", ["a", "b"], "; choose from: a, b"),
    ],
)
def test_a_hint_is_the_closest_choice_or_all_of_them(word, choices, hint):
    assert did_you_mean(word, iter(choices)) == hint
